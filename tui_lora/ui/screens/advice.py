"""What makes the draft fit the card, or what else fits it: a list that fills as it is found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from textual.content import Content

from tui_lora.core.advice import LARGEST, RowLengths
from tui_lora.core.candidates import of_largest
from tui_lora.core.memory import Verdict
from tui_lora.core.out_of_memory import changes_words, cuts_words
from tui_lora.core.text import UNKNOWN, one_line
from tui_lora.ui.forms.entry import setting_at
from tui_lora.ui.headroom_text import card_words, verdict_word
from tui_lora.ui.ink import BRIGHT, DIM, WRONG, dim, ink, join, keys_row
from tui_lora.ui.inspector import Inspector
from tui_lora.ui.memory_asked import asked_with
from tui_lora.ui.messages import Said, SettingsChanged
from tui_lora.ui.page import Page
from tui_lora.ui.row_lengths import row_lengths
from tui_lora.ui.screens.changes_list import ChangesList
from tui_lora.ui.state import MemorySeen
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Row, Table

_STAYS = {
    "training.micro_batch": ", so that a step has as many rows as now",
    "lora.r": ", so that α/r stays",
}
"""Why more is changed than the setting itself."""


def open_advice(page: Page) -> None:
    """The list for the draft as it is, or a word on why there is none."""
    seen = page.bench.memory_seen
    if seen.spec is None:
        page.say(f"there is nothing to simulate: {seen.why}.", "warning")
    elif seen.card is None or seen.card.total_gib is None or seen.card.others_gib is None:
        page.say("no card's free memory is known here: C asks about any card.", "warning")
    else:
        inspector = page.bench.inspector
        lengths = row_lengths(inspector.lengths, seen.spec)
        advice = AdviceList(seen, page.bench.root, inspector, lengths)
        page.app.push_screen(advice, partial(_apply, page))


def _apply(page: Page, chosen: tuple[str, Mapping[str, Any]] | None) -> None:
    if chosen is not None:
        title, changes = chosen
        page.post_message(SettingsChanged(changes))
        page.post_message(Said(f"{title}: the draft has it now; u undoes.", "good"))


class AdviceList(ChangesList[tuple[str, Mapping[str, Any]]]):
    """Dismissed with a change's title and its values by setting, or with None.

    `seen` has a spec, and a card whose size is known; `lengths` are those of its rows.
    """

    COLUMNS = (
        Column("", 8),
        Column("", 0),
        Column("GiB", 7, numeric=True),
        Column("to now", 7, numeric=True),
        Column("", 15),
    )
    AROUND_ROWS = 13
    MOST_ROWS = 12
    DEFAULT_CSS = """
    AdviceList #so-far { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(
        self,
        seen: MemorySeen,
        root: Path,
        inspector: Inspector,
        lengths: RowLengths | None = None,
    ) -> None:
        super().__init__(inspector)
        assert seen.card is not None
        assert seen.spec is not None
        self._card, self._spec = seen.card, seen.spec
        self._question = {
            **asked_with(seen, root),
            "others_gib": seen.card.others_gib,
            "lengths": lengths,
        }
        self._changes: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._details: dict[str, str] = {}

    def begin(self) -> None:
        self.ask(self._question)

    def chosen(self, key: str) -> tuple[str, Mapping[str, Any]] | None:
        return self._changes.get(key)

    def show(self) -> None:
        self.query_one("#so-far", Lines).say(self._so_far())
        self._changes, self._details = {}, {}
        self.query_one(Table).show(self._rows())
        self.show_below()

    def _so_far(self) -> Content:
        if self.trouble:
            return ink(f"✗ {self.trouble}", WRONG)
        if self.advice is None:
            return dim(f"what fits {card_words(self._card)}: simulating …")
        found = self.advice
        now = join(
            dim(f"{card_words(self._card)}: as it is "),
            ink(f"{found.forecast.peak_process_gib:.1f} GiB "),
            verdict_word(found.verdict),
        )
        if found.nothing:
            return join(now, dim("; nothing makes it fit"))
        return now if self.done else join(now, dim("; simulating more …"))

    def _rows(self) -> list[Row]:
        found = self.advice
        if found is None:
            return []
        rows = []
        for at, change in enumerate(found.changes):
            key = f"change-{at}"
            self._changes[key] = change.title, change.changes
            self._details[key] = change.cost
            cells = self._figures(change.peak_process_gib, change.verdict)
            cuts = cuts_words(change.changes, change.cut_rows, change.measured_rows)
            title = one_line(f"{change.title} ({cuts})" if cuts else change.title)
            rows.append(Row(key, (dim("change"), ink(title, BRIGHT), *cells)))
        for largest in found.largest:
            key = f"largest-{largest.setting}"
            label = LARGEST.get(largest.setting, setting_at(largest.setting).label)
            value = "none fits" if largest.value is None else f"{largest.value:,}"
            self._details[key] = f"The {label} that fits, all else as it is: {largest.said}."
            if changes := of_largest(self._spec, largest):
                words = changes_words(self._spec, changes)
                self._changes[key] = words, changes
                why = _STAYS.get(largest.setting, "") if ", " in words else ""
                self._details[key] += f" Enter: {words}{why}."
            peak = largest.peak_process_gib
            cells = self._figures(peak, "does_not_fit" if peak is None else "fits")
            rows.append(Row(key, (dim("most"), ink(f"{label}: {value}"), *cells)))
        for at, way in enumerate(found.ways):
            key, peak = f"way-{at}", None
            if way.forecast is not None:
                peak = way.forecast.peak_process_gib
            self._details[key] = f"To compare: {way.recipe}. {way.why_not}".strip()
            cells = self._figures(peak, way.verdict)
            rows.append(Row(key, (dim("way"), ink(way.name, DIM), *cells)))
        return rows

    def _figures(self, peak_gib: float | None, says: Verdict) -> tuple[Content, ...]:
        """What it would take, how much more or less that is than now, and whether it fits."""
        if peak_gib is None or self.advice is None:
            return dim(UNKNOWN), dim(UNKNOWN), verdict_word(says)
        more = peak_gib - self.advice.forecast.peak_process_gib
        change = f"{more:+.1f}" if abs(more) >= 0.05 else "same"
        return ink(f"{peak_gib:.1f}"), dim(change), verdict_word(says)

    def show_below(self) -> None:
        key = self.query_one(Table).pointed or ""
        about = self._details.get(key, "")
        nothing = self.advice.nothing if self.advice is not None else ""
        said = [ink(one_line(about))] if about else []
        if nothing and not key.startswith(("largest", "way")):
            said.append(ink(one_line(nothing), WRONG))
        self.query_one("#about-change", Lines).say(*said)
        named = [("Enter", "puts it into the draft")] if key in self._changes else []
        self.query_one("#picker-keys", Line).say(keys_row([*named, ("Esc", "leaves")]))
