"""`tui-lora fit --history`: the table of runs, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tui_lora.core.measured_runs import MeasuredRun, Peaks
from tui_lora.headless.fit_history import history
from tui_lora.store.memory_table import keep


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_DATA", str(tmp_path))


def run(t: float, predicted: float | None, measured: float, session: str = "run") -> MeasuredRun:
    return MeasuredRun(
        t=t,
        session=session,
        card="NVIDIA GeForce RTX 4080",
        scheme="nf4",
        r=16,
        micro_batch=2,
        max_length=1024,
        tokens=812,
        predicted=None if predicted is None else Peaks(reserved_gib=predicted),
        measured=Peaks(reserved_gib=measured, context_gib=0.4),
    )


def test_it_shows_each_run_and_how_right_the_predictions_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(run(1.7e9, 10.3, 10.0))
    keep(run(1.8e9, 9.5, 10.0, session="a-name-\x1b[31m" + "x" * 60))
    keep(run(1.9e9, None, 7.0))
    assert history(json_wanted=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in "".join(lines)
    newest, middle, oldest = lines[1:4]
    assert "     —     7.00      —" in newest
    assert "9.50    10.00  -5.0%" in middle
    assert "RTX 4080     nf4 r16 2×812" in oldest
    assert "10.30    10.00  +3.0%" in oldest
    assert "2 runs: off by 4.0% in the median, by 5.0% at worst" in lines


def test_for_programs_it_is_the_table_with_the_errors(capsys: pytest.CaptureFixture[str]) -> None:
    keep(run(1, 11.0, 10.0))
    assert history(json_wanted=True) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["off_by"] == pytest.approx(0.1)
    assert found["measured"]["context_gib"] == 0.4


@pytest.mark.parametrize(("json_wanted", "said"), [(True, "[]"), (False, "No run on a card")])
def test_an_empty_table(json_wanted: bool, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(json_wanted=json_wanted) == 0
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("t", [1e300, -1e300, 1e12])
def test_a_damaged_date_is_unknown_and_the_rest_is_shown(
    t: float, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(run(t, 10.3, 10.0))
    keep(run(1.8e9, 9.5, 10.0))
    assert history(json_wanted=False) == 0
    said = capsys.readouterr().out
    assert "10.30    10.00  +3.0%" in said
    assert "9.50    10.00  -5.0%" in said
