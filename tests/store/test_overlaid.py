"""Runs that are read to be laid over each other."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.recorded import done_session
from tui_lora.store.overlaid import RunReader


def test_a_second_look_waits_for_the_first(tmp_path: Path) -> None:
    reader = RunReader(done_session(tmp_path, "run", 100))
    read, inside, both = reader._tail.read, threading.Semaphore(1), threading.Event()

    def slowly() -> list[bytes]:
        if not inside.acquire(blocking=False):
            both.set()
            return read()
        try:
            second = threading.Thread(target=reader.look)
            if not begun:
                begun.append(second)
                second.start()
                both.wait(0.2)
            return read()
        finally:
            inside.release()

    begun: list[threading.Thread] = []
    reader._tail.read = slowly  # type: ignore[method-assign]
    reader.look()
    begun[0].join(60)
    assert not both.is_set()
    steps = [point.step for point in reader.look().curve.points]
    assert steps == sorted(set(steps)) != []
