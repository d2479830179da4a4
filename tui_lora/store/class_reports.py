"""How a session's classifier did, measurement by measurement: files in its evaluations/."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.class_report import ClassReport
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import SessionPaths

_PREFIX = "classes-step-"
_MAX_BYTES = 64 << 20


def write(paths: SessionPaths, report: ClassReport) -> Path:
    """Write the report whole; raises OSError. One of the same step is replaced: a run that resumes
    from before it measures again."""
    paths.evaluations.mkdir(mode=0o700, exist_ok=True)
    path = _path(paths, report.step)
    write_whole(path, report.model_dump_json() + "\n")
    return path


def at(paths: SessionPaths, step: int) -> ClassReport | None:
    """The report of a step; None where there is none that can be read."""
    return _read(_path(paths, step))


def newest(paths: SessionPaths) -> ClassReport | None:
    """The report that was made last; one that cannot be read is passed over."""
    try:
        files = [p for p in paths.evaluations.iterdir() if p.name.startswith(_PREFIX)]
    except OSError:
        return None
    reports = [report for file in files if (report := _read(file)) is not None]
    return max(reports, key=lambda report: (report.t, report.step), default=None)


def _path(paths: SessionPaths, step: int) -> Path:
    return paths.evaluations / f"{_PREFIX}{step:06d}.json"


def _read(file: Path) -> ClassReport | None:
    """The report with clean labels, if its counts are as many as they say."""
    try:
        if file.suffix != ".json" or file.stat().st_size > _MAX_BYTES:
            return None
        report = ClassReport.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    among = len(report.labels)
    if len(report.confusion) != among or any(len(row) != among for row in report.confusion):
        return None
    return report.model_copy(update={"labels": tuple(clean(label) for label in report.labels)})
