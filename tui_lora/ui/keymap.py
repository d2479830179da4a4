"""The screens that exist, and their keys. A screen that does not work yet is not listed.

To add one: write `screens/<id>.py` with a `Page` in it, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from textual.binding import Binding

if TYPE_CHECKING:
    from tui_lora.ui.page import Page


@dataclass(frozen=True)
class Place:
    """A screen: where it lives (imported when first shown), its key, and what it is for."""

    id: str
    key: str
    title: str
    about: str
    page: str

    def load(self) -> Page:
        module = import_module(f"tui_lora.ui.screens.{self.id}")
        page: Page = getattr(module, self.page)()
        return page

    @property
    def binding(self) -> Binding:
        return Binding(
            self.key, f"go('{self.id}')", self.title, False, tooltip=self.about, id=f"go.{self.id}"
        )


PLACES: tuple[Place, ...] = (
    Place("sessions", "1", "Sessions", "every run and what became of it", "SessionsScreen"),
    Place("model", "2", "Model", "the model that the draft trains", "ModelScreen"),
    Place("data", "3", "Data", "the rows that it learns from", "DataScreen"),
    Place("settings", "4", "Settings", "every setting of the run, and its start", "SettingsScreen"),
    Place("train", "5", "Train", "watch a run learn; stop it, resume it", "TrainScreen"),
    Place("chat", "6", "Chat", "talk to the base and to adapters on it", "ChatScreen"),
    Place("results", "7", "Results", "before and after, side by side", "ResultsScreen"),
)


def place(id: str) -> Place | None:
    """The screen called `id`; None while it does not exist."""
    return next((found for found in PLACES if found.id == id), None)


def number_keys() -> str:
    """The keys of all screens in short: `1-7`, or `1 5` with holes."""
    keys = [int(found.key) for found in PLACES]
    if len(keys) > 2 and keys == list(range(keys[0], keys[-1] + 1)):
        return f"{keys[0]}-{keys[-1]}"
    return " ".join(str(key) for key in keys)
