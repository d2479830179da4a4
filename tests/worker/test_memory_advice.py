"""Advice about memory: what is said to fit does, by the very forecast of the changed run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.advice import Advice, RowLengths, changed
from tui_lora.core.candidates import ROOM, SMALLER
from tui_lora.core.cards import Card
from tui_lora.core.inspect import (
    AdviseMemory,
    CancelInspect,
    FeedRow,
    FromInspect,
    InspectFailed,
    MemoryAdvised,
)
from tui_lora.core.memory import Forecast, Parts
from tui_lora.core.memory_in_full import in_full
from tui_lora.core.model_facts import facts_of
from tui_lora.core.spec import RunSpec, parse_spec

pytestmark = pytest.mark.model

CONTEXT_TOKENS = 2048
Advise = Callable[..., Advice]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("config") / "small"
    config = LlamaConfig(
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=2,
        num_attention_heads=8,
        vocab_size=8000,
        max_position_embeddings=CONTEXT_TOKENS,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def spec(model: Path) -> RunSpec:
    training = {"micro_batch": 8, "accumulation": 2, "gradient_checkpointing": False}
    return parse_spec({"model": str(model), "dataset": "d", "training": training})


@pytest.fixture(scope="module")
def forecast() -> Callable[[RunSpec], Forecast]:
    """Of runs on a card from Ampere on; what is known is not simulated again."""
    from tui_lora.worker.memory.forecasts import Forecasts

    known = Forecasts()

    def of(spec: RunSpec) -> Forecast:
        found = known.of(spec, Card("any", 1.0), "")
        assert isinstance(found, Forecast)
        return found

    return of


@pytest.fixture(scope="module")
def advise(forecast: Callable[[RunSpec], Forecast]) -> Advise:
    from tui_lora.worker.memory.advice import advised

    def on(spec: RunSpec, total_gib: float, *, whole: bool = False, **named: Any) -> Advice:
        """What is advised; the largest and the ways, which take long, where all is wanted."""
        last = None
        for found in advised(spec, Card("made up", total_gib), forecast, **named):
            last = found or last
            assert isinstance(last, Advice)
            if last.largest and not whole:
                break
        assert last is not None
        return last

    return on


def test_what_makes_it_fit_comes_first_and_does(
    spec: RunSpec, advise: Advise, forecast: Callable[[RunSpec], Forecast]
) -> None:
    peak = forecast(spec).peak_process_gib
    found = advise(spec, 0.95 * peak)
    assert found.verdict == "does_not_fit"
    assert found.changes[0].verdict == "fits"
    assert found.nothing == ""
    for change in found.changes:
        new = changed(spec, change.changes)
        assert new is not None
        assert forecast(new).peak_process_gib == change.peak_process_gib
        assert change.saves_gib == pytest.approx(peak - change.peak_process_gib)
        assert change.saves_gib > 0
        fits = change.peak_process_gib <= 0.95 * 0.95 * peak
        assert (change.verdict == "fits") == fits
        assert new.training.micro_batch * new.training.accumulation == 16
    ranks = ["fits", "tight", "does_not_fit"]
    order = [kind for kind in SMALLER if kind.rungs(spec)]
    by_cost = [
        (
            ranks.index(change.verdict),
            next(n for n, kind in enumerate(order) if one in kind.rungs(spec)),
        )
        for change in found.changes
        for one in [next(c for kind in order for c in kind.rungs(spec) if c.title == change.title)]
    ]
    assert by_cost == sorted(by_cost)
    assert len(by_cost) > 3


@pytest.mark.long
def test_where_none_is_enough_several_are_and_no_one_too_many(
    spec: RunSpec, advise: Advise, forecast: Callable[[RunSpec], Forecast]
) -> None:
    alone = [kind.rungs(spec)[-1].spec for kind in SMALLER if kind.rungs(spec)]
    least = min(forecast(one).peak_process_gib for one in alone)
    found = advise(spec, least)
    together = found.changes[0]
    assert together.verdict == "fits"
    assert len(together.steps) > 1
    new = changed(spec, together.changes)
    assert new is not None
    assert forecast(new).peak_process_gib == together.peak_process_gib <= 0.95 * least
    assert all(step in together.title for step in together.steps)
    assert all(change.verdict != "fits" for change in found.changes[1:])
    assert new.training.micro_batch * new.training.accumulation == 16
    candidates = {one.title: one for kind in SMALLER for one in kind.rungs(spec)}
    for step in together.steps[:-1]:
        back = {path: _at(spec, path) for path in candidates[step].changes}
        without = changed(new, back)
        assert without is not None
        assert forecast(without).peak_process_gib > 0.95 * least


@pytest.mark.long
def test_that_nothing_fits_is_said(
    spec: RunSpec, advise: Advise, forecast: Callable[[RunSpec], Forecast]
) -> None:
    weights = advise(spec, 0.33)
    assert "the weights alone take 0.0 GiB in nf4" in weights.nothing
    assert all(change.verdict == "does_not_fit" for change in weights.changes)
    # There is room for the weights, but not for rows.
    rest = advise(spec, 0.40)
    assert rest.nothing.startswith("Nothing makes it fit: with nf4, checkpointing, micro-batch 1")
    assert all(change.verdict == "does_not_fit" for change in rest.changes)


@pytest.mark.long
def test_room_is_spent_on_what_still_fits(
    spec: RunSpec, advise: Advise, forecast: Callable[[RunSpec], Forecast]
) -> None:
    small = changed(
        spec,
        {
            "quantization.scheme": "nf4",
            "training.gradient_checkpointing": "auto",
            "training.micro_batch": 4,
            "training.accumulation": 4,
            "training.max_length": 512,
        },
    )
    assert small is not None
    lengths = RowLengths(edges=(0, 512, 800), lengths=(90, 10), p95=600, longest=700)
    peak = forecast(small).peak_process_gib
    found = advise(small, 1.5 * peak, lengths=lengths)
    assert found.verdict == "fits"
    assert len(found.changes) > 2
    kinds = {one.title for kind in ROOM for one in kind.rungs(small, lengths)}
    for change in found.changes:
        assert change.title in kinds
        assert change.verdict == "fits"
        assert change.peak_process_gib <= 0.95 * 1.5 * peak
    # What others hold is no room.
    held = advise(small, 1.5 * peak, others_gib=0.4 * peak, lengths=lengths)
    assert held.verdict == "fits"
    assert all(change.peak_process_gib <= (0.95 * 1.5 - 0.4) * peak for change in held.changes)
    assert len(held.changes) < len(found.changes)


@pytest.mark.long
def test_the_largest_and_the_ways(
    spec: RunSpec,
    advise: Advise,
    forecast: Callable[[RunSpec], Forecast],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tui_lora.worker.memory import largest as largest_values

    monkeypatch.setattr(largest_values, "MOST_SIMULATED", 2)
    total = 1.2 * forecast(spec).peak_process_gib
    found = advise(spec, total, whole=True)
    for largest in found.largest:
        at = changed(spec, {largest.setting: largest.value})
        peak = forecast(at or spec).peak_process_gib
        assert peak == largest.peak_process_gib
        assert peak <= 0.95 * total
    assert [one.setting for one in found.largest] == [
        "training.max_length",
        "training.micro_batch",
        "lora.r",
    ]
    full, plain, int8, nf4 = (way.forecast for way in found.ways)
    assert full is not None
    assert plain is not None
    assert int8 is not None
    assert nf4 is not None
    assert plain.parts.weights > int8.parts.weights > nf4.parts.weights
    # Weights and AdamW's two means, all of float32.
    assert full.parts.adapter == 0
    assert full.parts.weights == pytest.approx(2 * plain.parts.weights, rel=0.01)
    assert full.parts.optimizer == pytest.approx(2 * full.parts.weights, rel=0.01)


def test_training_in_full_is_left_off_too_and_not_simulated_twice(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker.memory import ways as module
    from tui_lora.worker.memory.storages import Dropped

    done = 0

    def counted(*given: Any) -> Any:
        nonlocal done
        found = trace_of(*given)
        done += 1
        return found

    trace_of = module.trace_of
    monkeypatch.setattr(module, "trace_of", counted)

    def full(of: RunSpec, **named: Any) -> Any:
        return next(module.ways(of, Card("any", 1.0), lambda spec: None, 0.3, **named))

    # Of other rows than those of another test, which are known.
    spec = changed(spec, {"training.max_length": 192}) or spec
    with pytest.raises(Dropped):
        full(spec, go_on=lambda: False)
    found = full(spec)
    other = changed(spec, {"lora.r": 64})
    assert other is not None
    assert found.forecast is not None
    assert full(other).forecast == found.forecast
    assert done == 1
    longer = changed(spec, {"training.max_length": 256})
    assert longer is not None
    assert full(longer).forecast != found.forecast
    # What the Model screen shows at once is not far from it.
    facts = facts_of(json.loads((Path(spec.model.id) / "config.json").read_text()))
    assert facts is not None
    reckoned = in_full(facts, longer, Card("any", 1.0))
    simulated = full(longer).forecast
    assert reckoned.peak_reserved_gib == pytest.approx(simulated.peak_reserved_gib, rel=0.1)
    assert reckoned.parts.optimizer == pytest.approx(simulated.parts.optimizer, rel=0.01)


def test_a_rank_above_what_a_layer_has_ends_no_advice(spec: RunSpec) -> None:
    """It is refused, also where one looks between what was simulated, and the search goes on."""
    from tui_lora.core.errors import UserError
    from tui_lora.worker.memory.advice import advised

    def of(spec: RunSpec) -> Forecast:
        if spec.lora.r > 900:
            raise UserError("a rank above 900 adds nothing.")
        taken = 4 + spec.lora.r / 100
        parts = dict.fromkeys(Parts.model_fields, 0.0)
        return Forecast(
            method="simulated",
            parts=Parts(**parts),
            peak_allocated_gib=taken,
            peak_reserved_gib=taken,
        )

    def between(spec: RunSpec) -> None:
        of(spec)

    told = None
    for found in advised(spec, Card("any", 64.0), of, between=between):
        told = found or told
        if isinstance(told, Advice) and len(told.largest) == 3:
            break
    assert isinstance(told, Advice)
    rank = told.largest[-1]
    assert (rank.setting, rank.value, rank.limit) == ("lora.r", 900, "setting")


def test_the_desk_answers_between_simulations_and_leaves_off(model: Path, tmp_path: Path) -> None:
    from tui_lora.worker.inspect import Desk
    from tui_lora.worker.inspector import Inspector

    said: list[FromInspect] = []
    desk = Desk(Inspector(), said.append)
    spec = {"model": {"id": str(model)}, "dataset": {"path": str(tmp_path / "none.jsonl")}}
    desk.hear(AdviseMemory(id="a", spec=spec, card="made up", total_gib=0.5))
    for _ in range(3):
        desk.serve()
    desk.hear(FeedRow(id="row", spec=spec, row=0))
    desk.serve()
    assert isinstance(said[-1], InspectFailed)
    assert said[-1].id == "row"
    first = next(answer for answer in said if isinstance(answer, MemoryAdvised))
    assert first.advice is not None
    assert not first.done
    desk.hear(CancelInspect(id="a"))
    desk.hear(AdviseMemory(id="none", spec=spec, card="17 pounds"))
    while not isinstance(said[-1], InspectFailed) or said[-1].id != "none":
        desk.serve()
    assert not any(isinstance(answer, MemoryAdvised) and answer.done for answer in said)


@pytest.mark.parametrize("looks", [1, 5, 30])
def test_it_is_left_off_in_the_middle_of_a_simulation(model: Path, looks: int) -> None:
    """Whoever asked has gone: it ends without a word, and the next question is answered."""
    from tui_lora.worker.inspector import Inspector

    inspector = Inspector()
    spec = {"model": {"id": str(model)}, "dataset": {"path": "none.jsonl"}}
    asked = AdviseMemory(id="a", spec=spec, card="made up", total_gib=0.5)
    left = looks

    def go_on() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    assert not any(isinstance(told, InspectFailed) for told in inspector.advise(asked, go_on))
    assert left <= 0
    again = next(told for told in inspector.advise(asked) if told is not None)
    assert isinstance(again, MemoryAdvised)


def _at(spec: RunSpec, path: str) -> Any:
    section, name = path.split(".")
    return getattr(getattr(spec, section), name)
