"""The sizes of a model, as its config.json says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_lora.core.model_shape import Kind, ModelShape, ModuleGroup

_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head"),
    "vocabulary": ("vocab_size",),
}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_NOT_ATTENTION = ("ssm_cfg", "state_size", "mamba_d_state", "linear_num_value_heads")
_MOST = 2**24


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a model of text. `gated`: its MLP has three matrices and not two. `norms` stand in
    each layer; `tied`: the output is the embedding. `windowed` layers look back over `window`
    tokens at most, the others over all. `context`: the longest sequence that it was built for.
    `capped`: scores of attention are bent below a limit, which no fused kernel does."""

    hidden: int
    inner: int
    layers: int
    heads: int
    shared_heads: int
    head_size: int
    vocabulary: int
    gated: bool = True
    tied: bool = True
    norms: int = 2
    model_type: str = ""
    window: int = 0
    windowed: int = 0
    context: int | None = None
    capped: bool = False

    @property
    def queries(self) -> int:
        """Numbers in all queries of a token."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Numbers in all keys of a token, and in all values."""
        return self.shared_heads * self.head_size


def facts_of(config: Mapping[str, Any]) -> ModelFacts | None:
    """The sizes in a config.json; None where one is missing or absurd, or the formula for memory
    says nothing of such a model (experts, state-space layers)."""
    inner = config.get("text_config")
    text = {**config, **inner} if isinstance(inner, Mapping) else dict(config)
    if any(text.get(name) for name in (*_EXPERTS, *_NOT_ATTENTION)):
        return None
    sizes = {what: _size(text, *names) for what, names in _NAMES.items()}
    hidden, layers, heads, vocabulary = sizes.values()
    if not (hidden and layers and heads and vocabulary):
        return None
    mlp = _size(text, "intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    head_size = _size(text, "head_dim") or hidden // heads
    gemma = "hidden_activation" in text
    act = str(text.get("hidden_act") or text.get("activation_function") or "silu")
    # transformers leaves it out where it is its own default.
    tied = text.get("tie_word_embeddings", True)
    window, windowed = _windows(text)
    return ModelFacts(
        hidden=hidden,
        inner=mlp,
        layers=layers,
        heads=heads,
        shared_heads=_size(text, "num_key_value_heads") or heads,
        head_size=head_size,
        vocabulary=vocabulary,
        gated=gemma or act in ("silu", "swish"),
        tied=tied is not False,
        norms=4 if gemma and "attn_logit_softcapping" in text else 2,
        model_type=str(text.get("model_type") or ""),
        window=window,
        windowed=min(windowed, layers),
        context=_size(text, "max_position_embeddings", "n_positions"),
        capped=bool(text.get("attn_logit_softcapping")),
    )


def facts_of_gguf(data: Mapping[str, Any]) -> ModelFacts | None:
    """The same from the metadata of a GGUF file."""
    kind = data.get("general.architecture")

    def size(name: str) -> Any:
        return data.get(f"{kind}.{name}")

    tokens = data.get("tokenizer.ggml.tokens")
    listed = tokens.get("length") if isinstance(tokens, Mapping) else None
    return facts_of(
        {
            "model_type": kind,
            "hidden_size": size("embedding_length"),
            "intermediate_size": size("feed_forward_length"),
            "num_hidden_layers": size("block_count"),
            "num_attention_heads": size("attention.head_count"),
            "num_key_value_heads": size("attention.head_count_kv"),
            "head_dim": size("attention.key_length"),
            "vocab_size": size("vocab_size") or listed,
            "num_experts": size("expert_count"),
            "tie_word_embeddings": False,
            "max_position_embeddings": size("context_length"),
        }
    )


def shape_of(facts: ModelFacts) -> ModelShape:
    """A model of these sizes: its linear layers by name, embeddings and norms."""
    f = facts
    linear: list[tuple[str, Kind, int, int]] = [
        ("self_attn.q_proj", "attention", f.hidden, f.queries),
        ("self_attn.k_proj", "attention", f.hidden, f.keys),
        ("self_attn.v_proj", "attention", f.hidden, f.keys),
        ("self_attn.o_proj", "attention", f.queries, f.hidden),
        ("mlp.up_proj", "mlp", f.hidden, f.inner),
        ("mlp.down_proj", "mlp", f.inner, f.hidden),
    ]
    if f.gated:
        linear.insert(4, ("mlp.gate_proj", "mlp", f.hidden, f.inner))
    groups = [
        ModuleGroup(
            path=f"model.layers.*.{name}",
            name=name.rpartition(".")[2],
            kind=kind,
            count=f.layers,
            parameters=f.layers * inputs * outputs,
            inputs=inputs,
            outputs=outputs,
            packed=True,
        )
        for name, kind, inputs, outputs in linear
    ]
    tables = (1 if f.tied else 2) * f.vocabulary * f.hidden
    norms = (f.norms * f.layers + 1) * f.hidden
    return ModelShape(
        model="",
        model_type=f.model_type,
        parameters=sum(group.parameters for group in groups) + tables + norms,
        layers=f.layers,
        hidden_size=f.hidden,
        vocabulary=f.vocabulary,
        tied=f.tied,
        modules=tuple(groups),
    )


def _windows(config: Mapping[str, Any]) -> tuple[int, int]:
    """How far layers with a window look back, and how many have one; none where the config does not
    list the kinds of its layers, so that too much is counted and never too little."""
    window, kinds = _size(config, "sliding_window"), config.get("layer_types")
    if window is None or not isinstance(kinds, list):
        return 0, 0
    return window, sum(kind == "sliding_attention" for kind in kinds)


def _size(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST:
            return value
    return None
