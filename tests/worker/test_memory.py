"""The memory forecast: the allocator's rules, depth, parts, and published measurements."""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.cards import card_called
from tui_lora.core.spec import parse_spec

pytestmark = pytest.mark.model

MIB = 2**20
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

OWN_CODE = {"AutoConfig": "a.C", "AutoModelForCausalLM": "a.M"}

PUBLISHED = Path(__file__).with_name("published_memory.csv")
"""Measured by others on a T4 (fitcheck-llm 0.3.1, MIT) and an RTX 4080 (canifinetune, MIT), with
transformers' loss and, where quantized, peft's prepare_model_for_kbit_training."""


@pytest.mark.parametrize("row", list(csv.DictReader(PUBLISHED.open())), ids=lambda r: r["model"])
def test_published_peaks_are_met(row: dict[str, str]) -> None:
    benchmark = _benchmark()
    shapes = json.loads((BENCHMARKS / "model_shapes.json").read_text())
    alloc, reserved, why = benchmark.predicted(row, shapes)
    assert why == ""
    assert alloc == pytest.approx(float(row["peak_alloc_GiB"]), rel=0.01)
    assert reserved == pytest.approx(float(row["peak_reserved_GiB"]), rel=0.03)


def test_the_allocator_rounds_splits_and_joins() -> None:
    from tui_lora.worker.memory.allocator import replay

    small = replay([(1, 100)])
    assert (small.allocated, small.reserved) == (512, 2 * MIB)
    # 3 MiB come from a segment of 20, and the rest of it serves the next ones.
    middle = replay([(1, 3 * MIB), (2, 18 * MIB)])
    assert middle.reserved == (20 + 18) * MIB
    assert replay([(1, 3 * MIB), (2, 9 * MIB)]).reserved == 20 * MIB
    # What was given back is joined again, so that a larger one finds room.
    joined = replay([(1, 6 * MIB), (2, 6 * MIB), (-1, 0), (-2, 0), (3, 18 * MIB)])
    assert joined.reserved == 20 * MIB
    assert joined.peak_allocated == 18 * MIB
    # Nothing is split off a block for less than a MiB.
    odd = replay([(1, 11 * MIB + 512)])
    assert (odd.reserved, odd.allocated) == (12 * MIB, 12 * MIB)
    # Of two free blocks of one size that of the later segment is taken, which lies below: what is
    # asked for next finds the other one whole.
    taken = [(1, 12 * MIB), (2, 12 * MIB), (3, 12 * MIB), (-3, 0), (-1, 0), (4, 10 * MIB)]
    assert replay([*taken, (5, 12 * MIB)]).reserved == 36 * MIB


def test_an_emptied_cache_and_room_made_beforehand() -> None:
    from tui_lora.worker.memory.allocator import EMPTIED, Allocator, replay

    # A segment in which something is left stays.
    some = replay([(1, 12 * MIB), (2, 30 * MIB), (3, 9 * MIB), (-1, 0), (-2, 0), EMPTIED])
    assert (some.reserved, some.allocated) == (20 * MIB, 9 * MIB)
    allocator = Allocator()
    allocator.warm_up(50 * MIB)
    for number in range(5):
        allocator.hear((number + 1, 9 * MIB))
    assert (allocator.reserved, allocator.peak_allocated) == (50 * MIB, 45 * MIB)


@pytest.mark.parametrize(
    ("model", "resident_mib"),
    [("HuggingFaceTB/SmolLM2-1.7B", 1296.47), ("HuggingFaceTB/SmolLM2-135M", 179.30)],
)
def test_what_is_loaded_takes_what_was_measured(model: str, resident_mib: float) -> None:
    """fitcheck-llm, T4: NF4, float16, rank 32 in q, k, v and o, float32 leftovers."""
    from tui_lora.worker.memory.allocator import Allocator
    from tui_lora.worker.memory.forecast import trace_of

    benchmark = _benchmark()
    row = next(row for row in csv.DictReader(PUBLISHED.open()) if row["quant"] == "nf4")
    shapes = json.loads((BENCHMARKS / "model_shapes.json").read_text())
    trace = trace_of(benchmark.recipe_of(row, benchmark.shape_of(model, shapes)), 1, 64)
    allocator = Allocator()
    allocator.warm_up(trace.room)
    for event, phase in zip(trace.events, trace.phases, strict=True):
        if phase == "loading":
            allocator.hear(event)
    assert allocator.allocated / MIB == pytest.approx(resident_mib, rel=0.002)


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    "how",
    [
        {"scheme": "nf4"},
        long({"scheme": "nf4", "checkpointing": False}),
        {"scheme": "int8"},
        long({"scheme": "int8", "threshold": 0.0, "checkpointing": False}),
        long({"scheme": "none", "every_layers": 2}),
        long({"scheme": "fp4", "selective": True}),
        {"scheme": "nf4", "task": "classification"},
        {"scheme": "nf4", "accumulates": True},
        long({"scheme": "nf4", "task": "dpo", "held_against": "copy"}),
        long({"scheme": "none", "task": "kto"}),
        long({"scheme": "nf4", "variant": "dora"}),
        long({"scheme": "none", "variant": "lora-fa"}),
        long({"scheme": "nf4", "rows": 1010}),
        long({"scheme": "none", "lora": None}),
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_a_deepened_run_is_the_deep_run(how: dict[str, Any]) -> None:
    from tui_lora.worker.memory.forecast import trace_of
    from tui_lora.worker.memory.peak import peak_of

    recipe = _recipe(**how)
    assert peak_of(trace_of(recipe, 2, 32)) == peak_of(
        trace_of(replace(recipe, uneven=True), 2, 32)
    )


def test_a_reference_takes_what_a_copy_of_the_adapter_takes() -> None:
    of = {name: _kinds(task="dpo", held_against=name) for name in ("base", "copy")}
    assert of["copy"]["adapter"] == 2 * of["base"]["adapter"]


@pytest.mark.long
def test_checkpointing_every_other_layer_keeps_the_others() -> None:
    every, other = (_kinds(every_layers=layers)["activations"] for layers in (1, 2))
    none = _kinds(every_layers=1, checkpointing=False)["activations"]
    assert other == pytest.approx((every + none) / 2, rel=0.1)


def test_what_int8_multiplied_is_kept_in_spite_of_checkpointing() -> None:
    """bitsandbytes holds it in its own context, and so it is past checkpointing's reach."""
    assert _kinds(scheme="int8")["activations"] > 2 * _kinds(scheme="nf4")["activations"]


def test_micro_batches_come_on_top_of_the_gradients_of_those_before() -> None:
    first, second = (_peak(accumulates=several) for several in (False, True))
    adapter = first.kinds["adapter"]
    # Of bfloat16, as the adapter is; in a first micro-batch those of the last layers at most.
    assert second.kinds["gradients"] == adapter
    assert first.kinds["gradients"] < adapter
    assert 0 < second.allocated - first.allocated <= adapter


def test_transformers_drops_gradients_behind_a_step_and_nowhere_else(tmp_path: Path) -> None:
    """What the simulation goes by: whether there are some when a micro-batch comes."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def forward(self, x: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
            return {"loss": self.linear(x).sum()}

    there: list[bool] = []

    class Watched(Trainer):
        def training_step(self, model: Any, *others: Any, **named: Any) -> torch.Tensor:
            there.append(model.linear.weight.grad is not None)
            return super().training_step(model, *others, **named)

    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=1, gradient_accumulation_steps=3,
        num_train_epochs=1, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    rows: Any = [{"x": [1.0, 2.0]}] * 6
    Watched(Net(), arguments, train_dataset=rows).train()
    assert there == [False, True, True] * 2


def test_lora_fa_keeps_no_state_of_what_it_freezes() -> None:
    plain, frozen = _kinds(), _kinds(variant="lora-fa")
    assert frozen["adapter"] == plain["adapter"]
    assert 0 < frozen["optimizer"] < plain["optimizer"]


def _kinds(**how: Any) -> Any:
    return _peak(**how).kinds


@functools.cache
def _peak(**how: Any) -> Any:
    from tui_lora.worker.memory.forecast import trace_of
    from tui_lora.worker.memory.peak import peak_of

    return peak_of(trace_of(_recipe(**{"scheme": "nf4", **how}), 1, 32))


@pytest.mark.long
def test_layers_in_turns_are_repeated_in_turns() -> None:
    """Gemma 2 has a window in every other layer."""
    from transformers import Gemma2Config

    from tui_lora.worker.memory.forecast import trace_of
    from tui_lora.worker.memory.peak import peak_of

    config = Gemma2Config(
        hidden_size=256, intermediate_size=512, num_hidden_layers=12, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, vocab_size=1000, sliding_window=32,
    )  # fmt: skip
    recipe = replace(_recipe(scheme="nf4"), config=config, kernel="eager")
    assert peak_of(trace_of(recipe, 1, 64)) == peak_of(
        trace_of(replace(recipe, uneven=True), 1, 64)
    )


def test_the_parts_make_the_whole_and_follow_the_config(tmp_path: Path) -> None:
    found, wider = _forecast(tmp_path), _forecast(tmp_path, {"hidden_size": 1024})
    assert found.parts.total == pytest.approx(found.peak_process_gib)
    assert wider.parts.weights > 1.5 * found.parts.weights
    assert wider.parts.activations > 1.5 * found.parts.activations


def test_how_many_micro_batches_a_step_has_is_no_matter_from_the_second_on(tmp_path: Path) -> None:
    from tui_lora.worker.memory.forecasts import Forecasts

    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    forecasts, card = Forecasts(), card_called("16GiB")

    def of(accumulation: int) -> Any:
        training = {"accumulation": accumulation, "micro_batch": 1, "max_length": 512}
        data = {"model": str(tmp_path), "dataset": "x", "training": training}
        return forecasts.of(parse_spec(data), card, "stamp")

    one, two, many = (of(accumulation) for accumulation in (1, 2, 64))
    assert one.parts.gradients < two.parts.gradients == two.parts.adapter
    assert two == many


def test_an_adapter_to_start_from_that_is_another_by_now_is_asked_about_anew(
    tmp_path: Path,
) -> None:
    import torch
    from safetensors.torch import save_file

    from tui_lora.worker.memory.forecasts import Forecasts
    from tui_lora.worker.stamps import stamp_of

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(SMALL))
    start = tmp_path / "adapter"
    start.mkdir()
    data = {"model": str(tmp_path / "model"), "dataset": "x", "lora": {"start_from": str(start)}}
    spec, forecasts, width = parse_spec(data), Forecasts(), int(str(SMALL["hidden_size"]))
    layers, found = "base_model.model.model.layers", []
    for rank in (8, 16):
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}
        (start / "adapter_config.json").write_text(json.dumps(config))
        each = {"A": torch.zeros(rank, width), "B": torch.zeros(width, rank)}
        tensors = {
            f"{layers}.{layer}.self_attn.q_proj.lora_{name}.weight": tensor.clone()
            for layer in range(int(str(SMALL["num_hidden_layers"])))
            for name, tensor in each.items()
        }
        save_file(tensors, start / "adapter_model.safetensors")
        found.append(forecasts.of(spec, card_called("16GiB"), stamp_of(spec)))
    assert found[1].parts.adapter == pytest.approx(2 * found[0].parts.adapter, rel=0.01)


@pytest.mark.parametrize(
    ("config", "settings", "why"),
    [
        ({"num_hidden_layers": 10**9}, {}, "num_hidden_layers 1000000000, which is no size"),
        ({"vocab_size": -3}, {}, "vocab_size -3, which is no size of a model"),
        ({"hidden_size": None}, {}, "does not say its hidden_size"),
        ({"num_local_experts": 8, "model_type": "mixtral"}, {}, "which experts a token goes to"),
        ({}, {"training": {"max_length": 1048576, "micro_batch": 512}}, "tokens at once are more"),
        ({"head_dim": 10**12}, {}, "head_dim 1000000000000, which is no size"),
        ({"num_key_value_heads": 10**12}, {}, "num_key_value_heads 1000000000000, which is no"),
        (
            {"model_type": "of-its-own", "auto_map": OWN_CODE},
            {},
            "Python code of its own, which is not run",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_has_a_reason(
    tmp_path: Path, config: dict[str, Any], settings: dict[str, Any], why: str
) -> None:
    (tmp_path / "a.py").write_text("raise SystemExit('it was run')\n")
    assert why in _forecast(tmp_path, config, **settings).reason


@pytest.mark.parametrize(
    ("scheme", "tokens", "checkpointing"),
    [
        ("nf4", 512, True),
        ("int8", 512, True),
        ("none", 2048, False),
        long("nf4", 2048, False),
        long("int8", 2048, False),
        long("none", 512, True),
    ],
)
def test_the_formula_is_within_ten_per_cent(
    tmp_path: Path, scheme: str, tokens: int, checkpointing: bool
) -> None:
    """Of the simulation, on a model built as Llama is; benchmarks/formula.py has more cells."""
    config = {"hidden_size": 2048, "intermediate_size": 5632, "vocab_size": 32000}
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, **config, "num_hidden_layers": 22}))
    benchmark = _benchmark("formula")
    cell = benchmark.compared(tmp_path, scheme, checkpointing=checkpointing, tokens=tokens, rows=2)
    assert abs(cell["error_percent"]) < 10


def _forecast(folder: Path, config: dict[str, Any] | None = None, **settings: Any) -> Any:
    from tui_lora.worker.memory.forecast import forecast

    given = {
        name: value for name, value in {**SMALL, **(config or {})}.items() if value is not None
    }
    (folder / "config.json").write_text(json.dumps(given))
    data = {"model": str(folder), "dataset": "x", "quantization": {"scheme": "nf4"}, **settings}
    return forecast(parse_spec(data), card_called("16GiB"))


SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 1000,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


def _recipe(**how: Any) -> Any:
    import torch
    from peft import LoraConfig
    from transformers import LlamaConfig

    from tui_lora.worker.memory.recipe import Recipe

    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=12 if "every_layers" in how else 6,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=1000,
    )
    lora = LoraConfig(
        r=8,
        target_modules="all-linear",
        task_type="SEQ_CLS" if how.get("task") == "classification" else "CAUSAL_LM",
        lora_dropout=0.1,
        use_dora=how.get("variant") == "dora",
        trainable_token_indices={"embed_tokens": [1000], "lm_head": [1000]}
        if "rows" in how
        else None,
    )
    return Recipe(
        **{
            "config": config,
            "lora": lora,
            "dtype": torch.bfloat16,
            "adapter_dtype": torch.bfloat16,
            **how,
        }
    )


def _benchmark(name: str = "memory") -> Any:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
