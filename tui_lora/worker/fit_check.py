"""The fit check worker, for one viewer over pipes: two steps and an evaluation on the longest rows.

It makes the trainer of a run as the train worker does, and leaves nothing behind: no session, no
checkpoint, and nothing on the card, since it ends with its one check or with its viewer.
"""

from __future__ import annotations

import os
import queue
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.events import Event, Notice, PhaseProgressed, PhaseStarted
from tui_lora.core.fit_check import (
    FROM_FIT_CHECK,
    MICRO_BATCHES,
    PHASES,
    TO_FIT_CHECK,
    CheckFit,
    FitBegun,
    FitChecked,
    FitFailed,
    FitNoticed,
    FitPhase,
    FitRanOut,
    FitWorking,
    FromFitCheck,
    Phase,
    ToFitCheck,
)
from tui_lora.core.sensors import SensorReading
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store import runs
from tui_lora.store.gpu import Sensors
from tui_lora.store.paths import SessionPaths, is_there
from tui_lora.worker import passing_session
from tui_lora.worker.assemble import assemble
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.progress import Progress
from tui_lora.worker.ran_out import memory_ran_out
from tui_lora.worker.reporter import Teller
from tui_lora.worker.stdio import Stdio

if TYPE_CHECKING:
    from tui_lora.worker.peaks import Peaks

Say = Callable[[FromFitCheck], None]

_LABELS: dict[Phase, str] = {
    "loaded": "loading",
    "first step": "taking the first step",
    "second step": "taking the second step",
    "evaluation": "measuring the longest held-out rows",
}


def main() -> int:
    """Make the one check that is asked for; ends at the end of input, whatever it is doing."""
    pipes: Stdio[FromFitCheck, ToFitCheck] = Stdio(says=FROM_FIT_CHECK, hears=TO_FIT_CHECK)
    asked: queue.SimpleQueue[ToFitCheck] = queue.SimpleQueue()
    try:
        paths = passing_session.make()
    except OSError as error:
        why = f"there is no room for temporary files: {error.strerror}."
        pipes.say(FitFailed(message=why))
        return _leave(1)
    pipes.listen(asked.put, at_end=lambda: passing_session.remove(paths))
    message = asked.get()
    assert isinstance(message, CheckFit)
    check = Check(paths, pipes.say)
    pipes.say(check.make(message))
    passing_session.remove(paths)
    return _leave(0)


def _leave(code: int) -> int:
    """Exit without waiting for the reading thread or for torch to tidy up."""
    os._exit(code)


class Check:
    """One check; `make` gives its last word and never raises."""

    def __init__(self, paths: SessionPaths, say: Say) -> None:
        self._paths, self._say = paths, say
        self._phase: Phase = PHASES[0]
        self._began = time.monotonic()
        self._peaks: Peaks | None = None
        self._trainer: Any = None

    def make(self, asked: CheckFit) -> FromFitCheck:
        try:
            return self._make(RunSpec.model_validate(asked.spec), Path(asked.root))
        except UserError as error:
            return FitFailed(message=clean(str(error)), exit_code=error.exit_code)
        except Exception as error:  # noqa: BLE001 (a viewer needs a sentence, whatever it was)
            if is_out_of_memory(error):
                return FitRanOut(phase=self._phase, where=memory_ran_out(error, self._trainer))
            traceback.print_exc()
            words = one_line(str(error), max_chars=400)
            return FitFailed(message=f"{type(error).__name__}: {words}")

    def _make(self, asked: RunSpec, root: Path) -> FromFitCheck:
        # Before anything of ours is on the card.
        before = _read_sensors()
        teller = _Telling(self._say)
        spec = as_two_steps(asked, root)
        runs.get_model(spec, lambda label, done: teller.working(label, done, 1.0, ""))
        run = assemble(
            self._paths,
            spec,
            None,
            reporter=teller,
            inbox=Inbox(self._paths.orders),
            progress=Progress(),
            stop_here=lambda: None,
        )
        from tui_lora.worker.longest_batch import confine
        from tui_lora.worker.peaks import peaks_on

        self._trainer, device = run.trainer, run.loaded.device
        peaks = self._peaks = peaks_on(device, before)
        confined = confine(run.trainer)
        self._say(
            FitBegun(
                device=device,
                name=one_line(peaks.name),
                total_gib=peaks.total_gib,
                others_gib=peaks.others_gib,
                batch=confined.batch,
                held_out=confined.held_out,
                micro_batches=spec.training.accumulation,
                of_micro_batches=asked.training.accumulation,
            )
        )
        self._over("loaded")

        self._phase = "first step"  # what the trainer makes ready for it is a part of it
        tokens, seconds = 0, 0.0
        steps: Iterator[Phase] = iter(("first step", "second step"))

        def begun() -> None:
            self._begin(next(steps))

        def taken() -> None:
            nonlocal tokens, seconds
            tokens, seconds = run.trainer.take_tokens(), self._over(self._phase)

        confined.train(begun, taken)
        if confined.held_out is not None:
            self._begin("evaluation")
            run.trainer.evaluate()
            self._over("evaluation")
        return FitChecked(
            step_s=seconds,
            tokens_per_s=tokens / seconds if tokens else None,
            context_gib=peaks.context_gib,
            context_source=peaks.context_source,
        )

    def _begin(self, phase: Phase) -> None:
        self._phase, self._began = phase, time.monotonic()
        self._say(FitWorking(label=_LABELS[phase]))

    def _over(self, phase: Phase) -> float:
        """Say what a phase took; returns its seconds."""
        assert self._peaks is not None
        # Waits until the card has done what it was given, so the clock comes after it.
        peak = self._peaks.take()
        seconds = time.monotonic() - self._began
        self._say(
            FitPhase(
                phase=phase,
                seconds=seconds,
                allocated_gib=peak.allocated,
                reserved_gib=peak.reserved,
                process_gib=peak.process,
                held_gib=peak.held,
            )
        )
        return seconds


class _Telling(Teller):
    """What the parts of a run tell, as a viewer of a check wants to hear it."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say, self._label = say, ""

    def say(self, event: Event) -> None:
        match event:
            case PhaseStarted(name="evaluating"):
                pass
            case PhaseStarted():
                self._label = event.label
                self.working(event.label, None, None, "")
            case PhaseProgressed():
                self.working(self._label, event.done, event.total, event.unit)
            case Notice():
                self._say(FitNoticed(level=event.level, text=one_line(event.text)))
            case _:
                pass

    def working(self, label: str, done: float | None, total: float | None, unit: str) -> None:
        self._say(FitWorking(label=one_line(label), done=done, total=total, unit=unit))


def as_two_steps(spec: RunSpec, root: Path) -> RunSpec:
    """The spec of a run of two steps that take as much memory as those of `spec`."""
    training = spec.training.model_copy(
        update={
            "max_steps": 2,
            "accumulation": min(spec.training.accumulation, MICRO_BATCHES),
        }
    )
    lora, start = spec.lora, spec.lora.start_from
    if start and "/" not in start and is_there(root / start / "run.yaml"):
        # The folder of this worker's own session lies elsewhere.
        lora = lora.model_copy(update={"start_from": str((root / start).absolute())})
    return spec.model_copy(update={"training": training, "lora": lora})


def _read_sensors() -> SensorReading:
    sensors = Sensors()
    try:
        return sensors.read()
    finally:
        sensors.close()
