"""Texts that try everything on a terminal or a screen, and messages in which every text is one."""

from __future__ import annotations

import random
import types
import typing
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from tests.terminal_stream import MARK

M = TypeVar("M", bound=BaseModel)

SEQUENCES = (
    "\x1b]0;owned\x07", "\x1b]2;owned\x1b\\", "\x1b]8;;http://evil\x07x\x1b]8;;\x07",
    "\x1b]52;c;aGk=\x07", "\x1b]1337;File=:aGk=\x07", "\x1bP$q\x1b\\", "\x1bP+q544e\x1b\\",
    "\x1b_Gf=24\x1b\\", "\x1b^pm\x1b\\", "\x1bXsos\x1b\\", "\x1bc", "\x1b7", "\x1b(0", "\x1b#8",
    "\x1b[2J", "\x1b[6n", "\x1b[?1047l", f"\x1b[{MARK};1H", f"\x1b[31;{MARK}m", "\x1b[20t",
    "\x1b[!p", "\x1b[?47h", "\x1b[5i", "\x9b31m", "\x9d0;owned\x9c", "\x90q\x9c", "\x85", "\x84",
    "\x00", "\x07", "\x08\x08", "\x0b\x0c", "\x0e", "\x7f", "\r", "\r\n", "\n", "\t", "\x1b",
    "\u202e", "\u2066", "\u2069", "\u200f", "\u061c", "\u200b", "\u2028", "\u2029", "\ufeff",
)  # fmt: skip
MARKUP = (
    "[/INST]", "[@click=app.quit]x[/]", "[bold", "[link=http://evil]y[/link]", "[/]", "[[", "]",
    "[$accent]", "[on red]", "[@click=screen.dismiss()]", "\\[", ":smile:", "{x}", "%s", "%(a)s",
)  # fmt: skip
WIDE = (
    "日本語", "🦙‍❄️", "👨‍👩‍👧‍👦", "שלום",
    "مرحبا", "e" + "\u0301" * 300, "\U000e0041", "ﷺ", "a\u0300",
)  # fmt: skip
OURS = {
    "Largest": {"setting": "training.max_length"},
    "Change": {"changes": {"training.max_length": 64}},
}
"""Texts that are names of ours, by message: our worker looks them up and makes none up."""
LONE = "\ud83d"


def hostile(seed: int, *, pieces: int = 6, lone: bool = False) -> str:
    """A text of all kinds; the same for the same seed. `lone` has a surrogate without its other."""
    chosen = random.Random(seed)
    parts = [chosen.choice((*SEQUENCES, *SEQUENCES, *MARKUP, *WIDE)) for _ in range(pieces)]
    return f"h{seed}" + "".join(parts) + (LONE if lone else "")


class Filler:
    """Makes messages in which every text is another hostile one, and every number a small one."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def text(self) -> str:
        self._seed += 1
        if self._seed % 41 == 0:
            return "x" * 49_000 + hostile(self._seed)
        return hostile(self._seed)

    def message(self, kind: type[M], **given: Any) -> M:
        known = {**OURS.get(kind.__name__, {}), **given}
        values = {
            name: known[name] if name in known else self.value(field.annotation)
            for name, field in kind.model_fields.items()
        }
        return kind(**values)

    def value(self, kind: Any) -> Any:
        origin, inside = typing.get_origin(kind), typing.get_args(kind)
        if kind is str or kind is Any:
            return self.text()
        if kind is bool:
            return True
        if kind is int:
            return 3
        if kind is float:
            return 0.5
        if origin is Literal:
            return inside[0]
        if origin in (typing.Union, types.UnionType):
            # Texts first: they are what this is about.
            known = [one for one in inside if one is not type(None)]
            return self.value(str if str in known else known[0])
        if origin is tuple:
            if len(inside) == 2 and inside[1] is Ellipsis:
                return tuple(self.value(inside[0]) for _ in range(2))
            return tuple(self.value(one) for one in inside)
        if origin in (list, set, frozenset):
            return [self.value(inside[0]) for _ in range(2)]
        if origin is dict:
            return {self.value(inside[0]): self.value(inside[1]) for _ in range(2)}
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self.message(kind)
        if kind is None or kind is type(None):
            return None
        raise TypeError(f"no value is known for {kind}")
