"""Optimizers: what their state costs, what they want to know, and packages that are missing."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.in_process import trained
from tests.workers import tiny_spec, view_of
from tui_lora.core.errors import UserError
from tui_lora.core.optimizers import OPTIMIZERS, SMALLEST, state_bytes
from tui_lora.core.spec import TrainingSpec

pytestmark = pytest.mark.model

INSTALLED = [name for name, found in OPTIMIZERS.items() if not found.package]
RANK, WIDTH = 16, 1024


def test_the_table_has_every_choice() -> None:
    choices = get_args(TrainingSpec.model_fields["optimizer"].annotation)
    assert set(OPTIMIZERS) == set(choices) - {"auto"}
    for found in OPTIMIZERS.values():
        assert bool(found.package) is bool(found.module)
        assert found.purpose.endswith(".")
    assert state_bytes("auto", 100) == state_bytes("adamw_torch_fused", 100) == 800


def state_after_a_step(optimizer: str, shape: tuple[int, int], dtype: str) -> int:
    """Bytes of all tensors that an optimizer keeps of one weight."""
    import torch
    from transformers import Trainer, TrainingArguments

    weight = torch.nn.Parameter(torch.zeros(shape, dtype=getattr(torch, dtype)))
    args = TrainingArguments(optim=optimizer, use_cpu=True)
    kind, named = Trainer.get_optimizer_cls_and_kwargs(args)
    made = kind([weight], **named)
    weight.grad = torch.ones_like(weight)
    made.step()
    kept = made.state[weight].items()
    # A table of 8-bit values is one for all weights.
    return sum(
        value.numel() * value.element_size()
        for name, value in kept
        if isinstance(value, torch.Tensor) and not name.startswith("qmap")
    )


def test_what_comes_on_top_of_the_first_micro_batch() -> None:
    import torch

    from tui_lora.worker.beginning_words import on_top

    weights = [torch.zeros(100, dtype=torch.bfloat16), torch.zeros(3, 4)]
    assert on_top(weights, "adamw_torch_fused", gradients=False) == 2 * (2 * 100 + 4 * 12)
    assert on_top(weights, "auto", gradients=True) == 3 * (2 * 100 + 4 * 12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", INSTALLED)
def test_the_state_is_as_large_as_the_table_says(optimizer: str, dtype: str) -> None:
    of_each = {"float32": 4, "bfloat16": 2}[dtype]
    weights = RANK * WIDTH
    said = state_bytes(optimizer, weights, weight_bytes=of_each, rank=RANK)
    measured = state_after_a_step(optimizer, (RANK, WIDTH), dtype)
    # A counter of steps; and of adafactor a number for each of the few rows.
    assert said <= measured <= said + 16 + (4 * RANK if optimizer == "adafactor" else 0)


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "lion_8bit"])
def test_small_weights_keep_their_state_whole(optimizer: str) -> None:
    whole = 4 * OPTIMIZERS[optimizer].numbers
    assert state_after_a_step(optimizer, (4, SMALLEST // 4 - 4), "float32") == whole * (
        SMALLEST - 16
    )
    assert state_after_a_step(optimizer, (4, SMALLEST // 4), "float32") < whole * SMALLEST / 3


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name not in INSTALLED])
def test_one_of_a_package_that_is_missing_is_refused_before_anything_is_loaded(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.store import packages
    from tui_lora.worker.settling import settle

    monkeypatch.setattr(packages, "is_installed", lambda module: False)
    scheduler = "constant" if optimizer == "schedule_free_adamw" else "cosine"
    settings = {"training__optimizer": optimizer, "training__scheduler": scheduler}
    spec = tiny_spec(tmp_path / "no-model", tmp_path, **settings)
    with pytest.raises(UserError, match="which is not installed") as caught:
        settle(spec)
    assert caught.value.where == "training.optimizer"
    assert f"pip install {OPTIMIZERS[optimizer].package}" in caught.value.then


class ScheduleFree:
    """schedulefree's AdamW in so far as it is an optimizer that trains on other weights than it
    keeps, warms up by itself, and fails when it is used in the wrong state."""

    @staticmethod
    def make() -> type:
        import torch

        class AdamWScheduleFree(torch.optim.SGD):
            made: Any = None

            def __init__(self, params: Any, lr: float, warmup_steps: float, **_: Any) -> None:
                super().__init__(params, lr=lr)
                for group in self.param_groups:
                    group |= {"warmup_steps": warmup_steps, "train_mode": False}
                type(self).made = self

            def _shift(self, by: float, on: bool) -> None:
                for group in self.param_groups:
                    if group["train_mode"] is not on:
                        for weight in group["params"]:
                            weight.data += by
                    group["train_mode"] = on

            def train(self) -> None:
                self._shift(1.0, True)

            def eval(self) -> None:
                self._shift(-1.0, False)

            def step(self, closure: Any = None) -> Any:
                assert all(group["train_mode"] for group in self.param_groups)
                return super().step(closure)

        return AdamWScheduleFree


def test_schedule_free_keeps_what_it_averaged_and_warms_up_in_steps(
    tmp_path: Path, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the package: what is saved are the weights at rest."""
    import torch
    import transformers.trainer_optimizer as theirs
    from safetensors.torch import load_file

    from tui_lora.store import packages

    package = types.ModuleType("schedulefree")
    kind = ScheduleFree.make()
    package.AdamWScheduleFree = kind  # type: ignore[attr-defined]
    package.SGDScheduleFree = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "schedulefree", package)
    monkeypatch.setattr(theirs, "is_schedulefree_available", lambda *_: True)
    monkeypatch.setattr(packages, "is_installed", lambda module: True)
    spec = tiny_spec(
        tiny_model, rows, training__optimizer="schedule_free_adamw", training__max_steps=4,
        training__scheduler="constant", training__warmup=0.5, training__learning_rate=1e-12,
        evaluation__save_every_steps=3, dataset__eval_share=0, training__weight_decay=0,
    )  # fmt: skip
    _, paths = trained(tmp_path, "run", spec)
    assert [group["warmup_steps"] for group in kind.made.param_groups] == [2, 2]
    assert not any(group["train_mode"] for group in kind.made.param_groups)
    folders = [*sorted(paths.checkpoints.glob("step-*")), paths.adapter]
    assert len(folders) == 3
    for folder in folders:
        weights = load_file(folder / "adapter_model.safetensors")
        kept = torch.cat([w.flatten() for name, w in weights.items() if "lora_B" in name])
        assert kept.abs().max() < 1e-6, folder


# Of a rate of 10, in 20 steps of which 5 are warm-up: the last fifth is 4 steps of a cosine.
STABLE = [0, 2, 4, 6, 8, *([10] * 11), 10, 8.54, 5, 1.46]


def rates(warmup: float, steps: int, **changes: Any) -> list[float]:
    import torch
    from transformers import Trainer

    from tui_lora.worker.arguments import trainer_config
    from tui_lora.worker.schedule import settle_schedule

    spec = tiny_spec(
        Path("m"), Path("d"), training__scheduler="warmup_stable_decay", training__warmup=warmup,
        training__max_steps=None, **changes,
    )  # fmt: skip
    config, _ = trainer_config(
        spec, scratch=Path("x"), device="cpu", dtype=torch.float32, held_out=False, resumed=False
    )
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=10.0)
    settle_schedule(config, optimizer, steps)
    trainer = types.SimpleNamespace(lr_scheduler=None, args=config, optimizer=optimizer)
    schedule = Trainer.create_scheduler(trainer, steps)  # type: ignore[arg-type]
    taken = []
    for _ in range(steps):
        taken.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return taken


def test_only_the_last_fifth_of_the_run_decays() -> None:
    assert rates(5, 20) == pytest.approx(STABLE, abs=0.01)
    assert rates(0, 10) == pytest.approx([*([10] * 8), 10, 5], abs=0.01)


def test_a_long_warm_up_leaves_the_rest_to_decay() -> None:
    assert rates(9, 10)[-2:] == pytest.approx([10 * 8 / 9, 10], abs=0.01)
    assert rates(0.03, 1) == [0]


def test_a_resumed_run_decays_where_it_would_have(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    from tests.workers import kill, start, train, wait_for
    from tui_lora.store import sessions

    spec = tiny_spec(
        tiny_model, rows, training__scheduler="warmup_stable_decay", training__max_steps=10,
        training__warmup=2, training__accumulation=1, evaluation__save_every_steps=3,
        evaluation__every_steps=10, dataset__eval_share=0,
    )  # fmt: skip
    paths = sessions.create(tmp_path, "run", spec)
    process = start(paths)
    wait_for(paths, lambda view: view.checkpoint is not None)
    kill(process)
    assert train(paths) == 0
    view = view_of(paths)
    assert view.resumed_from
    lines = paths.events.read_text().splitlines()
    steps = [event for line in lines if (event := json.loads(line))["type"] == "step_done"]
    taken = {event["step"]: event["learning_rate"] for event in steps}
    assert taken[10] == pytest.approx(2.5e-3)
    assert {rate for step, rate in taken.items() if 3 <= step <= 9} <= {5e-3}
