"""Themes: those that we ship are whole and readable; a broken one is a message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.ui.conftest import notice, until
from tui_lora.core.themes import DARK, LIGHT, ROLES, contrast, parse_theme
from tui_lora.store.paths import themes_folder
from tui_lora.store.preferences import read_preferences
from tui_lora.store.theme_files import FALLBACK, read_theme, read_themes
from tui_lora.ui.app import TuiLora
from tui_lora.ui.theming import DEFAULTS

SHIPPED = sorted(themes_folder().glob("*.toml"))
UI = Path(__file__).parents[2] / "tui_lora" / "ui"
# What textual itself derives for every theme.
TEXTUALS = {"foreground", "background", "panel", "accent"}


def test_five_at_least_and_ours_is_as_in_the_code() -> None:
    assert len(SHIPPED) >= 5
    spec, _ = read_theme(themes_folder() / "forge.toml")
    assert spec == FALLBACK


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_theme_is_whole_and_readable(path: Path) -> None:
    spec, problems = read_theme(path)
    assert not problems
    assert spec is not None
    assert spec.name == path.stem
    assert spec.about
    assert set(spec.colours) == set(ROLES)
    for behind in ("background", "panel", "cursor"):
        assert contrast(spec["foreground"], spec[behind]) >= 7
        assert contrast(spec["dim"], spec[behind]) >= (3.5 if behind == "cursor" else 4)
    least = 7 if spec.name == "contrast" else 4.5
    for role in ("accent", "good", "tight", "wrong", "chart-loss", "chart-eval"):
        assert contrast(spec[role], spec["background"]) >= least, role
    assert contrast(spec["faint"], spec["background"]) >= 1.4


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
async def test_the_app_wears_it(path: Path, root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test() as pilot:
        app.choose_theme(path.stem)
        await pilot.pause()
        spec, _ = read_theme(path)
        assert spec is not None
        assert app.theme_variables["chart-loss"] == spec["chart-loss"]
    assert read_preferences().theme == path.stem
    assert TuiLora(root, live=False).theme == path.stem


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "no TOML"),
        ("name = 'x'\ncolours = 3", "must be a table"),
        ("name = 'Bad Name'", "lower-case"),
        ("name = 'x'\n[colours]\nacent = '#fff'", "did you mean accent"),
        ("name = 'x'\n[colours]\naccent = 'reddish'", "must be a colour"),
        ("name = 'x'\ndark = 'yes'", "true or false"),
        ("name = 'x'\ncolors = {}", "no key"),
        ("\xff", "not UTF-8"),
    ],
)
async def test_a_broken_theme_is_a_message(config: Path, root: Path, text: str, says: str) -> None:
    (config / "themes").mkdir(parents=True)
    (config / "themes" / "mine.toml").write_text(text, encoding="latin-1")
    app = TuiLora(root, live=False)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "mine.toml" in notice(app))
    assert any(says in problem for problem in read_themes().problems)


async def test_several_broken_themes_are_counted(config: Path, root: Path) -> None:
    (config / "themes").mkdir(parents=True)
    (config / "themes" / "a.toml").write_text("name = ")
    (config / "themes" / "b.toml").write_text("name = ")
    app = TuiLora(root, live=False)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "2 problems in themes, the first: " in notice(app))
        assert "a.toml" in notice(app)


def test_the_users_own_wins_and_fills_up_from_ours(config: Path) -> None:
    (config / "themes").mkdir(parents=True)
    own = "name = 'paper'\ndark = false\n[colours]\naccent = '#005500'"
    (config / "themes" / "paper.toml").write_text(own)
    paper = read_themes().named("paper")
    assert paper["accent"] == "#005500"
    assert paper["dim"] == LIGHT["dim"]
    assert read_themes().named("no such theme") == FALLBACK


def test_both_bases_have_every_role() -> None:
    assert set(DARK) == set(LIGHT) == set(ROLES)
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert parse_theme({"name": "x"})[0] is not None


def test_every_variable_in_our_styles_has_a_default() -> None:
    used: dict[str, str] = {}
    for path in [*UI.rglob("*.tcss"), *UI.rglob("*.py")]:
        for name in re.findall(r"\$([a-z][a-z-]*)", path.read_text()):
            used[name] = path.name
    missing = {name: where for name, where in used.items() if name not in {*DEFAULTS, *TEXTUALS}}
    assert missing == {}
