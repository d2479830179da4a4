"""What viewer and fit check worker say to each other over pipes: two steps and an evaluation on the
longest rows, and what they took.

A worker makes one check and ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.events import MemoryRanOut
from tui_lora.core.measured_runs import difference
from tui_lora.core.memory import CONTEXT_GIB, Forecast, Verdict, verdict
from tui_lora.core.spec import RunSpec
from tui_lora.core.wire import Message, Wire

Phase = Literal["loaded", "first step", "second step", "evaluation"]

PHASES: tuple[Phase, ...] = ("loaded", "first step", "second step", "evaluation")

MICRO_BATCHES = 2
"""Of a step, where it has that many: at the second one gradients are held while others are made.
More of them change nothing about the peak."""


class ToFitCheck(Message):
    pass


class FromFitCheck(Message):
    pass


class CheckFit(ToFitCheck):
    """Check a run of the spec (as `RunSpec.model_dump(mode="json")` gives it). `root` is the folder
    of the sessions, which may hold the adapter that it starts from."""

    type: ClassVar[str] = "check_fit"
    spec: dict[str, Any]
    root: str = ""


class FitWorking(FromFitCheck):
    """What is being done now, and how far it is where that is known."""

    type: ClassVar[str] = "working"
    label: str
    done: float | None = None
    total: float | None = None
    unit: str = ""


class FitNoticed(FromFitCheck):
    """Something that the user should know."""

    type: ClassVar[str] = "noticed"
    level: Literal["info", "warning", "error"]
    text: str


class Batch(BaseModel):
    """A batch as the model is fed it: `rows` sequences, `tokens` in all with their padding, the
    longest of them of `longest` tokens."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    rows: int
    tokens: int
    longest: int


class FitBegun(FromFitCheck):
    """Everything is loaded; steps come next.

    `device` is `cpu` or a card, `name` what it is called. GiB: `total_gib` of the card (of the
    machine on the CPU), `others_gib` what was held there before this worker took anything; None
    where that is not told. `held_out` is None where nothing is held out. A step is
    `micro_batches` of `batch`, `of_micro_batches` in a real run.
    """

    type: ClassVar[str] = "begun"
    device: str
    name: str
    total_gib: float | None
    others_gib: float | None
    batch: Batch
    held_out: Batch | None
    micro_batches: int
    of_micro_batches: int


class FitPhase(FromFitCheck):
    """What a phase took at its peak, in GiB; None where it cannot be measured.

    Allocated and reserved are torch's on a card. `process_gib` is what the process held: on a card
    its reserved peak and CUDA's own share, on the CPU its resident memory. `held_gib` is what stays
    allocated when the phase is over.
    """

    type: ClassVar[str] = "phase"
    phase: Phase
    seconds: float
    allocated_gib: float | None = None
    reserved_gib: float | None = None
    process_gib: float | None = None
    held_gib: float | None = None


class FitChecked(FromFitCheck):
    """The last word where all went well. `context_gib` is CUDA's own share of the card, and
    `context_source` says how that is known. `step_s` and `tokens_per_s` (without padding) are the
    second step's."""

    type: ClassVar[str] = "checked"
    step_s: float
    tokens_per_s: float | None
    context_gib: float | None = None
    context_source: str = ""


class FitRanOut(FromFitCheck):
    """The last word where memory ran out. `phase` of this check."""

    type: ClassVar[str] = "ran_out"
    phase: Phase
    where: MemoryRanOut


class FitFailed(FromFitCheck):
    """The last word where the run could not be made: the sentences of an error, and the exit code
    that a command gives it (2 for what the user can mend)."""

    type: ClassVar[str] = "failed"
    message: str
    exit_code: int = 1


TO_FIT_CHECK: Wire[ToFitCheck] = Wire(CheckFit)
FROM_FIT_CHECK: Wire[FromFitCheck] = Wire(
    FitWorking, FitNoticed, FitBegun, FitPhase, FitChecked, FitRanOut, FitFailed
)


@dataclass(frozen=True)
class Compared:
    """GiB; None where it is not known."""

    name: str
    predicted: float | None
    measured: float | None

    @property
    def difference(self) -> float | None:
        """How much more was predicted than measured, as a share of what was measured."""
        return difference(self.predicted, self.measured)


@dataclass(frozen=True)
class FitFound:
    """Everything that a check has found so far: a fold over what its worker says."""

    begun: FitBegun | None = None
    phases: tuple[FitPhase, ...] = ()
    ended: FitChecked | FitRanOut | FitFailed | None = None
    warnings: tuple[str, ...] = ()

    def heard(self, message: FromFitCheck) -> FitFound:
        match message:
            case FitBegun():
                return replace(self, begun=message)
            case FitPhase():
                return replace(self, phases=(*self.phases, message))
            case FitChecked() | FitRanOut() | FitFailed():
                return replace(self, ended=message)
            case FitNoticed(level="warning" | "error"):
                return replace(self, warnings=(*self.warnings, message.text))
        return self

    @property
    def checked(self) -> FitChecked | None:
        return self.ended if isinstance(self.ended, FitChecked) else None

    @property
    def ran_out(self) -> FitRanOut | None:
        return self.ended if isinstance(self.ended, FitRanOut) else None

    @property
    def on_card(self) -> bool:
        return self.begun is not None and self.begun.device != "cpu"

    @property
    def peak_allocated_gib(self) -> float | None:
        return _highest(phase.allocated_gib for phase in self.phases)

    @property
    def peak_reserved_gib(self) -> float | None:
        return _highest(phase.reserved_gib for phase in self.phases)

    @property
    def peak_process_gib(self) -> float | None:
        return _highest(phase.process_gib for phase in self.phases)

    @property
    def headroom_gib(self) -> float | None:
        """What is left of the card at the measured peak, or of the machine's memory on the CPU.
        Where the driver does not tell CUDA's own share, the usual one is assumed."""
        begun, taken = self.begun, self.peak_process_gib
        if taken is None and self.peak_reserved_gib is not None:
            taken = self.peak_reserved_gib + CONTEXT_GIB
        if begun is None or taken is None or self.checked is None:
            return None
        if begun.total_gib is None or begun.others_gib is None:
            return None
        return begun.total_gib - begun.others_gib - taken

    def compared(self, forecast: Forecast | None) -> tuple[Compared, ...]:
        """Each peak as it was predicted and as it was measured."""
        said: tuple[float | None, float | None, float | None] = (None, None, None)
        if forecast is not None:
            said = (
                forecast.peak_allocated_gib,
                forecast.peak_reserved_gib,
                forecast.peak_process_gib,
            )
        return (
            Compared("allocated", said[0], self.peak_allocated_gib),
            Compared("reserved", said[1], self.peak_reserved_gib),
            Compared("process", said[2], self.peak_process_gib),
        )

    @property
    def verdict(self) -> Verdict:
        if self.ran_out is not None:
            return "does_not_fit"
        return verdict(self.headroom_gib, self.begun.total_gib if self.begun is not None else None)


def _highest(figures: Any) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)


_OF_TRAINING = {
    *("micro_batch", "accumulation", "max_length", "packing", "optimizer", "seed"),
    *("gradient_checkpointing", "checkpoint_layers"),
}


def settings_that_matter(spec: RunSpec) -> str:
    """The settings that a check's figures depend on, in one line: they hold until it is another."""
    whole = spec.model_dump(mode="json", exclude={"training", "evaluation"})
    training = spec.training.model_dump(mode="json", include=_OF_TRAINING)
    return json.dumps([whole, training], sort_keys=True)


def as_checked(spec: RunSpec, begun: FitBegun) -> RunSpec:
    """The spec whose forecast is that of the checked batch: no row is longer than its longest, and
    there are as many (of a pair two)."""
    rows = begun.batch.rows // (2 if spec.task == "dpo" else 1)
    size = {"max_length": max(8, begun.batch.longest), "micro_batch": max(1, rows)}
    return spec.model_copy(update={"training": spec.training.model_copy(update=size)})
