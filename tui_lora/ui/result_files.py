"""What Results leads on to: the adapter itself, other runs laid over, and files to take away."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding

from tui_lora.core.text import one_line
from tui_lora.ui.evaluating import EvaluatingPage
from tui_lora.ui.ink import dim, ink
from tui_lora.ui.messages import Said
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.table import Column, Row

if TYPE_CHECKING:
    from tui_lora.core.figures import Figure
    from tui_lora.store.evaluations import Kept
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.state import RunNow


class ResultFiles(EvaluatingPage):
    """Keys that Results has besides its own; each works on the session that is chosen."""

    BINDINGS = [
        Binding("h", "adapter", "heat map", id="results.adapter",
                tooltip="what the adapter changes, layer by layer"),
        Binding("o", "overlay", "overlay", id="results.overlay",
                tooltip="lay other runs over this one"),
        Binding("s", "save", "save", id="results.save", tooltip="a plot or a table as a file"),
        Binding("r", "report", "report", id="results.report",
                tooltip="all of it on one page of Markdown"),
    ]  # fmt: skip

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("adapter", "overlay", "save", "report"):
            return self.bench.session is not None and not self.has_class("-empty")
        return True

    def action_adapter(self) -> None:
        from tui_lora.ui.screens.adapter import adapter_of

        if self.bench.session is not None:
            self.app.push_screen(adapter_of(self.bench.session))

    def action_overlay(self) -> None:
        from tui_lora.ui.screens.overlay import OverlayScreen

        if self.bench.session is not None:
            self.app.push_screen(OverlayScreen(self.bench.root, [self.bench.session.name]))

    def action_report(self) -> None:
        if self.bench.session is not None:
            self._report(self.bench.session)

    @work(thread=True, exclusive=True, exit_on_error=False, group="report")
    def _report(self, paths: SessionPaths) -> None:
        from tui_lora.store.session_report import write

        self.post_message(Said(f"{paths.name}: the report is being written …"))
        written = write(paths)
        self.post_message(Said(f"saved {written.path}.", "good"))

    def action_save(self) -> None:
        run = self.bench.run_now
        if run is not None and run.paths == self.bench.session:
            self._gather(run, self.evaluation)

    @work(thread=True, exclusive=True, exit_on_error=False, group="save")
    def _gather(self, run: RunNow, shown: Kept | None) -> None:
        found = savable(run, shown)
        self.app.call_from_thread(choose_and_save, self, found, run.paths)


def savable(run: RunNow, shown: Kept | None) -> dict[str, Callable[[], Figure]]:
    """What there is of a session to be saved, by what it is called: of evaluations the one that is
    shown. Blocks."""
    from tui_lora.core import evaluation_tables as tables
    from tui_lora.store import class_reports

    name = run.paths.name
    found = curves_to_save(run)
    report = class_reports.newest(run.paths)
    if report is not None:
        found["labels during the run"] = lambda: tables.confusion_of(name, report)
    if shown is not None:
        found |= evaluation_to_save(shown)
    return found


def evaluation_to_save(shown: Kept) -> dict[str, Callable[[], Figure]]:
    """The tables of one evaluation, each with a title that says which it is."""
    from tui_lora.core import evaluation_tables as tables
    from tui_lora.store import evaluations
    from tui_lora.ui.evaluation_text import named

    of, told, classes = named(shown), shown.evaluation, shown.evaluation.classes
    found: dict[str, Callable[[], Figure]] = {}
    if told.parts:
        found["evaluation, losses"] = lambda: tables.parts_table(told, of)
    if told.metrics:
        found["evaluation, metrics"] = lambda: tables.metrics_table(told, of)
    found["evaluation, rows"] = lambda: tables.rows_table(
        told.session, evaluations.rows_of(shown), of
    )
    if classes is not None:
        rows = told.called(classes.part)
        for side, table in (("tuned", classes.tuned), ("base", classes.base)):
            note = f"{side}, {rows}; {of}"
            heat = tables.confusion_heat(told.session, classes.labels, table.confusion, note)
            found[f"evaluation, labels, {side}"] = lambda heat=heat: heat  # type: ignore[misc]
    return found


def curves_to_save(run: RunNow) -> dict[str, Callable[[], Figure]]:
    """The curves that the run's own screen can draw, and those that run beside them."""
    from tui_lora.core.run_figures import loss_title, series_curves
    from tui_lora.ui.run_curves import curves

    name, view = run.paths.name, run.view
    found: dict[str, Callable[[], Figure]] = {}
    for curve in curves(view):
        parts = [(part.label, part.series, part.look != "line") for part in curve.parts]
        title = loss_title("loss", [run.task]) if curve.name == "loss" else curve.name
        found[f"curve: {curve.name}"] = lambda parts=parts, title=title, of=curve.name: (  # type: ignore[misc]
            series_curves(f"{name}: {of}", title, parts)
        )
    beside = {
        "learning rate": view.learning_rate,
        "gradient norm": view.grad_norm,
        "tokens/s": view.tokens_per_s,
    }
    for title, series in beside.items():
        found[f"curve: {title}"] = lambda title=title, series=series: series_curves(  # type: ignore[misc]
            f"{name}: {title}", title, [("training", series, False)]
        )
    return found


def choose_and_save(
    page: Page, found: dict[str, Callable[[], Figure]], paths: SessionPaths
) -> None:
    """Ask which of them, then where to."""
    from tui_lora.ui.forms.picker import Picker
    from tui_lora.ui.screens.save_figure import save_figure

    def answered(key: str | None) -> None:
        if key:
            what = key.removeprefix("curve: ").removeprefix("evaluation, ")
            save_figure(page, found[key](), f"{paths.name}-{what}", paths)

    rows = [Row(key, (ink(one_line(key)), dim(""))) for key in found]
    columns = (Column("save", 0), Column("", 1))
    page.app.push_screen(
        Picker(columns, rows, details=dict.fromkeys(found, ""), verb="goes on"), answered
    )
