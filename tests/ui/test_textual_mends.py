"""What we mend in textual, each as a user would meet it."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from textual._styles_cache import StylesCache

from tests.recorded import done_session
from tests.ui.conftest import run_of, show
from tui_lora.ui.app import TuiLora


def kept() -> int:
    gc.collect()
    return sum(isinstance(found, StylesCache) for found in gc.get_objects())


async def test_what_was_shown_and_closed_is_forgotten(root: Path) -> None:
    paths = done_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(100, 30)) as pilot:
        await show(pilot, run_of(paths))

        async def open_and_close(times: int) -> None:
            for _ in range(times):
                await pilot.press("question_mark")
                await pilot.press("escape")
            await pilot.pause()

        await open_and_close(2)
        before = kept()
        await open_and_close(6)
        assert kept() <= before


async def test_without_colour_the_curve_is_drawn_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    paths = done_session(root)
    app = TuiLora(root, session=paths, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, run_of(paths))
        await pilot.press("7", "5")
        await pilot.pause()
        assert app.no_color
