"""In which precision a base is loaded, and where, chosen by keys instead of as trained."""

from __future__ import annotations

from textual.content import Content

from tui_lora.core.text import one_line
from tui_lora.store.adapters import ChatTarget, stored_as
from tui_lora.ui.ink import ACCENT, BRIGHT, STRONG, dim, ink, join

PRECISIONS: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    ("nf4", None),
    ("int8", None),
    ("none", "bfloat16"),
    ("none", "float16"),
    ("none", "float32"),
)
"""How the base is quantized and its dtype; None is as trained."""
PLACES = ("", "cpu", "auto")
"""hardware.devices; empty is as trained, or where the base is in memory already."""


class StoredChoice:
    """What was chosen; `of` gives a target as it is to be loaded."""

    def __init__(self) -> None:
        self._precision = self._place = 0

    @property
    def placed(self) -> bool:
        """Whether it was said where."""
        return self._place > 0

    def next_precision(self) -> None:
        self._precision = (self._precision + 1) % len(PRECISIONS)

    def next_place(self) -> None:
        self._place = (self._place + 1) % len(PLACES)

    def of(self, one: ChatTarget) -> ChatTarget:
        scheme, dtype = PRECISIONS[self._precision]
        place = PLACES[self._place] or None
        return stored_as(one, devices=place, quantization=scheme, dtype=dtype)

    def row(self, one: ChatTarget, loaded: ChatTarget | None) -> Content:
        """How `one`, which is as chosen, would be loaded; `loaded` is in memory already."""
        trained = dim(", as trained") if one.session is not None else Content("")
        how = ink(precision_of(one) or "not quantized", ACCENT if self._precision else BRIGHT)
        where = one.devices
        since = trained
        if not self.placed and loaded is not None and loaded.base == one.base:
            where, since = loaded.devices, dim(", where it is")
        return join(
            ("f", STRONG),
            dim(" precision "),
            how,
            "" if self._precision else trained,
            "     ",
            ("d", STRONG),
            dim(" device "),
            ink("CPU" if where == "cpu" else one_line(where), ACCENT if self.placed else BRIGHT),
            "" if self.placed else since,
        )


def precision_of(one: ChatTarget) -> str:
    """How a target's base is stored, in a word; empty where nothing was asked for."""
    scheme, dtype = one.quantization.scheme, one.model.dtype
    if scheme != "none":
        return scheme
    return dtype if dtype != "auto" else ""
