"""What is asked about a draft's memory, and the card that it is held against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.cards import Card, capability_of
from tui_lora.core.sensors import why_no_card
from tui_lora.core.text import one_line
from tui_lora.ui.drafted import drafted
from tui_lora.ui.model_looks import wire_of
from tui_lora.ui.state import CardSeen, Draft, MemorySeen

if TYPE_CHECKING:
    from tui_lora.core.sensors import CardReading, SensorReading
    from tui_lora.core.spec import RunSpec

_SECTIONS = ("model", "quantization", "task", "lora")
_OF_TRAINING = (
    "micro_batch",
    "max_length",
    "packing",
    "optimizer",
    "gradient_checkpointing",
    "checkpoint_layers",
)
"""What of a training its memory depends on."""

_ASKED_WITH = (*_SECTIONS, *(f"training.{name}" for name in _OF_TRAINING), "hardware.devices")


def forecastable(draft: Draft) -> tuple[RunSpec | None, str]:
    """The draft's spec, if a figure can be had for it, else why not."""
    from tui_lora.ui.forms.checked import NEEDED, check

    checked = check(draft)
    if checked.sound is None:
        return None, "some settings do not hold"
    if NEEDED["model"] in checked.wrong:
        return None, "no model is chosen yet"
    wrong = [path for path in sorted(checked.wrong) if _counts(path)]
    if wrong:
        return None, f"{wrong[0]} does not hold"
    if checked.sound.hardware.devices == "cpu":
        return None, "it is trained on the processor, and takes no card's memory"
    return checked.sound, ""


def card_seen(
    reading: SensorReading | None,
    devices: object = "auto",
    asked: Card | None = None,
    remembered: Card | None = None,
) -> CardSeen | None:
    """The card to hold a run against: the one that was asked about, else the one that is here and
    `devices` names; where there is no card at all, the one `remembered`."""
    if asked is None and reading is not None and reading.cards:
        here = reading.card_of(str(devices))
        return None if here is None else _present(here)
    card = asked or (remembered if reading is not None else None)
    if card is None:
        return None
    return CardSeen(card.name, card.total_gib, capability=card.capability, asked=True)


def no_card(reading: SensorReading | None, devices: object) -> str:
    """Why there is no card to hold a run against; empty while nobody has looked yet."""
    return "" if reading is None else one_line(why_no_card(reading, str(devices)))


def plain_card(card: CardSeen | None) -> Card:
    if card is None:
        return Card("", 0.0)
    return Card(card.name, card.total_gib or 0.0, card.capability)


def asked_with(seen: MemorySeen, root: Path) -> dict[str, Any]:
    """The fields of a question about the memory of a spec that is there."""
    assert seen.spec is not None
    card, sized = seen.card, seen.card is not None and seen.card.total_gib is not None
    return {
        "spec": wire_of(seen.spec, root),
        "card": card.name if card is not None and sized else "",
        "total_gib": card.total_gib if card is not None else None,
        "capability": card.capability if card is not None else None,
        "context_gib": card.context_gib if card is not None else None,
    }


def _present(card: CardReading) -> CardSeen:
    name = one_line(card.name).removeprefix("NVIDIA ").removeprefix("GeForce ")
    return CardSeen(
        name,
        card.total_gib,
        card.used_gib,
        card.capability or capability_of(name),
        context_gib=card.context_gib,
        context_source=card.context_source,
    )


def _counts(path: str) -> bool:
    return path in _ASKED_WITH or path.partition(".")[0] in _SECTIONS


def key_of_question(
    draft: Draft, capability: tuple[int, int] | None, context_gib: float | None
) -> str:
    """Another one for each question that may have another answer."""
    told = [drafted(draft, path) for path in _ASKED_WITH]
    # With more than one micro-batch a step, gradients stand beside the activations.
    told.append(drafted(draft, "training.accumulation") == 1)
    # Not counted, and told of.
    told.append(drafted(draft, "training.neftune"))
    return json.dumps([told, capability, context_gib], sort_keys=True, default=str)
