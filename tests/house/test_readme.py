"""The README says what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from typer.main import get_command

from tui_lora.cli import app
from tui_lora.store.presets import preset_names

HERE = Path(__file__).resolve().parent.parent.parent
README = (HERE / "README.md").read_text(encoding="utf-8")


def settings_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "settings_table", HERE / "scripts" / "settings_table.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_settings_is_the_spec_s() -> None:
    assert settings_table().with_table(README) == README, "run scripts/settings_table.py --write"


def test_every_verb_stands_there_and_no_other() -> None:
    listed = set(re.findall(r"^tui-lora ([\w-]+)", README, re.MULTILINE))
    assert listed == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_preset_is_named() -> None:
    named = README[README.index("\nPresets: ") :].split("\n\n")[0]
    assert sorted(re.findall(r"`([\w-]+)`", named)) == preset_names()


def test_every_file_that_it_names_is_there() -> None:
    for path in re.findall(r"\]\(([\w/.-]+)\)", README):
        assert (HERE / path).is_file(), path
