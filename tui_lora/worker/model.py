"""The base model and its tokenizer, loaded in the precision that was asked for, with reasons."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    set_seed,
)

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean
from tui_lora.core.variants import CHANGE_THE_BASE
from tui_lora.store.paths import model_place
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.quantization import DTYPES, stored
from tui_lora.worker.templates import settle_template

OnPhase = Callable[[str, float | None], None]

HEADS = ("score", "classifier")
"""What models call the layer that sorts texts into labels; peft trains it whole and saves it with
the adapter."""


@dataclass(frozen=True)
class Loaded:
    """A base model ready for use. `device` is `cpu` or `cuda:0` (the one card that is visible)."""

    model: Any
    tokenizer: Any
    device: str
    dtype: torch.dtype
    choices: list[Choice] = field(default_factory=list)


def choose_device(devices: str) -> tuple[str, str]:
    """`cuda:0` or `cpu`, and why. The launcher made one card visible at most."""
    if devices == "cpu":
        return "cpu", "as you said"
    if torch.cuda.is_available():
        return "cuda:0", torch.cuda.get_device_name(0)
    if devices != "auto":
        raise UserError(
            f"the card {clean(devices)} was asked for, and torch sees none.",
            where="hardware.devices",
            then="`tui-lora doctor` says what is missing; `hardware.devices: cpu` trains without.",
        )
    return "cpu", "torch sees no CUDA card"


def choose_dtype(wanted: str, device: str) -> tuple[torch.dtype, str]:
    """Precision of the base's weights, and why."""
    if wanted != "auto":
        return DTYPES[wanted], "as you said"
    if device == "cpu":
        return torch.float32, "on the CPU lower precisions are emulated and many times slower"
    major, minor = torch.cuda.get_device_capability(0)
    if major >= 8:
        return torch.bfloat16, f"this card computes bfloat16 natively (sm{major}{minor})"
    return torch.float16, f"this card has no bfloat16 (sm{major}{minor})"


def choose_adapter_dtype(
    base: torch.dtype, device: str, variant: str = "lora"
) -> tuple[torch.dtype, str]:
    """Precision of the adapter's weights, and why: a decision of its own.

    With fp16 the gradient scaler needs float32 parameters, and bfloat16 ones crash it.
    """
    if device == "cpu":
        return torch.float32, "on the CPU everything trained is float32"
    if variant == "lora-fa":
        return torch.float32, "the optimizer of lora-fa inverts matrices in float32"
    if variant in CHANGE_THE_BASE:
        return torch.float32, f"what {variant} begins with is subtracted again when it is saved"
    if base == torch.bfloat16:
        return torch.bfloat16, "bfloat16 has float32's range, and memory is half"
    return torch.float32, "the gradient scaler of float16 training needs float32 weights"


def load_tokenizer(place: str, revision: str | None = None) -> Any:
    """The tokenizer at `place` as its files have it; `settle_template` gives it what it lacks.

    Raises UserError.
    """
    try:
        return AutoTokenizer.from_pretrained(
            model_place(place), revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"the tokenizer of {clean(place)} cannot be loaded: {_first_line(error)}",
            where="model.id",
        ) from error


def load_config(model: ModelSpec) -> PreTrainedConfig:
    """What the model is built like, without its weights. Raises UserError."""
    try:
        return AutoConfig.from_pretrained(
            weights_place(model), revision=model.revision, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"the model {clean(model.id)} cannot be loaded: {_first_line(error)}", where="model.id"
        ) from error


def load_model(
    model: ModelSpec,
    quantization: QuantizationSpec,
    *,
    devices: str = "auto",
    on_phase: OnPhase | None = None,
    tokenizer: Any = None,
    labels: tuple[str, ...] = (),
    seed: int = 0,
) -> Loaded:
    """The base model on its device, with `tokenizer` or its own. Raises UserError.

    With `labels` it is a classifier: its output gives way to a head with a logit for each, random
    by `seed` until it is trained. `on_phase` hears what is being done, with the seconds to expect
    where known.
    """
    say = on_phase or (lambda label, expect_s: None)
    place = weights_place(model, say)
    device, device_reason = choose_device(devices)
    dtype, dtype_reason = choose_dtype(model.dtype, device)
    choices = [
        Choice(setting="hardware.devices", value=device, reason=device_reason),
        Choice(setting="model.dtype", value=_name(dtype), reason=dtype_reason),
    ]
    built = load_config(model)
    storage = stored(quantization, built, model, dtype, whole=HEADS if labels else ())
    choices += storage.choices
    if tokenizer is None:
        say(f"loading the tokenizer of {clean(model.id)}", None)
        tokenizer = load_tokenizer(place, model.revision)
        choices += settle_template(tokenizer, model.chat_template)
    say(f"loading the weights of {clean(model.id)}", None)
    arguments: dict[str, Any] = {
        "revision": model.revision,
        "dtype": dtype,
        "quantization_config": storage.config,
        "trust_remote_code": False,
        "device_map": {"": device},
        "use_safetensors": True,
    }
    if storage.own:
        arguments["config"] = built
        del arguments["quantization_config"]
    if model.attention != "auto":
        arguments["attn_implementation"] = model.attention
    if labels:
        set_seed(seed)
        arguments["num_labels"] = len(labels)
        arguments["id2label"] = dict(enumerate(labels))
        arguments["label2id"] = {label: number for number, label in enumerate(labels)}
    kind = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    try:
        base = kind.from_pretrained(place, **arguments)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        if labels and "for this kind of AutoModel" in str(error):
            raise UserError(
                f"transformers knows no classifier of {clean(model.id)}'s kind.",
                where="model.id",
                then="Choose another model, or another task.",
            ) from error
        raise UserError(
            f"the model {clean(model.id)} cannot be loaded: {_first_line(error)}", where="model.id"
        ) from error
    attention = getattr(base.config, "_attn_implementation", None) or "eager"
    why = "as you said" if model.attention != "auto" else "the best that this model class has here"
    choices.append(Choice(setting="model.attention", value=str(attention), reason=why))
    if device == "cpu":
        _keep_4bit_exact(base)
    if labels:
        # Where a text ends is found by the pad token behind it.
        base.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    else:
        # The template's own end of turn is what generation must stop at too.
        base.generation_config.pad_token_id = tokenizer.pad_token_id
    gc.collect()
    return Loaded(base, tokenizer, device, dtype, choices)


def weights_place(model: ModelSpec, on_phase: OnPhase | None = None) -> str:
    """Where a model is loaded from: a folder or a Hub id. Raises UserError.

    A GGUF file is converted once into a folder under the user's cache.
    """
    place = model_place(model.id)
    if not place.lower().endswith(".gguf"):
        return place
    return str(_from_gguf(Path(place), on_phase or (lambda label, expect_s: None)))


def _keep_4bit_exact(model: Any) -> None:
    """Keep bitsandbytes from rounding the scales of 4-bit weights at the first evaluation.

    On CPUs with AVX512-BF16 it repacks them for speed and stores the scales as bfloat16, for good:
    the base would be another one from then on, and a resumed run would part from an unbroken one.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def _from_gguf(gguf: Path, say: OnPhase) -> Path:
    from tui_lora.store.gguf_cache import converted_folder, is_converted
    from tui_lora.worker.gguf import convert

    folder = converted_folder(gguf)
    if not is_converted(folder):
        say(f"converting {clean(gguf.name)} (once)", 40.0)
        convert(gguf, folder, lambda label, done: None)
    return folder


def context_tokens(config: Any) -> int | None:
    """The longest sequence that the model was built for; None where its config does not say."""
    value = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(value) if value else None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first_line(error: BaseException) -> str:
    text = clean(str(error)).strip() or type(error).__name__
    return text.splitlines()[0][:400]
