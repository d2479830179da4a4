"""The check worker: reads a dataset whole, for one viewer over pipes. Needs no torch."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from tui_lora.core.check import (
    FROM_CHECK,
    TO_CHECK,
    CheckDataset,
    CheckFailed,
    FromCheck,
    ToCheck,
)
from tui_lora.core.errors import UserError
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store.dataset_check import LeftOff, check
from tui_lora.store.sources import Row, Source
from tui_lora.store.sources import rows_of as rows_of_files
from tui_lora.worker.stdio import Stdio


def main() -> int:
    """Serve until the end of input, which ends the process. A new question ends the one before."""
    pipes: Stdio[FromCheck, ToCheck] = Stdio(says=FROM_CHECK, hears=TO_CHECK)
    asked: queue.SimpleQueue[ToCheck] = queue.SimpleQueue()
    pipes.listen(asked.put)
    while True:
        message = asked.get()
        if isinstance(message, CheckDataset):
            pipes.say(_answer(message, pipes, asked))


def _answer(
    asked: CheckDataset,
    pipes: Stdio[FromCheck, ToCheck],
    behind: queue.SimpleQueue[Any],
) -> FromCheck:
    """What was found, or the sentence that says why not; never raises."""
    try:
        return check(
            RunSpec.model_validate(asked.spec),
            id=asked.id,
            read=_rows_of,
            on_progress=pipes.say,
            list_to=asked.list_to,
            wants_on=behind.empty,
        )
    except UserError as error:
        message = str(error)
    except LeftOff:
        message = "left off for the next question."
    except ValidationError as error:
        message = f"the run spec cannot be used: {one_line(str(error), max_chars=300)}"
    except Exception as error:  # noqa: BLE001 readers of Parquet and the Hub are foreign code
        why = one_line(str(error), max_chars=300).rstrip(".") or type(error).__name__
        message = f"the dataset cannot be checked: {why}."
    return CheckFailed(id=asked.id, message=clean(message))


def _rows_of(source: Source) -> Iterator[Row]:
    if source.kind == "rows":
        return rows_of_files(source)
    # Only these need pyarrow and datasets, which take seconds to import.
    from tui_lora.worker.tables import rows_of

    return rows_of(source)
