"""The row above a list in which one types what to look for."""

from __future__ import annotations

from textual.binding import Binding
from textual.widgets import Input


class Filter(Input):
    """Enter goes back to the list, which stays filtered; what Esc does is the page's."""

    BINDINGS = [
        Binding("enter", "submit", "to the list", id="filter.done", tooltip="back to the list"),
    ]

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder=placeholder, id="filter", compact=True)
