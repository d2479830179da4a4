"""Conversations in a plain terminal or a pipe."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tui_lora.core.chat import BASE, Turn
from tui_lora.core.errors import UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import parse_spec
from tui_lora.core.text import clean, duration, number, one_line
from tui_lora.headless.conversation import Conversation, check_together
from tui_lora.headless.follow import to_stdout
from tui_lora.store.adapters import ChatTarget, target
from tui_lora.store.chat_room import ChatRoom, held_to, look_for_room
from tui_lora.store.spec_now import with_changes

SHOWN_CHANCES = 10
VERDICTS = {
    "tight": "tight",
    "unknown": "whether it fits is not known",
    "does_not_fit": "loaded all the same",
}


def chat(
    root: Path,
    texts: list[str],
    *,
    prompt: str | None,
    system: str | None,
    max_tokens: int,
    temperature: float,
    as_json: bool,
    devices: str | None = None,
    quantization: str | None = None,
    force: bool = False,
) -> int:
    """Answer `prompt` once, or every line of standard input until its end.

    A classifier says which label it has. `devices` and `quantization` take the place of the run's.
    Raises UserError where it would not fit, before anything is loaded, unless `force`.
    """
    named = {
        text: _stored_as(target(root, text), devices, quantization)
        for text in texts
        if text != BASE
    }
    if not named:
        raise UserError("base alone says nothing: name a session, an adapter or a model with it.")
    base = _base_of(next(iter(named.values())))
    targets = _told_apart([named.get(text, base) for text in texts], texts)
    targets = _with_room(root, targets, force=force)
    opening = [Turn(role="system", content=system)] if system else []

    with Conversation(targets, lambda label: _say(f"{label} …")) as conversation:
        if targets[0].classifier:
            texts_in = [prompt] if prompt is not None else _lines("Write a text and press Enter")
            for text in texts_in:
                _predict(conversation, targets[0], text, as_json)
            return 0
        if prompt is not None:
            turns = [*opening, Turn(role="user", content=prompt)]
            _answer(conversation, targets, turns, max_tokens, temperature, as_json)
            return 0
        histories: dict[str, list[Turn]] = {t.name: list(opening) for t in targets}
        for line in _lines("Write a message and press Enter"):
            asked = Turn(role="user", content=line)
            for one in targets:
                histories[one.name].append(asked)
                text = _answer(
                    conversation, [one], histories[one.name], max_tokens, temperature, as_json
                )
                histories[one.name].append(Turn(role="assistant", content=text))
    return 0


def _say(words: str) -> None:
    sys.stderr.write(f"{clean(words)}\n")
    sys.stderr.flush()


def _stored_as(one: ChatTarget, devices: str | None, quantization: str | None) -> ChatTarget:
    """The target elsewhere, or quantized otherwise, where that was asked for. Raises SpecError."""
    changes = {}
    if devices is not None:
        changes["hardware.devices"] = devices
    if quantization is not None:
        changes["quantization.scheme"] = quantization
    if not changes:
        return one
    plain = parse_spec({"model": "none", "dataset": "none"})
    asked = with_changes(plain, changes)
    stored = one.quantization.model_copy(update={"scheme": asked.quantization.scheme})
    return replace(
        one,
        devices=asked.hardware.devices if devices is not None else one.devices,
        quantization=stored if quantization is not None else one.quantization,
    )


def _with_room(root: Path, targets: Sequence[ChatTarget], *, force: bool) -> list[ChatTarget]:
    """The targets, held to what was counted where something trains beside them. Raises UserError
    where they do not fit, or nobody knows whether they do and a training could come to harm."""
    check_together(targets)
    room = look_for_room(root, targets)
    fit = room.fit
    refused = fit.verdict == "does_not_fit" or (fit.verdict == "unknown" and fit.beside)
    if refused and not force:
        raise UserError(fit.sentence, then=_instead(room))
    if fit.verdict != "fits":
        _say(f"{VERDICTS[fit.verdict]}: {fit.sentence}")
    # By force too: what is short of memory then is the chat, and not a training.
    return [held_to(one, fit) for one in targets]


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


def _lines(invitation: str) -> Iterator[str]:
    """Every line of standard input that says something, until its end."""
    interactive = sys.stdin.isatty()
    if interactive:
        to_stdout(f"{invitation}; Ctrl-D ends.")
    while True:
        if interactive:
            sys.stdout.write("\nyou  ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _predict(conversation: Conversation, one: ChatTarget, text: str, as_json: bool) -> None:
    """The likeliest label first; as JSON all of them."""
    found = conversation.predict(text, name=one.name)
    if as_json:
        told = found.model_dump(exclude={"id", "name"})
        to_stdout(json.dumps({"name": one.name, "label": found.chances[0].label, **told}))
        return
    shown = found.chances[:SHOWN_CHANCES]
    width = max(len(one_line(chance.label)) for chance in shown)
    for chance in shown:
        to_stdout(f"{one_line(chance.label):<{width}}  {100 * chance.probability:5.1f}%")
    if len(found.chances) > len(shown):
        to_stdout(f"(the likeliest of {len(found.chances):,} labels; --json prints all)")


def _told_apart(targets: list[ChatTarget], texts: list[str]) -> list[ChatTarget]:
    """Two folders called adapter are two voices: what shares a name goes by what was typed."""
    names = Counter(target.name for target in targets if target.adapter is not None)
    names[BASE] += 1
    return [
        replace(target, name=clean(str(Path(text))))
        if target.adapter is not None and names[target.name] > 1
        else target
        for target, text in zip(targets, texts, strict=True)
    ]


def _base_of(other: ChatTarget) -> ChatTarget:
    return ChatTarget(BASE, other.model, other.quantization, other.devices)


def _answer(
    conversation: Conversation,
    targets: list[ChatTarget],
    turns: list[Turn],
    max_tokens: int,
    temperature: float,
    as_json: bool,
) -> str:
    text = ""
    for one in targets:
        name = one.name if one.adapter is not None else BASE
        if not as_json:
            to_stdout(f"\n{one.name}")
        answer = conversation.ask(
            turns,
            name=name,
            sampling=Sampling(max_new_tokens=max_tokens, temperature=temperature),
            on_text=(lambda piece: None) if as_json else _stream,
        )
        text = answer.text
        if as_json:
            to_stdout(json.dumps({"name": one.name, **answer.model_dump(exclude={"id", "name"})}))
            continue
        speed = answer.tokens / answer.seconds if answer.seconds > 0 else None
        cut = "  (cut at the limit)" if answer.ended_by == "length" else ""
        to_stdout(
            f"\n  {answer.tokens} tokens · {duration(answer.seconds)} · {number(speed)} tok/s{cut}"
        )
    return text


def _stream(piece: str) -> None:
    sys.stdout.write(clean(piece))
    sys.stdout.flush()
