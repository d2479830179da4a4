"""Sessions that wait for a card, with workers that are stood in for by names of what runs."""

import json
import os
import threading
from pathlib import Path

import pytest

from tests.recorded import finish, write
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, Event
from tui_lora.core.queue import Queued, Taken, Turn
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import lock, queue, queue_now, runs, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import forget, one_at_a_time, queue_path, read_queue, say, take
from tui_lora.store.queue_now import not_started
from tui_lora.store.spec_file import read_spec
from tui_lora.worker import next_in_queue

Running = dict[str, str]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    """The cards of the sessions that run, by name; one called bad cannot be started. A worker that
    starts takes no time here, and runs until it is taken out."""
    cards: Running = {}

    def start(paths: SessionPaths, *, devices: str, **_: object) -> int:
        if paths.name.startswith("bad"):
            raise UserError("its model is gone.")
        cards[paths.name] = devices
        return 1

    def holder(path: Path) -> int | None:
        return 1 if path.parent.name in cards else None

    monkeypatch.setattr(runs.launch, "start_training", start)
    monkeypatch.setattr(runs, "preflight", lambda *a, **_: ())
    monkeypatch.setattr(lock, "holder", holder)
    monkeypatch.setattr(
        sessions, "read_worker", lambda paths: {"pid": 1, "card": cards.get(paths.name)}
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return cards


def make(root: Path, *names: str, devices: str = "auto") -> list[SessionPaths]:
    data = {"model": {"id": "m"}, "dataset": {"path": "d"}, "hardware": {"devices": devices}}
    return [sessions.create(root, name, RunSpec.model_validate(data)) for name in names]


def waiting(root: Path) -> list[str]:
    return [entry.name for entry in read_queue(root).waiting]


def test_the_first_starts_at_once_and_the_others_wait(tmp_path: Path, running: Running) -> None:
    one, two, three = make(tmp_path, "one", "two", "three")
    assert queue.put_in(tmp_path, one) == "one has started: nothing else runs on its card."
    assert (running, waiting(tmp_path)) == ({"one": "0"}, [])
    assert queue.put_in(tmp_path, two) == "two waits for its turn: it is next."
    assert queue.put_in(tmp_path, three) == "three waits for its turn: 1 before it."
    assert queue.put_in(tmp_path, three) == "three waits already: 1 before it."
    with pytest.raises(UserError, match="running already"):
        queue.put_in(tmp_path, one)
    assert sessions.status_of(two) is Status.QUEUED
    assert queue.start_next(tmp_path, "0") is None
    running.clear()
    assert queue.start_next(tmp_path, "0") == "two"
    assert (running, waiting(tmp_path)) == ({"two": "0"}, ["three"])


def test_one_whose_starter_died_is_seen(tmp_path: Path, running: Running) -> None:
    one, two = make(tmp_path, "one", "two")
    for paths in (one, two):
        os.utime(paths.spec, (1, 1))
    for name in ("one", "two"):
        say(tmp_path, Queued, name, card="0")
    with one_at_a_time(tmp_path):
        entry = read_queue(tmp_path).next_for("0")
        assert entry is not None
        assert take(tmp_path, entry)
        # Somebody is at it.
        assert not_started(tmp_path) == {}
    assert list(not_started(tmp_path)) == ["one"]
    assert "was to start" in not_started(tmp_path)["one"]
    assert queue.start_next(tmp_path, "0") == "two"
    assert list(not_started(tmp_path)) == ["one"]
    runs.resume(one)
    assert not_started(tmp_path) == {}


def test_it_goes_on_after_one_that_cannot_start(tmp_path: Path, running: Running) -> None:
    running["other"] = "0"
    make(tmp_path, "other")
    for paths in make(tmp_path, "done", "bad", "gone", "two"):
        queue.put_in(tmp_path, paths)
    write(SessionPaths(tmp_path / "done"), iter([AttemptStarted(attempt=1, pid=1)]))
    finish(SessionPaths(tmp_path / "done"), 3)
    (tmp_path / "gone/run.yaml").unlink()
    running.clear()
    assert queue.start_next(tmp_path, "0") == "two"
    refused = read_queue(tmp_path).refused
    assert refused["bad"] == "its model is gone."
    assert "no session gone" in refused["gone"]
    assert "done" not in refused
    assert waiting(tmp_path) == []


def test_moved_and_taken_out(tmp_path: Path, running: Running) -> None:
    running["other"] = "0"
    make(tmp_path, "other")
    (far,) = make(tmp_path, "far", devices="1")
    say(tmp_path, Queued, "far", card="1")
    for paths in make(tmp_path, "a", "b", "c"):
        queue.put_in(tmp_path, paths)
    assert queue.move(tmp_path, "c", -1) == 2
    assert queue.move(tmp_path, "c", -7) == 1
    assert queue.move(tmp_path, "c", 7) == 3
    size = queue_path(tmp_path).stat().st_size
    assert queue.move(tmp_path, "c", 1) == 3
    assert queue_path(tmp_path).stat().st_size == size
    assert read_queue(tmp_path).place(far.name) == 1
    queue.take_out(tmp_path, "b")
    assert waiting(tmp_path) == ["far", "a", "c"]
    for ask in (queue.take_out, lambda *given: queue.move(*given, 1)):
        with pytest.raises(UserError, match="does not wait"):
            ask(tmp_path, "b")


def test_who_starts_or_goes_by_another_way_waits_no_more(tmp_path: Path, running: Running) -> None:
    running["other"] = "0"
    make(tmp_path, "other")
    by_hand, deleted = make(tmp_path, "by-hand", "deleted")
    for paths in (by_hand, deleted):
        queue.put_in(tmp_path, paths)
    runs.resume(by_hand)
    assert waiting(tmp_path) == ["deleted"]
    sessions.delete(tmp_path, deleted)
    assert waiting(tmp_path) == []
    # One whose folder was moved away still stands there; a new one of its name does not wait.
    say(tmp_path, Queued, "moved", card="0")
    runs.prepare(tmp_path, "moved", read_spec(by_hand.spec))
    assert waiting(tmp_path) == []


def test_of_many_who_ask_at_once_one_starts_one(tmp_path: Path, running: Running) -> None:
    for paths in make(tmp_path, *(f"s{number}" for number in range(4))):
        say(tmp_path, Queued, paths.name, card="0")
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(queue.start_next(tmp_path, "0")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["None"] * 5 + ["s0"]
    assert (running, waiting(tmp_path)) == ({"s0": "0"}, ["s1", "s2", "s3"])


def test_the_card_is_that_of_who_put_it_in(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, two, three) = make(tmp_path, "one", "two", "three")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    queue.put_in(tmp_path, one)
    queue.put_in(tmp_path, two)
    # Seen from where no card is named, `auto` means another one.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert queue_now.busy_with(tmp_path, "2") == "one"
    queue.put_in(tmp_path, three)
    assert running == {"one": "2", "three": "0"}
    del running["one"]
    assert queue.start_all(tmp_path) == ["two"]
    assert running == {"two": "2", "three": "0"}


def test_a_worker_that_leaves_is_waited_for(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, late = make(tmp_path, "last", "late")
    running["last"] = "0"
    looks: list[int] = []

    def leaves(seconds: float) -> None:
        looks.append(1)
        running.pop("last", None)

    monkeypatch.setattr(queue.time, "sleep", leaves)
    opened: list[Event] = [AttemptStarted(attempt=1, pid=1)]
    write(last, iter(opened))
    # It looked into the queue for the last time when nobody waited.
    finish(last, 3)
    assert "late has started" in queue.put_in(tmp_path, late)
    assert looks == [1]


def test_the_hand_over_waits_for_the_last_thread_of_a_worker_that_left(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, following = make(tmp_path, "last", "following")
    running["last"] = "0"
    queue.put_in(tmp_path, following)
    opened: list[Event] = [AttemptStarted(attempt=1, pid=1)]
    write(last, iter(opened))
    finish(last, 3)
    monkeypatch.setattr(queue.time, "sleep", lambda seconds: running.pop("last", None))
    assert next_in_queue.main([str(tmp_path), "--card", "0", "--after", "999999999"]) == 0
    assert (running, waiting(tmp_path)) == ({"following": "0"}, [])


def test_a_queue_whose_card_is_idle_is_noticed(tmp_path: Path, running: Running) -> None:
    (one, other) = make(tmp_path, "one", "other", devices="1")
    running["other"] = "1"
    queue.put_in(tmp_path, one)
    assert queue_now.turns(tmp_path) == {"one": Turn(1, "1")}
    running.clear()
    # The next one may be about to start.
    assert queue_now.turns(tmp_path) == {"one": Turn(1, "1")}
    for path in (queue_path(tmp_path), one.spec, other.spec):
        os.utime(path, (1, 1))
    assert queue_now.turns(tmp_path) == {"one": Turn(1, "1", stalled=True)}
    assert queue.start_all(tmp_path) == ["one"]
    assert queue_now.turns(tmp_path) == {}


def test_a_root_that_cannot_be_written_says_so(tmp_path: Path, running: Running) -> None:
    (one,) = make(tmp_path, "one")
    queue_path(tmp_path).mkdir()
    with pytest.raises(UserError, match="queue could not be written"):
        queue.put_in(tmp_path, one)
    forget(tmp_path, "one")


def test_half_a_line_of_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    line = say(tmp_path, Queued, "a", card="0")
    with queue_path(tmp_path).open("a") as file:
        file.write('{"type":"queued","id":"x","t":1,"na')
    say(tmp_path, Taken, "a", entry=line.id)
    say(tmp_path, Queued, "b", card="0")
    assert waiting(tmp_path) == ["b"]
    assert all(json.loads(row) for row in queue_path(tmp_path).read_text().splitlines()[-2:])


def test_what_is_not_written_down_does_not_start(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = make(tmp_path, "one")
    say(tmp_path, Queued, one.name, card="0")
    monkeypatch.setattr("tui_lora.store.queue_file.append_line", lambda path, line: None)
    with pytest.raises(UserError, match="No space left"):
        queue.start_next(tmp_path, "0")
    assert (running, waiting(tmp_path)) == ({}, ["one"])
