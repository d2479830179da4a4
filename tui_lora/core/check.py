"""What viewer and check worker say to each other: a dataset read whole, and what is wrong with it.

The check worker needs no torch and no tokenizer; it reads every row, so it can take minutes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from tui_lora.core.wire import Message, Wire


class ToCheck(Message):
    pass


class FromCheck(Message):
    pass


class CheckDataset(ToCheck):
    """Check the dataset of a run spec. `list_to`: a JSONL file for every problem found."""

    type: ClassVar[str] = "check_dataset"
    id: str
    spec: dict[str, Any]
    list_to: str | None = None


class RowProblem(BaseModel):
    """`left_out`: the row is not trained on; else it is, and this is only worth knowing.

    `row` counts from 0 over the whole dataset, `line` from 1 in its file.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    file: str
    line: int
    row: int
    field: str = ""
    message: str
    left_out: bool


class CheckProgressed(FromCheck):
    """`total` is in the unit of `done`: bytes where files are read, rows otherwise."""

    type: ClassVar[str] = "check_progressed"
    id: str
    rows: int
    done: int
    total: int | None = None
    problems: int = 0


class Checked(FromCheck):
    """The whole dataset was read. `problems` are the first; `kinds` counts all by what is wrong.

    `parts` says which column plays which part (see `core.columns`).
    `listed_in` is the file with every problem, when one was asked for and written.
    """

    type: ClassVar[str] = "checked"
    id: str
    format: str | None
    reason: str
    task: str
    rows: int
    usable_rows: int
    held_out_rows: int | None = None
    splits: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    parts: dict[str, str] = {}
    files: int = 1
    size_bytes: int | None = None
    labels: dict[str, int] = {}
    duplicates: int | None = None
    also_held_out: int | None = None
    problems: tuple[RowProblem, ...] = ()
    kinds: dict[str, int] = {}
    listed_in: str | None = None
    seconds: float


class CheckFailed(FromCheck):
    type: ClassVar[str] = "failed"
    id: str
    message: str


TO_CHECK: Wire[ToCheck] = Wire(CheckDataset)
FROM_CHECK: Wire[FromCheck] = Wire(CheckProgressed, Checked, CheckFailed)
