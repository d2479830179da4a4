"""Looks at the chosen dataset: in a thread where it is read here, else by the inspect worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.dataset_facts import FIRST_ROWS, DatasetSeen, seen_here, seen_there
from tui_lora.ui.dataset_task import TaskChoice
from tui_lora.ui.inspector import Inspector
from tui_lora.ui.row_reader import why

if TYPE_CHECKING:
    from tui_lora.core.inspect import FromInspect, InspectWorking

MOST_ROWS = 20_000


class LookGoesOn(Message):
    """The worker is busy with something that takes a while, such as fetching."""

    def __init__(self, answer: InspectWorking) -> None:
        self.answer = answer
        super().__init__()


class FormatFound(Message):
    """The format of a dataset that was just chosen; None where none is known."""

    def __init__(self, format: str | None) -> None:
        self.format = format
        super().__init__()


class SubsetNeeded(Message):
    """A dataset that was just chosen has several subsets, and none is named yet."""


class Looks:
    """`look` asks, `DatasetSeen` answers; a newer look makes older ones worthless.

    After `choose`, the format is looked for whatever the draft's task is.
    """

    def __init__(self, inspector: Inspector, post: Callable[[Message], object]) -> None:
        self._inspector = inspector
        self._post = post
        self._asked = Asked()
        self._number = 0
        self._task = ""
        self.task_choice = TaskChoice()

    def look(self, asked: Asked) -> None:
        self._number += 1
        self._asked, self._task = asked, ""
        self._inspector.drop("look")
        if asked.data is not None:
            threading.Thread(
                target=self._look, args=(asked, self._number), name="look", daemon=True
            ).start()

    def close(self) -> None:
        self._number += 1

    def _look(self, asked: Asked, number: int) -> None:
        from tui_lora.store.dataset import look
        from tui_lora.store.sources import open_source

        data, spec, key = asked.data, asked.spec, asked.look_key
        if data is None or spec is None:
            return
        try:
            if open_source(data).kind != "rows":
                if number == self._number:
                    self._ask_worker(asked, spec.task)
                return
            # The first rows at once, then many more.
            for most in (FIRST_ROWS, MOST_ROWS):
                found = look(data, spec.task, max_rows=most)
                if number != self._number:
                    return
                self._post(DatasetSeen(key, seen_here(found)))
                if found.complete:
                    return
        except (UserError, OSError) as error:
            if number == self._number:
                self._post(DatasetSeen(key, None, why(error)))

    def _ask_worker(self, asked: Asked, task: str) -> None:
        from tui_lora.core.inspect import LookAt

        self._task = task
        spec = {**asked.wire, "task": task}
        self._inspector.ask("look", LookAt, spec=spec, rows=FIRST_ROWS)

    def answered(self, answer: FromInspect) -> None:
        """The worker's answer to a look."""
        from tui_lora.core.inspect import InspectFailed, InspectWorking, Looked

        asked = self._asked
        if isinstance(answer, InspectWorking):
            self._post(LookGoesOn(answer))
        elif isinstance(answer, InspectFailed):
            self._post(DatasetSeen(asked.look_key, None, answer.message))
        elif isinstance(answer, Looked) and asked.spec is not None:
            # A look for another task only tells what the format is.
            if self._task == asked.spec.task:
                self._post(DatasetSeen(asked.look_key, seen_there(answer)))
            if self.task_choice.open:
                self._settle(answer.format, len(answer.subsets) > 1)

    def _settle(self, format: str | None, several: bool) -> None:
        asked = self._asked
        if format is None and several and asked.data is not None and asked.data.subset is None:
            self._post(SubsetNeeded())
        elif format is not None:
            self._post(FormatFound(format))
        elif (task := self.task_choice.next(self._task)) is not None:
            self._ask_worker(asked, task)
