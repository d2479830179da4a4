"""Answers between simulated sizes: what a simulation of that very size says, and at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.worker.test_memory import SMALL, _recipe
from tui_lora.core.inspect import ForecastMemory, FromInspect, MemoryForecast

pytestmark = pytest.mark.model

KNOWN = [(2, 64), (2, 512), (8, 64)]


@pytest.mark.parametrize(
    "how",
    [
        {"scheme": "nf4"},
        pytest.param(
            {"scheme": "none", "checkpointing": False, "kernel": "math"}, marks=pytest.mark.long
        ),
        pytest.param({"scheme": "int8", "kernel": "eager"}, marks=pytest.mark.long),
        pytest.param(
            {"scheme": "nf4", "packed": True, "kernel": "efficient", "evaluates": True},
            marks=pytest.mark.long,
        ),
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_between_known_sizes_lies_what_a_simulation_finds(how: dict[str, Any]) -> None:
    from tui_lora.worker.memory.between import Between
    from tui_lora.worker.memory.forecast import trace_of
    from tui_lora.worker.memory.peak import peak_of

    recipe, between = _recipe(**how), Between()
    for rows, tokens in KNOWN:
        between.add(rows, tokens, trace_of(recipe, rows, tokens))
    for rows, tokens in [(2, 100), (3, 77)]:
        found = between.at(rows, tokens)
        assert found is not None
        assert peak_of(found, 0) == peak_of(trace_of(recipe, rows, tokens), 0)
    assert between.at(2, 1024) is None
    assert between.at(1, 64) is None


def test_one_size_tells_nothing_of_others() -> None:
    from tui_lora.worker.memory.between import Between
    from tui_lora.worker.memory.deeper import Trace

    between = Between()
    between.add(2, 64, Trace([(1, 4096)], ["loss"], ["forward"]))
    assert between.at(2, 64) is None
    # Twice the rows of twice the length: which of the two makes it four times as large?
    between.add(4, 128, Trace([(1, 4 * 4096)], ["loss"], ["forward"]))
    assert between.at(2, 128) is None


def test_what_follows_no_law_lies_on_a_line() -> None:
    from tui_lora.worker.memory.between import Between
    from tui_lora.worker.memory.deeper import Trace

    between = Between()
    for tokens, size in [(101, 1000), (201, 1500), (301, 1500)]:
        between.add(1, tokens, Trace([(1, size)], ["loss"], ["forward"]))
    for tokens, size in [(151, 1250), (251, 1500)]:
        found = between.at(1, tokens)
        assert found is not None
        assert found.events == [(1, size)]


def test_an_evaluation_is_a_phase_of_its_own() -> None:
    """Without gradients, behind the steps, and below them."""
    from tui_lora.worker.memory.forecast import trace_of
    from tui_lora.worker.memory.peak import peak_of

    recipe = _recipe(scheme="nf4", task="dpo")
    without = trace_of(recipe, 2, 64)
    both = trace_of(replace(recipe, evaluates=True), 2, 64)
    new = set(both.phases) - set(without.phases)
    assert {"evaluation forward", "evaluation behind"} <= new
    assert peak_of(both, 0).kinds == peak_of(without, 0).kinds


def test_an_early_answer_is_followed_by_the_exact_one(tmp_path: Path) -> None:
    """The second question of a run with another length; a third one ends what the second began."""
    from tui_lora.worker.inspect import Desk
    from tui_lora.worker.inspector import Inspector

    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    said: list[FromInspect] = []
    desk = Desk(Inspector(), said.append)

    def ask(id: str, tokens: int) -> None:
        training = {"max_length": tokens, "micro_batch": 2}
        spec = {"model": {"id": str(tmp_path)}, "dataset": {"path": "x"}, "training": training}
        desk.hear(ForecastMemory(id=id, spec=spec, card="16GiB"))
        desk.serve()

    def answers(id: str) -> list[MemoryForecast]:
        return [one for one in said if isinstance(one, MemoryForecast) and one.id == id]

    ask("first", 4096)
    assert [one.exact for one in answers("first")] == [True]
    # Where nobody asks anything, sizes around it are simulated.
    for _ in range(2):
        desk.serve()
    ask("second", 3000)
    assert [one.exact for one in answers("second")] == [False]
    ask("third", 2500)
    desk.serve()
    assert [one.exact for one in answers("second")] == [False]
    early, exact = answers("third")
    assert (early.exact, exact.exact) == (False, True)
    assert early.forecast is not None
    assert exact.forecast is not None
    # trl's buffer has its bend two tokens beyond a size that is known.
    wanted = exact.forecast.peak_process_gib
    assert early.forecast.peak_process_gib == pytest.approx(wanted, rel=1e-3)


def test_two_screens_ask_of_memory_at_once_and_both_are_answered(tmp_path: Path) -> None:
    """By their ids: the headroom panel asks of a draft, a fit check of the batch it measures."""
    from tui_lora.worker.inspect import Desk
    from tui_lora.worker.inspector import Inspector

    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    said: list[FromInspect] = []
    desk = Desk(Inspector(), said.append)
    for id, tokens in (("memory-1", 64), ("memory-2", 128), ("check-3", 256)):
        training = {"max_length": tokens, "micro_batch": 1}
        spec = {"model": {"id": str(tmp_path)}, "dataset": {"path": "x"}, "training": training}
        desk.hear(ForecastMemory(id=id, spec=spec, card="16GiB"))
    for _ in range(6):
        desk.serve()
    answered = [one.id for one in said if isinstance(one, MemoryForecast) and one.exact]
    assert answered == ["memory-2", "check-3"]


def test_a_simulation_is_left_off_in_the_middle() -> None:
    from tui_lora.worker.memory.forecast import trace_of
    from tui_lora.worker.memory.storages import Dropped

    asked = 0

    def go_on() -> bool:
        nonlocal asked
        asked += 1
        return asked < 10

    with pytest.raises(Dropped):
        trace_of(_recipe(scheme="nf4"), 2, 64, go_on)
    assert asked == 10


def test_how_the_files_are_stored_is_told(tmp_path: Path) -> None:
    from tests.worker.test_memory import _forecast

    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    found = _forecast(tmp_path, {"quantization_config": stored}, quantization={"scheme": "none"})
    assert found.stored == "nf4"
    assert any("quantized already (nf4)" in reason for reason in found.reasons)
    assert found.parts.weights < _forecast(tmp_path, quantization={"scheme": "none"}).parts.weights
