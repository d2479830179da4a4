"""What a spec's run would do on a card, found on its model's config and bare structure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedConfig

from tui_lora.core.cards import Card
from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec, RunSpec
from tui_lora.core.text import clean
from tui_lora.core.uncounted import uncounted
from tui_lora.store.json_file import read_object
from tui_lora.store.local_model import local_place
from tui_lora.store.packages import ATTENTION
from tui_lora.store.trusted_code import check_code
from tui_lora.worker.attention import Facts, choose_attention
from tui_lora.worker.checkpointing import choose_checkpointing
from tui_lora.worker.memory.recipe import Kernel, Recipe
from tui_lora.worker.model import choose_adapter_dtype
from tui_lora.worker.model_shape import config_at
from tui_lora.worker.packing import choose_packing
from tui_lora.worker.quantization import DTYPES, own_arguments, own_scheme
from tui_lora.worker.reference import MEASURED_AGAINST_A_REFERENCE
from tui_lora.worker.skeleton import USED_DIRECTLY, skeleton
from tui_lora.worker.started import start_folder
from tui_lora.worker.targets import Plan, planned

_AMPERE = (8, 0)
_SIZES = {
    "num_hidden_layers": 512,
    "hidden_size": 2**18,
    "vocab_size": 2**24,
    "num_attention_heads": 2**14,
    "intermediate_size": 2**22,
    "num_key_value_heads": 2**14,
    "head_dim": 2**14,
    "n_inner": 2**22,
}
"""What is known of a model, and the most that is believed."""

_NEEDED = ("num_hidden_layers", "hidden_size", "vocab_size")


_OF_PACKED = {
    False: "rows are packed without flash attention, so that layers keep a mask of all tokens with "
    "each other; with it they would take less",
    True: "rows are packed; what flash attention takes to find where each begins is not counted",
}


class NotKnown(Exception):
    """Why nothing can be said of a model."""


def config_of(model: ModelSpec) -> PreTrainedConfig:
    """The config of a model that is on this machine; raises NotKnown for one that is not, that
    does not say its sizes, or that needs code of its own."""
    plain = model.model_copy(update={"trust_remote_code": None})
    try:
        place = local_place(plain)
    except UserError as error:
        raise NotKnown(
            f"{clean(model.id)} is not on this machine yet; once its config.json was fetched, its "
            "memory is known"
        ) from error
    here = plain.model_copy(update={"id": str(place), "revision": None})
    try:
        check_code(here)
    except UserError as error:
        raise NotKnown(
            f"{clean(model.id)} runs with Python code of its own, which is not run for a forecast"
        ) from error
    config = config_at(here, place)
    given = read_object(place / "config.json") if place.is_dir() else None
    _check_sizes(config, given)
    return config


def not_covered(spec: RunSpec, config: PreTrainedConfig) -> str:
    """Why the simulation says nothing of this run; empty when it does."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    if spec.model.trust_remote_code is not None:
        return "the model runs with Python code of its own, which is not run for a forecast"
    if getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None):
        return "which experts a token goes to is only known with its weights"
    if str(config.model_type) in USED_DIRECTLY or "linear_attention" in kinds:
        return "what the kernels of its state-space layers take is not known"
    return ""


def recipe_of(spec: RunSpec, config: PreTrainedConfig, card: Card) -> tuple[Recipe, list[str]]:
    """What the run of `spec` would do on `card`, and what was assumed of it. Raises UserError for
    what cannot be run."""
    reasons: list[str] = []
    capability = card.capability or _AMPERE
    if card.capability is None:
        reasons.append("a card from sm80 (Ampere) on is assumed")
    wanted = spec.model.dtype
    dtype = DTYPES[wanted] if wanted != "auto" else torch.float16
    if wanted == "auto" and capability >= _AMPERE:
        dtype = torch.bfloat16
    bare = skeleton(config, spec.task)
    if bare._is_stateful:
        raise NotKnown("what a state takes that goes from token to token is not known")
    # Whatever fused kernel it is, it takes the memory of one.
    chosen = spec.model.attention if spec.model.attention in ("sdpa", "eager") else "auto"
    facts = Facts(dtype, capability, frozenset(), bare._supports_flash_attn, bare._supports_sdpa)
    attention = choose_attention(chosen, facts)
    packed, _, _ = choose_packing(spec, attention, bare)
    kernel = kernel_of(attention.implementation, config, capability, dtype, spec)
    if packed and kernel != "eager":
        # The others take no mask.
        kernel = "flash" if spec.model.attention in ATTENTION else "efficient"
    if kernel == "math":
        reasons.append(
            "without padding this card has no fused attention for grouped heads, so that every "
            "token's scores are kept"
        )
    on, _ = choose_checkpointing(
        spec.training, "cuda:0", attention, possible=bare.supports_gradient_checkpointing
    )
    adapter_dtype, _ = choose_adapter_dtype(dtype, "cuda:0", spec.lora.variant)
    compared = spec.task in MEASURED_AGAINST_A_REFERENCE
    rows = bare.get_input_embeddings().weight.shape[0]
    new = range(rows, rows + len(spec.lora.new_tokens))
    start = start_folder(spec.lora.start_from) if spec.lora.start_from is not None else None
    lora = spec.lora.model_copy(update={"dropout": 0.0}) if compared else spec.lora
    plan = planned(lora, bare, task=spec.task, start=start, tokens=new)
    arguments = plan.config()
    # How the adapter begins is no matter here, and there is nothing to begin from.
    arguments.init_lora_weights = True
    reasons += _reasons(spec, copied=compared and start is not None)
    recipe = Recipe(
        config=config,
        lora=arguments,
        dtype=dtype,
        adapter_dtype=adapter_dtype,
        task=spec.task,
        variant=spec.lora.variant,
        kernel=kernel,
        checkpointing=bool(on),
        every_layers=spec.training.checkpoint_layers,
        selective=on == "selective",
        # LoRA-FA brings its own.
        optimizer="adamw_torch" if spec.lora.variant == "lora-fa" else spec.training.optimizer,
        rows=new.stop if new else None,
        held_against="copy" if compared and start is not None else "base",
        uneven=_uneven(plan, spec, config),
        packed=packed,
        evaluates=True,
        accumulates=spec.training.accumulation > 1,
    )
    recipe = _stored(recipe, spec, config)
    if packed:
        reasons.append(_OF_PACKED[kernel == "flash"])
    if own_scheme(config, spec.model):
        reasons.append(f"the model's files are quantized already ({recipe.scheme}) and stay so")
    return recipe, reasons


def in_full(recipe: Recipe) -> Recipe:
    """The same run without an adapter: every weight is trained in float32, computed in 16 bits."""
    return replace(
        recipe,
        lora=None,
        variant="lora",
        scheme="none",
        dtype=torch.float32,
        adapter_dtype=torch.float32,
        held_against="base",
        rows=None,
        uneven=False,
    )


def period_of(config: Any) -> int:
    """After how many layers the pattern of kinds of layers repeats."""
    kinds = list(getattr(config, "layer_types", None) or ())
    for period in range(1, len(kinds) // 2 + 1):
        if all(kinds[n] == kinds[n % period] for n in range(len(kinds))):
            return period
    return 1


def kernel_of(
    implementation: str,
    config: PreTrainedConfig,
    capability: tuple[int, int],
    dtype: torch.dtype,
    spec: RunSpec,
) -> Kernel:
    """What computes attention on a card of `capability`."""
    if implementation == "eager":
        return "eager"
    if capability >= _AMPERE and dtype != torch.float32:
        return "flash"
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    grouped = getattr(text, "num_key_value_heads", None) not in (None, heads)
    # transformers only spreads grouped heads out itself where a batch has padding.
    masked = spec.training.micro_batch > 1 or spec.task != "sft"
    return "math" if grouped and not masked else "efficient"


def _stored(recipe: Recipe, spec: RunSpec, config: PreTrainedConfig) -> Recipe:
    """How the base is stored: as its files hold it, else as the spec says."""
    wanted = spec.quantization
    compute = recipe.dtype if wanted.compute_dtype == "auto" else DTYPES[wanted.compute_dtype]
    own = own_scheme(config, spec.model)
    given = own_arguments(config) if own else {}
    direct = USED_DIRECTLY.get(str(config.model_type), ())
    return replace(
        recipe,
        scheme=own or wanted.scheme,
        double_quant=bool(given.get("bnb_4bit_use_double_quant")) if own else wanted.double_quant,
        compute_dtype=compute,
        threshold=float(given.get("llm_int8_threshold", 6.0)) if own else wanted.threshold,
        loading="stored" if own else "placed",
        keep=tuple(given.get("llm_int8_skip_modules") or ()) if own else (*wanted.keep, *direct),
    )


def _reasons(spec: RunSpec, *, copied: bool) -> list[str]:
    reasons = []
    if spec.task == "dpo":
        reasons.append("a chosen and a rejected answer go through the model together")
    if copied:
        reasons.append("a copy of the adapter that the run starts from stands beside it")
    if spec.task == "classification":
        reasons.append("the classifier's head is counted with 2 labels")
    if spec.quantization.scheme == "int8":
        reasons.append("int8: columns of outliers are not counted, which are few")
    if spec.lora.new_tokens:
        reasons.append("new tokens: each step takes a copy of the embeddings")
    return [*reasons, *uncounted(spec)]


def _uneven(plan: Plan, spec: RunSpec, config: PreTrainedConfig) -> bool:
    """Whether what a layer gets goes by its number."""
    names = (*spec.quantization.keep, *spec.lora.modules_to_save)
    if any(re.search(r"\d", name) for name in names):
        return True
    text = config.get_text_config()
    found: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for target in plan.targets:
        number = re.search(r"(?<=\.)\d+(?=\.)", target.path)
        if number is not None:
            place = target.path[: number.start()] + "*" + target.path[number.end() :]
            found[int(number[0])].add((place, target.rank))
    period = period_of(text)
    layers = range(int(text.num_hidden_layers))
    return any(found[layer] != found[layer % period] for layer in layers)


def _check_sizes(config: PreTrainedConfig, given: dict[str, Any] | None) -> None:
    text = config.get_text_config()
    names = getattr(text, "attribute_map", {})
    for name, most in _SIZES.items():
        value = getattr(text, name, None)
        if value is None and name not in _NEEDED:
            continue  # not every kind of model has it, or calls it so
        said = given is None or "text_config" in given or {name, names.get(name, name)} & set(given)
        if name in _NEEDED and not said:
            # transformers would put those of another model there.
            raise NotKnown(f"its config.json does not say its {name}")
        sizes = value if isinstance(value, list | tuple) else [value]
        for size in sizes:
            if not isinstance(size, int) or not 0 < size <= most:
                shown = clean(str(size), max_chars=30)
                raise NotKnown(f"its config.json says {name} {shown}, which is no size of a model")
