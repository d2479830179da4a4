"""Runs over each other: their curves, a table of their figures, and what they were set apart in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message

from tui_lora.core.figures import Figure as Savable
from tui_lora.core.overlaid import (
    LETTERS,
    MOST_RUNS,
    RUN_FIGURES,
    Figure,
    Run,
    differing,
    metric_columns,
    sorted_runs,
    table_of,
    warnings,
)
from tui_lora.core.run_curve import AXES, FIGURES, Shown, metric_figures
from tui_lora.core.text import one_line
from tui_lora.store import sessions
from tui_lora.store.overlaid import RunReader
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import overlay_text
from tui_lora.ui.forms.filtered_picker import FilteredPicker
from tui_lora.ui.forms.picker import Picker
from tui_lora.ui.ink import TIGHT, dim, ink
from tui_lora.ui.page import Page
from tui_lora.ui.screens.save_figure import save_figure
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.overlay_plot import OverlayPlot
from tui_lora.ui.widgets.table import Column, Row, Table
from tui_lora.ui.widgets.top_line import TopLine

WEIGHTS = (0.0, 0.6, 0.9, 0.97)
READ_EVERY_S = 3.0


class RunsRead(Message):
    """The runs by now, in the order in which they were added."""

    def __init__(self, runs: tuple[Run, ...]) -> None:
        self.runs = runs
        super().__init__()

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsRead)


class RunTable(Table):
    BINDINGS = [
        Binding("enter", "open", "show/hide", False, id="overlay.toggle", tooltip="its curve"),
    ]


class OverlayScreen(Page):
    TITLE_WORD = "Runs"
    OF_DRAFT = True
    CSS_PATH = "overlay.tcss"
    AUTO_FOCUS = "RunTable"
    HELP = (
        "Up to eight runs over each other, each with a letter. By time means the time that their "
        "workers were at work, loading with it. A smoothed curve is an exponential moving average, "
        "m = w m + (1 - w) v with the weight w that stands beside it, divided by 1 - w^t so that "
        "it does not begin at zero; held-out figures are never smoothed. tok/s is the median step, "
        "VRAM torch's peak. Losses compare only where model, task and rows are the same; ! says so."
    )
    BINDINGS = [
        Binding("m", "figure", "figure", id="overlay.figure", tooltip="another figure"),
        Binding("x", "axis", "axis", id="overlay.axis", tooltip="by step, tokens or time"),
        Binding("z", "smooth", "smooth", id="overlay.smooth", tooltip="smoother, or not at all"),
        Binding("y", "log", "log", id="overlay.log", tooltip="log scale"),
        Binding("o", "sort", "sort", id="overlay.sort", tooltip="by the next figure of the table"),
        Binding("a", "add", "add", id="overlay.add", tooltip="lay one more run over them"),
        Binding("d", "remove", "drop", id="overlay.remove", tooltip="take this run away"),
        Binding("space", "hide", "hide", id="overlay.hide", tooltip="its curve, or not"),
        Binding("v", "differences", "differences", id="overlay.differences",
                tooltip="the settings in which they differ"),
        Binding("s", "save", "save", id="overlay.save", tooltip="the plot or a table as a file"),
        Binding("escape", "back", "back", id="overlay.back", tooltip="back to where you were"),
    ]  # fmt: skip

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        super().__init__()
        self._root = root
        self._names = list(names)[:MOST_RUNS]
        self._letters = {name: at for at, name in enumerate(self._names)}
        self._hidden: set[str] = set()
        self._readers: dict[str, RunReader] = {}
        self._runs: tuple[Run, ...] = ()
        self._shown: Shown = FIGURES[0]
        self._axis, self._weight, self._log = AXES[0], WEIGHTS[0], False
        self._by: Figure | None = None
        self._columns: tuple[Column, ...] = overlay_text.columns(RUN_FIGURES, None)
        self._table = RunTable(*self._columns)

    def compose_body(self) -> ComposeResult:
        yield Line(id="legend")
        yield OverlayPlot(id="curves")
        yield Line(id="warning")
        with Vertical(id="tables"):
            yield self._table

    def on_mount(self) -> None:
        self.call_after_refresh(self.query_one(TopLine).show_name, "")
        self.query_one("#legend", Line).say(dim("reading …"))
        self._table.styles.height = 1 + max(2, len(self._names))
        self._read()
        self.set_interval(READ_EVERY_S, self._read_live)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    # What is known.

    def _read_live(self) -> None:
        if self.is_current and any(run.alive for run in self._runs):
            self._read()

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _read(self) -> None:
        runs = []
        for name in list(self._names):
            if name not in self._readers:
                self._readers[name] = RunReader(sessions.find(self._root, name))
            runs.append(self._readers[name].look())
        self.post_message(RunsRead(tuple(runs)))

    @on(RunsRead)
    def _are_read(self, fact: RunsRead) -> None:
        fact.stop()
        self._runs = tuple(run for run in fact.runs if run.name in self._names)
        self._draw()
        self.refresh_bindings()

    @property
    def _drawn(self) -> list[tuple[int, Run]]:
        """Each run that is drawn and its letter's place."""
        return [
            (self._letters[run.name], run) for run in self._runs if run.name not in self._hidden
        ]

    def _draw(self) -> None:
        if not self._runs:
            return
        width = max(40, self.size.width - 2)
        drawn, shown, log = self._drawn, self._shown, self._log and self._shown.may_log
        row = overlay_text.legend_row(drawn, shown, self._axis, self._weight, log, width)
        self.query_one("#legend", Line).say(row)
        curves = tuple(
            overlay_text.laid(run, at, shown, self._axis, self._weight) for at, run in drawn
        )
        self.query_one(OverlayPlot).show(curves, self._axis, log=log)
        missing = [run.name for (_, run), one in zip(drawn, curves, strict=True) if not one.x]
        notes = list(warnings([run for _, run in drawn]))
        notes += [f"no {shown.title} of {', '.join(missing)}"] if missing else []
        notes += [f"{run.name}: {run.problem}" for run in self._runs if run.problem]
        self.query_one("#warning", Line).say(
            ink(one_line("   ".join(f"! {n}" for n in notes)), TIGHT)
        )
        if (columns := overlay_text.columns(self._figures, self._by)) != self._columns:
            self._columns = columns
            self._new_table()
        self._table.show(
            [
                overlay_text.row_of(
                    run,
                    self._letters[run.name],
                    self._figures,
                    hidden=run.name in self._hidden,
                )
                for run in sorted_runs(self._runs, self._by)
            ]
        )

    @property
    def _figures(self) -> tuple[Figure, ...]:
        return (*RUN_FIGURES, *metric_columns(self._runs))

    def _new_table(self) -> None:
        """Another one in its place: a table's columns are its own for good."""
        pointed = self._table.pointed if self._table.is_attached else None
        self._table.remove()
        table = self._table = RunTable(*self._columns)
        self.query_one("#tables", Vertical).mount(table)
        table.styles.height = 1 + max(2, len(self._names))
        table.focus()
        if pointed is not None:
            self.call_after_refresh(table.point, pointed)

    # Intents.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "add":
            return len(self._names) < MOST_RUNS
        if action == "remove":
            return len(self._names) > 1
        if action == "differences":
            return len(self._runs) > 1
        if action == "log":
            return self._shown.may_log
        if action == "smooth":
            return not self._shown.few
        if action in ("figure", "axis", "sort", "hide", "save"):
            return bool(self._runs)
        return True

    def action_figure(self) -> None:
        every = (*FIGURES, *metric_figures([run.curve for run in self._runs]))
        at = next(at for at, one in enumerate(every) if one.name == self._shown.name)
        self._shown = every[(at + 1) % len(every)]
        self._draw()
        self.refresh_bindings()

    def action_axis(self) -> None:
        self._axis = AXES[(AXES.index(self._axis) + 1) % len(AXES)]
        self._draw()

    def action_smooth(self) -> None:
        self._weight = WEIGHTS[(WEIGHTS.index(self._weight) + 1) % len(WEIGHTS)]
        self._draw()

    def action_log(self) -> None:
        self._log = not self._log
        self._draw()

    def action_sort(self) -> None:
        order = [None, *self._figures]
        names = [one.name if one is not None else "" for one in order]
        at = names.index(self._by.name if self._by is not None else "")
        self._by = order[(at + 1) % len(order)]
        self._draw()

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        self.action_hide()

    def action_hide(self) -> None:
        name = self._table.pointed
        if name is not None:
            self._hidden ^= {name}
            self._draw()

    def action_remove(self) -> None:
        name = self._table.pointed
        if name is None or len(self._names) < 2:
            return
        self._names.remove(name)
        self._readers.pop(name, None)
        self._letters.pop(name)
        self._hidden.discard(name)
        self._runs = tuple(run for run in self._runs if run.name != name)
        self._table.styles.height = 1 + max(2, len(self._names))
        self._draw()
        self.refresh_bindings()

    def action_add(self) -> None:
        rows = [
            Row(paths.name, (ink(one_line(paths.name)),))
            for paths in sessions.listed(self._root)
            if paths.name not in self._names
        ]
        if not rows:
            self.say("there is no other session.", "warning")
            return

        def answered(name: str | None) -> None:
            if name:
                self._names.append(name)
                taken = set(self._letters.values())
                self._letters[name] = next(n for n in range(len(LETTERS)) if n not in taken)
                self._table.styles.height = 1 + max(2, len(self._names))
                self._read()

        columns = (Column("session", 0, middle=True),)
        details = dict.fromkeys((row.key for row in rows), "")
        picker = FilteredPicker(columns, rows, details=details, verb="lays it over them")
        self.app.push_screen(picker, answered)

    def action_differences(self) -> None:
        drawn = [(self._letters[run.name], run) for run in self._runs]
        found = differing([run.side for _, run in drawn])
        if not found:
            self.say("no setting differs.")
            return
        rows = [overlay_text.differing_row(one) for one in found]
        details = {
            one.setting.path: f"{one.setting.path}: {one.setting.help}"
            + (f" Without effect here: {one.idle}." if one.idle else "")
            for one in found
        }
        columns = overlay_text.differing_columns(drawn)
        self.app.push_screen(Picker(columns, rows, details=details, verb="closes"))

    def action_save(self) -> None:
        kinds = {
            "plot": ("the plot", "as it is drawn, with every point"),
            "table": ("the table of runs", "all of its figures"),
            "differences": ("the differences", "the settings in which they differ"),
        }
        rows = [Row(key, (ink(name), dim(about))) for key, (name, about) in kinds.items()]

        def answered(key: str | None) -> None:
            if key:
                self._save(key)

        columns = (Column("save", 20), Column("", 0))
        details = dict.fromkeys(kinds, "")
        self.app.push_screen(Picker(columns, rows, details=details), answered)

    def _save(self, key: str) -> None:
        figure: Savable
        if key == "plot":
            figure = overlay_text.curves_of(
                self._drawn, self._shown, self._axis, self._weight, self._log
            )
        elif key == "table":
            runs = sorted_runs(self._runs, self._by)
            figure = table_of(runs, [LETTERS[self._letters[run.name]] for run in runs])
        else:
            figure = overlay_text.differing_table(
                self._runs, differing([run.side for run in self._runs])
            )
        name = f"{self._shown.name}-{self._axis}" if key == "plot" else key
        first = SessionPaths(self._root / self._names[0])
        save_figure(self, figure, f"runs-{name}", first)

    def action_back(self) -> None:
        self.dismiss()
