"""The table of runs on cards: memory predicted and measured, one line a run, in the user's folder.

It outlives its sessions. Whoever writes appends one line; whoever reads skips what it cannot read.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.events import (
    AttemptStarted,
    Choice,
    ChoicesMade,
    MemoryForecasted,
    MemoryMeasured,
    MemoryRanOut,
    RunPlanned,
)
from tui_lora.core.measured_runs import ASSUMED, MeasuredRun, Peaks, learned_context
from tui_lora.core.run_memory import comparable
from tui_lora.core.sensors import SensorReading
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.store import sessions
from tui_lora.store.atomic import write_whole
from tui_lora.store.journal import append_line, last_lines
from tui_lora.store.json_file import read_object
from tui_lora.store.local_model import local_place
from tui_lora.store.paths import SessionPaths, memory_table
from tui_lora.store.spec_now import spec_now

_MOST_BYTES = 1 << 20
"""About two thousand runs; beyond it the older half goes."""


def measured_runs() -> tuple[MeasuredRun, ...]:
    """All runs in the table, the oldest first; never raises. Read anew only when it has changed:
    the card is looked at every second."""
    path = memory_table()
    try:
        found = path.stat()
    except OSError:
        return ()
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, changed_ns: int, size: int) -> tuple[MeasuredRun, ...]:
    lines, _ = last_lines(path, _MOST_BYTES)
    runs = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            runs.append(MeasuredRun.model_validate(json.loads(line)))
    return tuple(runs)


def keep(run: MeasuredRun) -> None:
    """Append a run; raises OSError."""
    path = memory_table()
    path.parent.mkdir(parents=True, exist_ok=True)
    append_line(path, run.model_dump_json(exclude_none=True) + "\n")
    if path.stat().st_size > _MOST_BYTES:
        lines, _ = last_lines(path, _MOST_BYTES // 2)
        write_whole(path, "".join(line.decode("utf-8", "replace") + "\n" for line in lines))


def run_of(paths: SessionPaths, *, steps: int) -> MeasuredRun | None:
    """What the session's latest attempt, which took so many steps, adds to the table, from its
    events; None where nothing was measured on a card. What was predicted is left out where what was
    measured says nothing of it. Reads the whole log. Raises UserError for a run.yaml that cannot be
    read."""
    started: AttemptStarted | None = None
    forecast: MemoryForecasted | None = None
    planned: RunPlanned | None = None
    measured: MemoryMeasured | None = None
    choices: tuple[Choice, ...] = ()
    ran_out = False
    for event in sessions.events_of(
        *(paths, AttemptStarted, MemoryForecasted, RunPlanned),
        *(MemoryMeasured, ChoicesMade, MemoryRanOut),
    ):
        match event:
            case AttemptStarted():
                started, forecast, planned, measured, choices = event, None, None, None, ()
                ran_out = False
            case MemoryRanOut():
                ran_out = True
            case MemoryForecasted():
                forecast = event
            case RunPlanned():
                planned = event
            case MemoryMeasured():
                measured = event
            case ChoicesMade():
                choices = event.choices
    if started is None or measured is None or measured.peak_reserved_gib is None:
        return None
    resumed = started.resumed_from is not None
    judged = comparable(planned, steps, resumed=resumed, ran_out=ran_out)
    became = {choice.setting: choice.value for choice in choices}
    spec = spec_now(paths)
    training = spec.training
    return MeasuredRun(
        t=measured.t,
        session=paths.name,
        attempt=started.attempt,
        architecture=_architecture(spec),
        parameters=planned.total_parameters if planned is not None else None,
        task=spec.task,
        scheme=became.get("quantization.scheme", spec.quantization.scheme),
        variant=spec.lora.variant,
        r=spec.lora.r,
        micro_batch=training.micro_batch,
        max_length=training.max_length,
        tokens=forecast.tokens if forecast is not None else None,
        checkpointing=became.get(
            "training.gradient_checkpointing", str(training.gradient_checkpointing)
        ),
        optimizer=became.get("training.optimizer", training.optimizer),
        attention=became.get("model.attention", spec.model.attention),
        packing=became.get("training.packing", str(training.packing)),
        card=measured.card,
        total_gib=measured.total_gib,
        driver=forecast.driver if forecast is not None else "",
        torch=started.versions.get("torch", ""),
        predicted=_predicted(forecast) if judged else None,
        measured=Peaks(
            allocated_gib=measured.peak_allocated_gib,
            reserved_gib=measured.peak_reserved_gib,
            context_gib=measured.context_gib,
        ),
    )


def learn_from(paths: SessionPaths, *, steps: int) -> None:
    """Put what the latest attempt took into the table, where it was measured; `steps` is how many
    it did. Never raises: a run is worth more than what is learned from it."""
    with suppress(Exception):
        run = run_of(paths, steps=steps)
        if run is not None:
            keep(run)


def with_learned(reading: SensorReading) -> SensorReading:
    """The reading with what CUDA takes of each card by the runs in the table."""
    if not reading.cards:
        return reading
    runs, torch = measured_runs(), _torch()
    cards = []
    for card in reading.cards:
        found = learned_context(runs, card=card.name, driver=reading.driver, torch=torch)
        context = found or ASSUMED
        cards.append(replace(card, context_gib=context.gib, context_source=context.source))
    return replace(reading, cards=tuple(cards))


@cache
def _torch() -> str:
    """The version of torch that workers run with, as they report it; it is not imported."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def _predicted(event: MemoryForecasted | None) -> Peaks | None:
    if event is None or event.forecast is None:
        return None
    found = event.forecast
    return Peaks(
        allocated_gib=found.peak_allocated_gib,
        reserved_gib=found.peak_reserved_gib,
        context_gib=found.parts.context,
    )


def _architecture(spec: RunSpec) -> str:
    """The model's class as its config names it."""
    try:
        place = local_place(spec.model)
    except UserError:
        return ""
    config = read_object(place / "config.json") if place.is_dir() else None
    names = config.get("architectures") if config is not None else None
    return one_line(str(names[0]), max_chars=60) if isinstance(names, list) and names else ""
