"""The verbs of the command line about the queue; `cli.py` is the front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tui_lora.cli_control import Session

Waiting = Annotated[str, typer.Argument(metavar="SESSION", help="Name of a session that waits.")]


def add_to(app: typer.Typer, root: Callable[[], Path]) -> None:
    """Give `app` the verb `queue` with those below it; `root` tells the sessions folder."""
    queue = typer.Typer(
        help="Sessions that run one after another on a card: which wait, in which order.",
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.add_typer(queue, name="queue")

    @queue.callback(invoke_without_command=True)
    def show(
        context: typer.Context,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        if context.invoked_subcommand is None:
            from tui_lora.headless import queue as verbs

            raise typer.Exit(verbs.show(root(), as_json=as_json))

    @queue.command()
    def add(
        sessions: Annotated[
            list[str], typer.Argument(metavar="SESSION...", help="Names of sessions.")
        ],
    ) -> None:
        """Let sessions wait for their turn, the first at once where nothing runs on its card."""
        from tui_lora.headless import queue as verbs

        raise typer.Exit(verbs.add(root(), sessions))

    @queue.command()
    def remove(session: Waiting) -> None:
        """Let a session wait no more; it is as it was before."""
        from tui_lora.headless import queue as verbs

        raise typer.Exit(verbs.remove(root(), session))

    @queue.command()
    def move(
        session: Session,
        first: Annotated[bool, typer.Option("--first", help="It is next.")] = False,
        last: Annotated[bool, typer.Option("--last", help="All others are before it.")] = False,
        up: Annotated[bool, typer.Option("--up", help="One place forward.")] = False,
        down: Annotated[bool, typer.Option("--down", help="One place back.")] = False,
    ) -> None:
        """Give a session another place in its card's line."""
        from tui_lora.headless import queue as verbs

        where = {"first": first, "last": last, "up": up, "down": down}
        raise typer.Exit(
            verbs.move(root(), session, [name for name, given in where.items() if given])
        )

    @queue.command()
    def start() -> None:
        """Start whoever is next on each card on which nothing runs."""
        from tui_lora.headless import queue as verbs

        raise typer.Exit(verbs.start(root()))
