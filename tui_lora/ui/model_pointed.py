"""How the model under the cursor would fit, trained as the draft is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.content import Content

from tui_lora.ui.headroom_text import answer_row
from tui_lora.ui.memory_looks import Looking
from tui_lora.ui.model_facts import model_changes
from tui_lora.ui.model_fit import fit_rows, ways
from tui_lora.ui.model_text import LABEL, weights_in_memory
from tui_lora.ui.page import Page
from tui_lora.ui.state import Draft, MemorySeen

if TYPE_CHECKING:
    from tui_lora.core.model_facts import ModelFacts
    from tui_lora.store.model_entry import ModelEntry

STAYS_S = 0.5
"""So long the cursor is on a model before it is simulated: whoever passes by asks for nothing."""


class PointedModel:
    """`point` at a model; `show` hears what it takes of the card each time that more is known."""

    def __init__(self, page: Page, show: Callable[[MemorySeen], object]) -> None:
        self._page = page
        self._entry: ModelEntry | None = None
        self._chosen = False
        inspector = page.bench.inspector
        inspector.answer_to(page.post_message, "pointed")
        self._looking = Looking(
            "pointed",
            inspector,
            page.bench.root,
            show,
            page.set_timer,
            partial(page.run_worker, thread=True, exit_on_error=False, group="sizes"),
            page.post_message,
            settles_s=STAYS_S,
            alone=True,
        )
        self.hear = self._looking.hear
        self.leave = self._looking.drop

    @property
    def seen(self) -> MemorySeen:
        return self._looking.seen

    def point(self, entry: ModelEntry | None, *, chosen: bool, again: bool = False) -> None:
        """`chosen`: it is the draft's, with what the draft says of its revision. `again`: what is
        known of it may hold no more."""
        self._entry, self._chosen = entry, chosen
        held = self._page.bench.memory_seen
        if entry is None or not entry.usable:
            why = "no model is pointed at" if entry is None else "it cannot be trained"
            self._looking.look_at_nothing(held.card, held.no_card, why)
        else:
            self._looking.look(self._draft, held.card, held.no_card, again=again)

    def rows(self, entry: ModelEntry, width: int) -> list[Content]:
        """What stands among the facts of `entry`: all of it where there is no panel."""
        mine = self._entry is not None and self._entry.place == entry.place
        seen = self.seen if mine else MemorySeen(self._page.bench.memory_seen.card)
        found = ways(self._looking.facts if mine else None, self._draft, seen)
        rows = [] if self._wide else [answer_row(seen, "memory", LABEL, width)]
        rows += fit_rows(found, seen.card, LABEL, width, roomy=self._wide and self._tall)
        known = any(found.values())
        weights = None if known else weights_in_memory(entry)
        return rows if weights is None else [*rows, weights]

    def rows_of_hub(self, facts: ModelFacts, width: int) -> list[Content]:
        """The same of a model of the Hub that is not here, of which only its sizes are known."""
        card = self._page.bench.memory_seen.card
        found = ways(facts, self._page.bench.draft, MemorySeen(card))
        return fit_rows(found, card, LABEL, width, roomy=self._tall)

    @property
    def _wide(self) -> bool:
        return self._page.has_class("-wide")

    @property
    def _tall(self) -> bool:
        return self._page.has_class("-tall")

    @property
    def _draft(self) -> Draft:
        draft = self._page.bench.draft
        if self._entry is None or self._chosen:
            return draft
        return draft.changed(model_changes(self._entry.id))
