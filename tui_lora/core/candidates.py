"""What can be changed about a run to make it smaller, or to spend room on; each with its cost.

Figures of speed are others' measurements, with who took them on what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tui_lora.core.advice import Largest, RowLengths, changed
from tui_lora.core.fields import get
from tui_lora.core.spec import QuantizationSpec, RunSpec

LENGTH_STEP = 64
"""Max length is cut and searched for in these steps, in tokens."""

SHORTEST = 256
LEAST_RANK = 4
_MOST_RANK_ADVISED = 128
_FOUR_BITS = ("nf4", "fp4")
_EXACT_ADAMW = ("auto", "adamw_torch", "adamw_torch_fused", "paged_adamw_32bit")

Values = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A change that was not simulated yet; `spec` is the run with it. See `advice.Change`."""

    title: str
    changes: Values
    cost: str
    spec: RunSpec
    cut_rows: int | None = None
    measured_rows: int | None = None


_Drafts = Iterator[tuple[str, Values, str]]
_Drafter = Callable[[RunSpec, RowLengths | None], _Drafts]


@dataclass(frozen=True)
class Kind:
    """A kind of change, which there may be more or less of: `rungs` gives the mildest first."""

    name: str
    drafts: _Drafter

    def rungs(self, spec: RunSpec, lengths: RowLengths | None = None) -> tuple[Candidate, ...]:
        """Those that are changes at all and break no rule."""
        found = []
        for title, changes, cost in self.drafts(spec, lengths):
            data = spec.model_dump()
            changes = {path: v for path, v in changes.items() if get(data, path) != v}
            new = changed(spec, changes)
            if new is None:
                continue
            cuts = lengths is not None and "training.max_length" in changes
            found.append(
                Candidate(
                    title,
                    changes,
                    cost,
                    new,
                    lengths.beyond(new.training.max_length) if cuts and lengths else None,
                    lengths.rows if cuts and lengths else None,
                )
            )
        return tuple(found)


def _no_longer_than_rows(spec: RunSpec, lengths: RowLengths | None) -> _Drafts:
    if lengths is not None:
        tokens = _up(lengths.longest)
        if tokens < spec.training.max_length:
            yield (
                f"max length {tokens:,}, the longest row",
                {"training.max_length": tokens},
                f"Nothing: the longest of the {lengths.rows:,} measured rows has "
                f"{lengths.longest:,} tokens.",
            )


def _nf4(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    scheme = spec.quantization.scheme
    speed = (
        "Slower: 22% fewer tokens a second for Llama-3.1-8B on an RTX 4090 (torchtune), half for "
        "1.5B on a T4 (fitcheck). "
        if scheme == "none"
        else "Rounds more coarsely than 8 bits. "
    )
    if scheme in ("none", "int8"):
        yield (
            "nf4",
            on_base(spec, "nf4"),
            speed + "QLoRA's authors measured no loss against 16 bits with adapters on all linear "
            "layers.",
        )


def _double_quant(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    if spec.quantization.scheme in _FOUR_BITS:
        yield (
            "double quantization",
            {"quantization.double_quant": True},
            "A little slower; no loss of quality that QLoRA's authors could measure.",
        )


def _checkpointing(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    on = spec.training.gradient_checkpointing
    if on == "auto" and spec.training.checkpoint_layers == 1:
        return
    yield (
        "checkpointing of every layer" if on is not False else "checkpointing",
        {"training.gradient_checkpointing": True, "training.checkpoint_layers": 1},
        "The same gradients, slower: with it 2,483 tokens a second, without 3,003, for 1.5B in nf4 "
        "on an RTX 4080 (canifinetune)."
        if on is False
        else "The same gradients; more is computed twice.",
    )


def _smaller_batch(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    rows = spec.training.micro_batch
    whole = rows * spec.training.accumulation
    while rows > 1:
        rows = next(fewer for fewer in range(rows // 2, 0, -1) if whole % fewer == 0)
        yield (
            f"micro-batch {rows}, accumulation {whole // rows}",
            _batch(rows, whole),
            f"None in quality: a step still has {whole} rows. Short rows train slower, since fewer "
            "at once use the card less well.",
        )


def _few_bits_of_state(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    if spec.training.optimizer in _EXACT_ADAMW:
        yield (
            "adamw_8bit",
            {"training.optimizer": "adamw_8bit"},
            "None in quality by its paper. It saves little, since an adapter's state is small.",
        )


def _shorter(spec: RunSpec, lengths: RowLengths | None) -> _Drafts:
    now = spec.training.max_length
    wanted = [now // 2**n // LENGTH_STEP * LENGTH_STEP for n in range(1, 20)]
    if lengths is not None:
        wanted.append(_up(lengths.p95))
    for tokens in sorted({one for one in wanted if SHORTEST <= one < now}, reverse=True):
        yield f"max length {tokens:,}", {"training.max_length": tokens}, _cut(tokens, lengths)


def _cut(tokens: int, lengths: RowLengths | None) -> str:
    lost = "loses its end, and the model does not learn to stop there."
    if lengths is None:
        return f"What is longer {lost} How many rows that are is not measured."
    many = lengths.beyond(tokens)
    if not many:
        return "Nothing: no row that was measured is longer."
    share = 100 * many / max(1, lengths.rows)
    told = f"{share:.0f}%" if share >= 1 else "below 1%"
    return f"Each of about {many:,} of {lengths.rows:,} measured rows ({told}) {lost}"


def _attention_alone(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    if spec.lora.target_modules == "all-linear" and spec.lora.start_from is None:
        yield (
            "targets attention",
            {"lora.target_modules": "attention"},
            "A little faster, and less is learned: QLoRA's authors needed all linear layers to "
            "equal full fine-tuning.",
        )


def _lower_rank(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    rank = spec.lora.r
    while spec.lora.start_from is None and rank >= 2 * LEAST_RANK:
        rank //= 2
        yield (
            f"rank {rank}",
            _rank(spec, rank),
            "Less can be learned; with adapters on all linear layers QLoRA's authors found that "
            "the rank hardly matters.",
        )


def _sixteen_bits(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    scheme = spec.quantization.scheme
    if scheme != "none":
        yield (
            "16 bits instead of " + scheme,
            on_base(spec, "none"),
            "Nothing is rounded. "
            + (
                "Faster: 28% more tokens a second for Llama-3.1-8B on an RTX 4090 (torchtune), "
                "twice as many for 1.5B on a T4 (fitcheck)."
                if scheme in _FOUR_BITS
                else "Nothing has to be unpacked either."
            ),
        )


def _no_checkpointing(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    if spec.training.gradient_checkpointing in ("auto", True):
        yield (
            "selective checkpointing",
            {
                "training.gradient_checkpointing": "selective",
                "training.checkpoint_layers": 1,
            },
            "A little faster: what attention made is not computed twice. The same gradients.",
        )
    yield (
        "no checkpointing",
        {"training.gradient_checkpointing": False, "training.checkpoint_layers": 1},
        "Faster: 21% more tokens a second for 1.5B in nf4 on an RTX 4080 (canifinetune). The same "
        "gradients.",
    )


def _larger_batch(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    rows = spec.training.micro_batch
    whole = rows * spec.training.accumulation
    while rows < whole:
        rows = next(more for more in range(min(2 * rows, whole), whole + 1) if whole % more == 0)
        yield (
            f"micro-batch {rows}, accumulation {whole // rows}",
            _batch(rows, whole),
            f"Faster where rows are short, since more at once use the card better. A step still "
            f"has {whole} rows.",
        )


def _longer(spec: RunSpec, lengths: RowLengths | None) -> _Drafts:
    now = spec.training.max_length
    if lengths is None:
        yield (
            f"max length {2 * now:,}",
            {"training.max_length": 2 * now},
            "Longer rows keep their end. It costs time only where rows are that long.",
        )
        return
    many = lengths.beyond(now)
    for tokens in sorted({_up(lengths.p95), _up(lengths.longest)}):
        if many and tokens > now:
            kept = many - lengths.beyond(tokens)
            yield (
                f"max length {tokens:,}",
                {"training.max_length": tokens},
                f"About {kept:,} of {lengths.rows:,} measured rows keep their end, which {now:,} "
                "tokens cut off. Slower by what is computed more.",
            )


def _higher_rank(spec: RunSpec, _: RowLengths | None) -> _Drafts:
    rank = 2 * spec.lora.r
    if spec.lora.start_from is None and rank <= _MOST_RANK_ADVISED:
        yield (
            f"rank {rank}",
            _rank(spec, rank),
            "More can be learned of a large dataset, and more by heart of a small one. Hardly "
            "slower.",
        )


SMALLER = (
    Kind("longest row", _no_longer_than_rows),
    Kind("nf4", _nf4),
    Kind("double quantization", _double_quant),
    Kind("checkpointing", _checkpointing),
    Kind("micro-batch", _smaller_batch),
    Kind("8-bit optimizer", _few_bits_of_state),
    Kind("max length", _shorter),
    Kind("targets", _attention_alone),
    Kind("rank", _lower_rank),
)
"""What makes a run smaller, in the order of what it costs in quality, the cheapest first."""

ROOM = (
    Kind("16 bits", _sixteen_bits),
    Kind("checkpointing", _no_checkpointing),
    Kind("micro-batch", _larger_batch),
    Kind("max length", _longer),
    Kind("rank", _higher_rank),
)
"""What room can be spent on: speed first, then what more can be learned."""


def of_largest(spec: RunSpec, found: Largest) -> Values:
    """What a run takes on to come as near to the largest value as it can and be the same run
    otherwise: a rank with its alpha, and so many rows at once that a step still has as many as now.
    Empty where that changes nothing, or would break a rule."""
    if found.value is None:
        return {}
    values: Values = {found.setting: found.value}
    if found.setting == "lora.r":
        values = _rank(spec, found.value)
    elif found.setting == "training.micro_batch":
        whole = spec.training.micro_batch * spec.training.accumulation
        most = min(found.value, whole)
        values = _batch(next(rows for rows in range(most, 0, -1) if whole % rows == 0), whole)
    return values if changed(spec, values) is not None else {}


def _batch(rows: int, whole: int) -> Values:
    return {"training.micro_batch": rows, "training.accumulation": whole // rows}


def _rank(spec: RunSpec, rank: int) -> Values:
    # alpha / r stays, and the learning rate may then. rslora scales by itself.
    alpha = (
        spec.lora.alpha if spec.lora.variant == "rslora" else spec.lora.alpha * rank / spec.lora.r
    )
    return {"lora.r": rank, "lora.alpha": alpha}


def on_base(spec: RunSpec, scheme: str) -> Values:
    """Another quantization, and as they were born those of its settings that do not go with it."""
    idle = {"none": ("threshold", "compute_dtype", "keep"), "int8": ("compute_dtype",)}
    usual, now = QuantizationSpec(), spec.quantization
    changes: Values = {"quantization.scheme": scheme}
    for name in idle.get(scheme, ("threshold",)):
        if getattr(now, name) != getattr(usual, name):
            changes[f"quantization.{name}"] = getattr(usual, name)
    return changes


def _up(tokens: int) -> int:
    """The next whole number of steps."""
    return max(1, -(-tokens // LENGTH_STEP)) * LENGTH_STEP
