"""The adapter itself: how much each layer is changed and in how many directions; over Results."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.worker import get_current_worker

from tui_lora.core.adapter_figures import MEASURES, AdapterFigures, Cell, Measure
from tui_lora.core.adapter_layers import Place
from tui_lora.core.errors import UserError
from tui_lora.core.figures import Figure
from tui_lora.core.text import one_line
from tui_lora.store.adapter_spectrum import (
    AdapterPlace,
    Stopped,
    figures_of,
    place_of,
    session_places,
)
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import adapter_text
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.ink import bar, dim, ink, join
from tui_lora.ui.page import Page
from tui_lora.ui.screens.save_figure import save_figure
from tui_lora.ui.widgets.heat_map import HeatMap
from tui_lora.ui.widgets.line import Block, Line, Lines
from tui_lora.ui.widgets.top_line import TopLine

TOLD_EVERY_S = 0.2


class Found(Message):
    """An adapter was read: the one at `at` of the places."""

    def __init__(self, at: int, figures: AdapterFigures) -> None:
        self.at, self.figures = at, figures
        super().__init__()


class PlacesFound(Message):
    """The adapters that there are to look at, and with which to begin."""

    def __init__(self, places: list[AdapterPlace], at: int) -> None:
        self.places, self.at = places, at
        super().__init__()


class Progressed(Message):
    def __init__(self, what: str, done: int, of: int) -> None:
        self.what, self.done, self.of = what, done, of
        super().__init__()

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Progressed)


class AdapterScreen(Page):
    """`find` gives the adapters and with which to begin; it is called in a thread and may raise
    UserError."""

    TITLE_WORD = "Adapter"
    OF_DRAFT = True
    CSS_PATH = "adapter.tcss"
    AUTO_FOCUS = "HeatMap"
    HELP = (
        "ΔW = scaling B A is what the adapter adds to a weight W. ‖ΔW‖ is its Frobenius norm: the "
        "root of the sum of its squares. Its singular values σ say in how many directions it "
        "lies. Entropy rank is e to the entropy of the σ as shares of their sum (Roy and Vetterli "
        "2007), stable rank ‖ΔW‖² over the largest σ squared (Rudelson and Vershynin 2007). What "
        "is said of r is a rule of thumb: by the share of r that holds 95% of ‖ΔW‖². w reads the "
        "base's weights too, for ‖ΔW‖ as a share of ‖W‖."
    )
    BINDINGS = [
        Binding("m", "measure", "figure", id="adapter.measure", tooltip="what the map shows"),
        Binding(
            "less_than_sign,comma", "turn(-1)", "earlier", id="adapter.earlier",
            tooltip="the checkpoint before",
        ),
        Binding(
            "greater_than_sign,full_stop", "turn(1)", "later", id="adapter.later",
            tooltip="the checkpoint after",
        ),
        Binding(
            "w", "base", "of the base", id="adapter.base",
            tooltip="read the base's weights, to say how much of them it changes",
        ),
        Binding("o", "other", "other", id="adapter.other",
                tooltip="another session's, NAME@STEP, or a PEFT folder"),
        Binding("s", "save", "save map", id="adapter.save", tooltip="the map as a file"),
        Binding("S", "save_spectrum", "save σ", id="adapter.save_spectrum",
                tooltip="the singular values of this row's layers as a file"),
        Binding("escape", "back", "back", id="adapter.back", tooltip="back to where you were"),
    ]  # fmt: skip

    def __init__(self, find: Callable[[], tuple[list[AdapterPlace], int]]) -> None:
        super().__init__()
        self._find = find
        self._places: list[AdapterPlace] = []
        self._at = 0
        self._found: dict[int, AdapterFigures] = {}
        self._measure: Measure = MEASURES[0]

    def compose_body(self) -> ComposeResult:
        yield Lines(id="about")
        yield HeatMap(id="map")
        yield Line(id="legend")
        yield Block(3, id="cell")
        yield Line(id="growth")
        yield AskLine(id="ask")

    def on_mount(self) -> None:
        self.call_after_refresh(self.query_one(TopLine).show_name, "")
        self.query_one("#about", Lines).say(dim("reading …"))
        self._look(self._find)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def _look(self, find: Callable[[], tuple[list[AdapterPlace], int]]) -> None:
        try:
            self.post_message(PlacesFound(*find()))
        except UserError as error:
            self.post_message(Refused(error.what))
            if not self._places:
                self.app.call_from_thread(self._nothing, error)

    def _nothing(self, error: UserError) -> None:
        self.query_one("#about", Lines).say(
            ink(f"✗ {one_line(error.what)}"), dim(one_line(error.then))
        )

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        ask = self.query_one(AskLine)
        if ask.purpose:
            ask.refuse(fact.why)

    @on(PlacesFound)
    def _places_found(self, fact: PlacesFound) -> None:
        self.query_one(AskLine).close()
        self._places, self._at, self._found = fact.places, fact.at, {}
        self._read(fact.places, fact.at)
        self.refresh_bindings()

    @work(thread=True, exclusive=True, exit_on_error=False, group="read")
    def _read(self, places: list[AdapterPlace], first: int) -> None:
        """The one that is looked at, then the others: how it grew."""
        worker = get_current_worker()
        for at in [first, *(n for n in range(len(places)) if n != first)]:
            heard = self._heard("reading the adapter") if at == first else lambda done, of: None
            try:
                found = figures_of(places[at], heard, lambda: not worker.is_cancelled)
            except Stopped:
                return
            except UserError:
                if at == first:
                    raise
                continue
            self.post_message(Found(at, found))

    def _heard(self, what: str) -> Callable[[int, int], None]:
        told = 0.0

        def hear(done: int, of: int) -> None:
            nonlocal told
            if time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                self.post_message(Progressed(what, done, of))

        return hear

    @on(Progressed)
    def _told_progress(self, fact: Progressed) -> None:
        share = fact.done / max(1, fact.of)
        row = join(dim(f"{fact.what}  "), bar(share, 24), dim(f"  {fact.done:,} of {fact.of:,}"))
        self.query_one("#growth", Line).say(row)

    @on(Found)
    def _is_found(self, fact: Found) -> None:
        self._found[fact.at] = fact.figures
        self._draw()
        self.refresh_bindings()

    # What is shown.

    @property
    def here(self) -> AdapterFigures | None:
        return self._found.get(self._at)

    def _draw(self) -> None:
        found = self.here
        if found is None:
            return
        width = max(40, self.size.width - 2)
        self.query_one("#about", Lines).say(*adapter_text.head_rows(found, width))
        heat = self.query_one(HeatMap)
        columns = tuple(adapter_text.layer_name(layer) for layer in found.layers)
        heat.show(found.rows, columns, adapter_text.grid(found, self._measure))
        self.query_one("#legend", Line).say(
            adapter_text.legend_row(self._measure, heat.scale, width)
        )
        grown = [
            (f"step {one.step:,}" if one.step is not None else "end", self._norm(at))
            for at, one in enumerate(self._places)
        ]
        self.query_one("#growth", Line).say(adapter_text.growth_row(grown, self._at, width))
        self._show_cell()

    def _norm(self, at: int) -> float | None:
        found = self._found.get(at)
        return found.norm if found is not None else None

    @on(HeatMap.Pointed)
    def _show_cell(self) -> None:
        found = self.here
        if found is None:
            return
        row, column = self.query_one(HeatMap).at
        place = Place(found.rows[row], found.layers[column])
        cell: Cell | None = found.cells.get(place)
        width = max(40, self.size.width - 2)
        self.query_one("#cell", Block).say(adapter_text.cell_rows(cell, place, width))

    # Intents.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "turn":
            return len(self._places) > 1
        if action in ("measure", "save", "save_spectrum"):
            return self.here is not None
        if action == "base":
            return self.here is not None and self.here.relative is None
        return True

    def action_measure(self) -> None:
        found = self.here
        known = [one for one in MEASURES if found is not None and found.strongest(one) is not None]
        if known:
            at = known.index(self._measure) if self._measure in known else -1
            self._measure = known[(at + 1) % len(known)]
            self._draw()

    def action_turn(self, by: int) -> None:
        at = self._at + by
        if 0 <= at < len(self._places) and at in self._found:
            self._at = at
            self._draw()
            self.refresh_bindings()

    def action_base(self) -> None:
        if self.here is not None:
            self._read_base(self._at, self._places[self._at], self.here)

    @work(thread=True, exclusive=True, exit_on_error=False, group="base")
    def _read_base(self, at: int, place: AdapterPlace, found: AdapterFigures) -> None:
        from tui_lora.store.base_norms import with_base

        worker = get_current_worker()
        heard = self._heard("reading the base's weights")
        try:
            self.post_message(
                Found(at, with_base(place, found, heard, lambda: not worker.is_cancelled))
            )
        except Stopped:
            return

    def action_other(self) -> None:
        self.query_one(AskLine).ask(
            "other",
            "adapter",
            "A session, NAME@STEP for one of its checkpoints, or a PEFT folder; → completes.",
            completes=(),
        )

    @on(AskLine.Answered)
    def _answered(self, event: AskLine.Answered) -> None:
        event.stop()
        if event.text:
            event.ask.wait("looking …")
            self._look(lambda: beside(place_of(self.bench.root, event.text)))

    def action_save(self) -> None:
        if self.here is not None:
            heat = adapter_text.heat_of(self.here, self._measure)
            self._save(heat, f"{self.here.title}-{self._measure.name}")

    def action_save_spectrum(self) -> None:
        if self.here is not None:
            row = self.here.rows[self.query_one(HeatMap).at[0]]
            curves = adapter_text.spectrum_of(self.here, row)
            self._save(curves, f"{self.here.title}-{row}-spectrum")

    def _save(self, figure: Figure, name: str) -> None:
        save_figure(self, figure, name, self._places[self._at].session)

    def action_back(self) -> None:
        self.dismiss()


def beside(place: AdapterPlace) -> tuple[list[AdapterPlace], int]:
    """A place among the others of its session."""
    if place.session is None:
        return [place], 0
    there = session_places(place.session)
    return there, there.index(place)


def adapter_of(paths: SessionPaths) -> AdapterScreen:
    """A session's adapter, or its last checkpoint where it has none yet."""
    return AdapterScreen(lambda: beside(place_of(paths.folder.parent, paths.name)))
