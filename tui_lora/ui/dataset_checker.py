"""The check worker as the Data screen sees it: one dataset read whole, one process for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from tui_lora.core.check import FromCheck, ToCheck
    from tui_lora.store.pipe import PipeWorker


class CheckTold(Message):
    """The check goes on, is done or cannot be; the newest fact makes older ones worthless."""

    def __init__(self, news: FromCheck) -> None:
        self.news = news
        super().__init__()


class Checker:
    """`check` starts one, ending the one before; `cancel` ends it. Never blocks its caller."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._worker: PipeWorker[ToCheck, FromCheck] | None = None
        self._number = 0
        self._answered = True

    @property
    def busy(self) -> bool:
        return not self._answered

    def check(self, spec: dict[str, Any], list_to: str | None = None) -> None:
        self.cancel()
        self._answered = False
        threading.Thread(
            target=self._start, args=(self._number, spec, list_to), name="check", daemon=True
        ).start()

    def cancel(self) -> None:
        """Leave off; nothing more is posted of it."""
        with self._lock:
            self._number += 1
            self._answered = True
            worker, self._worker = self._worker, None
        if worker is not None:
            # It has nothing to tidy up, and reads no more orders while it checks.
            threading.Thread(target=worker.close, args=(0.0,), name="check-end").start()

    def _start(self, number: int, spec: dict[str, Any], list_to: str | None) -> None:
        from tui_lora.core.check import FROM_CHECK, TO_CHECK, CheckDataset, CheckFailed
        from tui_lora.store.launch import start_pipe_worker
        from tui_lora.store.pipe import PipeWorker

        def heard(news: FromCheck) -> None:
            self._tell(number, news)

        def ended(code: int, words: str) -> None:
            last = words.splitlines()[-1] if words else f"exit code {code}"
            self._tell(number, CheckFailed(id="", message=f"the check worker ended: {last}"))

        try:
            process = start_pipe_worker("check", devices="cpu")
        except OSError as error:
            why = error.strerror or str(error)
            self._tell(number, CheckFailed(id="", message=f"the check could not start: {why}"))
            return
        worker = PipeWorker(
            process, sends=TO_CHECK, hears=FROM_CHECK, on_message=heard, on_end=ended
        )
        with self._lock:
            wanted = number == self._number
            if wanted:
                self._worker = worker
        if wanted:
            worker.send(CheckDataset(id=str(number), spec=spec, list_to=list_to))
        else:
            worker.close(0.0)

    def _tell(self, number: int, news: FromCheck) -> None:
        from tui_lora.core.check import CheckProgressed

        with self._lock:
            if number != self._number or self._answered:
                return
            worker = self._worker
            if not isinstance(news, CheckProgressed):
                self._answered, self._worker = True, None
        self._post(CheckTold(news))
        if self._answered and worker is not None:
            threading.Thread(target=worker.close, args=(1.0,), name="check-end").start()
