"""The doctor's page: opened from the palette, filled as checks come, its mends copied."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import picture, until
from tui_lora.core.doctor import Check
from tui_lora.store import doctor
from tui_lora.ui.app import TuiLora
from tui_lora.ui.commands import commands
from tui_lora.ui.screens.doctor import CheckTable, DoctorScreen

pytestmark = pytest.mark.screens

FOUND = [
    Check("Python", True, "3.11.7"),
    Check("disk [/b]", False, "full at \x1b]0;x\x07/data", "Free some room [b], 2 GB or more."),
    Check("Hub token", None, "none", "`hf auth login`, or set HF_TOKEN."),
]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_checks_come_and_mends_are_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    more = threading.Event()

    def checks(asked: Path, *, on_found: Any) -> list[Check]:
        assert asked == root
        for check in FOUND[:2]:
            on_found(check)
        more.wait(60)
        on_found(FOUND[2])
        return FOUND

    monkeypatch.setattr(doctor, "checks", checks)
    app = TuiLora(root, live=False)
    async with app.run_test(size=size) as pilot:
        entry = next(found for found in commands(app, app.screen) if found.title == "Doctor")
        entry.callback()
        await until(pilot, lambda: isinstance(app.screen, DoctorScreen))
        table = app.screen.query_one(CheckTable)
        await until(pilot, lambda: len(table.rows) == 2)
        shown = "\n".join(picture(app))
        assert "1 wrong   looking" in shown
        more.set()
        await until(pilot, lambda: len(table.rows) == 3 and "looking" not in "".join(picture(app)))

        await pilot.press("w")
        assert [row.key for row in table.rows] == ["disk [/b]"]
        await pilot.press("c")
        assert app.clipboard == "Free some room [b], 2 GB or more."
        assert "OSC 52" in notice_of(app)
        shown = "\n".join(picture(app))
        assert "mend   Free some room [b]" in shown
        assert "\x1b" not in shown
        assert "w all" in keys_of(app)
        await pilot.press("w", "home")
        assert "w wrong only" in keys_of(app)
        # What is well has no mend to copy.
        assert "copy" not in keys_of(app)
        await pilot.press("escape")
        assert not isinstance(app.screen, DoctorScreen)


def notice_of(app: TuiLora) -> str:
    from tui_lora.ui.widgets.line import Line

    return app.screen.query_one("#notice", Line).said.plain


def keys_of(app: TuiLora) -> str:
    from tui_lora.ui.widgets.line import Line

    return app.screen.query_one("#keys", Line).said.plain
