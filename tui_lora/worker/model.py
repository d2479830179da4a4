"""The base model and its tokenizer, loaded in the precision that was asked for, with reasons."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean
from tui_lora.store.paths import model_place
from tui_lora.worker.oom import is_out_of_memory

OnPhase = Callable[[str, float | None], None]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


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


def choose_adapter_dtype(base: torch.dtype, device: str) -> tuple[torch.dtype, str]:
    """Precision of the adapter's weights, and why: a decision of its own.

    With fp16 the gradient scaler needs float32 parameters, and bfloat16 ones crash it.
    """
    if device == "cpu":
        return torch.float32, "on the CPU everything trained is float32"
    if base == torch.bfloat16:
        return torch.bfloat16, "bfloat16 has float32's range, and memory is half"
    return torch.float32, "the gradient scaler of float16 training needs float32 weights"


def load_tokenizer(place: str, revision: str | None = None) -> Any:
    """The tokenizer at `place`, with a pad token that is not its end token.

    Padding with the end token would take the end token out of the loss, and the model would never
    learn to stop. Raises UserError.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_place(place), revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"the tokenizer of {clean(place)} cannot be loaded: {_first_line(error)}",
            where="model.id",
        ) from error
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = _spare_token(tokenizer)
    return tokenizer


def _spare_token(tokenizer: Any) -> str:
    """A token of the vocabulary that no text uses, for padding; the vocabulary never grows."""
    vocabulary = tokenizer.get_vocab()
    taken = {tokenizer.eos_token, tokenizer.bos_token}
    usual = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>")
    for token in (*usual, tokenizer.unk_token, tokenizer.bos_token):
        if token and token in vocabulary and token not in taken - {tokenizer.bos_token}:
            return str(token)
    return str(tokenizer.eos_token)


def quantization_config(
    spec: QuantizationSpec, dtype: torch.dtype
) -> tuple[BitsAndBytesConfig | None, Choice | None]:
    """bitsandbytes' arguments; its own defaults (fp4, float32 compute) are never left standing."""
    if spec.scheme == "none":
        return None, None
    if spec.scheme == "int8":
        return BitsAndBytesConfig(load_in_8bit=True), None
    compute = dtype if spec.compute_dtype == "auto" else DTYPES[spec.compute_dtype]
    why = "the same as dtype" if spec.compute_dtype == "auto" else "as you said"
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.scheme,
        bnb_4bit_use_double_quant=spec.double_quant,
        bnb_4bit_compute_dtype=compute,
    )
    return config, Choice(setting="quantization.compute_dtype", value=_name(compute), reason=why)


def load_model(
    model: ModelSpec,
    quantization: QuantizationSpec,
    *,
    devices: str = "auto",
    on_phase: OnPhase | None = None,
) -> Loaded:
    """The base model on its device, with its tokenizer. Raises UserError.

    A GGUF file is converted once into a folder under the user's cache and loaded from there.
    `on_phase` hears what is being done, with the seconds to expect where known.
    """
    say = on_phase or (lambda label, expect_s: None)
    place = model_place(model.id)
    if place.lower().endswith(".gguf"):
        place = str(_from_gguf(Path(place), say))
    device, device_reason = choose_device(devices)
    dtype, dtype_reason = choose_dtype(model.dtype, device)
    choices = [
        Choice(setting="hardware.devices", value=device, reason=device_reason),
        Choice(setting="model.dtype", value=_name(dtype), reason=dtype_reason),
    ]
    config, compute = quantization_config(quantization, dtype)
    if compute is not None:
        choices.append(compute)
    say(f"loading the tokenizer of {clean(model.id)}", None)
    tokenizer = load_tokenizer(place, model.revision)
    say(f"loading the weights of {clean(model.id)}", None)
    arguments: dict[str, Any] = {
        "revision": model.revision,
        "dtype": dtype,
        "quantization_config": config,
        "trust_remote_code": False,
        "device_map": {"": device},
        "use_safetensors": True,
    }
    if model.attention != "auto":
        arguments["attn_implementation"] = model.attention
    try:
        base = AutoModelForCausalLM.from_pretrained(place, **arguments)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"the model {clean(model.id)} cannot be loaded: {_first_line(error)}", where="model.id"
        ) from error
    attention = getattr(base.config, "_attn_implementation", None) or "eager"
    why = "as you said" if model.attention != "auto" else "the best that this model class has here"
    choices.append(Choice(setting="model.attention", value=str(attention), reason=why))
    if device == "cpu":
        _keep_4bit_exact(base)
    # The template's own end of turn is what generation must stop at too.
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    gc.collect()
    return Loaded(base, tokenizer, device, dtype, choices)


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
