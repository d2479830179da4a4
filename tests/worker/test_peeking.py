"""A model asked while it trains: what it trains to is the same, and what it says is kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import workers
from tests.in_process import trained
from tests.task_rows import pairs, spec_of
from tests.worker.test_train import equal
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.events import Peeked
from tui_lora.core.orders import ChangeSpec, GoOn, Hold, Peek
from tui_lora.core.peek import questions
from tui_lora.store import peeks, sessions
from tui_lora.store.checkpoints import checkpoints

pytestmark = pytest.mark.model

ASKED = {"peek__prompts": ("What is the rank?", "And alpha, then?"), "peek__held_out": 1}
OFTEN = {**ASKED, "peek__every_steps": 2, "peek__max_new_tokens": 6}
PACKED = {
    "quantization__scheme": "nf4",
    "training__packing": True,
    "training__gradient_checkpointing": True,
}


def adapter(model: Any) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.clone() for name, tensor in found.items()}


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    import torch

    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def silent(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows: Path
) -> dict[str, Any]:
    """The adapter of a run that is asked nothing."""
    root = tmp_path_factory.mktemp("silent")
    return adapter(trained(root, "silent", tiny_spec(tiny_model, rows))[0])


@pytest.mark.parametrize("more", [{}, PACKED], ids=["lora", "nf4, packed"])
def test_the_adapter_is_the_same_to_the_bit(
    tmp_path: Path, tiny_model: Path, rows: Path, silent: dict[str, Any], more: dict[str, Any]
) -> None:
    """With dropout and accumulation, as everywhere here."""
    before = silent
    if more:
        before = adapter(trained(tmp_path, "silent", tiny_spec(tiny_model, rows, **more))[0])
    asked, paths = trained(tmp_path, "asked", tiny_spec(tiny_model, rows, **more, **OFTEN))
    assert same(before, adapter(asked))
    found = questions(peeks.read(paths))
    assert [one.source for one in found] == ["spec", "spec", "held_out"]
    for one in found:
        assert [answer.step for answer in one.answers] == [0, 2, 4, 6]
        assert one.base is not None
        # The adapter is untrained at step 0, and is not at the end.
        assert one.base.text == one.answers[0].text
        assert all(0 < answer.tokens <= 6 for answer in one.answers)
    assert found[2].prompt.startswith("What is the rank of run")
    assert found[2].reference.startswith("The rank is")


def drawing(most: int, ends: list[int], pad: int | None) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=most, do_sample=True, temperature=5.0, eos_token_id=ends, pad_token_id=pad
    )


@contextmanager
def _left_alone(*_: object) -> Iterator[None]:
    yield


@pytest.mark.parametrize("kept", [True, False])
def test_chance_goes_on_where_it_stood(
    tmp_path: Path,
    tiny_model: Path,
    rows: Path,
    silent: dict[str, Any],
    kept: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers that draw random numbers change nothing; they would, were these not put back."""
    monkeypatch.setattr("tui_lora.worker.peek_answers.drawn", drawing)
    if not kept:
        monkeypatch.setattr("tui_lora.worker.as_it_was.chance_as_it_was", _left_alone)
    asked, _ = trained(tmp_path, "asked", tiny_spec(tiny_model, rows, **OFTEN))
    assert same(silent, adapter(asked)) is kept


def test_all_else_is_put_back_too() -> None:
    import numpy as np
    import torch

    from tui_lora.worker.as_it_was import as_it_was

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(), torch.nn.BatchNorm1d(2))
    model[1].eval()
    model[0].bias.requires_grad_(False)
    held = model[2].running_mean
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()

    def use() -> None:
        with as_it_was(model):
            model.eval()
            model.requires_grad_(True)
            model[2].running_mean = torch.ones(2)
            assert random.random() + np.random.rand() + float(torch.rand(1)) < 3
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        use()
    assert [part.training for part in model.modules()] == [True, True, False, True]
    assert [one.requires_grad for one in model.parameters()] == [True, False, True, True]
    assert model[2].running_mean is held
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.long
def test_a_run_resumed_in_the_middle_of_an_epoch_is_the_same_too(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    """It is asked on at the same steps, and the base is not asked again."""
    spec = tiny_spec(tiny_model, rows, training__max_steps=8, evaluation__save_every_steps=3)
    whole = sessions.create(tmp_path, "whole", spec)
    assert workers.train(whole) == 0
    asking = tiny_spec(
        tiny_model, rows, training__max_steps=8, evaluation__save_every_steps=3, **OFTEN
    )
    paths = sessions.create(tmp_path, "asked", asking)
    worker = workers.start(paths)
    wait_for(paths, lambda view: view.step >= 5 and bool(view.checkpoint_steps))
    workers.kill(worker)
    assert [one.step for one in checkpoints(paths.checkpoints)][-1] in (3, 6)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    assert equal(paths, whole)
    found = questions(peeks.read(paths))
    assert [[answer.step for answer in one.answers] for one in found] == [[0, 2, 4, 6, 8]] * 3
    assert sum(one.base for one in peeks.read(paths)) == 3


@pytest.mark.long
def test_preferences_have_the_base_beside_and_stay_the_same(
    tmp_path: Path, tiny_model: Path
) -> None:
    before, _ = trained(tmp_path, "silent", spec_of("dpo", tiny_model, tmp_path))
    asked, paths = trained(tmp_path, "asked", spec_of("dpo", tiny_model, tmp_path, **OFTEN))
    assert same(adapter(before), adapter(asked))
    found = questions(peeks.read(paths))
    assert found[2].reference in [row["chosen"] for row in pairs()]
    assert all(one.base is not None for one in found)


def test_a_classifier_is_given_texts_to_sort(tmp_path: Path, tiny_model: Path) -> None:
    _, paths = trained(tmp_path, "run", spec_of("classification", tiny_model, tmp_path, **OFTEN))
    for one in questions(peeks.read(paths)):
        assert one.base is None
        for answer in one.answers:
            assert len(answer.chances) == 3
            assert sum(chance.probability for chance in answer.chances) == pytest.approx(1)
            assert answer.said == max(answer.chances, key=lambda c: c.probability).label


def test_messages_are_answered_by_their_id_also_while_it_holds(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000,
        peek__max_new_tokens=4,
    )  # fmt: skip
    paths = sessions.create(tmp_path, "run", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        first = sessions.give(paths, Peek, prompt="Who are you?", system="Be brief.")
        second = sessions.give(paths, Peek, prompt="[/INST] Well? " * 80)
        asking = {"peek.prompts": ("Now, this?",), "peek.every_steps": 1}
        change = sessions.give(paths, ChangeSpec, changes=asking)
        view = wait_for(paths, lambda view: {first.id, second.id, change.id} <= set(view.answers))
        assert view.answers[first.id].ok
        assert "answered a message at step" in view.answers[first.id].message
        assert not view.answers[second.id].ok
        assert "max length (64)" in view.answers[second.id].message
        sessions.give(paths, Hold)
        held = wait_for(paths, lambda view: view.holding).step
        third = sessions.give(paths, Peek, prompt="Still there?")
        view = wait_for(paths, lambda view: third.id in view.answers)
        assert view.answers[third.id].ok
        on = sessions.give(paths, GoOn)
        wait_for(paths, lambda view: on.id in view.answers)
        wait_for(paths, lambda view: view.step >= held + 3)
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
        last = view_of(paths)
    mine, base = peeks.answer_to(paths, third.id)
    assert mine is not None
    assert base is not None
    assert (mine.step, mine.prompt, mine.limit) == (held, "Still there?", 4)
    assert (base.base, base.key) == (True, mine.key)
    assert "Now, this?" in [one.prompt for one in questions(peeks.read(paths))]
    told = [one for one in sessions.events_of(paths, Peeked) if one.order == first.id]
    assert [one.answers for one in told] == [1]
    assert last.attempt == 1


class _Fails:
    """An answer for which memory runs out, or something else goes wrong."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *_: object, **__: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory ran out"),
        (ValueError("[odd] \x1b[31m"), "ValueError: [odd] [31m (worker.log"),
    ],
)
def test_what_goes_wrong_ends_no_run(
    tmp_path: Path,
    tiny_model: Path,
    rows: Path,
    silent: dict[str, Any],
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui_lora.worker.peek_answers.Answers._written", _Fails(error))
    asked, paths = trained(tmp_path, "asked", tiny_spec(tiny_model, rows, **OFTEN))
    assert same(silent, adapter(asked))
    told = [line.text for line in view_of(paths).log if line.level == "warning"]
    assert [said in text for text in told] == [True]
    assert peeks.read(paths) == ()


def test_a_stop_is_heard_between_two_tokens(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    """The answer would take hours."""
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000,
        training__max_length=4000, peek__prompts=("Go on.",), peek__max_new_tokens=2048,
    )  # fmt: skip
    paths = sessions.create(tmp_path, "run", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.phase is not None and view.phase.name == "peek")
        order = sessions.order_stop(paths)
        waiting = sessions.give(paths, Peek, prompt="And this?")
        assert workers.finish(worker) == 0
    view = view_of(paths)
    assert view.answers[order.id].ok
    assert not view.answers[waiting.id].ok
    assert (view.step, view.verdict) == (0, "stopped")
    assert peeks.read(paths) == ()
