"""The viewer's end of a fit check worker, and the checks that still hold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from textual.message import Message

from tui_lora.ui.messages import Newest
from tui_lora.ui.state import MemorySeen

if TYPE_CHECKING:
    from textual.app import App

    from tui_lora.core.errors import Problem
    from tui_lora.core.fit_check import FitFound, FromFitCheck, ToFitCheck
    from tui_lora.core.memory import Forecast
    from tui_lora.core.sensors import SensorReading
    from tui_lora.core.spec import RunSpec
    from tui_lora.store.pipe import PipeWorker
    from tui_lora.ui.state import Draft

Post = Callable[[Message], object]


class FitLooked(Message, bubble=False):
    """What is to be known before a check: the spec or what is wrong with the draft, the cards, and
    which sessions train on one."""

    def __init__(
        self,
        spec: RunSpec | None,
        problems: tuple[Problem, ...],
        reading: SensorReading,
        training: tuple[str, ...],
    ) -> None:
        self.spec, self.problems = spec, problems
        self.reading, self.training = reading, training
        super().__init__()


class FitHeard(Message, bubble=False):
    """The worker said something."""

    def __init__(self, said: FromFitCheck) -> None:
        self.said = said
        super().__init__()


class FitEnded(Message, bubble=False):
    """The worker is gone, with its exit code and last words."""

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words
        super().__init__()


class CheckKept(Newest):
    """There is another check that holds for the draft."""


def look_around(draft: Draft, root: Path, reading: SensorReading | None) -> FitLooked:
    """Blocks on the disk, and on the driver where nothing has been read yet."""
    from tui_lora.store.card_users import training_on_cards
    from tui_lora.store.gpu import Sensors
    from tui_lora.ui.forms.checked import check_all

    spec, problems = check_all(replace(draft, name=""), root)
    if reading is None:
        sensors = Sensors()
        reading = sensors.read()
        sensors.close()
    return FitLooked(spec, problems, reading, training_on_cards(root))


class FitLink:
    """Starts a worker and posts what it says; never blocks its caller.

    `close` ends it, whatever it is doing, and what it held is free a moment later.
    """

    def __init__(self, spec: RunSpec, root: Path, post: Post) -> None:
        self._spec, self._root, self._post = spec, root, post
        self._lock = threading.Lock()
        self._worker: PipeWorker[ToFitCheck, FromFitCheck] | None = None
        self._closed = False
        threading.Thread(target=self._start, name="fit-check", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            worker, self._worker, self._closed = self._worker, None, True
        if worker is not None:
            # Not a daemon: leaving waits until the worker is gone.
            threading.Thread(target=worker.close, name="fit-check-end").start()

    def _start(self) -> None:
        from tui_lora.core.fit_check import FROM_FIT_CHECK, TO_FIT_CHECK, CheckFit
        from tui_lora.store.launch import start_pipe_worker
        from tui_lora.store.pipe import PipeWorker

        try:
            process = start_pipe_worker("fit_check", devices=self._spec.hardware.devices)
        except OSError as error:
            self._post(FitEnded(-1, error.strerror or str(error)))
            return
        worker: PipeWorker[ToFitCheck, FromFitCheck] = PipeWorker(
            process,
            sends=TO_FIT_CHECK,
            hears=FROM_FIT_CHECK,
            on_message=self._heard,
            on_end=self._ended,
        )
        with self._lock:
            self._worker, late = worker, self._closed
        if late:
            worker.close()
            return
        worker.send(CheckFit(spec=self._spec.model_dump(mode="json"), root=str(self._root)))

    def _heard(self, said: FromFitCheck) -> None:
        if not self._closed:
            self._post(FitHeard(said))

    def _ended(self, code: int, words: str) -> None:
        if not self._closed:
            self._post(FitEnded(code, words))


@dataclass(frozen=True)
class Kept:
    """A check, the settings that it holds for, and the forecast of the batch that it measured."""

    key: str
    found: FitFound
    forecast: Forecast | None


_KEPT: WeakKeyDictionary[App[object], Kept] = WeakKeyDictionary()


def keep_check(app: App[object], spec: RunSpec, found: FitFound, forecast: Forecast | None) -> None:
    """Show a check with the draft until a setting that it depends on is another."""
    from tui_lora.core.fit_check import settings_that_matter

    _KEPT[app] = Kept(settings_that_matter(spec), found, forecast)


def kept_check(app: App[object], spec: RunSpec | None) -> Kept | None:
    """The check that was made of a run of `spec`, if there was one."""
    kept = _KEPT.get(app)
    if kept is None or spec is None:
        return None
    from tui_lora.core.fit_check import settings_that_matter

    return kept if kept.key == settings_that_matter(spec) else None


def with_measured(app: App[object], seen: MemorySeen) -> MemorySeen:
    """`seen` with what a check measured of the draft on this very card."""
    if seen.card is None or seen.card.asked:
        return seen
    kept = kept_check(app, seen.spec)
    if kept is None or not kept.found.on_card or kept.found.checked is None:
        return seen
    return replace(seen, measured_gib=kept.found.peak_process_gib)
