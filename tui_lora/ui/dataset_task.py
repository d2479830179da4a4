"""Which task the rows of a dataset usually teach, and whether the draft's is to follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_lora.core.formats import Task, decide, format_of, usual_task

TASKS: tuple[Task, ...] = ("sft", "classification", "kto", "dpo")
"""In this order each format is found by the first that it can teach."""

WORDS: dict[str, str] = {
    "sft": "answers, or text to carry on",
    "classification": "a label for a text",
    "dpo": "to prefer chosen answers to rejected ones",
    "kto": "answers marked good or bad",
}


def format_of_rows(rows: Sequence[Any]) -> str | None:
    """The format of rows like these, whatever the draft's task; None where none is known."""
    for task in TASKS:
        reading, _ = decide(rows, task=task)
        if reading is not None:
            return reading.format
    return None


def wanted_task(format: str | None, now: str, *, followed: bool) -> Task | None:
    """The task that choosing rows of `format` calls for; None where `now` is to stay.

    `followed`: the present task was set by choosing the dataset before, so that it goes with it.
    """
    if format is None:
        return "sft" if followed and now != "sft" else None
    usual = usual_task(format)
    if now == usual:
        return None
    if now == "sft" or followed or now not in format_of(format).tasks:
        return usual
    return None


def task_words(format: str | None, task: str) -> str:
    """Why the task was changed."""
    title = format_of(format).title if format is not None else "of no known format"
    return f"The rows are {title}, so the task is {task} now."


class TaskChoice:
    """What choosing a dataset does to the task, and which were set so."""

    def __init__(self) -> None:
        self._followed = ""
        self._untried: list[Task] = []

    @property
    def open(self) -> bool:
        """Whether it is not known yet what the rows of a new dataset teach."""
        return bool(self._untried)

    def begin(self) -> None:
        """A dataset was chosen that only the worker reads: its first looks will tell."""
        self._untried = list(TASKS)

    def next(self, tried: str) -> Task | None:
        """The task to look with next, where no format was found for `tried`."""
        self._untried = [task for task in self._untried if task != tried]
        return self._untried[0] if self._untried else None

    def settle(self, format: str | None, now: str) -> Task | None:
        """The task that is wanted for rows of a format; None where the present one stays."""
        self._untried = []
        task = wanted_task(format, now, followed=bool(now) and now == self._followed)
        if task is not None:
            self._followed = task if task != "sft" else ""
        return task
