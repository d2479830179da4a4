"""A conversation as Markdown to be read, and as rows to be trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tui_lora.core.chat import Turn
from tui_lora.core.kept_chat import COMPLETE, KeptChat
from tui_lora.core.text import number, one_line
from tui_lora.core.transcript import Answer, Exchange

ENDED = {"length": "cut at the limit", "cancel": "stopped", "failed": "failed", "": "not finished"}


def as_markdown(chat: KeptChat, when: str) -> str:
    """The conversation with everybody's answers; `when` says when it was."""
    title = one_line(chat.first, max_chars=70) or "An empty conversation"
    model = one_line(chat.base.model) if chat.base is not None else ""
    about = [when, model, ", ".join(one_line(label) for label in chat.labels.values())]
    parts = [f"# {title}", " · ".join(one for one in about if one)]
    system = ""
    for exchange in chat.transcript.exchanges:
        if exchange.system != system:
            parts += ["**System prompt**", exchange.system or "(none)"]
            system = exchange.system
        parts += ["**Text**" if exchange.plain else "**You**", exchange.question]
        for answer in exchange.answers:
            parts += [_head(answer), answer.text or "(nothing)"]
        if exchange.reference:
            parts += ["**Reference**", _quoted(exchange.reference)]
    return "\n\n".join(parts) + "\n"


def _head(answer: Answer) -> str:
    told = [f"{answer.tokens:,} tokens"] if answer.tokens else []
    told += [f"strength {answer.strength:.0%}"] if answer.strength != 1 else []
    told += [ENDED[answer.ended_by]] if answer.ended_by in ENDED else []
    told += [f"{one_line(c.label)} {number(c.probability)}" for c in answer.chances[:5]]
    return " · ".join([f"**{one_line(answer.label)}**", *told])


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def as_rows(chat: KeptChat, voice: str = "") -> list[dict[str, Any]]:
    """A row `{"messages": [...]}` for the conversation of each voice, or of one; only what was
    answered whole. Without a row: who answered nothing whole, texts carried on without turns, and
    classifiers, whose labels are guesses."""
    names = [voice] if voice else list(chat.labels)
    rows = []
    for name in names:
        turns: list[Turn] = []
        system = ""
        for exchange in chat.transcript.exchanges:
            answer = exchange.by(name)
            if answer is None or exchange.plain or not is_whole(answer):
                continue
            turns.append(Turn(role="user", content=exchange.question))
            turns.append(Turn(role="assistant", content=answer.text))
            system = exchange.system
        if turns:
            rows.append(row(with_system(turns, system)))
    return rows


def is_whole(answer: Answer) -> bool:
    """Whether nothing of an answer is missing, so that it may be learned from."""
    return answer.ended_by in COMPLETE and bool(answer.text.strip()) and not answer.chances


def with_system(turns: Sequence[Turn], system: str) -> list[Turn]:
    return [Turn(role="system", content=system), *turns] if system else list(turns)


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
