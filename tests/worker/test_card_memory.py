"""What is asked of a card at the end of an attempt; torch's own functions are the ones replaced."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest

from tests.worker.test_oom import CUBLAS, card
from tui_lora.core.sensors import CardProcess, CardReading, MachineReading, SensorReading

pytestmark = pytest.mark.model

GIB = 2**30


@dataclass
class Properties:
    uuid: str = "1"
    total_memory: int = 16 * GIB


def reading(*cards: CardReading) -> SensorReading:
    return SensorReading(cards, MachineReading(None, None, None, 1), nvml_problem=None)


@pytest.fixture
def on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with 6 GiB reserved, of which 5 are allocated now, on the driver's first card."""
    import torch

    import tui_lora.worker.voice  # noqa: F401 (transformers asks torch for a card when it comes)

    answers: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "current_device": 0,
        "get_device_properties": Properties(),
        "get_device_name": "a card",
        "memory_allocated": 5 * GIB,
        "memory_reserved": 6 * GIB,
        "max_memory_allocated": 7 * GIB,
        "max_memory_reserved": 8 * GIB,
        "mem_get_info": (1 * GIB, 16 * GIB),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    ours = CardProcess(os.getpid(), "python", 6.5)
    now = reading(card(ours, CardProcess(7, "Xorg", 0.25)))
    monkeypatch.setattr("tui_lora.store.gpu.Sensors.read", lambda _: now)


@pytest.mark.usefixtures("on_a_card")
def test_the_peak_is_measured_with_the_context() -> None:
    from tui_lora.worker.measured_memory import memory_measured
    from tui_lora.worker.voice import memory

    found = memory_measured(reading(card(CardProcess(7, "Xorg", 0.25))))
    assert found is not None
    assert (found.card, found.total_gib) == ("a card", 16.0)
    assert (found.peak_allocated_gib, found.peak_reserved_gib) == (7.0, 8.0)
    assert found.context_gib == 0.5
    assert found.context_source == "by the driver, for this process"
    assert memory()["peak_allocated_gib"] == 7.0


def test_nothing_is_measured_where_nothing_was_on_a_card() -> None:
    from tui_lora.worker.measured_memory import memory_measured

    assert memory_measured(reading()) is None


@pytest.mark.usefixtures("on_a_card")
def test_a_card_that_answers_no_more_leaves_the_first_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from tui_lora.worker.measured_memory import memory_measured
    from tui_lora.worker.ran_out import memory_ran_out

    error = RuntimeError(CUBLAS)
    event = memory_ran_out(error, None)
    assert (event.device, event.phase) == ("cuda:0", "loading")
    assert (event.free_gib, event.total_gib) == (1.0, 16.0)
    assert [holder.name for holder in event.held] == ["loaded so far", "unused"]
    assert [(one.name, one.gib) for one in event.others] == [("Xorg", 0.25)]

    def lost(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for name in ("mem_get_info", "memory_allocated", "get_device_properties", "current_device"):
        monkeypatch.setattr(torch.cuda, name, lost)
    event = memory_ran_out(error, None)
    assert event.device.startswith("cuda")
    assert "CUBLAS_STATUS_ALLOC_FAILED" in event.message
    assert memory_measured(reading()) is not None


def test_the_batch_at_hand_is_told_by_its_shape() -> None:
    import torch

    from tui_lora.worker.doing import Doing, Shape

    doing = Doing()
    assert doing.shape() is None
    ids = torch.zeros(2, 6, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    doing.batch("forward", {"input_ids": ids, "attention_mask": mask})
    assert (doing.phase, doing.shape()) == ("forward", Shape(2, 6, 5))
    # Packed rows of 4 and 2 tokens.
    positions = torch.tensor([[0, 1, 2, 3, 0, 1]])
    doing.batch("forward", {"input_ids": ids[:1], "position_ids": positions})
    assert doing.shape() == Shape(1, 6, 4)
    doing.batch("forward", {"input_ids": ids})
    assert doing.shape() == Shape(2, 6, None)
