"""Sessions on disk: made whole or not at all, never outside their root, summed up whatever is in
them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.events import (
    EVENTS,
    AttemptFinished,
    AttemptStarted,
    Evaluated,
    Heartbeat,
    Result,
    RunPlanned,
    StepDone,
)
from tui_lora.core.orders import ORDERS, Stop
from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.core.status import Status
from tui_lora.store import runs, sessions
from tui_lora.store.log_ends import TAIL_BYTES
from tui_lora.store.paths import SessionPaths, sessions_root
from tui_lora.store.spec_file import read_spec

HOLD = """
import sys
from pathlib import Path
from tui_lora.store import lock
lock.hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my 'sessions'"


@pytest.fixture
def spec() -> RunSpec:
    return parse_spec({"model": "a/b", "dataset": "d.jsonl", "lora": {"r": 4}})


@pytest.fixture
def session(root: Path, spec: RunSpec) -> SessionPaths:
    return sessions.create(root, "one", spec)


@pytest.fixture
def running(session: SessionPaths) -> Iterator[SessionPaths]:
    """The session with a real process that holds its lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(session.lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield session
        process.kill()


def write_events(session: SessionPaths, *events: object, start: int = 1) -> None:
    with session.events.open("a", encoding="utf-8") as file:
        for seq, event in enumerate(events, start=start):
            file.write(EVENTS.encode(event.model_copy(update={"seq": seq})))  # type: ignore[attr-defined]


def write_result(session: SessionPaths, attempt: int, verdict: str) -> None:
    session.result.write_text(
        Result(attempt=attempt, verdict=verdict, step=3).model_dump_json()  # type: ignore[arg-type]
    )


def planned(total: int) -> RunPlanned:
    return RunPlanned(
        total_steps=total,
        epochs=1,
        train_rows=1,
        eval_rows=0,
        rows_per_step=1,
        trainable_parameters=1,
        total_parameters=2,
        device="cpu",
    )


def test_a_new_session_is_a_draft_with_its_spec(
    root: Path, session: SessionPaths, spec: RunSpec
) -> None:
    assert read_spec(session.spec) == spec
    assert sessions.status_of(session) is Status.DRAFT
    assert [path.name for path in root.iterdir()] == ["one"]
    assert session.folder.stat().st_mode & 0o077 == 0
    assert sessions.find(root, "one") == session


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "/tmp/x",
        "",
        ".",
        "..",
        ".hid",
        "-rf",
        "x" * 300,
        "🦙",
        "a b",
        "a\n",
        "a\x1bb",
    ],
)
def test_a_name_that_could_leave_its_root_is_refused(root: Path, spec: RunSpec, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a session") as caught:
        sessions.create(root, name, spec)
    assert "\x1b" not in str(caught.value)
    assert not root.exists()
    with pytest.raises(UserError, match="cannot name a session"):
        sessions.find(root, name)


def test_a_name_is_taken_once(root: Path, session: SessionPaths, spec: RunSpec) -> None:
    with pytest.raises(UserError, match="already a session one") as caught:
        sessions.create(root, "one", spec)
    assert "one-2" in str(caught.value)
    assert [path.name for path in root.iterdir()] == ["one"]


def test_free_names_are_names(root: Path, session: SessionPaths, spec: RunSpec) -> None:
    assert sessions.free_name(root, "one") == "one-2"
    assert sessions.free_name(root, "../ü b") == "---b".lstrip("-")
    assert sessions.free_name(root, "🦙") == "run"
    long = sessions.free_name(root, "y" * 300)
    sessions.create(root, long, spec)
    assert sessions.free_name(root, "y" * 300) == f"{long}-2"
    sessions.create(root, f"{long}-2", spec)


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_root_that_cannot_be_written_is_told(tmp_path: Path, spec: RunSpec, below: str) -> None:
    # A file in the root's place holds for the superuser too, whom no mode stops.
    (tmp_path / "file").write_text("x")
    root = tmp_path / "file" / below if below else tmp_path / "file"
    with pytest.raises(UserError, match="cannot be written") as caught:
        sessions.create(root, "one", spec)
    assert "--sessions" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert sessions.listed(root) == []


def test_a_session_that_is_not_there_names_those_that_are(
    root: Path, session: SessionPaths
) -> None:
    with pytest.raises(UserError, match="no session two") as caught:
        sessions.find(root, "two")
    assert "There are: one." in str(caught.value)


def test_a_link_out_of_the_root_is_not_followed(
    root: Path, session: SessionPaths, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    session.folder.rename(outside)
    session.folder.symlink_to(outside)
    with pytest.raises(UserError, match="leads out"):
        sessions.find(root, "one")
    sessions.delete(root, session)
    assert (outside / "run.yaml").exists()


def test_deleting_leaves_nothing(root: Path, session: SessionPaths) -> None:
    (session.checkpoints / "step-000001").mkdir()
    sessions.delete(root, session)
    assert list(root.iterdir()) == []


def test_a_running_session_is_not_deleted(root: Path, running: SessionPaths) -> None:
    with pytest.raises(UserError, match="is running"):
        sessions.delete(root, running)
    assert running.spec.exists()


def test_orders_need_somebody_to_hear_them(session: SessionPaths) -> None:
    with pytest.raises(UserError, match="not running"):
        sessions.order_stop(session)
    assert not session.orders.exists()


def test_an_order_is_one_line_with_an_id(running: SessionPaths) -> None:
    first = sessions.order_stop(running)
    second = sessions.order_checkpoint(running)
    lines = running.orders.read_text().splitlines()
    read = [ORDERS.decode(line).message for line in lines]
    assert read == [first, second]
    assert isinstance(first, Stop)
    assert first.id != second.id


def test_status_comes_from_lock_result_and_events(running: SessionPaths) -> None:
    assert sessions.status_of(running) is Status.RUNNING
    write_events(running, AttemptStarted(attempt=1, pid=1), Heartbeat(next_s=5, t=1000.0))
    assert sessions.status_of(running) is Status.QUIET
    write_result(running, 1, "done")
    assert sessions.status_of(running) is Status.QUIET


def test_a_result_counts_for_the_latest_attempt_only(session: SessionPaths) -> None:
    write_events(session, AttemptStarted(attempt=1, pid=1))
    assert sessions.status_of(session) is Status.INTERRUPTED
    write_result(session, 1, "stopped")
    assert sessions.status_of(session) is Status.STOPPED
    write_events(session, AttemptStarted(attempt=2, pid=1, resumed_from=0))
    assert sessions.status_of(session) is Status.INTERRUPTED
    assert sessions.last_attempt(session) == 2


def test_a_long_log_is_summed_up_from_its_ends(session: SessionPaths) -> None:
    def steps(first: int, last: int) -> list[StepDone]:
        return [
            StepDone(step=step, epoch=0.1, loss=5.0 - step / 1000, t=float(step))
            for step in range(first, last)
        ]

    write_events(
        session,
        AttemptStarted(attempt=1, pid=1),
        planned(4000),
        Evaluated(step=0, loss=9.0, rows=1, seconds=1),
        *steps(1, 1500),
        AttemptFinished(attempt=1, verdict="stopped"),
        AttemptStarted(attempt=2, pid=2, resumed_from=1400),
        planned(8000),
        *steps(1401, 3000),
    )
    write_result(session, 1, "stopped")
    assert session.events.stat().st_size > 3 * TAIL_BYTES
    lines, skipped = sessions.first_and_last(session)
    assert skipped > 0
    assert len(lines) < 1500
    summary = sessions.summarize(session)
    assert summary.status is Status.INTERRUPTED
    assert (summary.step, summary.total_steps, summary.base_eval_loss) == (2999, 8000, 9.0)
    assert summary.loss is not None
    assert abs(summary.loss - 2.001) < 1e-9
    assert sessions.last_attempt(session) == 2


def test_the_last_evaluation_of_a_long_log_is_found(session: SessionPaths) -> None:
    def steps(first: int, last: int) -> list[StepDone]:
        return [StepDone(step=step, epoch=0.1, loss=2.0) for step in range(first, last)]

    write_events(
        session,
        AttemptStarted(attempt=1, pid=1),
        Evaluated(step=0, loss=9.0, rows=1, seconds=1),
        *steps(1, 1000),
        Evaluated(step=999, loss=4.0, rows=1, seconds=1),
        *steps(1000, 3000),
    )
    assert sessions.summarize(session).eval_loss == 4.0
    write_events(session, AttemptStarted(attempt=2, pid=2, resumed_from=900), *steps(901, 2500))
    assert sessions.summarize(session).eval_loss is None  # only the base was measured


def test_evaluations_that_a_resumed_run_took_back_do_not_count(session: SessionPaths) -> None:
    write_events(
        session,
        AttemptStarted(attempt=1, pid=1),
        *(Evaluated(step=step, loss=9.0 - step, rows=1, seconds=1) for step in (0, 2, 4)),
        AttemptStarted(attempt=2, pid=2, resumed_from=2),
    )
    assert [found.loss for found in sessions.evaluations(session)] == [9.0, 7.0]


def test_the_latest_attempt_is_found_behind_a_monstrous_line(session: SessionPaths) -> None:
    session.events.write_bytes(b"x" * (9 << 20) + b"\n")
    write_events(session, AttemptStarted(attempt=4, pid=1))
    assert sessions.last_attempt(session) == 4


def test_a_summary_in_full(session: SessionPaths) -> None:
    write_events(
        session,
        AttemptStarted(attempt=1, pid=1, t=50.0),
        planned(30),
        Evaluated(step=0, loss=3.0, rows=1, seconds=1),
        StepDone(step=1, epoch=0.1, loss=2.5, tokens_per_s=90.0, eta_s=7.0, peak_reserved_gib=1.5),
        Evaluated(step=1, loss=2.0, rows=1, seconds=1),
    )
    session.adapter.mkdir()
    (session.adapter / "adapter_model.safetensors").write_bytes(b"x" * 10)
    summary = sessions.summarize(session)
    assert (summary.name, summary.model, summary.dataset) == ("one", "a/b", "d.jsonl")
    assert (summary.step, summary.total_steps, summary.loss) == (1, 30, 2.5)
    assert (summary.base_eval_loss, summary.eval_loss) == (3.0, 2.0)
    assert (summary.peak_vram_gib, summary.adapter_bytes) == (1.5, 10)
    assert (summary.tokens_per_s, summary.eta_s) == (None, None)  # nobody is at work
    assert (summary.created, summary.problem) == (50.0, "")


GARBAGE = {
    "empty": b"",
    "nuls": b"\x00" * 5000,
    "binary": bytes(range(256)) * 40,
    "json of another kind": b'[1, {"a": null}]\n' * 10,
    "torn": b'{"v":1,"type":"attempt_started","attempt":1',
    "huge numbers": b'{"v":1,"type":"step_done","epoch":1e999,"step":1,"loss":NaN,"t":-1e300}\n',
    "deep": b"[" * 50_000,
    "a long line": b"x" * (3 << 20),
    "a bad date": b"model: 2001-99-99\n",
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_garbage_session_never_stops_the_list(
    root: Path, session: SessionPaths, content: bytes
) -> None:
    files = [session.spec, session.events, session.result, session.worker, session.orders]
    for file in [*files, session.lock]:
        file.write_bytes(content)
    assert [paths.name for paths in sessions.listed(root)] == ["one"]
    summary = sessions.summarize(session)
    assert summary.problem
    assert isinstance(sessions.read_worker(session), dict)
    with pytest.raises(UserError):
        runs.duplicate(root, session)
    assert [path.name for path in root.iterdir()] == ["one"]


def test_folders_in_the_place_of_files(root: Path, session: SessionPaths) -> None:
    for path in (session.events, session.result, session.worker, session.lock):
        path.mkdir()
    summary = sessions.summarize(session)
    assert summary.status is Status.DRAFT
    assert sessions.last_attempt(session) == 0
    assert sessions.read_worker(session) == {}


def test_other_things_in_the_root_are_no_sessions(root: Path, session: SessionPaths) -> None:
    (root / "README.md").write_text("hello")
    (root / "empty").mkdir()
    (root / ".new-abc").mkdir()
    (root / ".new-abc" / "run.yaml").write_text("{}")
    assert [paths.name for paths in sessions.listed(root)] == ["one"]


def test_what_a_worker_said_of_itself(session: SessionPaths) -> None:
    session.worker.write_text(json.dumps({"pid": 3}))
    assert sessions.read_worker(session) == {"pid": 3}


def test_where_sessions_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_SESSIONS", str(tmp_path / "env"))
    assert sessions_root("~/given") == Path.home() / "given"
    assert sessions_root() == tmp_path / "env"
    monkeypatch.delenv("TUI_LORA_SESSIONS")
    monkeypatch.chdir(tmp_path)
    assert sessions_root().is_relative_to(Path.home()) or "tui_lora" in str(sessions_root())
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "README.md").touch()
    (tmp_path / "tui_lora").mkdir()
    assert sessions_root() == tmp_path / "sessions"


def test_who_is_not_there_is_told_how_many_are(tmp_path: Path, spec: RunSpec) -> None:
    for number in range(10):
        sessions.create(tmp_path, f"run-{number}", spec)
    with pytest.raises(UserError) as refused:
        sessions.find(tmp_path, "nobody")
    assert str(refused.value.then).endswith(" and 2 more: tui-lora ls")
