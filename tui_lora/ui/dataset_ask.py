"""The line in which the Data screen asks: a dataset, a held-out part, a row, a text, a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual import on
from textual.message import Message

from tui_lora.ui.dataset_draft import Asked
from tui_lora.ui.dataset_facts import (
    FileFree,
    FileThere,
    PathTaken,
    checked_dataset,
    checked_held_out,
    free_file,
)
from tui_lora.ui.dataset_text import problems_file, splits_hint
from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.state import Draft

LABELS = {
    "path": "dataset",
    "held-out": "held-out",
    "row": "row",
    "find": "find",
    "list": "write to",
}
PATH_HINT = (
    "A file, a folder, a pattern (docs/**/*.md), a Hub id (org/name), or quickstart. → completes."
)
SUFFIXES = (
    ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".md", ".gz",
)  # fmt: skip


class DataAsk(AskLine):
    """`open` asks; what was meant is posted once it holds, and else it says why not."""

    class RowWanted(Message):
        """The row of this number (from 0)."""

        def __init__(self, number: int) -> None:
            self.number = number
            super().__init__()

    class TextWanted(Message):
        """The next row with this text."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class ShareWanted(Message):
        """No held-out file and no split, but a share of the rows."""

    class Closed(Message):
        """Nothing is asked any more; `purpose` is what was."""

        def __init__(self, purpose: str) -> None:
            self.purpose = purpose
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._check: Callable[[str], Message] | None = None
        self._over = ""
        self._last_text = ""

    def open(self, purpose: str, asked: Asked, draft: Draft, splits: tuple[str, ...]) -> None:
        """Ask for a `path`, what is `held-out`, a `row`, a text to `find` or a `list`'s file."""
        self._check, self._over = None, ""
        now, hint = "", ""
        completes: tuple[str, ...] = ()
        if purpose == "path":
            held_out = drafted_text(draft, "dataset.eval_path")
            self._check = partial(checked_dataset, held_out=held_out)
            now, hint, completes = asked.path, PATH_HINT, SUFFIXES
        elif purpose == "held-out" and asked.spec is not None:
            self._check = partial(checked_held_out, spec=asked.spec, splits=splits)
            said = [drafted_text(draft, f"dataset.{name}") for name in ("eval_path", "eval_split")]
            now, hint, completes = said[0] or said[1], splits_hint(splits), SUFFIXES
        elif purpose == "row":
            hint = "The number of a row, from 1."
        elif purpose == "find":
            now, hint = self._last_text, "Enter finds the next row with this text; Esc leaves."
        elif purpose == "list":
            now, hint = problems_file(asked.path), "A JSONL file for every problem, a line each."
        self.ask(purpose, LABELS[purpose], hint, value=now, completes=completes)

    def tell_search(self, number: int | None, seen: int, *, done: bool) -> None:
        """How far a search is; it goes on behind a row that was found at Enter."""
        if self.purpose != "find":
            return
        if number is not None:
            self.wait(f"Row {number + 1:,} has it; Enter looks further, Esc leaves.")
        elif done:
            self.refuse("No row from there on has it; Enter looks from the first row.")
        else:
            self.wait(f"searching … row {seen:,}; Esc leaves off")

    def action_close(self) -> None:
        purpose = self.purpose
        super().action_close()
        if purpose:
            self.post_message(self.Closed(purpose))

    @on(AskLine.Answered)
    def _answered(self, answer: AskLine.Answered) -> None:
        answer.stop()
        text, purpose = answer.text, answer.purpose
        if purpose == "row":
            digits = text.replace(",", "")
            if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
                self.refuse("A row's number is a whole number from 1.")
                return
            self.close()
            self.post_message(self.RowWanted(int(digits) - 1))
        elif purpose == "find" and text:
            self._last_text = text
            self.wait("searching …")
            self.post_message(self.TextWanted(text))
        elif not text:
            self.close()
            if purpose == "held-out":
                self.post_message(self.ShareWanted())
        elif purpose == "list":
            self._in_thread(partial(free_file, text, over=text == self._over))
        elif self._check is not None:
            self.wait("looking …")
            self._in_thread(partial(self._check, text))

    def _in_thread(self, find: Callable[[], Message]) -> None:
        def found() -> None:
            self.post_message(find())

        self.screen.run_worker(found, thread=True, exclusive=True, exit_on_error=False, group="ask")

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        fact.stop()
        if self.purpose:
            self.refuse(fact.why)

    @on(FileThere)
    def _file_there(self, fact: FileThere) -> None:
        fact.stop()
        self._over = fact.path
        self.refuse("It is there already; Enter again writes over it.")

    @on(PathTaken)
    @on(FileFree)
    def _done(self, fact: Message) -> None:
        if self.purpose:
            self.close()
        else:
            fact.stop()  # closed meanwhile
