"""The viewer's end of a merge worker, and what is to be known before there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from tui_lora.core.export import FromMerge, Precision, ToMerge
    from tui_lora.store.adapters import ChatTarget
    from tui_lora.store.exports import Estimate
    from tui_lora.store.paths import SessionPaths
    from tui_lora.store.pipe import PipeWorker

Post = Callable[[Message], object]


@dataclass(frozen=True)
class Ready:
    """An adapter that can be merged, where it would go, what it takes in each precision, and what
    to know before."""

    target: ChatTarget
    step: int | None
    out: Path
    sizes: dict[Precision, Estimate]
    notices: tuple[str, ...] = ()


class ExportLooked(Message, bubble=False):
    """What a look at the disk found: `ready`, or the sentence that says why not."""

    def __init__(self, ready: Ready | None, problem: str = "") -> None:
        self.ready, self.problem = ready, problem
        super().__init__()


class ExportHeard(Message, bubble=False):
    """The worker said something."""

    def __init__(self, said: FromMerge) -> None:
        self.said = said
        super().__init__()


class ExportEnded(Message, bubble=False):
    """There will be no more of it, and why."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__()


def look(paths: SessionPaths) -> ExportLooked:
    """Blocks on the disk."""
    from tui_lora.core.errors import UserError
    from tui_lora.core.export import PRECISIONS
    from tui_lora.store.adapters import session_target
    from tui_lora.store.exports import default_out, estimate, free_out, notices_of, step_of

    try:
        target = session_target(paths)
        step = step_of(target)
        out = free_out(default_out(target, step))
    except UserError as error:
        return ExportLooked(None, f"{error.what} {error.then}".strip())
    sizes = {name: estimate(target, out, name) for name in PRECISIONS}
    return ExportLooked(Ready(target, step, out, sizes, notices_of(target)))


class ExportLink:
    """Looks for room, starts a worker and posts what it says; never blocks its caller.

    `close` ends it, whatever it is doing, and what it wrote is gone a moment later.
    """

    def __init__(
        self, root: Path, ready: Ready, out: Path, precision: Precision, post: Post
    ) -> None:
        self._root, self._ready, self._out = root, ready, out
        self._precision, self._post = precision, post
        self._lock = threading.Lock()
        self._worker: PipeWorker[ToMerge, FromMerge] | None = None
        self._closed = False
        threading.Thread(target=self._start, name="merge", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            worker, self._worker, self._closed = self._worker, None, True
        if worker is not None:
            # Not a daemon: leaving waits until the worker has taken away what it wrote.
            threading.Thread(target=worker.close, args=(10.0,), name="merge-end").start()

    def _start(self) -> None:
        from tui_lora.core.errors import UserError
        from tui_lora.core.export import FROM_MERGE, TO_MERGE
        from tui_lora.store.exports import check_out, order_of, with_room
        from tui_lora.store.launch import start_pipe_worker
        from tui_lora.store.pipe import PipeWorker

        target, dtype = self._ready.target, self._ready.sizes[self._precision].dtype
        try:
            check_out(self._out, replace_it=False)
            if dtype is not None:
                target = with_room(self._root, target, dtype)
            order = order_of(
                target, out=self._out, precision=self._precision, step=self._ready.step
            )
            process = start_pipe_worker("merge", devices=target.devices)
        except (UserError, OSError) as error:
            self._say(ExportEnded(str(error)))
            return
        worker: PipeWorker[ToMerge, FromMerge] = PipeWorker(
            process,
            sends=TO_MERGE,
            hears=FROM_MERGE,
            on_message=lambda said: self._say(ExportHeard(said)),
            on_end=self._ended,
        )
        with self._lock:
            self._worker, late = worker, self._closed
        if late:
            worker.close()
            return
        worker.send(order)

    def _ended(self, code: int, words: str) -> None:
        last = words.splitlines()[-1] if words else f"exit code {code}"
        self._say(ExportEnded(f"the merge worker ended: {last}"))

    def _say(self, message: Message) -> None:
        if not self._closed:
            self._post(message)
