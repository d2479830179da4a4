"""The worker's eye on its memory: what counts on a card and on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.events import Event, MemoryCreeps
from tui_lora.core.view import RunView

pytestmark = pytest.mark.model

STEPS = 400


def said(monkeypatch: pytest.MonkeyPatch, growth_gib: float, **others: float) -> list[Any]:
    """What is said of a run on a card of 16 GiB, of which 3 are free or unused at its peak."""
    from tui_lora.worker import creeping

    monkeypatch.setattr(creeping, "card_total_gib", lambda: 16.0)
    events: list[Event] = []

    class Teller:
        def say(self, event: Event) -> None:
            events.append(event)

    watch = creeping.Creeping(Teller())  # type: ignore[arg-type]
    for step in range(1, STEPS + 1):
        memory = {
            "process_gib": 5.0,
            "allocated_gib": 6.0 + growth_gib * step,
            "reserved_gib": 11.0,
            "peak_reserved_gib": 11.0,
            "peak_allocated_gib": 10.0,
            "card_used_gib": 14.0,
            **others,
        }
        watch.see(step, STEPS, memory)
    return events


def test_a_leak_on_the_card_is_told_with_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = said(monkeypatch, 0.02)
    assert isinstance(first, MemoryCreeps)
    assert first.per_100_steps_gib == pytest.approx(2.0, rel=0.05)
    # 2 free, 1 reserved and unused at the peak.
    assert first.full_at == pytest.approx(first.step + 3.0 / 0.02, abs=3)
    view = RunView()
    view.apply(first)
    assert view.creeps == first
    assert "memory grows by 2.00 GiB in 100 steps: none left near step" in view.log[-1].text
    assert view.log[-1].level == "warning"


@pytest.mark.parametrize("growth", [0.0, 0.002])
def test_a_card_with_room_for_it_is_left_in_peace(
    monkeypatch: pytest.MonkeyPatch, growth: float
) -> None:
    assert said(monkeypatch, growth) == []


@pytest.mark.parametrize("limited", [False, True])
def test_the_process_counts_where_there_is_no_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limited: bool
) -> None:
    """Against what the machine has left, or a control group on a machine that has plenty."""
    from tui_lora.store import cgroups
    from tui_lora.worker import creeping

    gib = creeping.GIB

    class Machine:
        total = 256 * gib
        available = 200 * gib if limited else 2 * gib

    monkeypatch.setattr(creeping.psutil, "virtual_memory", lambda: Machine())
    (tmp_path / "memory.max").write_text(str(16 * gib) if limited else "max")
    (tmp_path / "memory.current").write_text(str(14 * gib))
    (tmp_path / "ours").write_text("0::/\n")
    monkeypatch.setattr(cgroups, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cgroups, "_OURS", tmp_path / "ours")
    events: list[Event] = []

    class Teller:
        def say(self, event: Event) -> None:
            events.append(event)

    watch = creeping.Creeping(Teller())  # type: ignore[arg-type]
    for step in range(1, STEPS + 1):
        watch.see(step, STEPS, {"process_gib": 2.0 + 0.05 * step})
    assert isinstance(events[0], MemoryCreeps)
    assert events[0].per_100_steps_gib == pytest.approx(5.0, rel=0.05)
