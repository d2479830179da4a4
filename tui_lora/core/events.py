"""What a training worker reports: one event a line in `events.jsonl`, append-only and numbered."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.memory import Forecast
from tui_lora.core.wire import Message, Wire

Verdict = Literal["done", "stopped", "paused", "failed", "out_of_memory"]


SettingValue = bool | int | float | str | tuple[str, ...] | dict[str, str] | dict[str, float] | None
"""What a setting may be changed to."""


class Event(Message):
    """`seq` counts from 1 through all attempts; `t` is unix seconds, `mono` monotonic seconds."""

    seq: int = 0
    t: float = 0.0
    mono: float = 0.0
    step: int | None = None


class AttemptStarted(Event):
    """A worker began; its first event. `resumed_from` is the checkpoint's step."""

    type: ClassVar[str] = "attempt_started"
    attempt: int
    pid: int
    resumed_from: int | None = None
    versions: dict[str, str] = {}


class PhaseStarted(Event):
    """A part of the work that takes over a second; `expect_s`: how long, if known."""

    type: ClassVar[str] = "phase_started"
    name: str
    label: str
    expect_s: float | None = None


class PhaseProgressed(Event):
    type: ClassVar[str] = "phase_progressed"
    name: str
    done: float
    total: float | None = None
    unit: str = ""


class PhaseFinished(Event):
    type: ClassVar[str] = "phase_finished"
    name: str
    seconds: float


class ModelLoaded(Event):
    """The base is in memory. `shards`: files of weights. `memory_bytes`: on a card what torch
    allocated for it, on the CPU what its weights take up."""

    type: ClassVar[str] = "model_loaded"
    seconds: float
    device: str
    shards: int | None = None
    memory_bytes: int | None = None


class Choice(BaseModel):
    """What an 'auto' became, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    setting: str
    value: str
    reason: str


class ChoicesMade(Event):
    type: ClassVar[str] = "choices_made"
    choices: tuple[Choice, ...]


class SpecChanged(Event):
    """The run goes on with other settings than run.yaml has; `changes` are the new values by
    setting (`training.micro_batch`). It holds for every later step and attempt."""

    type: ClassVar[str] = "spec_changed"
    changes: dict[str, SettingValue]
    reason: str = ""


class ChangesRefused(Event):
    """The worker found what nobody had accepted, and ended: `rows` that are not those of the start,
    or another `template`."""

    type: ClassVar[str] = "changes_refused"
    what: tuple[str, ...] = ()


class MemoryForecasted(Event):
    """How much of its card the run should take at its peak, by the simulation; None where that is
    not known, and `unknown` says why. `context_source` says where CUDA's own share is from,
    `tokens` how long the rows are that it was reckoned for, `driver` the version of the card's."""

    type: ClassVar[str] = "memory_forecasted"
    card: str
    tokens: int | None = None
    driver: str = ""
    total_gib: float | None = None
    forecast: Forecast | None = None
    unknown: str = ""
    context_source: str = ""


class RunPlanned(Event):
    """Known once the trainer is built. Counts of rows, parameters and optimizer steps."""

    type: ClassVar[str] = "run_planned"
    total_steps: int
    epochs: float
    train_rows: int
    eval_rows: int
    rows_per_step: int
    trainable_parameters: int
    total_parameters: int
    device: str
    log_every_steps: int = 1
    task: str = "sft"
    labels: tuple[str, ...] = ()


class StepDone(Event):
    """An optimizer step. Losses are mean cross-entropy a trained token, in nats (of preference
    runs: trl's loss). `metrics` are what the task has beside it, by the names of
    `core/metrics.py`.

    `tokens_per_s` counts the tokens that went through the model, without padding, since the last
    report; `tokens_seen` all of them since step 0 of the first attempt. Memory in GiB: torch's
    allocated, reserved and their peaks since the attempt began on a card, the process's resident
    memory otherwise.
    """

    type: ClassVar[str] = "step_done"
    epoch: float
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    tokens_seen: int = 0
    step_s: float | None = None
    eta_s: float | None = None
    allocated_gib: float | None = None
    reserved_gib: float | None = None
    peak_allocated_gib: float | None = None
    peak_reserved_gib: float | None = None
    process_gib: float | None = None
    card_used_gib: float | None = None
    metrics: dict[str, float] = {}


class Evaluated(Event):
    """Loss on the held-out rows. At step 0 the adapter is still zero, so this is the base's."""

    type: ClassVar[str] = "evaluated"
    loss: float
    rows: int
    seconds: float
    metrics: dict[str, float] = {}


class Peeked(Event):
    """The model was asked on the way. Its answers stand in `path`, a line each (`core/peek.py`):
    they may be long, and whoever follows the run reads every event. `order`: the id of the one that
    asked; empty where the spec did."""

    type: ClassVar[str] = "peeked"
    path: str
    answers: int
    seconds: float
    order: str = ""


class CheckpointSaved(Event):
    """A checkpoint is whole: its manifest was written last and read back."""

    type: ClassVar[str] = "checkpoint_saved"
    path: str
    size_bytes: int
    seconds: float


class AdapterSaved(Event):
    """The adapter stands in the session and was read back."""

    type: ClassVar[str] = "adapter_saved"
    path: str
    size_bytes: int
    tensors: int


class Notice(Event):
    """Something that the user should know; `text` is for people."""

    type: ClassVar[str] = "notice"
    level: Literal["info", "warning", "error"]
    text: str


class Heartbeat(Event):
    """Alive, and the next sign of life comes within `next_s` seconds."""

    type: ClassVar[str] = "heartbeat"
    next_s: float


class HoldChanged(Event):
    """The run waits with everything loaded, or goes on."""

    type: ClassVar[str] = "hold_changed"
    holding: bool


class GuardTripped(Event):
    """A guard saw what it watches for; `action` is what it does about it (warn, pause, stop)."""

    type: ClassVar[str] = "guard_tripped"
    guard: str
    action: str
    text: str


class OrderAnswered(Event):
    type: ClassVar[str] = "order_answered"
    id: str
    ok: bool
    message: str


class MemoryMeasured(Event):
    """What the attempt took at its peak, as torch and the driver measured it on its card.

    GiB; None where it could not be measured. `context_gib` is what the process held beside what
    torch reserved; `context_source` says how that is known.
    """

    type: ClassVar[str] = "memory_measured"
    card: str
    total_gib: float | None = None
    peak_allocated_gib: float | None = None
    peak_reserved_gib: float | None = None
    context_gib: float | None = None
    context_source: str = ""


class MemoryHolder(BaseModel):
    """Who held memory when it ran out: a part of the run, or another process on the card."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str
    gib: float


class MemoryRanOut(Event):
    """Where the memory went when there was no more. GiB; None where it could not be told.

    `phase` is loading, forward, backward, step, evaluation or saving. `rows` and `tokens` are the
    shape of the batch at hand, `longest_row_tokens` its longest row without padding. `held` are
    the run's own parts by name (weights, adapter, gradients, optimizer, activations and
    workspace, unused), `others` the other processes on the card. `device` is `cpu` where it was
    the machine's memory.
    """

    type: ClassVar[str] = "memory_ran_out"
    phase: str
    device: str
    rows: int | None = None
    tokens: int | None = None
    longest_row_tokens: int | None = None
    asked_gib: float | None = None
    free_gib: float | None = None
    total_gib: float | None = None
    allocated_gib: float | None = None
    reserved_gib: float | None = None
    held: tuple[MemoryHolder, ...] = ()
    others: tuple[MemoryHolder, ...] = ()
    message: str = ""


class MemoryCreeps(Event):
    """The run's memory grows slowly and without end: by so much in 100 steps, to `gib` by now, so
    that there would be no more of it at step `full_at`, before the run's end."""

    type: ClassVar[str] = "memory_creeps"
    gib: float
    per_100_steps_gib: float
    full_at: int


class AttemptFinished(Event):
    """The last event of an attempt; `result.json` says the same and is what counts."""

    type: ClassVar[str] = "attempt_finished"
    attempt: int
    verdict: Verdict
    message: str = ""


EVENTS: Wire[Event] = Wire(
    AttemptStarted,
    PhaseStarted,
    PhaseProgressed,
    PhaseFinished,
    ModelLoaded,
    ChoicesMade,
    SpecChanged,
    ChangesRefused,
    MemoryForecasted,
    RunPlanned,
    StepDone,
    Evaluated,
    Peeked,
    CheckpointSaved,
    AdapterSaved,
    Notice,
    Heartbeat,
    HoldChanged,
    GuardTripped,
    OrderAnswered,
    MemoryMeasured,
    MemoryRanOut,
    MemoryCreeps,
    AttemptFinished,
)


class Result(BaseModel):
    """`result.json`: the last word of an attempt, written whole. Losses in nats a token."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    attempt: int
    verdict: Verdict
    step: int
    total_steps: int | None = None
    message: str = ""
    seconds: float | None = None
    loss: float | None = None
    base_eval_loss: float | None = None
    eval_loss: float | None = None
    base_metrics: dict[str, float] = {}
    metrics: dict[str, float] = {}
    adapter_bytes: int | None = None
    finished: float | None = None
