"""A train worker of the standard library's speed: holds the lock, answers orders as a real one
does, trains nothing. Its events are those of a recorded run; `deaf` hears nothing at all."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import peeked
from tui_lora.core.events import (
    EVENTS,
    AttemptFinished,
    CheckpointSaved,
    Event,
    HoldChanged,
    OrderAnswered,
    Result,
    SpecChanged,
    Verdict,
)
from tui_lora.core.orders import (
    ORDERS,
    ChangeSpec,
    Discard,
    GoOn,
    Hold,
    Order,
    Pause,
    Peek,
    SaveCheckpoint,
    Stop,
)
from tui_lora.store import lock
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths
from tui_lora.store.process_began import started_ticks
from tui_lora.store.sudden_end import boot_id

ENDS: dict[type[Order], tuple[Verdict, str]] = {
    Stop: ("stopped", "at step 250 of 400, as you asked"),
    Pause: ("paused", "at step 250 of 400"),
    Discard: ("stopped", "at step 250 of 400, nothing was saved, as you asked"),
}


def main(folder: str, deaf: bool) -> None:
    paths = SessionPaths(Path(folder))
    orders = Tail(paths.orders, paths.orders.stat().st_size if paths.orders.exists() else 0)
    lock.hold(paths.lock)
    me = {
        "pid": os.getpid(),
        "started_ticks": started_ticks(os.getpid()),
        "boot_id": boot_id(),
    }
    paths.worker.write_text(json.dumps(me))
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("held", flush=True)
    seq = itertools.count(1000)

    def say(event: Event) -> None:
        with paths.events.open("a") as file:
            file.write(EVENTS.encode(event.model_copy(update={"seq": next(seq), "t": time.time()})))

    while True:
        time.sleep(0.02)
        for line in [] if deaf else orders.read():
            order = ORDERS.decode(line).message
            assert order is not None
            if isinstance(order, Hold | GoOn):
                say(HoldChanged(holding=isinstance(order, Hold)))
            if isinstance(order, ChangeSpec):
                say(SpecChanged(changes=order.changes, reason="as you asked"))
            if isinstance(order, SaveCheckpoint):
                say(CheckpointSaved(step=250, path="x", size_bytes=1, seconds=0.1))
            if isinstance(order, Peek):
                own = {"source": "asked", "order": order.id, "system": order.system}
                base = peeked.answer(order.prompt, 250, "I am the base.", base=True, **own)
                peeked.keep(paths, [base, peeked.answer(order.prompt, 250, "I am tuned.", **own)])
                say(peeked.told(250, 1, order.id))
            say(OrderAnswered(id=order.id, ok=True, message=f"{order.type}: done at step 250"))
            if type(order) in ENDS:
                verdict, message = ENDS[type(order)]
                say(AttemptFinished(attempt=1, verdict=verdict, message=message))
                result = Result(attempt=1, verdict=verdict, step=250, message=message)
                paths.result.write_text(result.model_dump_json())
                return


@contextmanager
def worker(paths: SessionPaths, *, deaf: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is the session's worker; killed at the end where it still lives."""
    command = [sys.executable, "-m", "tests.obedient", str(paths.folder), *(["deaf"] * deaf)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"held"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1], "deaf" in sys.argv)
