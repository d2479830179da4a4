"""Recorded runs for tests: sessions on disk with an event log that no worker had to write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.class_report import ClassReport
from tui_lora.core.events import (
    EVENTS,
    AdapterSaved,
    AttemptFinished,
    AttemptStarted,
    CheckpointSaved,
    Evaluated,
    Event,
    MemoryForecasted,
    MemoryHolder,
    MemoryRanOut,
    PhaseFinished,
    PhaseStarted,
    Result,
    RunPlanned,
    StepDone,
    Verdict,
)
from tui_lora.core.memory import Forecast, Parts
from tui_lora.core.spec import parse_spec
from tui_lora.store import class_reports
from tui_lora.store.adapter_labels import write_labels
from tui_lora.store.checkpoints import seal
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import create

START = 1_760_000_000.0
LABELS = ("negative", "neutral", "positive")


def make_session(root: Path, name: str = "run", task: str = "sft") -> SessionPaths:
    """A draft with a small spec."""
    data = {"model": {"id": "tiny"}, "dataset": {"path": "quickstart"}, "task": task}
    return create(root, name, parse_spec(data))


def loss_at(step: int, total: int) -> float:
    wobble = 0.06 * math.sin(step * 1.7) + 0.03 * math.sin(step * 0.37)
    return 1.05 + 1.4 * math.exp(-4 * step / total) + wobble


def metrics_at(step: int, total: int, task: str) -> dict[str, float]:
    """What a task has beside its loss, the better the later."""
    share = step / total
    if task == "classification":
        return {"accuracy": 0.3 + 0.6375 * share, "macro_f1": 0.2 + 0.7 * share}
    if task == "sft":
        return {}
    chosen, rejected = 0.4 * share, -0.8 * share + 0.02 * math.sin(step)
    rewards = {"margin": chosen - rejected, "chosen_reward": chosen, "rejected_reward": rejected}
    return {
        **rewards,
        **({"kl": 0.1 * share} if task == "kto" else {"preferred": 0.5 + 0.4 * share}),
    }


def step_done(step: int, total: int, *, card: bool = False, task: str = "sft") -> StepDone:
    share = step / total
    memory: dict[str, float] = {"process_gib": 1.21 + 0.1 * share}
    if card:
        memory = {
            "allocated_gib": 9.81,
            "reserved_gib": 10.6,
            "peak_reserved_gib": 11.0,
            "card_used_gib": 11.6,
        }
    return StepDone(
        step=step,
        epoch=3 * share,
        loss=loss_at(step, total),
        learning_rate=2e-4 * min(1.0, share / 0.03) * (1 - share),
        grad_norm=0.4 + 0.2 * math.sin(step),
        tokens_per_s=4800 + 300 * math.sin(step * 0.9),
        tokens_seen=step * 5100,
        step_s=0.5,
        eta_s=(total - step) * 0.5,
        metrics={} if task == "classification" else metrics_at(step, total, task),
        **memory,  # type: ignore[arg-type]
    )


def opening(
    total: int, attempt: int = 1, resumed_from: int | None = None, task: str = "sft"
) -> Iterator[Event]:
    yield AttemptStarted(attempt=attempt, pid=4242, resumed_from=resumed_from)
    for name, seconds in (("imports", 9.1), ("weights", 12.2), ("rows", 1.4)):
        yield PhaseStarted(name=name, label=f"loading {name}", expect_s=seconds)
        yield PhaseFinished(name=name, seconds=seconds)
    yield RunPlanned(
        total_steps=total,
        epochs=3,
        train_rows=210,
        eval_rows=40,
        rows_per_step=16,
        trainable_parameters=2_442_240,
        total_parameters=137_000_000,
        device="cpu",
        task=task,
        labels=LABELS if task == "classification" else (),
    )
    if resumed_from is None:
        yield Evaluated(step=0, loss=3.14, rows=40, seconds=2.0, metrics=metrics_at(0, total, task))


def steps(
    first: int,
    last: int,
    total: int,
    *,
    every: int = 100,
    card: bool = False,
    task: str = "sft",
) -> Iterator[Event]:
    for step in range(first, last + 1):
        yield step_done(step, total, card=card, task=task)
        if step % every == 0:
            yield Evaluated(
                step=step,
                loss=loss_at(step, total) + 0.1,
                rows=40,
                seconds=2.0,
                metrics=metrics_at(step, total, task),
            )
            path = f"checkpoints/step-{step:06d}"
            yield CheckpointSaved(step=step, path=path, size_bytes=84_000_000, seconds=1.2)


def ending(step: int, verdict: Verdict = "done", message: str = "") -> Iterator[Event]:
    yield AdapterSaved(step=step, path="adapter", size_bytes=9_800_000, tensors=420)
    yield AttemptFinished(step=step, attempt=1, verdict=verdict, message=message)


def numbered(events: Iterator[Event], first: int = 1, start: float = START) -> Iterator[Event]:
    for seq, event in enumerate(events, first):
        yield event.model_copy(update={"seq": seq, "t": start + seq * 0.5, "mono": seq * 0.5})


def write(
    paths: SessionPaths, *parts: Iterator[Event], first: int = 1, start: float = START
) -> int:
    """Append the events to the session's log; returns how many there were."""

    def chained() -> Iterator[Event]:
        for part in parts:
            yield from part

    lines = [EVENTS.encode(event) for event in numbered(chained(), first, start)]
    with paths.events.open("a", encoding="utf-8") as file:
        file.writelines(lines)
    return len(lines)


def finish(paths: SessionPaths, step: int, verdict: Verdict = "done", message: str = "") -> None:
    result = Result(attempt=1, verdict=verdict, step=step, message=message, seconds=101.0)
    paths.result.write_text(result.model_dump_json(), encoding="utf-8")


def done_session(
    root: Path, name: str = "done", total: int = 400, task: str = "sft"
) -> SessionPaths:
    paths = make_session(root, name, task)
    write(paths, opening(total, task=task), steps(1, total, total, task=task), ending(total))
    finish(paths, total)
    return paths


FORECAST = Forecast(
    method="simulated",
    parts=Parts(
        weights=5.30,
        adapter=0.16,
        gradients=0.0,
        optimizer=0.32,
        activations=6.10,
        workspace=1.20,
        loss=0.40,
        context=0.30,
    ),
    peak_allocated_gib=12.6,
    peak_reserved_gib=13.48,
    phase="backward",
)


def on_a_card(events: Iterator[Event]) -> Iterator[Event]:
    """The same run on a T4, whose memory was forecast."""
    for event in events:
        if isinstance(event, RunPlanned):
            event = event.model_copy(update={"device": "cuda:0"})
        yield event
    yield MemoryForecasted(
        card="Tesla T4", total_gib=15.0, forecast=FORECAST, context_source="0.30 assumed"
    )


def ran_out(step: int, *, card: bool = True) -> Iterator[Event]:
    """The end of a run that asked for more than there was, with others on the card."""
    if card:
        held = {"weights": 5.32, "adapter": 0.16, "optimizer": 0.32, "unused": 0.7}
        held["activations and workspace"] = 7.1
        yield MemoryRanOut(
            step=step,
            phase="backward",
            device="cuda:0",
            rows=4,
            tokens=2048,
            longest_row_tokens=1987,
            asked_gib=1.25,
            free_gib=0.31,
            total_gib=15.0,
            allocated_gib=12.9,
            reserved_gib=13.6,
            held=tuple(MemoryHolder(name=name, gib=gib) for name, gib in held.items()),
            others=(MemoryHolder(name="Xorg [/x] \x1b[31m", gib=0.9),),
        )
    else:
        yield MemoryRanOut(step=step, phase="forward", device="cpu", rows=4, tokens=2048)
    yield AttemptFinished(step=step - 1, attempt=1, verdict="out_of_memory", message="no memory")


def ran_out_session(root: Path, name: str = "big", *, card: bool = True) -> SessionPaths:
    """Out of memory at step 213 of 400, with a whole checkpoint of step 200."""
    data = {
        "model": {"id": "tiny"},
        "dataset": {"path": "quickstart"},
        "quantization": {"scheme": "nf4"},
        "training": {"micro_batch": 4, "accumulation": 4, "max_length": 2048},
    }
    paths = create(root, name, parse_spec(data))
    begun = on_a_card(opening(400)) if card else opening(400)
    write(paths, begun, steps(1, 212, 400, card=card), ran_out(213, card=card))
    beside = paths.checkpoints / ".new"
    beside.mkdir()
    (beside / "weights").write_bytes(b"x")
    seal(beside, paths.checkpoints / "step-000200", step=200, tokens_seen=1)
    finish(paths, 212, "out_of_memory", "no memory")
    return paths


def done_classifier(root: Path, name: str = "done", total: int = 400) -> SessionPaths:
    """With the adapter's labels, weights that are none, and what was taken for what."""
    paths = done_session(root, name, total, "classification")
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    write_labels(paths.adapter, LABELS)
    confusion = ((12, 1, 0), (0, 14, 1), (0, 0, 12))
    report = ClassReport(
        t=START,
        step=total,
        labels=LABELS,
        confusion=confusion,
        rows=40,
        accuracy=0.95,
        macro_f1=0.951,
    )
    class_reports.write(paths, report)
    return paths
