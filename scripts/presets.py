"""Reckon what each preset needs on its card, and write docs/presets.md.

python scripts/presets.py          print it
python scripts/presets.py --write  write docs/presets.md

By the formula that the program itself uses (core/memory_formula.py), with a heavy model of each
class, every row as long as max length. `python benchmarks/formula.py --presets` holds the same sums
against the simulation.
"""

from __future__ import annotations

import functools
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from tui_lora.core.cards import Card
from tui_lora.core.fields import show
from tui_lora.core.memory import PARTS, Forecast
from tui_lora.core.memory_formula import formula
from tui_lora.core.model_facts import facts_of
from tui_lora.core.presets import CARDS, CardClass, card_of, filled
from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.store.presets import OTHER_NAMES, preset_names, read_preset

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "presets.md"
SHAPES = ROOT / "benchmarks" / "model_shapes.json"

CONTEXT, CONTEXT_OF_A_T4 = 0.5, 0.14
"""The driver's part, GiB: 141 MiB measured on a T4; elsewhere 0.15 to 0.5 GiB, so the most."""
SPARE = 0.10
"""At least this share of the card is left by every preset that is for one."""

QWEN_1_5B = "Qwen/Qwen2.5-1.5B"
LLAMA_3B = "meta-llama/Llama-3.2-3B"
QWEN_8B = "Qwen/Qwen3-8B"
QWEN_14B = "Qwen/Qwen2.5-14B"
LLAMA2_7B = "meta-llama/Llama-2-7b-hf"
LLAMA2_13B = "meta-llama/Llama-2-13b-hf"

SIZES = {"1b": QWEN_1_5B, "3b": LLAMA_3B, "7b": QWEN_8B, "14b": QWEN_14B}
"""Of each class a heavy one: large vocabularies cost most, since they are never quantized."""

OTHERS = {
    "quickstart": ("HuggingFaceTB/SmolLM2-135M", None),
    "lora-16bit": (LLAMA_3B, "16gb-t4"),
    "text": (QWEN_8B, "16gb-t4"),
    "dpo": (QWEN_8B, "16gb-t4"),
    "classify": (QWEN_1_5B, "8gb"),
    "docs-qa": (LLAMA_3B, "8gb"),
    "gsm8k-8gb": (LLAMA_3B, "8gb"),
    "llama2-7b-guanaco": (LLAMA2_7B, "16gb-t4"),
    "llama2-7b-t4": (LLAMA2_7B, "16gb-t4"),
}
"""Presets that are no cell of cards x sizes: the model and the card that they are reckoned with."""


@functools.cache
def configs() -> dict[str, Any]:
    """What the config.json of each model says of its sizes."""
    found: dict[str, Any] = json.loads(SHAPES.read_text(encoding="utf-8"))
    return found


def as_a_card(card: CardClass) -> Card:
    """The smallest card of a class."""
    return Card(card.spoken, card.gib, (7, 5) if card.old else (8, 6))


def reckon(spec: RunSpec, model: str, card: CardClass) -> Forecast:
    """The peak of `spec` on `model`, every row as long as max length."""
    facts = facts_of(configs()[model])
    assert facts is not None
    context = CONTEXT_OF_A_T4 if card.old else CONTEXT
    return formula(facts, spec, as_a_card(card), context_gib=context)


def of_preset(name: str) -> tuple[RunSpec, str, CardClass | None]:
    """A preset's spec, and the model and the card that it is reckoned with."""
    spec = parse_spec(filled(read_preset(name).data))
    card = card_of(name)
    if card is not None:
        return spec, SIZES[name.rsplit("-", 1)[1]], card
    model, prefix = OTHERS[name]
    return spec, model, next((card for card in CARDS if card.prefix == prefix), None)


INTRODUCTION = """\
# Presets

Settings to start from: `p` on the Settings screen lists them, those for your card first, and
`tui-lora train --preset NAME --set model.id=... --set dataset.path=...` takes one in a shell. Each
is a file in `tui_lora/_data/presets` that begins with its reasons and its sources.

Your own: `v` on the Settings screen keeps the draft's settings under a name, with a sentence why if
you like. What is the default is left out; model and dataset come along if you say so. They lie in
`presets/` of the config folder (`~/.config/tui_lora`), are listed with ours, and work with
`--preset`; `x` in the list deletes one. `c` lays the draft beside a preset, a session or a file,
and `tui-lora diff A B` does it in a shell.

# Will it fit

**Reckoned, not measured.** The sums below are the program's own formula (`core/memory_formula.py`,
see [memory.md](memory.md)), for rows that are all as long as max length. They leave at least a
tenth of the card to others. Nobody has published measured peaks of what TRL does since 1.16; each
sum is within 6% of a simulated run of its code (`python benchmarks/formula.py --presets`).

{with_what}

*gradients* are those of the micro-batches before; those of the peak's own are made after it, in its
place. *workspace* is what comes and goes, with what PyTorch's allocator holds of memory given back.
*context* is the driver's. GiB of 2^30 bytes.

"""

NO_PRESET = """\

# What has no preset

{why}
"""


def page() -> str:
    """docs/presets.md as it should be."""
    models = ", ".join(f"{size} {_short(model)}" for size, model in SIZES.items())
    cards = ", ".join(f"{card.spoken} {card.gib:g} GiB" for card in CARDS)
    with_what = _wrapped(
        f"Each size is reckoned with a heavy model of its class: {models}. Memory of the cards, as "
        f"they report it: {cards}."
    )
    text = INTRODUCTION.format(with_what=with_what)
    text += "\n".join(table()) + "\n" + NO_PRESET.format(why=_wrapped(_nothing_for_8_gb()))
    renamed = ", ".join(f"`{old}` is now `{new}`" for old, new in OTHER_NAMES.items())
    return f"{text}\n{renamed}; the old name still works.\n"


def table() -> list[str]:
    lines = [
        "| preset | scheme | micro-batch × accumulation | max length | checkpointing | optimizer "
        f"| {' + '.join(PARTS)} | reckoned GiB | of |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = preset_names()
    order = [card.prefix for card in CARDS]
    cells = [name for name in names if card_of(name)]
    cells.sort(key=lambda name: (order.index(name.rsplit("-", 1)[0]), _size(name)))
    lines += [_line(name) for name in (*cells, *(name for name in names if name not in cells))]
    return lines


def _size(name: str) -> int:
    return list(SIZES).index(name.rsplit("-", 1)[1])


def _line(name: str) -> str:
    spec, model, card = of_preset(name)
    training = spec.training
    if card is None:
        # On the CPU: float32 weights, no context, and no allocator of PyTorch's own.
        sums, total = "a CPU, see its comment", "—"
    else:
        found = reckon(spec, model, card)
        sums = " + ".join(f"{getattr(found.parts, part):.2f}" for part in PARTS)
        total = f"**{found.peak_process_gib:.2f}** ({_short(model)})"
    cells = [
        f"`{name}`",
        spec.quantization.scheme
        + (" double" if spec.quantization.double_quant and _packed(spec) else ""),
        f"{training.micro_batch} × {training.accumulation}",
        f"{training.max_length:,}",
        show(training.gradient_checkpointing),
        "AdamW" if training.optimizer == "auto" else training.optimizer,
        sums,
        total,
        "—" if card is None else f"{card.gib:g}",
    ]
    return f"| {' | '.join(cells)} |"


def _short(model: str) -> str:
    return model.rpartition("/")[2].removesuffix("-hf")


def _packed(spec: RunSpec) -> bool:
    return spec.quantization.scheme in ("nf4", "fp4")


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 106))


def _nothing_for_8_gb() -> str:
    """The sum that leaves 13B and 14B out on 8 GB, for the lightest and the heaviest of them."""
    spec, _, card = of_preset("8gb-7b")
    assert card is not None
    said, held = [], []
    for model in (LLAMA2_13B, QWEN_14B):
        parts = reckon(spec, model, card).parts
        rest = parts.total - parts.weights - parts.context
        said.append(
            f"{_short(model)}: {parts.weights:.2f} of weights + {rest:.2f} for the smallest "
            f"sensible run + {parts.context:.2f} of context = {parts.total:.2f} GiB"
        )
        sizes = configs()[model]
        held.append(f"{4 * sizes['vocab_size'] * sizes['hidden_size'] / 2**30:.2f}")
    return (
        "13B and 14B on a card of 8 GB: with NF4 and double quantization, rank 8, rows of "
        f"{spec.training.max_length} tokens one at a time and an 8-bit optimizer, as in `8gb-7b`, "
        f"{'; '.join(said)}. Neither leaves a tenth of the 8.00 GiB that there are. The embeddings "
        f"and the output, which no scheme makes smaller, are {' and '.join(held)} GiB of it."
    )


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())
