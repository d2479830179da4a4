"""Keeps how a classifier did at each evaluation. A disk that takes no report ends no run."""

from __future__ import annotations

from tui_lora.core.class_report import ClassReport
from tui_lora.store import class_reports
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.reporter import Teller
from tui_lora.worker.unwritten import why_unwritten


class ClassReporting:
    """Writes a session's reports; what could not be written is said at the first of several."""

    def __init__(self, paths: SessionPaths, reporter: Teller) -> None:
        self._paths, self._reporter = paths, reporter
        self._failed = False

    def keep(self, report: ClassReport) -> None:
        try:
            class_reports.write(self._paths, report)
        except OSError as error:
            if not self._failed:
                self._reporter.notice(
                    f"which labels were taken for which at step {report.step:,} could not be "
                    f"written down: {why_unwritten(error)}. The run goes on, and its figures "
                    "stand in the log",
                    "warning",
                )
            self._failed = True
        else:
            self._failed = False
