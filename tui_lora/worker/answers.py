"""The answers of a chat: written, kept for a while with their own tokens, and carried on.

An answer's text turned into tokens again need not be the tokens that were written, so what goes on
from an answer goes on from these, while they are known.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from tui_lora.core.chat import Ask, Turn
from tui_lora.core.text import clean

_KEPT = 64
"""Answers of which the tokens are kept; some kilobytes each."""


@dataclass(frozen=True)
class Written:
    """An answer of this worker: the tokens before it, its own from its very beginning, and the text
    that they are."""

    name: str
    turns: tuple[Turn, ...]
    plain: bool
    strength: float
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    text: str


class Answers:
    """The last answers, by their id."""

    def __init__(self) -> None:
        self._written: OrderedDict[str, Written] = OrderedDict()

    def keep(self, id: str, written: Written) -> None:
        self._written[id] = written
        while len(self._written) > _KEPT:
            self._written.popitem(last=False)

    def get(self, id: str) -> Written | None:
        return self._written.get(id)

    def begun(self, asked: Ask, tokenizer: Any) -> Written | None:
        """The answer that `asked` carries on, its tokens cut to the text that was begun; None where
        there is none, or no tokens of it make just that text."""
        wanted = (asked.name, asked.turns, asked.plain, asked.begun)
        for written in reversed(self._written.values()):
            if (written.name, written.turns, written.plain, written.text) != wanted:
                continue
            ids = tokens_of(tokenizer, written.ids, asked.begun)
            if ids is not None:
                return replace(written, ids=ids)
        return None


def tokens_of(tokenizer: Any, ids: tuple[int, ...], text: str) -> tuple[int, ...] | None:
    """The first of `ids` that are `text`; None where none are: a stop string may have cut a token.

    What follows the text is a few tokens at most: an end, a stop string, half a character.
    """
    end = len(ids)
    while end > 0:
        found = clean(str(tokenizer.decode(ids[:end], skip_special_tokens=True)))
        if found == text:
            # Of several that are the same text, those without an end.
            shorter = ids[: end - 1]
            if shorter and clean(tokenizer.decode(shorter, skip_special_tokens=True)) == text:
                end -= 1
                continue
            return ids[:end]
        if len(found) < len(text):
            return None
        end -= 1
    return None
