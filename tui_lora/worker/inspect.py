"""The inspect worker: rows of a dataset as a model would be fed them, for one viewer over pipes."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    FeedRow,
    FromInspect,
    InspectFailed,
    InspectReady,
    Piece,
    RowFed,
    ToInspect,
)
from tui_lora.core.rows import BadRow, as_prompt_completion
from tui_lora.core.text import clean, one_line
from tui_lora.store.dataset import Look, Row, check_file, look
from tui_lora.store.gguf_cache import converted_folder, is_converted
from tui_lora.store.paths import model_place
from tui_lora.store.row_file import RowFile
from tui_lora.worker.feeding import fed
from tui_lora.worker.stdio import Stdio

_KEPT_ROWS = 2000
_KEPT_TOKENIZERS = 3
_LOOK_AT_ROWS = 200


def main() -> int:
    """Serve until the end of input, which ends the process."""
    began = time.monotonic()
    pipes: Stdio[FromInspect, ToInspect] = Stdio(says=FROM_INSPECT, hears=TO_INSPECT)
    asked: queue.SimpleQueue[ToInspect] = queue.SimpleQueue()
    pipes.listen(asked.put)
    inspector = Inspector()
    inspector.warm_up()
    pipes.say(InspectReady(seconds=round(time.monotonic() - began, 2)))
    while True:
        message = asked.get()
        if isinstance(message, FeedRow):
            pipes.say(inspector.answer(message))


class Inspector:
    """Answers one question at a time; keeps tokenizers and the file last looked at."""

    def __init__(self) -> None:
        self._tokenizers: dict[str, Any] = {}
        self._file: _File | None = None

    def warm_up(self) -> None:
        """Import what the first question would otherwise wait for."""
        from transformers import AutoTokenizer  # noqa: F401

        from tui_lora.worker import model  # noqa: F401

    def answer(self, asked: FeedRow) -> FromInspect:
        """The row fed, or the sentence that says why not; never raises."""
        try:
            return self._feed(asked)
        except UserError as error:
            message = clean(str(error))
        except BadRow as error:
            field = f"{error.field} " if error.field else ""
            message = f"row {asked.row + 1}: {clean(field + str(error))}."
        except Exception as error:  # noqa: BLE001 templates and tokenizers are foreign code
            why = one_line(str(error), max_chars=300).rstrip(".") or type(error).__name__
            message = f"row {asked.row + 1} cannot be written as tokens: {why}."
        return InspectFailed(id=asked.id, message=message)

    def _feed(self, asked: FeedRow) -> RowFed:
        row, format = self._open(asked.path).row(asked.row, asked.format)
        if row.problem:
            raise UserError(f"row {asked.row + 1} (line {row.line}) {row.problem}.")
        prompt, completion = as_prompt_completion(row.value, format)
        tokenizer = self._tokenizer(asked.model)
        if not tokenizer.chat_template:
            raise UserError(
                f"{clean(asked.model)} has no chat template, so it is not known how it is to be "
                "fed turns.",
                then="Choose the instruct or chat version of the model.",
            )
        found = fed(prompt, completion, tokenizer, asked.loss_on, asked.max_length)
        return RowFed(
            id=asked.id,
            row=asked.row,
            pieces=tuple(_pieces(tokenizer, found.ids, found.trained)),
            tokens=len(found.ids),
            trained_tokens=sum(found.trained),
            cut_tokens=found.cut_tokens,
        )

    def _open(self, path: str) -> _File:
        file = check_file(path)
        stat = file.stat()
        stamp = (str(file), stat.st_size, stat.st_mtime_ns)
        if self._file is None or self._file.stamp != stamp:
            self._file = _File(path, file, stamp)
        return self._file

    def _tokenizer(self, model: str) -> Any:
        place = model_place(model)
        if place not in self._tokenizers:
            while len(self._tokenizers) >= _KEPT_TOKENIZERS:
                self._tokenizers.pop(next(iter(self._tokenizers)))
            self._tokenizers[place] = _load_tokenizer(place)
        return self._tokenizers[place]


def _load_tokenizer(place: str) -> Any:
    if place.lower().endswith(".gguf"):
        from tui_lora.worker.gguf import gguf_tokenizer

        folder = converted_folder(Path(place))
        if not is_converted(folder):
            return gguf_tokenizer(Path(place))
        place = str(folder)
    from tui_lora.worker.model import load_tokenizer

    return load_tokenizer(place)


class _File:
    """A dataset and what a look at it found."""

    def __init__(self, path: str, file: Path, stamp: tuple[str, int, int]) -> None:
        self.stamp = stamp
        self._path = path
        self._looks: dict[str, Look] = {}
        self._rows = RowFile(file, kept=_KEPT_ROWS)

    def row(self, number: int, format: str) -> tuple[Row, Any]:
        """Row `number` (from 0) and the file's format. Raises UserError."""
        if format not in self._looks:
            self._looks[format] = look(self._path, format=format, max_rows=_LOOK_AT_ROWS)
        found = self._looks[format]
        if found.format is None:
            raise UserError(
                f"the format of {clean(self._path)} is not known: {found.reason}.",
                where="dataset.format",
            )
        row = self._rows.row(number)
        if row is None:
            many = self._rows.rows or 0
            raise UserError(f"{clean(self._path)} has no row {number + 1}; it has {many:,}.")
        return row, found.format


def _pieces(tokenizer: Any, ids: list[int], trained: list[bool]) -> Iterator[Piece]:
    """Runs of tokens that share one fate.

    Each run's text is what it adds to the text before it: decoded alone, a run would lose the
    space that it begins with in SentencePiece vocabularies.
    """
    end, text = 0, ""
    for learned, run in groupby(trained):
        length = len(list(run))
        end += length
        whole = tokenizer.decode(
            ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        added = (
            whole[len(text) :]
            if whole.startswith(text)
            else tokenizer.decode(ids[end - length : end])
        )
        text = whole
        yield Piece(text=clean(added), trained=learned, tokens=length)
