"""Runs over each other, the adapter itself, and the files that are saved of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import done_session, steps, write
from tests.store.test_adapter_spectrum import adapter, factors
from tests.ui.conftest import picture, run_of, show, until
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.forms.picker import Picker
from tui_lora.ui.messages import SessionsListed
from tui_lora.ui.screens.adapter import AdapterScreen
from tui_lora.ui.screens.overlay import OverlayScreen
from tui_lora.ui.screens.question import Question
from tui_lora.ui.screens.save_figure import SaveFigure
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.overlay_plot import OverlayPlot
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens

SIZES = [(80, 24), (120, 40)]


def said(app: TuiLora, id: str) -> str:
    return app.screen.query_one(id, Line).said.plain


async def opened(app: TuiLora, pilot, screen) -> None:  # type: ignore[no-untyped-def]
    app.push_screen(screen)
    await until(pilot, lambda: screen.is_current and screen._runs)
    await until(pilot, lambda: screen.query_one(OverlayPlot)._plot is not None)


@pytest.mark.parametrize("size", SIZES)
async def test_runs_are_laid_over_each_other_and_read_on(root: Path, size: tuple[int, int]) -> None:
    for name, total in (("one", 100), ("two", 200)):
        done_session(root, name, total)
    app = TuiLora(root, live=False)
    async with app.run_test(size=size) as pilot:
        screen = OverlayScreen(root, ["one", "two"])
        await opened(app, pilot, screen)
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert "A one" in shown
        assert "B two" in shown
        assert all(len(row) <= size[0] for row in picture(app))
        assert sum("nats" in row or "held-out" in row for row in picture(app)) >= 1
        await pilot.press("x", "z")
        assert "by tokens" in said(app, "#legend")
        assert "EMA 0.6, bias-corrected" in said(app, "#legend")
        await pilot.press("o", "o")
        await pilot.pause()
        rows = [row.key for row in app.screen.query_one(Table).rows]
        assert rows == [run.name for run in sorted(screen._runs, key=lambda run: run.best[1])]
        await pilot.press("space")
        assert "A one" not in said(app, "#legend") or "B two" not in said(app, "#legend")
        # More came since.
        write(SessionPaths(root / "one"), steps(101, 120, 200), first=1000)
        screen._read()
        await until(pilot, lambda: screen._runs[0].curve.points[-1].step == 120)


async def test_one_is_added_and_what_differs_is_told(root: Path) -> None:
    done_session(root, "one", 100)
    done_session(root, "two", 100)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = OverlayScreen(root, ["one"])
        await opened(app, pilot, screen)
        await pilot.press("a", "enter")
        await until(pilot, lambda: len(screen._runs) == 2)
        await pilot.press("v")
        assert "no setting differs" in said(app, "#notice")
        await pilot.press("d")
        assert len(screen._runs) == 1


async def test_a_plot_is_saved_and_nothing_is_replaced_unasked(root: Path) -> None:
    paths = done_session(root, "one", 100)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot, OverlayScreen(root, ["one"]))
        await pilot.press("s")
        assert isinstance(app.screen, Picker)
        await pilot.press("enter")
        assert isinstance(app.screen, SaveFigure)
        await pilot.press("down", "down", "enter")
        file = paths.folder / "exports" / "runs-train-step.csv"
        await until(pilot, lambda: "saved" in said(app, "#notice"))
        assert file.read_text(encoding="utf-8").startswith("curve,step,")
        file.write_text("mine")
        await pilot.press("s", "enter", "down", "down", "e")
        await pilot.press("end", *(["backspace"] * len("-2.csv")), *".csv", "enter")
        await until(pilot, lambda: isinstance(app.screen, Question))
        assert file.read_text() == "mine"
        await pilot.press("y")
        await until(pilot, lambda: file.read_text(encoding="utf-8") != "mine")


async def test_marked_sessions_are_laid_over_each_other(root: Path) -> None:
    from tui_lora.store import sessions

    for name in ("one", "two"):
        done_session(root, name, 100)
    app = TuiLora(root, start="sessions", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        listed = tuple(sessions.summarize(paths) for paths in sessions.listed(root))
        app.post_message(SessionsListed(listed))
        await until(pilot, lambda: app.screen.query_one(Table).rows)
        await pilot.press("space", "down", "space", "o")
        await until(pilot, lambda: isinstance(app.screen, OverlayScreen))
        await until(pilot, lambda: len(app.screen._runs) == 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", SIZES)
async def test_the_adapter_s_layers_are_mapped(root: Path, size: tuple[int, int]) -> None:
    paths = done_session(root, "one", 100)
    adapter(paths.adapter, *factors())
    app = TuiLora(root, start="results", live=False)
    async with app.run_test(size=size) as pilot:
        from tui_lora.ui.messages import SessionChosen

        app.post_message(SessionChosen(paths))
        await show(pilot, run_of(paths))
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, AdapterScreen) and app.screen.here)
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert "layer 3 q_proj" in shown
        assert "entropy rank" in shown
        assert all(len(row) <= size[0] for row in picture(app))
        await pilot.press("m", "m")
        assert "effective rank (entropy)" in said(app, "#legend")
        await pilot.press("w")
        await until(pilot, lambda: "not on this machine" in said(app, "#notice"))
        await pilot.press("escape", "r")
        await until(pilot, lambda: (paths.folder / "exports" / "one-report.md").is_file())
