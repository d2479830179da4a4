"""What the Data screen asks of the disk: called in its threads, answered with facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.ui.dataset_draft import choosing
from tui_lora.ui.dataset_text import file_name
from tui_lora.ui.forms.ask_line import Refused
from tui_lora.ui.row_reader import why

if TYPE_CHECKING:
    from tui_lora.core.errors import Problem
    from tui_lora.core.inspect import Looked
    from tui_lora.core.spec import RunSpec
    from tui_lora.store.dataset import Look
    from tui_lora.store.dataset_list import DatasetEntry

FIRST_ROWS = 200


@dataclass(frozen=True)
class Seen:
    """What a look at a dataset found, whoever looked.

    `rows` were looked at, `usable` of them can be learned from; `total` is how many there are,
    where that is known. `parts` has the column of each part.
    """

    format: str | None
    reason: str
    rows: int
    usable: int
    total: int | None
    columns: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    first_problem: str = ""


class DatasetsListed(Message):
    """The disks were looked through for datasets."""

    def __init__(self, entries: list[DatasetEntry]) -> None:
        self.entries = entries
        super().__init__()


class DatasetSeen(Message):
    """A look at the chosen dataset, or why there is none; `key` says at what."""

    def __init__(self, key: tuple[Any, ...], seen: Seen | None, problem: str = "") -> None:
        self.key = key
        self.seen = seen
        self.problem = problem
        super().__init__()


class PathTaken(Message):
    """What was typed or chosen is a dataset: the settings that become of it.

    `format` is that of its rows, where they can be read here; `held_out`: it is the held-out part.
    """

    def __init__(
        self,
        changes: dict[str, Any],
        said: str,
        *,
        format: str | None = None,
        read_here: bool = True,
        held_out: bool = False,
    ) -> None:
        self.changes = changes
        self.said = said
        self.format = format
        self.read_here = read_here
        self.held_out = held_out
        super().__init__()


class FileThere(Message):
    """There is a file already where the problems were to be listed."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__()


class FileFree(Message):
    """The problems can be listed there."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__()


def seen_here(found: Look) -> Seen:
    """A look of our own."""
    reading = found.reading
    return Seen(
        format=reading.format if reading is not None else None,
        reason=clean(found.reason),
        rows=found.rows,
        usable=found.usable_rows,
        total=found.rows if found.complete else None,
        columns=tuple(found.columns),
        parts=dict(reading.columns) if reading is not None else {},
        splits=tuple(found.splits),
        problems=tuple(found.problems),
    )


def seen_there(found: Looked) -> Seen:
    """What the worker saw."""
    return Seen(
        format=found.format,
        reason=clean(found.reason),
        rows=found.seen,
        usable=found.usable,
        total=found.rows,
        columns=tuple(clean(column, max_chars=40) for column in found.columns),
        splits=found.splits,
        subsets=found.subsets,
        first_problem=clean(found.first_problem),
    )


def checked_dataset(text: str, held_out: str) -> Message:
    """What was typed or chosen as a dataset; `held_out` is the file that the draft names now."""
    from tui_lora.core.spec import DatasetSpec
    from tui_lora.store.sources import open_source, rows_of
    from tui_lora.ui.dataset_task import format_of_rows

    try:
        source = open_source(DatasetSpec(path=text))
        path = anchored(text, source.kind)
        format, here = None, source.kind == "rows"
        if here:
            first = [row.value for row in islice(rows_of(source), FIRST_ROWS) if not row.problem]
            format = format_of_rows(first)
    except (UserError, OSError, ValueError) as error:
        return Refused(why(error) if not isinstance(error, ValueError) else str(error))
    said = f"{file_name(path)} is the draft's dataset."
    return PathTaken(choosing(path, held_out), said, format=format, read_here=here)


def checked_held_out(text: str, spec: RunSpec, splits: tuple[str, ...]) -> Message:
    """What was typed as the held-out part: a split of the dataset, or a file of its own."""
    from tui_lora.store.dataset import look
    from tui_lora.store.sources import open_source

    if text in splits and not Path(text).exists():
        changes = {"dataset.eval_split": text, "dataset.eval_path": None}
        said = f"The held-out loss is measured on the split {text}."
        return PathTaken(changes, said, held_out=True)
    try:
        data = spec.dataset
        named = data.model_copy(update={"eval_path": text, "eval_split": None})
        source = open_source(named, "held_out")
        if _same(text, data.path):
            return Refused("That is the dataset itself: its rows are trained on.")
        if source.kind == "rows":
            found = look(named, spec.task, part="held_out", max_rows=FIRST_ROWS)
            if not found.usable_rows:
                return Refused(f"None of its rows can be used: {clean(found.reason)}.")
        path = anchored(text, source.kind)
    except (UserError, OSError) as error:
        return Refused(why(error))
    said = f"The held-out loss is measured on {file_name(path)}."
    changes = {"dataset.eval_path": path, "dataset.eval_split": None}
    return PathTaken(changes, said, held_out=True)


def anchored(text: str, kind: str) -> str:
    """A path that means the same from everywhere; what is shipped or on the Hub keeps its name."""
    from tui_lora.store.paths import expanded
    from tui_lora.store.sources import SHIPPED

    if text in SHIPPED or kind == "hub":
        return text
    return str(expanded(text).absolute())


def free_file(text: str, *, over: bool) -> Message:
    """Whether a list can be written where the user says."""
    from tui_lora.store.paths import expanded

    path = expanded(text).absolute()
    try:
        if path.is_dir():
            return Refused("That is a folder; give the name of a file.")
        if not path.parent.is_dir():
            return Refused(f"There is no folder {clean(str(path.parent))}.")
        if path.exists() and not over:
            return FileThere(text)
    except (OSError, ValueError) as error:
        return Refused(f"it cannot be written: {getattr(error, 'strerror', None) or error}.")
    return FileFree(str(path))


def _same(one: str, other: str) -> bool:
    from tui_lora.store.sources import dataset_file

    try:
        return bool(other) and dataset_file(one).samefile(dataset_file(other))
    except (OSError, ValueError):
        return False
