"""The signals that viewers sent: read back by all of them, and the rung that they stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import make_session
from tui_lora.core.orders import Discard, Pause, Stop
from tui_lora.store import lock, signalled
from tui_lora.store.ladder import Ladder, Rung, begun
from tui_lora.store.pins import pin, pinned
from tui_lora.store.quiet import why_quiet
from tui_lora.store.signals_sent import Sent, SignalsSent, sent_since

STOP = Stop(id="a", t=100.0)


def test_they_are_read_once_and_other_notes_left_alone(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    pin(paths, 7)
    signals = SignalsSent(paths)
    assert not signals.look()
    signalled.note(paths, "SIGTERM")
    assert signals.look()
    assert not signals.look()
    (sent,) = signals.since(0.0)
    assert sent.name == "SIGTERM"
    assert sent_since(paths, sent.t) == (sent,)
    assert sent_since(paths, sent.t + 1) == ()
    assert signals.since(None) == ()
    assert pinned(paths) == {7}


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"type": "signalled", "name": "SIGHUP", "t": 1}',
        '{"type": "signalled", "name": "SIGTERM", "t": true}',
        '{"type": "signalled", "name": "SIGTERM", "t": NaN}',
        '{"type": "signalled", "name": ["SIGTERM"], "t": 1}',
    ],
)
def test_what_is_none_counts_for_nothing(tmp_path: Path, line: str) -> None:
    paths = make_session(tmp_path)
    paths.notes.write_text(line + "\n")
    assert sent_since(paths, 0.0) == ()


@pytest.mark.parametrize(
    ("orders", "signals", "ladder"),
    [
        ([STOP], [], Ladder(STOP, 100.0)),
        ([STOP], [("SIGTERM", 140.0)], Ladder(STOP, 140.0, Rung.TERMINATED)),
        # Sent twice: it has had since the first.
        ([STOP], [("SIGTERM", 140.0), ("SIGTERM", 170.0)], Ladder(STOP, 140.0, Rung.TERMINATED)),
        ([STOP], [("SIGTERM", 140.0), ("SIGKILL", 180.0)], Ladder(STOP, 180.0, Rung.KILLED)),
        # Who asks anew waits anew, and is no rung lower for it.
        ([Stop(id="b", t=200.0)], [("SIGTERM", 140.0)], None),
        ([], [("SIGTERM", 140.0)], None),
    ],
)
def test_the_rung_that_all_viewers_stand_on(
    orders: list[Stop], signals: list[tuple[str, float]], ladder: Ladder | None
) -> None:
    found = begun(orders, [Sent(name, t) for name, t in signals])
    if orders and ladder is None:
        ladder = Ladder(orders[0], 200.0, Rung.TERMINATED)
    assert found == ladder


def test_what_is_to_be_discarded_is_killed_next() -> None:
    orders = [Pause(id="p", t=1.0), Discard(id="d", t=2.0)]
    ladder = begun(orders, [Sent("SIGTERM", 1.5)])
    assert ladder is not None
    assert (ladder.order.id, ladder.since, ladder.next) == ("d", 2.0, Rung.KILLED)


@pytest.mark.parametrize(
    ("state", "words"),
    [("T", "kill -CONT 77 lets it go on"), ("D", "a disk or a driver"), ("S", ""), ("", "")],
)
def test_why_a_worker_is_not_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, words: str
) -> None:
    paths = make_session(tmp_path)
    assert why_quiet(paths) == ""
    monkeypatch.setattr(lock, "holder", lambda path: 77)
    stat = tmp_path / "proc" / "77" / "stat"
    stat.parent.mkdir(parents=True)
    stat.write_text(f"77 (a T) x) {state} 1 1" if state else "")
    said = why_quiet(paths, tmp_path / "proc")
    assert words in said
    assert bool(said) is bool(words)
