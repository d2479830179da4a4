"""What the Data screen asks of the disk: called in its threads, answered with facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.ui.dataset_text import file_name
from tui_lora.ui.forms.ask_line import Refused

if TYPE_CHECKING:
    from tui_lora.store.dataset import Look
    from tui_lora.store.dataset_list import DatasetEntry

FIRST_ROWS = 200
MOST_ROWS = 100_000
QUICKSTART = "quickstart"
QUICKSTART_HELD_OUT = "quickstart-heldout"


class DatasetsListed(Message):
    """The disks were looked through for datasets."""

    def __init__(self, entries: list[DatasetEntry]) -> None:
        self.entries = entries
        super().__init__()


class DatasetSeen(Message):
    """A look at the chosen dataset, or why there is none."""

    def __init__(self, path: str, seen: Look | None, problem: str = "") -> None:
        self.path = path
        self.seen = seen
        self.problem = problem
        super().__init__()


class PathTaken(Message):
    """What was typed is a dataset: the settings that become of it."""

    def __init__(self, changes: dict[str, Any], said: str) -> None:
        self.changes = changes
        self.said = said
        super().__init__()


def looks(path: str, format: str) -> Iterator[DatasetSeen]:
    """A look at the first rows at once, then one at many more."""
    from tui_lora.store.dataset import look

    try:
        for most in (FIRST_ROWS, MOST_ROWS):
            seen = look(path, format=format, max_rows=most)
            yield DatasetSeen(path, seen)
            if seen.complete:
                return
    except UserError as error:
        where = f"{error.where}: " if "/" in error.where else ""
        yield DatasetSeen(path, None, f"{where}{error.what}")


def checked_dataset(text: str, held_out: str) -> Message:
    """What was typed as the path of a dataset; `held_out` is the file that the draft names now."""
    from tui_lora.store.dataset import SHIPPED, check_file

    try:
        file = check_file(text)
    except UserError as error:
        return Refused(f"{error.what} {error.then}".strip())
    path = text if text in SHIPPED else str(file.absolute())
    return PathTaken(dataset_changes(path, held_out), f"{file_name(path)} is the draft's dataset.")


def checked_held_out(text: str, dataset: str, format: str) -> Message:
    """What was typed as the path of a held-out file."""
    from tui_lora.store.dataset import SHIPPED, check_file, dataset_file, look

    try:
        file = check_file(text, field="dataset.eval_path")
        if dataset and file.samefile(dataset_file(dataset)):
            return Refused("That is the dataset itself: its rows are trained on.")
        seen = look(text, format=format, max_rows=FIRST_ROWS)
    except UserError as error:
        return Refused(f"{error.what} {error.then}".strip())
    except OSError as error:
        return Refused(f"it cannot be read: {error.strerror}.")
    if not seen.usable_rows:
        return Refused(f"None of its rows can be used: {seen.reason}.")
    path = text if text in SHIPPED else str(file.absolute())
    said = f"The held-out loss is measured on {file_name(path)}."
    return PathTaken({"dataset.eval_path": path}, said)


def dataset_changes(path: str, held_out: str) -> dict[str, Any]:
    """What choosing a dataset changes.

    The quickstart has a held-out file of its own, which is of no use to other rows.
    """
    changes: dict[str, Any] = {"dataset.path": path}
    if path == QUICKSTART and not held_out:
        changes["dataset.eval_path"] = QUICKSTART_HELD_OUT
    elif path != QUICKSTART and held_out == QUICKSTART_HELD_OUT:
        changes["dataset.eval_path"] = None
    return changes
