"""An answer on its way to the viewer while it is written, and how it is ended before its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any, Literal

from tui_lora.core.chat import AnswerGrew, FromChat, ToChat
from tui_lora.core.text import clean
from tui_lora.worker.stdio import Stdio

GREW_EVERY_S = 0.05
"""A message a token would repaint the viewer's screen as often."""

_BROKEN = "\ufffd"
_MOST_OF_A_CHARACTER = 8
"""Tokens: bytes that still make no character then make none."""

EndedBy = Literal["end", "length", "cancel", "stop"]


class Writing:
    """Hears each token of an answer, tells its text, and says when to stop.

    `ends` are the tokens that end it, `stop_ids` those among the user's stop strings that are one
    special token. Nothing that may be the beginning of a stop string is told before that is clear.
    """

    def __init__(
        self,
        pipes: Stdio[FromChat, ToChat],
        tokenizer: Any,
        id: str,
        cancelled: threading.Event,
        *,
        ends: Collection[int] = (),
        stop: tuple[str, ...] = (),
        begun: Collection[int] = (),
    ) -> None:
        self.text = ""
        self.ids: list[int] = []
        self.first: float | None = None
        self.ended_by: EndedBy | None = "cancel" if cancelled.is_set() else None
        self._pipes, self._id, self._cancelled, self._ends = pipes, id, cancelled, ends
        self.stop_ids = stop_ids(tokenizer, stop)
        self._until = _Until(stop)
        self._pieces = _Pieces(tokenizer, begun)
        self._waiting = ""
        self._last = float("-inf")

    def hear(self, token: int) -> bool:
        """Take the next token; whether the answer is over with it."""
        if self.ended_by is not None:
            return True
        if self.first is None:
            self.first = time.monotonic()
        self.ids.append(token)
        if token in self.stop_ids:
            self.ended_by = "stop"
        elif token in self._ends:
            self.ended_by = "end"
        else:
            self._pieces.add(token)
            due = time.monotonic() - self._last >= GREW_EVERY_S
            if due or self._until.strings:
                self._waiting += self._until.pass_on(self._pieces.text())
            if self._until.found:
                self.ended_by = "stop"
            elif self._cancelled.is_set():
                self.ended_by = "cancel"
            if due:
                self._tell()
        return self.ended_by is not None

    def close(self) -> EndedBy:
        """Tell the rest. A character of which the end is missing is not told."""
        if self.ended_by is None:
            self.ended_by = "length"
        whole = self.ended_by == "end"
        self._waiting += self._until.pass_on(self._pieces.text(last=whole)) + self._until.rest()
        self._tell()
        return self.ended_by

    def _tell(self) -> None:
        # Cleaning looks at single characters, so pieces may be cleaned one by one.
        told, self._waiting = clean(self._waiting), ""
        if told:
            self._pipes.say(AnswerGrew(id=self._id, text=told, tokens=len(self.ids)))
            self.text += told
            self._last = time.monotonic()

    def criteria(self) -> Any:
        """For generate(), which asks after each token whether to stop.

        No streamer beside it: generate() hands a token to that only after it has asked, so a stop
        string would be noticed one token late.
        """
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList

        hear: Callable[[int], bool] = self.hear
        answers: list[Any] = []

        class Heard(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                if not answers:
                    answers.extend(
                        torch.tensor([over], device=input_ids.device) for over in (False, True)
                    )
                return answers[hear(int(input_ids[0, -1]))]

        return StoppingCriteriaList([Heard()])


class _Pieces:
    """The text of tokens as they come, each decoded twice at most: a decoder looks back at the
    piece before for spaces and for bytes that make a character together."""

    def __init__(self, tokenizer: Any, begun: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(begun)[-_MOST_OF_A_CHARACTER:]
        self._begin, self._done = 0, len(self._ids)

    def add(self, token: int) -> None:
        self._ids.append(token)

    def text(self, *, last: bool = False) -> str:
        """What is whole and was not given yet; at the `last` also what is not whole."""
        whole = len(self._ids)
        while (
            not last
            and whole > self._done
            and len(self._ids) - whole < _MOST_OF_A_CHARACTER
            and self._decode(whole).endswith(_BROKEN)
        ):
            whole -= 1
        if len(self._ids) - whole == _MOST_OF_A_CHARACTER:
            whole = len(self._ids)
        if whole == self._done:
            return ""
        text, before = self._decode(whole), self._decode(self._done)
        # Bytes that make no character break those next to them.
        told = text[len(before) :] if text.startswith(before) else self._decode(whole, self._done)
        if told:
            self._begin, self._done = self._done, whole
        return told

    def _decode(self, end: int, begin: int | None = None) -> str:
        ids = self._ids[self._begin if begin is None else begin : end]
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


class _Until:
    """Text up to the first of some strings; holds back what may be the beginning of one."""

    def __init__(self, strings: tuple[str, ...]) -> None:
        self.strings = tuple(string for string in strings if string)
        self.found = False
        self._held = ""

    def pass_on(self, more: str) -> str:
        if self.found or not self.strings:
            return "" if self.found else more
        text = self._held + more
        at = min((at for s in self.strings if (at := text.find(s)) >= 0), default=-1)
        if at >= 0:
            self.found, self._held = True, ""
            return text[:at]
        held = max(
            (n for s in self.strings for n in range(1, len(s)) if text.endswith(s[:n])), default=0
        )
        self._held = text[len(text) - held :] if held else ""
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back after all; nothing once a string was found."""
        held, self._held = self._held, ""
        return held


def stop_ids(tokenizer: Any, stop: tuple[str, ...]) -> frozenset[int]:
    """The stop strings that are one special token, which no text ever shows."""
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    return frozenset(special[string] for string in stop if string in special)
