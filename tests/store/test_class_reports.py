"""Reports of a classifier: kept by step, and read only when they add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_lora.core.class_report import ClassReport
from tui_lora.store import class_reports
from tui_lora.store.paths import SessionPaths


def report(step: int, t: float = 1.0, **changes: object) -> ClassReport:
    fields = {
        "t": t, "step": step, "labels": ("a\x1b[31m", "[b]"), "confusion": ((3, 1), (0, 2)),
        "rows": 6, "accuracy": 5 / 6, "macro_f1": 0.8,
    }  # fmt: skip
    return ClassReport.model_validate({**fields, **changes})


def test_reports_are_found_by_step_and_by_age(tmp_path: Path) -> None:
    paths = SessionPaths(tmp_path)
    assert class_reports.newest(paths) is None
    for step, t in ((0, 1.0), (200, 3.0), (1_000_000, 2.0)):
        class_reports.write(paths, report(step, t))
    newest = class_reports.newest(paths)
    assert newest is not None
    assert (newest.step, newest.labels) == (200, ("a[31m", "[b]"))
    base = class_reports.at(paths, 0)
    assert base is not None
    assert base.confusion == ((3, 1), (0, 2))
    assert class_reports.at(paths, 1_000_000) is not None
    assert class_reports.at(paths, 7) is None
    # A run that resumed from before it measured the step again.
    class_reports.write(paths, report(200, 9.0, accuracy=1.0))
    again = class_reports.at(paths, 200)
    assert again is not None
    assert again.accuracy == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 50_000,
        report(5, labels=("a", "b", "c")).model_dump_json(),
        report(5, confusion=((1, 2), (3,))).model_dump_json(),
    ],
)
def test_what_does_not_add_up_is_passed_over(text: str, tmp_path: Path) -> None:
    paths = SessionPaths(tmp_path)
    class_reports.write(paths, report(3))
    (paths.evaluations / "classes-step-000005.json").write_text(text)
    assert class_reports.at(paths, 5) is None
    newest = class_reports.newest(paths)
    assert newest is not None
    assert newest.step == 3
