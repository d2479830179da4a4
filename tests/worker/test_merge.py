"""An adapter merged into its base: what is written answers the same, and faults do not pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kinds import KINDS, Kind, kind_of, make_model
from tests.tiny import make_tiny_adapter, make_tiny_classifier
from tui_lora.core.errors import UserError
from tui_lora.core.export import RECORD, FromMerge, Merge, Merged
from tui_lora.core.quantization_spec import QuantizationSpec

pytestmark = pytest.mark.model

Change = Callable[[dict[str, Any], dict[str, Any]], None]


class Heard(list[FromMerge]):
    """Pipes that only listen."""

    def say(self, message: FromMerge) -> None:
        self.append(message)


def adapter_for(base: Path, folder: Path, **config: Any) -> Path:
    """A random adapter of this LoraConfig for the model in `base`, as peft saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    plain = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
            LoraConfig(**{**plain, **config}),
        )
    dice = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            size = 0.02 if "lora_" in name and "magnitude" not in name else 0.1
            parameter.data += torch.randn(parameter.shape, generator=dice) * size
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def merged(base: Path, adapter: Path, out: Path, **asked: Any) -> Merged:
    from tui_lora.worker.merge import merge

    order = Merge(model=str(base), adapter=str(adapter), out=str(out), devices="cpu", **asked)
    return merge(order, Heard())  # type: ignore[arg-type]


def logits(model: Any) -> Any:
    import torch

    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def answers(base: Path, adapter: Path, out: Path) -> tuple[Any, Any, Any]:
    """Logits of the base, of the adapter on it by peft alone, and of the merged model by
    transformers alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    plain = logits(model)
    together = logits(PeftModel.from_pretrained(model, str(adapter)))
    return plain, together, logits(AutoModelForCausalLM.from_pretrained(out))


VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "ranks": {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 32}},
    "biases": {"bias": "all"},
    "whole": {"modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "rows": {"trainable_token_indices": {"embed_tokens": [3, 4]}},
}
OFTEN = {("llama", "dora"), ("gpt2", "lora"), ("mixtral", "lora")}
ONLY_LLAMA = {"ranks", "whole", "embeddings", "rows"}
CELLS = [
    pytest.param(
        kind,
        variant,
        id=f"{kind.name}-{variant}",
        marks=() if (kind.name, variant) in OFTEN else pytest.mark.long,
    )
    for kind in KINDS
    for variant in VARIANTS
    if kind.name != "mamba" and (variant not in ONLY_LLAMA or kind.name == "llama")
    # peft knows no DoRA of experts' weights in one stack.
    if not (variant == "dora" and kind.name in ("mixtral", "qwen3_moe"))
]


@pytest.mark.parametrize(("kind", "variant"), CELLS)
def test_it_answers_as_base_and_adapter(kind: Kind, variant: str, tmp_path: Path) -> None:
    base = make_model(kind, tmp_path / "base")
    adapter = adapter_for(base, tmp_path / "adapter", **VARIANTS[variant])
    told = merged(base, adapter, tmp_path / "out")
    plain, together, alone = answers(base, adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4
    assert (plain - together).abs().max() > 1e-3
    assert told.verified.same_answers == told.verified.answers
    assert not list(tmp_path.glob(".*"))


@pytest.mark.long
@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"]])
def test_an_output_that_shared_the_inputs_weights_gets_its_own(
    tiny_model: Path, tmp_path: Path, targets: list[str]
) -> None:
    adapter = adapter_for(tiny_model, tmp_path / "adapter", target_modules=targets)
    told = merged(tiny_model, adapter, tmp_path / "out")
    _, together, alone = answers(tiny_model, adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4
    assert any("shares the weights" in notice for notice in told.notices)
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    )


@pytest.mark.long
def test_experts_in_one_stack(tmp_path: Path) -> None:
    base = make_model(kind_of("mixtral"), tmp_path / "base")
    stacks = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    adapter = adapter_for(
        base, tmp_path / "adapter", target_modules=["q_proj"], target_parameters=stacks
    )
    merged(base, adapter, tmp_path / "out")
    _, together, alone = answers(base, adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_are_rounded_once(tiny_model: Path, tmp_path: Path, precision: str) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    adapter = make_tiny_adapter(tiny_model, tmp_path / "adapter", scale=0.02)
    told = merged(tiny_model, adapter, tmp_path / "out", precision=precision)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    by_peft = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().state_dict()
    found = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in found.items():
        assert tensor.dtype == getattr(torch, precision)
        wanted = by_peft[name].to(tensor.dtype)
        # Sums in another order may fall to the other side of a half.
        assert (tensor == wanted).float().mean() > 0.999
    assert told.verified.worst_ulp <= 0.51
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == precision


@pytest.mark.long
def test_a_classifier_keeps_its_head_and_labels(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    adapter = make_tiny_classifier(tiny_model, tmp_path / "adapter", ("good", "bad", "ugly"))
    told = merged(tiny_model, adapter, tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "good", 1: "bad", 2: "ugly"}
    assert told.verified.prompts > 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert model(**tokenizer("a rank", return_tensors="pt")).logits.shape == (1, 3)


def test_what_an_nf4_adapter_loses_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    from tui_lora.core.chat import Turn
    from tui_lora.core.export import Asked

    adapter = make_tiny_adapter(tiny_model, tmp_path / "adapter", scale=0.02)
    asked = (
        Asked(turns=(Turn(role="user", content="What is the rank?"),), reference="The rank is 4."),
    )
    told = merged(
        tiny_model,
        adapter,
        tmp_path / "out",
        quantization=QuantizationSpec(scheme="nf4"),
        asked=asked,
        asked_of="rows.jsonl",
    )
    assert told.loss is not None
    assert told.loss.merged is not None
    assert told.loss.quantized is not None
    assert told.loss.merged != told.loss.quantized
    assert "rounded to nf4" in " ".join(told.notices)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "perplexity" in card
    assert json.loads((tmp_path / "out" / RECORD).read_text())["trained_on"] == "nf4"


# -- faults ------------------------------------------------------------------------------------


def _change(name: str, how: Callable[[Any, Any], Any]) -> Change:
    def change(weights: dict[str, Any], base: dict[str, Any]) -> None:
        weights[name] = how(weights[name].float(), base[name].float()).to(weights[name].dtype)

    return change


def _other_row(mine: Any, base: Any) -> Any:
    changed = mine.clone()
    changed[7] = mine[8]
    return changed


Q = "model.layers.0.self_attn.q_proj.weight"
FAULTS: dict[str, Change] = {
    "a layer left out": _change(Q, lambda mine, base: base),
    "twice the scale": _change(Q, lambda mine, base: base + 2 * (mine - base)),
    "transposed": _change(Q, lambda mine, base: base + (mine - base).T),
    "a token's row": _change("model.embed_tokens.weight", _other_row),
    "a norm": _change("model.norm.weight", lambda mine, base: mine * 1.01),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Any, Path]:
    """A merge in bfloat16 that is not verified yet."""
    return _written(tmp_path_factory.mktemp("merged"), tiny_model, "bfloat16", 0.02)


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Any, Path]:
    """The same of an adapter of which a single layer weighs more than the rounding of all."""
    return _written(tmp_path_factory.mktemp("strong"), tiny_model, "bfloat16", 0.5)


def _written(place: Path, tiny_model: Path, precision: Any, scale: float) -> tuple[Any, Path]:
    from tui_lora.worker.merge_work import check_disk, prepare, write_weights
    from tui_lora.worker.merge_write import write_settings

    adapter = make_tiny_adapter(tiny_model, place / "adapter", scale=scale)
    (place / "out").mkdir()
    order = Merge(
        model=str(tiny_model),
        adapter=str(adapter),
        out=str(place / "out"),
        precision=precision,
        devices="cpu",
    )
    work = prepare(order, _quiet)
    write_weights(work, place / "out", check_disk(work)[0], _quiet).close()
    work.tokenizer.save_pretrained(place / "out")
    write_settings(
        place / "out",
        work.base,
        work.hollow.bare,
        work.dtype,
        work.tokenizer,
        untied=False,
        labels=(),
        ends=frozenset(),
    )
    return work, place / "out"


def _quiet(label: str, done: int | None, total: int | None, unit: str = "", /) -> None:
    pass


def _planted(written: tuple[Any, Path], folder: Path, fault: str) -> Path:
    from safetensors.torch import load_file, save_file

    work, out = written
    shutil.copytree(out, folder)
    weights = load_file(folder / "model.safetensors")
    FAULTS[fault](weights, load_file(work.base / "model.safetensors"))
    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_on_the_disk(
    written: tuple[Any, Path], tmp_path: Path, fault: str
) -> None:
    from tui_lora.worker.merge_check import check_weights

    found = check_weights(written[0], written[1], _quiet)
    assert 0.4 < found.worst_ulp <= 0.51
    with pytest.raises(UserError, match="is not what base and adapter make together"):
        check_weights(written[0], _planted(written, tmp_path / "bad", fault), _quiet)


@pytest.mark.parametrize(
    "fault",
    [
        "a layer left out",
        pytest.param("twice the scale", marks=pytest.mark.long),
        pytest.param("transposed", marks=pytest.mark.long),
        pytest.param("a token's row", marks=pytest.mark.long),
    ],
)
def test_they_are_found_in_the_answers_too(
    strong: tuple[Any, Path], tmp_path: Path, fault: str
) -> None:
    from tui_lora.worker.merge_answers import verify
    from tui_lora.worker.merge_check import Found

    work, out = strong
    told = verify(work, out, Found(), _quiet)
    assert told.logits_rms <= told.logits_allowed
    with pytest.raises(UserError, match="does not answer as base and adapter do"):
        verify(work, _planted(strong, tmp_path / "bad", fault), Found(), _quiet)


@pytest.mark.parametrize("scale", [2.0])
def test_nothing_is_left_of_a_merge_that_is_not_verified(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    from peft.tuners.lora.layer import Linear

    adapter = make_tiny_adapter(tiny_model, tmp_path / "adapter", scale=0.02)
    really = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda *a, **k: really(*a, **k) * scale)
    with pytest.raises(UserError) as told:
        merged(tiny_model, adapter, tmp_path / "out")
    assert told.value.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"peft_type": "IA3"}, "LoRA alone is merged"),
        ({"init_lora_weights": "pissa"}, "began with a part of its base"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
    ],
)
def test_what_cannot_be_merged_is_said(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path, config: dict[str, Any], why: str
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(tiny_adapter, adapter)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    with pytest.raises(UserError, match=why):
        merged(tiny_model, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_quantized_base_has_no_16_bits(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="hold it quantized"):
        merged(base, tiny_adapter, tmp_path / "out")


@pytest.mark.long
def test_shards_and_their_index(
    tiny_model: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker import merge_write

    monkeypatch.setattr(merge_write.Shards.__init__, "__defaults__", (100_000,))
    told = merged(tiny_model, tiny_adapter, tmp_path / "out")
    assert told.shards > 1
    sizes = [file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")]
    assert len(sizes) == told.shards
    _, together, alone = answers(tiny_model, tiny_adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4


@pytest.mark.long
def test_a_gguf_file_is_merged_into_as_it_is_unpacked(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.worker.test_gguf import write_gguf
    from tui_lora.store.gguf_cache import converted_folder

    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tiny_model, tmp_path / "tiny.gguf")
    from tui_lora.worker.gguf import convert

    convert(file, converted_folder(file), lambda label, done: None)
    adapter = adapter_for(converted_folder(file), tmp_path / "adapter")
    merged(file, adapter, tmp_path / "out")
    _, together, alone = answers(converted_folder(file), adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4


def test_too_little_disk_is_seen_before_anything_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_tiny_adapter(tiny_model, tmp_path / "adapter")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(UserError, match="are free"):
        merged(tiny_model, adapter, tmp_path / "here" / "out")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_base_that_was_replaced_since_is_told(tmp_path: Path) -> None:
    from dataclasses import asdict

    import yaml

    from tui_lora.core.spec import ModelSpec, parse_spec
    from tui_lora.store import sessions
    from tui_lora.store.file_marks import base_files, marks_of
    from tui_lora.worker.merge_work import prepare

    base = make_model(kind_of("llama"), tmp_path / "base")
    spec = parse_spec({"model": str(base), "dataset": "d"})
    paths = sessions.create(tmp_path, "run", spec)
    adapter = make_tiny_adapter(base, paths.adapter)
    marks = [asdict(mark) for mark in marks_of(base_files(ModelSpec(id=str(base))))]
    paths.resolved.write_text(yaml.safe_dump({"base_files": marks}))
    order = Merge(model=str(base), adapter=str(adapter), out=str(tmp_path / "out"), devices="cpu")
    assert prepare(order, _quiet).notices() == []
    make_model(kind_of("llama"), base, seed=1)
    assert "its base has moved on" in " ".join(prepare(order, _quiet).notices())


def test_one_model_at_a_time_is_in_memory_and_it_is_told_how_far_it_is(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weakref

    from tui_lora.core.chat import Turn
    from tui_lora.core.export import Asked, MergeProgressed
    from tui_lora.core.export_text import far_words
    from tui_lora.worker import merge_answers
    from tui_lora.worker.merge import merge

    loaded: list[Any] = []
    alive: list[int] = []
    really = merge_answers.load_model

    def load(*arguments: Any, **named: Any) -> Any:
        alive.append(sum(one() is not None for one in loaded))
        found = really(*arguments, **named)
        loaded.append(weakref.ref(found.model))
        return found

    monkeypatch.setattr(merge_answers, "load_model", load)
    order = Merge(
        model=str(tiny_model),
        adapter=str(make_tiny_adapter(tiny_model, tmp_path / "adapter", scale=0.02)),
        out=str(tmp_path / "out"),
        devices="cpu",
        quantization=QuantizationSpec(scheme="nf4"),
        asked=(Asked(turns=(Turn(role="user", content="Rank?"),), reference="It is 4."),),
    )
    heard = Heard()
    told = merge(order, heard)  # type: ignore[arg-type]
    assert told.loss is not None
    assert told.loss.merged is not None
    assert alive == [0, 0, 0, 0]
    said = [one for one in heard if isinstance(one, MergeProgressed)]
    far = [(one.label, far_words(one)) for one in said]
    assert ("asking base and adapter", "0 of 1 prompts") in far
    assert ("asking base and adapter in nf4", "0 of 1 answers") in far
    assert any(one.label == "loading the merged model" and one.total for one in said)
