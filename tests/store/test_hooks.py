"""A command that a run ends with: run only where this user has confirmed it, word for word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.recorded import make_session
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted
from tui_lora.core.guards_spec import HooksSpec
from tui_lora.core.spec import RunSpec
from tui_lora.core.view import RunView
from tui_lora.headless.changes import changed
from tui_lora.headless.confirming import with_its_command
from tui_lora.headless.start_again import start_again
from tui_lora.store import hooks, launch, runs, sessions
from tui_lora.store.paths import SessionPaths, config_folder
from tui_lora.store.spec_file import read_spec

COMMAND = "notify-send 'it ended'"


@pytest.fixture(autouse=True)
def nothing_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(runs, "preflight", lambda *_, **__: ())


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    plain = read_spec(make_session(tmp_path / "other", "plain").spec)
    return plain.model_copy(update={"hooks": HooksSpec(on_finish=COMMAND)})


def test_nothing_starts_with_one_that_nobody_confirmed(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec of somebody else's, and a session; the refusal names the command and the way."""
    started: list[str] = []
    monkeypatch.setattr(launch, "start_training", lambda paths, **_: started.append(paths.name))
    foreign = sessions.create(tmp_path / "root", "foreign", spec)
    for go in (
        lambda: runs.begin(tmp_path / "root", "new", spec),
        lambda: runs.resume(foreign),
        lambda: runs.check(foreign),
        lambda: with_its_command(lambda: runs.resume(foreign)),
    ):
        with pytest.raises(hooks.Unconfirmed) as refused:
            go()
        assert COMMAND in refused.value.what
        assert """--set hooks.on_finish='notify-send '"'"'it ended'"'"''""" in refused.value.then
    with pytest.raises(hooks.Unconfirmed) as refused:
        start_again(foreign, {"training.max_steps": 900}, "made longer", lambda *_: None)
    # `extend` takes no --set; this does the same.
    way = "tui-lora resume foreign --set training.max_steps=900 --set hooks.on_finish="
    assert way in refused.value.then
    assert (started, [one.name for one in sessions.listed(tmp_path / "root")]) == ([], ["foreign"])
    # Who gives it on a command line has read it; once is enough, and it is this very one.
    changed({}, [f"hooks.on_finish={COMMAND}"])
    runs.begin(tmp_path / "root", "new", spec)
    runs.resume(foreign)
    assert started == ["new", "foreign"]
    assert not hooks.is_confirmed(COMMAND + " ")


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("n", False), ("", False)])
def test_a_terminal_is_asked(
    spec: RunSpec, answer: str, goes: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return f"{answer}\n"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    hostile = spec.model_copy(update={"hooks": HooksSpec(on_finish="a\x1b[2J\nb")})

    def go() -> str:
        hooks.must_be_confirmed(hostile)
        return "started"

    if goes:
        assert with_its_command(go) == "started"
    else:
        with pytest.raises(UserError, match="nothing was started"):
            with_its_command(go)
    assert hooks.is_confirmed("a\x1b[2J\nb") == goes
    shown = capsys.readouterr().out
    assert "\n    b\n" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("text", ["", "[", "{}", "[1, null]", "[" * 100_000])
def test_what_is_no_list_confirms_nothing(text: str) -> None:
    config_folder().mkdir(parents=True)
    (config_folder() / "commands.json").write_text(text)
    assert not hooks.is_confirmed(COMMAND)
    hooks.confirm(COMMAND)
    assert hooks.is_confirmed(COMMAND)


@pytest.mark.model
@pytest.mark.parametrize("confirmed", [True, False])
def test_the_worker_runs_only_what_was_confirmed(
    tmp_path: Path, spec: RunSpec, confirmed: bool
) -> None:
    """Whoever started it, and by whatever way."""
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.leaving import leave
    from tui_lora.worker.outcome import Outcome
    from tui_lora.worker.reporter import Reporter

    command = "echo heard > heard.txt"
    spec = spec.model_copy(update={"hooks": HooksSpec(on_finish=command)})
    paths = sessions.create(tmp_path / "root", "run", spec)
    if confirmed:
        hooks.confirm(command)
    outcome, reporter = Outcome(1, 0), Reporter(paths.events)
    reporter.begin(AttemptStarted(attempt=1, pid=os.getpid(), resumed_from=None, versions={}))
    outcome.verdict = "done"
    assert leave(paths, spec, outcome, Inbox(paths.orders), reporter, {}, 1.0) == 0
    assert (paths.folder / "heard.txt").exists() == confirmed
    assert ("was not run" in said(paths)) != confirmed


def said(paths: SessionPaths) -> str:
    return "\n".join(line.text for line in sessions.fold(lines(paths), RunView()).log)


def lines(paths: SessionPaths) -> list[bytes]:
    return paths.events.read_bytes().splitlines()
