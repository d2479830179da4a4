"""The experimental group: a penalty to the last digit, and adapters that are their 4-bit copies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import workers
from tests.answers import apart, reloads_the_same
from tests.in_process import trained
from tests.workers import tiny_spec, view_of
from tui_lora.core.spec import ModelSpec, QuantizationSpec, RunSpec
from tui_lora.store import sessions
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model

STRENGTH, WIDTH = 1e-3, 0.05


def rows_of(task: str, file: Path, count: int = 8) -> Path:
    rows: list[dict[str, Any]] = []
    for i in range(count):
        prompt, answer = f"What is the rank of run {i}? " * (1 + i % 3), f"The rank is {i}."
        row: dict[str, Any] = {"prompt": prompt, "completion": answer}
        if task == "classification":
            row = {"text": prompt, "label": "odd" if i % 2 else "even"}
        elif task == "dpo":
            row = {"prompt": prompt, "chosen": answer, "rejected": "Four."}
        elif task == "kto":
            row["label"] = bool(i % 2)
        rows.append(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def weights_in(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def equal(left: dict[str, Any], right: dict[str, Any]) -> bool:
    import torch

    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def factors_of(model: Any) -> dict[str, Any]:
    from tui_lora.worker.experimental import is_factor

    found = {name: value for name, value in model.named_parameters() if is_factor(name)}
    assert found
    return found


# -- the penalty -------------------------------------------------------------------------------


def gradients_of(root: Path, name: str, spec: RunSpec) -> tuple[list[Any], SessionPaths]:
    """Weights and gradients with which the optimizer was called, step by step. B begins random:
    at 0 the penalty would pull at A alone."""
    import torch

    from tui_lora.worker import trainer
    from tui_lora.worker.voice import Voice

    steps: list[Any] = []
    really = trainer.set_adapter_dtype

    def random_b(model: Any, dtype: Any) -> None:
        really(model, dtype)
        chance = torch.Generator().manual_seed(3)
        for name, weight in factors_of(model).items():
            if "lora_B" in name:
                weight.data = torch.randn(weight.shape, generator=chance) * WIDTH

    def record(_: Voice, args: Any, state: Any, control: Any, *, model: Any, **__: Any) -> None:
        steps.append(
            {
                name: (value.detach().clone(), value.grad.clone())
                for name, value in model.named_parameters()
                if value.requires_grad
            }
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "set_adapter_dtype", random_b)
        patch.setattr(Voice, "on_pre_optimizer_step", record)
        _, paths = trained(root, name, spec)
    return steps, paths


@pytest.mark.parametrize("task", ["sft", "classification", "dpo", "kto"])
def test_a_step_has_the_penaltys_gradient_once_however_it_is_cut_up(
    task: str, tmp_path: Path, tiny_model: Path
) -> None:
    """8 rows in micro-batches of 2, 3 of them to a step: the second step has one alone."""
    import torch

    plain = tiny_spec(
        tiny_model, rows_of(task, tmp_path / "rows.jsonl"), task=task, lora__dropout=0.0,
        training__accumulation=3, training__max_steps=2, training__learning_rate=1e-12,
        training__max_grad_norm=0, dataset__eval_share=0.0,
    )  # fmt: skip
    tried = {"lorentzian": STRENGTH, "lorentzian_width": WIDTH}
    penalized = RunSpec.model_validate({**plain.model_dump(), "experimental": tried})
    before, paths_before = gradients_of(tmp_path, "plain", plain)
    after, paths = gradients_of(tmp_path, "penalized", penalized)
    assert len(before) == len(after) == 2
    for step_before, step_after in zip(before, after, strict=True):
        assert step_before.keys() == step_after.keys()
        for name, (weight, gradient) in step_after.items():
            pull = STRENGTH * 2 * weight / (WIDTH**2 + weight**2)
            if "lora_A" not in name and "lora_B" not in name:
                assert task == "classification"
                pull = torch.zeros(())
            else:
                assert pull.abs().max() > STRENGTH / WIDTH / 2
            assert torch.allclose(gradient - step_before[name][1], pull, atol=1e-6), name

    # The loss is that of the rows, and the penalty a figure of its own.
    view, view_before = view_of(paths), view_of(paths_before)
    assert view.loss.buckets[0].first == 1
    assert view.loss.latest == view_before.loss.latest
    assert "penalty" not in view_before.step_metrics
    added = sum(
        float(STRENGTH * torch.log(1 + (weight.double() / WIDTH) ** 2).sum())
        for name, (weight, _) in after[-1].items()
        if "lora_" in name
    )
    assert view.step_metrics["penalty"].latest == pytest.approx(added, rel=1e-5)


def test_a_penalty_of_nothing_is_the_plain_run_bit_for_bit(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    """Also one that goes all its ways and adds nothing: no chance is drawn and no step is moved."""
    plain = tiny_spec(tiny_model, rows, training__max_steps=4)
    _, paths = trained(tmp_path, "plain", plain)
    for strength in (0.0, 1e-42):
        tried = {"lorentzian": strength, "lorentzian_width": 0.1}
        spec = RunSpec.model_validate({**plain.model_dump(), "experimental": tried})
        _, other = trained(tmp_path, f"other-{strength}", spec)
        assert equal(weights_in(paths.adapter), weights_in(other.adapter))
        assert ("penalty" in view_of(other).step_metrics) is bool(strength)


@pytest.mark.parametrize(
    ("variant", "scheme"),
    [
        ("lora-fa", "nf4"),
        pytest.param("lora", "nf4", marks=pytest.mark.long),
        pytest.param("lora+", "none", marks=pytest.mark.long),
    ],
)
def test_weights_are_pressed_to_0_by_any_optimizer(
    variant: str, scheme: str, tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    def small(name: str, **changes: Any) -> float:
        spec = tiny_spec(
            tiny_model, rows, lora__variant=variant, quantization__scheme=scheme,
            evaluation__every_steps=6, **changes,
        )  # fmt: skip
        model, _ = trained(tmp_path, name, spec)
        b = [value.detach().abs() for name, value in factors_of(model).items() if "_B" in name]
        return float(sum(value.sum() for value in b))

    assert small("pressed", experimental__lorentzian=1.0) < 0.7 * small("plain")


def test_the_penalty_is_computed_in_float32_and_scaled_as_the_loss_is() -> None:
    import torch

    from tui_lora.worker.experimental import LorentzianPenalty

    torch.manual_seed(0)
    layer = torch.nn.Module()
    layer.register_parameter(
        "lora_A", torch.nn.Parameter(torch.randn(64, 8).to(torch.bfloat16) * 0.01)
    )
    model = torch.nn.ModuleDict({"q_proj": layer})
    weight = layer.lora_A.detach().float()
    found = LorentzianPenalty(0.5, 0.01).add_gradients(
        model, lambda penalty: (1024 * penalty).backward()
    )
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(0.5 * torch.log1p((weight / 0.01) ** 2).sum()))
    pull = 1024 * 0.5 * 2 * weight / (0.01**2 + weight**2)
    assert torch.allclose(layer.lora_A.grad.float(), pull, rtol=2**-7)


# -- adapters in 4 bits ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(16, 4096), (4096, 16), (256, 8), (7, 9), (1, 1), (4, 33)])
def test_rounding_is_to_the_nearest_level_and_stays(shape: tuple[int, ...], dtype: str) -> None:
    """Of matrices whose rows are shorter than a block too."""
    import torch
    from bitsandbytes.functional import get_4bit_type

    from tui_lora.worker.four_bit import rounded

    torch.manual_seed(0)
    weight = (torch.randn(shape) * 0.02).to(getattr(torch, dtype))
    found = rounded(weight)
    assert (found.dtype, found.shape) == (weight.dtype, weight.shape)
    assert torch.equal(rounded(found), found)
    flat = weight.float().flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % 64)).reshape(-1, 64)
    scales = blocks.abs().amax(1, keepdim=True)
    levels = get_4bit_type("nf4", device="cpu")
    nearest = levels[(blocks.div(scales).unsqueeze(-1) - levels).abs().argmin(-1)] * scales
    expected = nearest.flatten()[: len(flat)].reshape(shape).to(weight.dtype)
    assert (found == expected).float().mean() > 0.999  # what lies between two levels may go either
    assert torch.equal(rounded(torch.zeros(4, 64)), torch.zeros(4, 64))


FOUR_BIT = [
    pytest.param("lora", "none", "sft", id="lora"),
    pytest.param("dora", "nf4", "sft", id="dora-nf4"),
    pytest.param("lora-fa", "none", "sft", id="lora-fa", marks=pytest.mark.long),
    pytest.param("rslora", "int8", "sft", id="rslora-int8", marks=pytest.mark.long),
    pytest.param("lora", "none", "classification", id="classification"),
    pytest.param("lora", "none", "dpo", id="dpo", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("variant", "scheme", "task"), FOUR_BIT)
def test_what_was_measured_is_what_is_saved_and_what_its_4_bits_hold(
    variant: str, scheme: str, task: str, tmp_path: Path, tiny_model: Path
) -> None:
    import torch

    from tui_lora.worker.experimental import is_factor
    from tui_lora.worker.four_bit import Rounding, rounded
    from tui_lora.worker.voice import Voice

    spec = tiny_spec(
        tiny_model, rows_of(task, tmp_path / "rows.jsonl", 24), task=task, lora__variant=variant,
        quantization__scheme=scheme, experimental__four_bit_adapter=True,
    )  # fmt: skip
    measured: list[bool] = []
    stepped: list[bool] = []
    really = Voice.on_prediction_step

    def is_rounded(model: Any) -> bool:
        return all(torch.equal(w.data, rounded(w.data)) for w in factors_of(model).values())

    def measuring(self: Voice, *given: Any, **named: Any) -> None:
        measured.append(is_rounded(named["model"]))
        really(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Voice, "on_prediction_step", measuring)
        patch.setattr(
            Voice, "on_pre_optimizer_step",
            lambda *_, model, **__: stepped.append(is_rounded(model)), raising=False,
        )  # fmt: skip
        model, paths = trained(tmp_path, "run", spec)
    assert measured
    assert all(measured)
    assert len(stepped) == 6
    assert not any(stepped)

    saved = weights_in(paths.adapter)
    assert not equal(saved, weights_in(paths.checkpoints / "step-000006"))
    assert all(torch.equal(rounded(w), w) for name, w in saved.items() if is_factor(name))
    with Rounding(model).on():
        if task == "classification":
            again = classifier_of(spec, paths)
            prompt = again.tokenizer("What is the rank", return_tensors="pt")
            model.eval()
            with torch.inference_mode():
                assert apart(model(**prompt).logits, again.model(**prompt).logits) < 1e-5
        else:
            reloads_the_same(model, spec, paths)

    # The card's own lines turn the packed copy into the plain weights.
    card = (paths.adapter / "README.md").read_text()
    script = card.split("```python\n")[2].split("```")[0]
    made = paths.folder / "made.safetensors"
    lines = script.replace("# from", "from").replace("# save_file", "save_file")
    lines = lines.replace('"adapter_4bit', f'r"{paths.adapter}/adapter_4bit')
    exec(lines.replace('"adapter_model.safetensors"', f'r"{made}"'), {})
    made.rename(made.with_name("adapter_model.safetensors"))
    assert equal(weights_in(paths.folder), saved)

    packed = (paths.adapter / "adapter_4bit.safetensors").stat().st_size
    assert any("at 4 bits in" in line.text for line in view_of(paths).log)
    if task != "classification" and variant != "dora":
        # 4.5 bits of 32, and a header.
        bits = sum(w.numel() for w in saved.values()) * 4.5
        assert packed < bits / 8 + 400 * len(saved)


def classifier_of(spec: RunSpec, paths: SessionPaths) -> Any:
    from tui_lora.worker.adapter import attach
    from tui_lora.worker.model import load_model

    loaded = load_model(spec.model, spec.quantization, devices="cpu", labels=("even", "odd"))
    attach(loaded.model, paths.adapter, "tuned", "cpu").eval()
    return loaded


def test_a_reference_beside_it_is_left_alone(tiny_model: Path, tiny_adapter: Path) -> None:
    import torch

    from tui_lora.worker.adapter import attach
    from tui_lora.worker.experimental import is_factor
    from tui_lora.worker.four_bit import Rounding
    from tui_lora.worker.model import load_model
    from tui_lora.worker.reference import hold_reference

    loaded = load_model(ModelSpec(id=str(tiny_model)), QuantizationSpec(), devices="cpu")
    model = attach(loaded.model, tiny_adapter, "default", "cpu")
    hold_reference(model)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with Rounding(model).on():
        changed = {n for n, v in model.named_parameters() if not torch.equal(v, before[n])}
    assert changed == {n for n in before if is_factor(n)}
    assert all(".default." in name for name in changed)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


@pytest.mark.long
def test_a_4_bit_run_resumes_with_its_weights_unrounded(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=4, experimental__four_bit_adapter=True,
        experimental__lorentzian=1e-3,
    )  # fmt: skip
    whole = sessions.create(tmp_path, "whole", spec)
    assert workers.train(whole) == 0, whole.log.read_text()[-2000:]
    broken = SessionPaths(tmp_path / "broken")
    shutil.copytree(whole.folder, broken.folder)
    shutil.rmtree(broken.checkpoints / "step-000004")
    shutil.rmtree(broken.adapter)
    assert workers.train(broken) == 0, broken.log.read_text()[-2000:]
    assert view_of(broken).resumed_from == 2
    for folder in ("adapter", "checkpoints/step-000004"):
        assert equal(weights_in(whole.folder / folder), weights_in(broken.folder / folder)), folder
    for metric in ("loss", "eval_loss"):
        assert getattr(view_of(whole), metric).latest == getattr(view_of(broken), metric).latest


def test_a_copy_that_would_not_hold_the_same_is_not_written(
    tmp_path: Path, tiny_adapter: Path
) -> None:
    from tui_lora.worker.four_bit import PACKED, pack, packed_words

    folder = tmp_path / "adapter"
    shutil.copytree(tiny_adapter, folder)
    assert pack(folder) == 0
    assert not (folder / PACKED).exists()
    assert packed_words(0)[1] == "warning"
