"""Sessions one after another, each in a detached worker of its own that starts the next.

They want a model of a Hub that does not answer until it hangs up, so each fails before torch is
imported: what is looked at here is what comes after.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.recorded import done_session
from tests.workers import view_of
from tui_lora.core.events import AttemptFinished, AttemptStarted, PhaseFinished, PhaseStarted
from tui_lora.core.orders import Pause
from tui_lora.core.spec import parse_spec
from tui_lora.core.status import Status
from tui_lora.store import lock, queue, queue_now, sessions
from tui_lora.store.hooks import HOOK_PHASE
from tui_lora.store.last_word import without_a_word
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import queue_path, read_queue
from tui_lora.worker.reporter import Reporter

pytestmark = pytest.mark.screens


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A Hub that takes connections and says nothing; closed, it refuses them."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        yield server


def make(root: Path, rows: Path, *names: str, devices: str = "auto") -> list[SessionPaths]:
    data = {"model": "nobody/nothing", "dataset": str(rows), "hardware": {"devices": devices}}
    return [sessions.create(root, name, parse_spec(data)) for name in names]


def until(reached: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "not reached"
        time.sleep(0.02)


def ended(*all_paths: SessionPaths) -> bool:
    return all(
        sessions.read_result(paths) is not None and lock.holder(paths.lock) is None
        for paths in all_paths
    )


def life(paths: SessionPaths) -> tuple[float, float]:
    """When the worker began and said its last word, in unix seconds."""
    events = list(sessions.events_of(paths, AttemptStarted, AttemptFinished))
    assert [type(event) for event in events] == [AttemptStarted, AttemptFinished]
    return events[0].t, events[1].t


def test_each_lets_the_next_begin_when_it_is_gone(
    tmp_path: Path, rows: Path, hub: socket.socket
) -> None:
    root, elsewhere = tmp_path / "sessions", tmp_path / "elsewhere"
    a, b, bad, c = make(root, rows, "a", "b", "bad", "c")
    (foreign,) = make(elsewhere, rows, "a")
    assert "a has started" in queue.put_in(root, a)
    for paths in (b, bad, c):
        assert f"{paths.name} waits" in queue.put_in(root, paths)
    bad.spec.write_text("model: [")
    assert sessions.status_of(b) is Status.QUEUED
    hub.close()
    until(lambda: ended(a, b, c))
    for earlier, later in pairwise((a, b, c)):
        assert life(earlier)[1] < life(later)[0]
        said = [line.text for line in view_of(earlier).log]
        assert f"next in the queue: {'b' if earlier is a else 'bad'}" in said
        assert f"the queue goes on: {later.name} has started on card 0" in earlier.log.read_text()
    assert not any("queue" in line.text for line in view_of(c).log)
    assert list(read_queue(root).refused) == ["bad"]
    # The root of others is theirs, and what is made here is nobody else's to read.
    assert sessions.status_of(foreign) is Status.DRAFT
    assert not queue_path(elsewhere).exists()
    for made in (queue_path(root), b.log, b.events):
        assert made.stat().st_mode & 0o077 == 0


def killed(paths: SessionPaths) -> None:
    pid = lock.holder(paths.lock)
    assert pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: lock.holder(paths.lock) is None)


def guards(paths: SessionPaths) -> list[psutil.Process]:
    """Processes that wait for the end of the session's worker."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "--guard" in words and str(paths.folder.parent) in words and paths.name in words:
                found.append(process)
    return found


def test_it_goes_on_after_one_that_was_killed(
    tmp_path: Path, rows: Path, hub: socket.socket
) -> None:
    """Whoever waits for that is one process, and small."""
    first, second, third = make(tmp_path, rows, "first", "second", "third")
    for paths in (first, second, third):
        queue.put_in(tmp_path, paths)
    until(lambda: len(guards(first)) == 1 and guards(first)[0].num_fds() > 4)
    assert guards(first)[0].memory_info().rss < 40 << 20
    killed(first)
    until(lambda: sessions.status_of(second) is Status.RUNNING)
    assert sessions.status_of(first) is Status.INTERRUPTED
    # That one saw by itself, as it began, that somebody waits for it.
    until(lambda: guards(second))
    killed(second)
    until(lambda: sessions.status_of(third) is Status.RUNNING)
    assert read_queue(tmp_path).cards() == ()
    hub.close()
    until(lambda: ended(third))


def test_it_goes_on_after_one_that_was_killed_in_its_command(tmp_path: Path) -> None:
    """Its last word is said by then, and the queue is not seen to; that of an attempt before says
    nothing of this one."""
    paths = done_session(tmp_path)
    pid = view_of(paths).pid
    assert pid
    assert without_a_word(paths.folder, pid) == ""
    assert without_a_word(paths.folder, pid + 1) is None
    reporter = Reporter(paths.events)
    reporter.say(PhaseStarted(name=HOOK_PHASE, label="running your command"))
    assert without_a_word(paths.folder, pid) is None
    reporter.say(PhaseFinished(name=HOOK_PHASE, seconds=1.0))
    assert without_a_word(paths.folder, pid) == ""


def test_a_killed_one_that_was_to_be_paused_holds_the_queue_up(
    tmp_path: Path, rows: Path, hub: socket.socket
) -> None:
    paused, next_one = make(tmp_path, rows, "paused", "next")
    queue.put_in(tmp_path, paused)
    queue.put_in(tmp_path, next_one)
    until(lambda: guards(paused))
    sessions.give(paused, Pause)
    killed(paused)
    until(lambda: not guards(paused))
    said = "the queue waits, since paused was to be paused, for the card to be free"
    assert said in paused.log.read_text()
    assert sessions.status_of(next_one) is Status.QUEUED
    assert not queue_now.stalled(tmp_path, "0")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    assert queue_now.stalled(tmp_path, "0")
    assert queue.start_all(tmp_path) == ["next"]
    assert sessions.status_of(next_one) is Status.RUNNING
    # A box that goes down asks like this: the queue waits.
    (last,) = make(tmp_path, rows, "last")
    queue.put_in(tmp_path, last)
    os.kill(lock.holder(next_one.lock) or 0, signal.SIGTERM)
    hub.close()
    until(lambda: ended(next_one) and not guards(next_one))
    assert sessions.status_of(last) is Status.QUEUED
    said_so = [line.text for line in view_of(next_one).log]
    assert any("the system ended this run: last is next" in text for text in said_so), said_so
    assert "queue" not in next_one.log.read_text()


def test_two_cards_have_a_line_each(tmp_path: Path, rows: Path, hub: socket.socket) -> None:
    lines = [make(tmp_path, rows, f"a{card}", f"b{card}", devices=card) for card in "01"]
    for first, second in lines:
        assert "has started" in queue.put_in(tmp_path, first)
        assert "it is next" in queue.put_in(tmp_path, second)
    assert len(sessions.running(tmp_path)) == 2
    assert [sessions.read_worker(first)["card"] for first, _ in lines] == ["0", "1"]
    hub.close()
    until(lambda: ended(*lines[0], *lines[1]))
    for card, (first, second) in enumerate(lines):
        assert life(first)[1] < life(second)[0]
        assert sessions.read_worker(second)["card"] == str(card)
    # Side by side: each of the two firsts began before the other's end.
    (began_0, over_0), (began_1, over_1) = life(lines[0][0]), life(lines[1][0])
    assert began_0 < over_1
    assert began_1 < over_0
