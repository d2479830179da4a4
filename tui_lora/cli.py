"""The front door: parse first, import late.

Nothing heavier than typer is imported before it is known what was asked for; torch never is, since
whatever loads a model is a process of its own.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tui_lora.cli_branch import add_to as add_branch
from tui_lora.cli_chat import add_to as add_chat
from tui_lora.cli_control import Accept, Session
from tui_lora.cli_control import add_to as add_control
from tui_lora.cli_eval import add_to as add_eval
from tui_lora.cli_export import add_to as add_export
from tui_lora.cli_fit import add_to as add_fit
from tui_lora.cli_peek import add_to as add_peek
from tui_lora.cli_queue import add_to as add_queue
from tui_lora.cli_report import add_to as add_report

app = typer.Typer(
    name="tui-lora",
    help="Fine-tune with LoRA and QLoRA from a terminal. Without a verb: the screens.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class _Common:
    """What stands before the verb."""

    sessions: str | None = None
    debug: bool = False


def _root() -> Path:
    from tui_lora.store.paths import sessions_root

    root = sessions_root(_Common.sessions)
    if _Common.sessions is not None:
        # A worker may have to find a session there that a setting names.
        os.environ["TUI_LORA_SESSIONS"] = str(root)
    return root


@app.callback(invoke_without_command=True)
def _screens(
    context: typer.Context,
    sessions: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where sessions are kept (also $TUI_LORA_SESSIONS)."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    _Common.sessions, _Common.debug = sessions, debug
    if version:
        from tui_lora import __version__

        typer.echo(f"tui-lora {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        _open_screens()


def _open_screens(*, session: str | None = None) -> NoReturn:
    from tui_lora.core.errors import UserError
    from tui_lora.store.sessions import make_root
    from tui_lora.ui.terminal import prepare_environment, terminal_problem

    problem = terminal_problem()
    if problem is not None:
        raise UserError(
            problem, then="Without the screens: tui-lora train, watch, ls, chat (see --help)."
        )
    prepare_environment()
    root = make_root(_root())
    from tui_lora.ui.run_app import run_app

    raise typer.Exit(run_app(root, open_session=session, screen="train" if session else None))


@app.command()
def train(
    what: Annotated[
        str | None, typer.Argument(metavar="[SPEC.yaml|SESSION]", help="A run spec or a session.")
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="P", help="Start from a preset.")] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="N", help="Name of the new session; of a session: begin one like it."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="lora.r=16",
            help="Change a setting, of a session from its last checkpoint on; may be repeated.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option(help="Start the worker and return.")] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Start it when its card is free, and return.")
    ] = False,
    accept: Accept = False,
) -> None:
    """Start a run, or resume one, and follow it. Ctrl-C detaches: the run goes on."""
    from tui_lora.headless import verbs

    raise typer.Exit(
        verbs.train(
            _root(),
            what=what,
            preset=preset,
            name=name,
            changes=set_ or [],
            detach=detach,
            queued=queue,
            accept=accept,
        )
    )


@app.command()
def watch(session: Session, as_json: AsJson = False) -> None:
    """Follow a run from any terminal. Ctrl-C leaves it running."""
    from tui_lora.headless import verbs

    raise typer.Exit(verbs.watch(_root(), session, raw=as_json))


@app.command("ls")
def list_sessions(as_json: AsJson = False) -> None:
    """Sessions and what they are doing."""
    from tui_lora.headless import verbs

    raise typer.Exit(verbs.ls(_root(), as_json=as_json))


add_control(app, _root)
add_queue(app, _root)
add_branch(app, _root)
add_chat(app, _root)
add_export(app, _root)
add_eval(app, _root)
add_peek(app, _root)
add_report(app, _root)
add_fit(app, _root)


@app.command()
def data(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH|ID", help="A file, a folder, a pattern or the id of a Hub dataset."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="M", help="Count tokens, as this model would be fed the rows."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="T", help="sft, classification, dpo or kto; else what the rows say."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="dataset.columns=...", help="Change a setting; may be repeated."
        ),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Show row N token by token (needs --model)."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Count the tokens of N rows only, spread over all."),
    ] = None,
    list_: Annotated[
        str | None,
        typer.Option("--list", metavar="FILE", help="Write every problem to this JSONL file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a dataset holds, what is wrong with it, and what of it would be trained."""
    from tui_lora.headless import data as dataset

    raise typer.Exit(
        dataset.data(
            path,
            model=model,
            task=task,
            changes=set_ or [],
            row=row,
            rows=rows,
            list_to=list_,
            json_wanted=as_json,
        )
    )


@app.command("diff")
def differences(
    left: Annotated[
        str, typer.Argument(metavar="A", help="A run spec's file, a session, or preset:NAME.")
    ],
    right: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    every: Annotated[bool, typer.Option("--all", help="Also what is the same.")] = False,
    as_json: AsJson = False,
) -> None:
    """Two run specs side by side: the settings that differ, and the losses of sessions."""
    from tui_lora.headless.differences import diff

    raise typer.Exit(diff(_root(), left, right, every=every, as_json=as_json))


@app.command()
def doctor(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="Where --report writes.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try neither torch nor the network.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write a report for a bug, without keys and names.")
    ] = False,
    session: Annotated[
        str | None, typer.Option(metavar="NAME", help="The report tells of this session too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What this machine can do, and what is wrong with it."""
    from tui_lora.headless.doctor import doctor as ask

    raise typer.Exit(
        ask(_root(), as_json=as_json, quick=quick, report=report, file=file, session=session)
    )


@app.command()
def demo() -> None:
    """The first run: fetch a small model, train it on our quickstart dataset, compare."""
    from tui_lora.headless import demo as first_run
    from tui_lora.ui.terminal import terminal_problem

    if sys.stdout.isatty() and terminal_problem() is None and not os.environ.get("CI"):
        _open_screens(session=first_run.start(_root()).name)
    raise typer.Exit(first_run.headless(_root()))


def main() -> None:
    """Run, and turn what the user can mend into a sentence and an exit code."""
    from tui_lora.core.errors import UserError

    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # A terminal that is told ASCII gets ?s for what it cannot write, not a failure.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code: Any = app(standalone_mode=False)
    except UserError as error:
        if _Common.debug:
            raise
        _complain(str(error))
        sys.exit(error.exit_code)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as leaving:
        # typer's answer to a closed pipe: whoever read our output has what it wanted.
        if isinstance(leaving.__context__, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        raise
    except Exception as error:
        from typer.exceptions import TyperException

        if isinstance(error, TyperException):
            # Its text alone does not say which option it is about.
            said = getattr(error, "format_message", error.__str__)()
            _complain(f"{said}\n  `tui-lora --help` and `tui-lora VERB --help` say what there is.")
            sys.exit(2)
        if _Common.debug:
            raise
        _complain(f"{type(error).__name__}: {error}\n  Run it with --debug to see where.")
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str) -> None:
    from tui_lora.core.text import clean

    sys.stderr.write(f"tui-lora: {clean(text)}\n")


if __name__ == "__main__":
    main()
