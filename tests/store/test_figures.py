"""Plots and tables as files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.figures import FORMATS, Curve, Curves, Figure, Heat, TableData
from tui_lora.store.figures import save

CURVES = Curves("loss of $x_\\frac", "step", "loss", (Curve("A [/b]", (1.0, 2.0), (3.25, 1.5)),))
HEAT = Heat("map", "norm", "layer", "module", ("0", "1"), ("q", "日本"), ((1.0, None), (0.5, 2.0)))
TABLE = TableData("runs", ("run", "loss, nats"), (("=cmd|x", 1 / 3), ("b", None)), "why")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("figure", [CURVES, HEAT, TABLE], ids=["curves", "heat", "table"])
def test_each_is_saved_as_each(tmp_path: Path, figure: Figure, ending: str) -> None:
    saved = save(figure, tmp_path / "new" / f"x.{ending}")
    assert saved.size_bytes == saved.path.stat().st_size > 20
    assert [path.name for path in saved.path.parent.iterdir()] == [f"x.{ending}"]
    if ending == "svg":
        assert figure.title in saved.path.read_text(encoding="utf-8")


def test_numbers_are_whole_and_no_formula_gets_through(tmp_path: Path) -> None:
    path = save(TABLE, tmp_path / "x.csv").path
    rows = list(csv.reader(path.open(encoding="utf-8")))
    assert rows == [["run", "loss, nats"], ["'=cmd|x", str(1 / 3)], ["b", ""]]
    text = save(TABLE, tmp_path / "x.md").path.read_text(encoding="utf-8")
    assert "| =cmd\\|x | 0.333 |" in text
    assert "| b | — |" in text


def test_nothing_is_written_over_unasked(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    with pytest.raises(UserError, match="already something"):
        save(TABLE, path)
    assert path.read_text() == "mine"
    save(TABLE, path, over=True)
    assert path.read_text().startswith("run,")


def test_a_name_says_the_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="as what"):
        save(TABLE, tmp_path / "x.pdf")
    with pytest.raises(UserError, match="nothing in it"):
        save(Curves("none", "x", "y", ()), tmp_path / "x.svg")
    assert list(tmp_path.iterdir()) == []
