"""An empty screen says what it is for and which key begins."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui_lora.ui.ink import DIM, STRONG, ink, join


class Empty(Static):
    """`show` a sentence and the keys that lead on, as `("n", "a new run")`."""

    DEFAULT_CSS = "Empty { height: auto; width: 1fr; padding: 2 4; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", markup=False, id=id)

    def show(self, about: str, *keys: tuple[str, str]) -> None:
        rows = [ink(about), Content("")]
        width = max((len(key) for key, _ in keys), default=0)
        rows += [join((key.rjust(width), STRONG), "   ", (words, DIM)) for key, words in keys]
        self.update(Content("\n").join(rows))
