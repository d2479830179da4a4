"""Who is talked to in a plain terminal: the targets that were named, and room for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tui_lora.core.chat import BASE
from tui_lora.core.errors import UserError
from tui_lora.core.fetch import FetchPaused, FetchPlanned, FromFetch
from tui_lora.core.text import clean, number, size
from tui_lora.headless.conversation import together
from tui_lora.headless.follow import to_stderr
from tui_lora.store.adapters import ChatTarget, stored_as, target
from tui_lora.store.chat_room import ChatRoom, held_to, look_for_room

VERDICTS = {
    "tight": "tight",
    "unknown": "whether it fits is not known",
    "does_not_fit": "loaded all the same",
}


@dataclass(frozen=True)
class Storage:
    """Where and how the base is loaded, in place of what the run says; `base` in place of the one
    that an adapter names."""

    devices: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    base: str | None = None


def targets_of(root: Path, texts: list[str], stored: Storage) -> list[ChatTarget]:
    """Who goes by these names, on one base. Raises UserError."""
    named = {
        text: stored_as(
            target(root, text, base=stored.base, hear=_fetching(text)),
            devices=stored.devices,
            quantization=stored.quantization,
            dtype=stored.dtype,
        )
        for text in texts
        if text != BASE
    }
    if not named:
        raise UserError("base alone says nothing: name a session, an adapter or a model with it.")
    first = next((one for one in named.values() if one.adapter is not None), None)
    base = _base_of(first or next(iter(named.values())))
    return together(_told_apart([named.get(text, base) for text in texts], texts))


def with_room(root: Path, targets: Sequence[ChatTarget], *, force: bool) -> list[ChatTarget]:
    """The targets, held to what was counted where something trains beside them. Raises UserError
    where they do not fit, or nobody knows whether they do and a training could come to harm."""
    room = look_for_room(root, targets)
    fit = room.fit
    refused = fit.verdict == "does_not_fit" or (fit.verdict == "unknown" and fit.beside)
    if refused and not force:
        raise UserError(fit.sentence, then=_instead(room))
    if fit.verdict != "fits":
        to_stderr(f"{VERDICTS[fit.verdict]}: {fit.sentence}")
    # By force too: what is short of memory then is the chat, and not a training.
    return [held_to(one, fit) for one in targets]


def _fetching(text: str) -> Callable[[FromFetch], None]:
    """Says on stderr that an adapter of the Hub is being fetched."""
    name = clean(text)

    def hear(message: FromFetch) -> None:
        if isinstance(message, FetchPlanned):
            to_stderr(f"fetching the adapter {name}, {size(message.total_bytes)} …")
        elif isinstance(message, FetchPaused):
            to_stderr(f"fetching the adapter {name}: {message.why}, trying again")

    return hear


def _instead(room: ChatRoom) -> str:
    flags = {"cpu": "on the CPU, slowly: --devices cpu", "nf4": "in 4 bits: --quantization nf4"}
    ways = []
    for way in room.ways:
        takes = way.fit.forecast.takes_gib if way.fit.forecast is not None else None
        free = f"{number(takes)} of {number(way.fit.room_gib)} GiB"
        ways.append(f"{flags[way.kind]} ({free})")
    if room.fit.beside:
        ways.append(f"wait until {room.beside} has ended")
    ways.append("load it all the same: --force")
    return f"Nothing was loaded. You can: {'; '.join(ways)}."


def _told_apart(targets: list[ChatTarget], texts: list[str]) -> list[ChatTarget]:
    """Two folders called adapter are two voices: what shares a name goes by what was typed."""
    names = Counter(target.name for target in targets if _is_voice(target))
    names[BASE] += 1
    return [
        replace(target, name=clean(str(Path(text))))
        if _is_voice(target) and names[target.name] > 1
        else target
        for target, text in zip(targets, texts, strict=True)
    ]


def _is_voice(one: ChatTarget) -> bool:
    return one.adapter is not None or one.name != BASE


def _base_of(other: ChatTarget) -> ChatTarget:
    return ChatTarget(BASE, other.model, other.quantization, other.devices)
