"""Recorded runs for tests: sessions on disk with an event log that no worker had to write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.events import (
    EVENTS,
    AdapterSaved,
    AttemptFinished,
    AttemptStarted,
    CheckpointSaved,
    Evaluated,
    Event,
    PhaseFinished,
    PhaseStarted,
    Result,
    RunPlanned,
    StepDone,
    Verdict,
)
from tui_lora.core.spec import parse_spec
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import create

START = 1_760_000_000.0


def make_session(root: Path, name: str = "run") -> SessionPaths:
    """A draft with a small spec."""
    spec = parse_spec({"model": {"id": "tiny"}, "dataset": {"path": "quickstart"}})
    return create(root, name, spec)


def loss_at(step: int, total: int) -> float:
    wobble = 0.06 * math.sin(step * 1.7) + 0.03 * math.sin(step * 0.37)
    return 1.05 + 1.4 * math.exp(-4 * step / total) + wobble


def step_done(step: int, total: int, *, card: bool = False) -> StepDone:
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
        **memory,  # type: ignore[arg-type]
    )


def opening(total: int, attempt: int = 1, resumed_from: int | None = None) -> Iterator[Event]:
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
    )
    if resumed_from is None:
        yield Evaluated(step=0, loss=3.14, rows=40, seconds=2.0)


def steps(
    first: int, last: int, total: int, *, every: int = 100, card: bool = False
) -> Iterator[Event]:
    for step in range(first, last + 1):
        yield step_done(step, total, card=card)
        if step % every == 0:
            yield Evaluated(step=step, loss=loss_at(step, total) + 0.1, rows=40, seconds=2.0)
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


def done_session(root: Path, name: str = "done", total: int = 400) -> SessionPaths:
    paths = make_session(root, name)
    write(paths, opening(total), steps(1, total, total), ending(total))
    finish(paths, total)
    return paths
