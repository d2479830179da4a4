"""The ladder for a worker that does not listen, on real processes: order, SIGTERM, SIGKILL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recorded import make_session, opening, steps, write
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, HoldChanged, OrderAnswered, PhaseStarted
from tui_lora.core.orders import Discard, Hold, Pause, SaveCheckpoint, Stop
from tui_lora.core.view import RunView
from tui_lora.store import launch, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.ladder import Ladder, Rung, begun, climb, patience
from tui_lora.store.orders import OrdersGiven, waiting
from tui_lora.store.paths import SessionPaths
from tui_lora.store.process_began import started_ticks
from tui_lora.store.sudden_end import boot_id

DEAF = """
import json, os, signal, sys
from pathlib import Path
from tui_lora.store import lock
from tui_lora.store.process_began import started_ticks
from tui_lora.store.sudden_end import boot_id
folder = Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: print("terminated", flush=True))
lock.hold(folder / "worker.lock")
me = {"pid": os.getpid(), "started_ticks": started_ticks(os.getpid()), "boot_id": boot_id()}
(folder / "worker.json").write_text(json.dumps(me))
print("held", flush=True)
sys.stdin.read()
"""


@dataclass
class Deaf:
    """A worker that holds the lock and hears nothing; of SIGTERM it says that it came."""

    paths: SessionPaths
    process: subprocess.Popen[bytes]

    def line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Deaf]:
    paths = make_session(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", DEAF, str(paths.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        found = Deaf(paths, process)
        assert found.line() == b"held"
        yield found
        process.kill()


def view_of(paths: SessionPaths) -> RunView:
    return sessions.fold(Tail(paths.events).read(), RunView())


def told(paths: SessionPaths, **changes: object) -> None:
    data = json.loads(paths.worker.read_text())
    paths.worker.write_text(json.dumps({**data, **changes}))


def test_each_rung_is_taken_by_hand_and_the_last_one_holds(deaf: Deaf) -> None:
    order = sessions.give(deaf.paths, Stop)
    write(deaf.paths, opening(400), steps(1, 5, 400))
    view = view_of(deaf.paths)
    ladder = begun([order])
    assert ladder == Ladder(order, order.t)
    # A recorded step takes about a second: half a minute is the least.
    assert ladder.until(view) == order.t + 30
    ladder = climb(deaf.paths, ladder, 100.0)
    assert (ladder.rung, ladder.since) == (Rung.TERMINATED, 100.0)
    assert deaf.line() == b"terminated"
    ladder = climb(deaf.paths, ladder, 140.0)
    assert deaf.process.wait(60) == -signal.SIGKILL
    assert (ladder.rung, ladder.next) == (Rung.KILLED, None)
    assert climb(deaf.paths, ladder, 150.0) is ladder


def test_who_wants_nothing_saved_gets_no_sigterm(deaf: Deaf) -> None:
    ladder = begun([sessions.give(deaf.paths, Stop), sessions.give(deaf.paths, Discard)])
    assert ladder is not None
    climb(deaf.paths, ladder, 1.0)
    assert deaf.process.wait(60) == -signal.SIGKILL
    assert deaf.line() == b""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pid": 1}, "does not say which process"),
        ({"pid": "x"}, "does not say which process"),
        ({"pid": 2**40}, "there is no process"),
        ({"boot_id": "another"}, "begun before this machine"),
        ({"started_ticks": 3}, "another one by now"),
    ],
)
def test_another_process_is_never_signalled(
    deaf: Deaf, changes: dict[str, object], why: str
) -> None:
    told(deaf.paths, **changes)
    with pytest.raises(UserError, match=why):
        launch.signal_worker(deaf.paths, signal.SIGKILL)
    assert deaf.process.poll() is None


def test_a_number_that_was_given_anew_is_never_signalled(deaf: Deaf) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1
    ) as other:
        told(deaf.paths, pid=other.pid, started_ticks=started_ticks(other.pid))
        with pytest.raises(UserError, match=f"held by process {deaf.process.pid}"):
            launch.signal_worker(deaf.paths, signal.SIGKILL)
        assert other.poll() is None
        other.kill()


def test_nobody_is_signalled_for_a_session_that_does_not_run(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    paths.worker.write_text(json.dumps({"pid": 12345, "boot_id": boot_id()}))
    with pytest.raises(UserError, match="is not running"):
        launch.signal_worker(paths, signal.SIGTERM)


def test_patience_follows_what_was_measured(tmp_path: Path) -> None:
    view = RunView()
    assert patience(view).seconds == 120
    view.apply(AttemptStarted(attempt=1, pid=1))
    view.apply(PhaseStarted(name="weights", label="loading the weights", expect_s=90, t=5.0))
    assert patience(view) == patience(view)
    assert patience(view).seconds == 180
    assert "loading the weights takes about" in patience(view).why
    paths = make_session(tmp_path)
    write(paths, opening(400), steps(1, 120, 400))
    view = view_of(paths)
    assert view.last_step is not None
    view.last_step = view.last_step.model_copy(update={"step_s": 12.0})
    # Three steps and two checkpoints of 1.2 s.
    assert patience(view).seconds == pytest.approx(38.4)
    assert patience(view).why == "a step takes about 12 s, a checkpoint 1.2 s"
    view.apply(HoldChanged(holding=True))
    assert patience(view).seconds == 30
    view.apply(HoldChanged(holding=False))
    # A worker that measures hears nothing before all rows are measured.
    view.apply(PhaseStarted(name="evaluating", label="measuring the held-out rows", t=1000.0))
    assert view.last_eval is not None
    view.last_eval = view.last_eval.model_copy(update={"seconds": 150.0})
    assert patience(view).seconds == 300
    assert "which took 2 min 30 s before" in patience(view).why
    view.last_eval = None
    assert patience(view).seconds == 120
    view.apply(PhaseStarted(name="saving", label="saving the adapter", t=1000.0))
    # Whoever saves has listened: the time counts from there.
    assert Ladder(Stop(id="a", t=900.0), 900.0).until(view) == 1060.0


def test_orders_wait_until_they_are_answered(deaf: Deaf) -> None:
    given = OrdersGiven(deaf.paths)
    assert not given.look()
    hold, save = (sessions.give(deaf.paths, kind) for kind in (Hold, SaveCheckpoint))
    pause = sessions.give(deaf.paths, Pause)
    with deaf.paths.orders.open("a") as file:
        file.write('{"v":1,"id":"x","t":1e12,"type":"fly"}\nnot json\n')
    assert given.look()
    view = RunView()
    assert given.waiting(view) == (hold, save, pause) == waiting(deaf.paths, view)
    view.apply(OrderAnswered(id=save.id, ok=True, message="saved"))
    assert given.waiting(view) == (hold, pause)
    ladder = begun(given.waiting(view))
    assert ladder is not None
    assert ladder.order == pause
    # What was asked of an earlier worker died with it.
    view.apply(AttemptStarted(attempt=2, pid=1, t=pause.t + 60))
    assert given.waiting(view) == ()
