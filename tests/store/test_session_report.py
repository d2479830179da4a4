"""The page on a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.test_evaluated_rows import evaluation
from tests.evaluated import keep
from tests.recorded import done_session, make_session
from tests.store.test_adapter_spectrum import adapter, factors
from tui_lora.core.errors import UserError
from tui_lora.store import session_report
from tui_lora.store.doctor_report import scrubber_here


def test_it_says_what_is_known_and_no_more(tmp_path: Path) -> None:
    paths = done_session(tmp_path, "run")
    adapter(paths.adapter, *factors())
    written = session_report.write(paths)
    text = written.path.read_text(encoding="utf-8")
    assert written.path == paths.folder / "exports" / "run-report.md"
    assert written.curve is not None
    assert f"(<{written.curve.name}>)" in text
    assert "| perplexity | 23.1 |" in text
    assert "Intervals, task metrics and forgetting: — (`tui-lora eval run`)" in text
    assert "done at step 400 of 400" in text
    assert "r looks about right" in text or "r may be too small" in text
    assert session_report.write(paths).path.name == "run-report-2.md"


def test_a_draft_has_a_page_too(tmp_path: Path) -> None:
    written = session_report.write(make_session(tmp_path, "new"))
    text = written.path.read_text(encoding="utf-8")
    assert written.curve is None
    assert "![" not in text
    assert "— none is saved yet" in text


def test_the_home_folder_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    paths = done_session(tmp_path, "run")
    spec = paths.spec.read_text(encoding="utf-8")
    paths.spec.write_text(
        spec.replace("id: tiny", f"id: {tmp_path}/hf_abcdefghijklmnop"), encoding="utf-8"
    )
    text = session_report.write(paths).path.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "hf_abc" not in text
    assert "\\[removed\\]" in text
    assert scrubber_here({}).homes


def test_nothing_is_written_over(tmp_path: Path) -> None:
    paths = done_session(tmp_path, "run")
    for taken in ("mine.md", "other-loss.svg"):
        (tmp_path / taken).write_text("mine")
    for out in ("mine.md", "other.md"):
        with pytest.raises(UserError, match="already something"):
            session_report.write(paths, tmp_path / out)
    assert (tmp_path / "mine.md").read_text() == "mine"
    with pytest.raises(UserError, match="Markdown"):
        session_report.write(paths, tmp_path / "mine.txt")


def test_what_its_figures_leave_out_stands_below_them(tmp_path: Path) -> None:
    paths = done_session(tmp_path, "run")
    found = evaluation(answers=3)
    part = found.parts[0].model_copy(
        update={"tokens": 750, "cut_tokens": 250, "left_out": 7, "why_left_out": "it is empty"}
    )
    scored = found.metrics[0].model_copy(update={"failed": 14, "failures": ("a.jsonl:3: none",)})
    keep(paths, found.model_copy(update={"parts": (part,), "metrics": (scored,)}), [])
    text = session_report.write(paths).path.read_text(encoding="utf-8")
    lost = "- held-out rows, 01 Jan 1970: 25.0% of the trained tokens were cut"
    assert f"{lost}, 7 left out: it is empty" in text
    assert "14 could not be scored: a.jsonl:3: none" in text
