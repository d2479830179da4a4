"""A conversation as Markdown to be read, and as rows to be trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tui_lora.core.chat import Turn
from tui_lora.core.kept_chat import COMPLETE, KeptChat
from tui_lora.core.text import number, one_line
from tui_lora.core.transcript import Answer, Exchange, with_system

ENDED = {"length": "cut at the limit", "cancel": "stopped", "failed": "failed", "": "not finished"}


def as_markdown(chat: KeptChat, when: str) -> str:
    """The conversation with everybody's answers; `when` says when it was."""
    title = one_line(chat.first, max_chars=70) or "An empty conversation"
    model = one_line(chat.base.model) if chat.base is not None else ""
    about = [when, model, ", ".join(one_line(label) for label in chat.labels.values())]
    parts = [f"# {title}", " · ".join(one for one in about if one)]
    before = ""
    for exchange in chat.transcript.exchanges:
        for turn in exchange.opening or ():
            parts += [f"**Of the dataset, {turn.role}**", turn.content]
            if turn.role == "system" and not exchange.plain:
                # It is what the answers are given under.
                before = turn.content
        asked = ["**Text**" if exchange.plain else "**You**", exchange.question]
        for answer in exchange.answers:
            told = chat.transcript.told(exchange, answer)
            if told != before and not exchange.plain:
                parts += ["**System prompt**", told or "(none)"]
                before = told
            parts += [*asked, _head(answer), answer.text or "(nothing)"]
            asked = []
        parts += asked
        if exchange.reference:
            parts += ["**Reference**", _quoted(exchange.reference)]
    return "\n\n".join(parts) + "\n"


def _head(answer: Answer) -> str:
    told = [f"{answer.tokens:,} tokens"] if answer.tokens else []
    told += [f"strength {answer.strength:.0%}"] if answer.strength != 1 else []
    told += [one_line(answer.apart)] if answer.apart else []
    told += [ENDED[answer.ended_by]] if answer.ended_by in ENDED else []
    told += [f"{one_line(c.label)} {number(c.probability)}" for c in answer.chances[:5]]
    return " · ".join([f"**{one_line(answer.label)}**", *told])


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def as_rows(chat: KeptChat, voice: str = "") -> list[dict[str, Any]]:
    """A row `{"messages": [...]}` for the conversation of each voice, or of one; only what was
    answered whole. Another begins where the system prompt is another one, and with a message of a
    dataset, which was asked without what was said before. Without a row: who answered nothing
    whole, texts carried on without turns, and classifiers, whose labels are guesses."""
    names = [voice] if voice else list(chat.labels)
    return [row(turns) for name in names for turns in _conversations(chat, name)]


def _conversations(chat: KeptChat, voice: str) -> list[list[Turn]]:
    found: list[list[Turn]] = []
    before: str | None = None
    for exchange in chat.transcript.exchanges:
        answer = exchange.by(voice)
        if exchange.opening is not None:
            before = None
        if answer is None or exchange.plain or not is_whole(answer):
            continue
        told = chat.transcript.told(exchange, answer)
        if told != before:
            found.append(with_system(exchange.opening or (), told))
            before = told
        found[-1].append(Turn(role="user", content=exchange.question))
        found[-1].append(Turn(role="assistant", content=answer.text))
    return found


def is_whole(answer: Answer) -> bool:
    """Whether nothing of an answer is missing, so that it may be learned from."""
    return answer.ended_by in COMPLETE and bool(answer.text.strip()) and not answer.chances


def row(turns: Sequence[Turn]) -> dict[str, Any]:
    """Turns as a row of a dataset."""
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}


def corrected(turns: Sequence[Turn], answer: str) -> dict[str, Any]:
    """The row that says what should have been answered to these turns."""
    return row([*turns, Turn(role="assistant", content=answer)])


def file_stem(chat: KeptChat, stem: str) -> str:
    """A file's name that says which conversation it is: `20260102-030405-what-is-a-rank`."""
    words = re.sub(r"[^a-z0-9]+", "-", chat.first.lower())[:40].strip("-")
    return f"{stem}-{words}" if words else stem


def can_be_corrected(exchange: Exchange, answer: Answer) -> str:
    """Why a row cannot be made of an answer; empty where it can."""
    if exchange.plain:
        return "a text that is carried on has no turns to learn from; c chats again."
    if answer.running:
        return "it is still being written."
    if answer.chances:
        return "a classifier's label is no answer; its rows are a text and its true label."
    return ""
