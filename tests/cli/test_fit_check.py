"""`tui-lora fit --check` with workers of our own, and once with the real one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import fake_fit_check
from tests.cli import fake_inspect
from tests.cli.test_fit import card, cards
from tests.models import write_model
from tui_lora.core.errors import UserError
from tui_lora.headless import fit_check as verb
from tui_lora.headless import questions


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the workers that were started."""
    kinds: list[str] = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        kinds.append(kind)
        if kind == "fit_check":
            return fake_fit_check.start_fake_fit_check(kind, devices=devices)
        return fake_inspect.start_fake(kind)

    monkeypatch.setattr(questions, "start_pipe_worker", start)
    return kinds


def spec(folder: Path, model: str = "tiny", **changes: Any) -> str:
    file = folder / "rows.jsonl"
    file.write_text('{"prompt": "a b", "completion": "c d"}\n' * 9)
    data = {"model": {"id": str(write_model(folder / model))}, "dataset": {"path": str(file)}}
    path = folder / "spec.yaml"
    path.write_text(json.dumps({**data, **changes}))
    return str(path)


def check(root: Path, what: str | None, **others: Any) -> int:
    wanted: dict[str, Any] = {"preset": None, "changes": [], "card": None, "json_wanted": False}
    return verb.fit_check(root, what=what, **{**wanted, **others})


def test_measured_keys_stand_beside_the_predicted(
    tmp_path: Path,
    fake: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cards(monkeypatch, card(16.0, 0.4))
    assert check(tmp_path, spec(tmp_path), json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert fake == ["fit_check", "inspect"]
    assert (found["peak_process_gib"], found["verdict"]) == (7.3, "fits")
    assert found["predicted_for_batch"]["peak_process_gib"] == 7.3
    measured = found["measured"]
    assert measured["peak_allocated_gib"] == 6.2
    assert measured["peak_reserved_gib"] == pytest.approx(6.4)
    assert measured["peak_process_gib"] == pytest.approx(6.7)
    assert measured["headroom_gib"] == pytest.approx(16 - 0.4 - 6.7)
    assert [phase["phase"] for phase in measured["phases"]] == [
        *("loaded", "first step", "second step", "evaluation")
    ]
    assert measured["ran_out"] is None
    assert check(tmp_path, spec(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "process                 7.30        6.70       +9.0%" in said
    assert "it fits: 8.90 GiB are left" in said
    assert all(len(line) <= 80 for line in said.splitlines())


def test_memory_that_runs_out_is_exit_code_3(
    tmp_path: Path,
    fake: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cards(monkeypatch, card(16.0, 0.4))
    assert check(tmp_path, spec(tmp_path, "short"), json_wanted=True) == 3
    measured = json.loads(capsys.readouterr().out)["measured"]
    assert measured["verdict"] == "does_not_fit"
    assert (measured["ran_out"]["check_phase"], measured["ran_out"]["phase"]) == (
        "first step",
        "backward",
    )
    assert check(tmp_path, spec(tmp_path, "short")) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "memory ran out in the first step, " in said
    assert "1.25 GiB more were asked for" in said


def test_what_cannot_be_checked_is_refused_before_anything_starts(
    tmp_path: Path, fake: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards(monkeypatch, card(16.0, 9.8))
    with pytest.raises(UserError, match="so no other card can be asked about"):
        check(tmp_path, spec(tmp_path), card="T4")
    with pytest.raises(UserError, match="names no dataset"):
        check(tmp_path, None, preset="16gb-ada-7b", changes=[f"model.id={tmp_path / 'tiny'}"])
    with pytest.raises(UserError, match=r"no-rows\.jsonl"):
        check(tmp_path, spec(tmp_path), changes=[f"dataset.path={tmp_path}/no-rows.jsonl"])
    monkeypatch.setattr(verb, "training_on_cards", lambda root: ("run-x",))
    with pytest.raises(UserError, match=r"run-x trains now, and 9\.80 GiB") as error:
        check(tmp_path, spec(tmp_path))
    assert "tui-lora stop run-x" in error.value.then
    assert fake == []
    # On the processor it takes nothing of the card.
    assert check(tmp_path, spec(tmp_path, hardware={"devices": "cpu"})) == 0


@pytest.mark.parametrize(
    ("model", "words", "code"), [("broken", "no such layer", 2), ("dead", "fell off the bus", 1)]
)
def test_what_goes_wrong_in_the_worker_is_said(
    tmp_path: Path,
    fake: list[str],
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    words: str,
    code: int,
) -> None:
    cards(monkeypatch)
    with pytest.raises(UserError, match=words) as error:
        check(tmp_path, spec(tmp_path, model))
    assert error.value.exit_code == code


@pytest.mark.model
@pytest.mark.long
def test_the_real_worker_measures(
    tmp_path: Path, tiny_model: Path, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps({"model": str(tiny_model), "dataset": str(rows)}))
    assert check(tmp_path, str(path), json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["peak_process_gib"], found["method"]) == (None, None)
    assert (found["measured"]["device"], found["measured"]["verdict"]) == ("cpu", "fits")
    assert found["measured"]["peak_process_gib"] > 0.1
