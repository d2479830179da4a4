"""What should have been answered: rows to be trained on, in a file of JSONL."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_lora.core.chat import Turn
from tui_lora.core.chat_export import corrected
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.journal import append_line
from tui_lora.store.paths import SessionPaths, expanded, user_folder
from tui_lora.store.preferences import read_preferences

LOOKED_THROUGH_BYTES = 64 << 20
"""In a larger file nobody looks for the same question."""
_TRIES = 5


@dataclass(frozen=True)
class Kept:
    """`rows` counts the file's lines with something on them, None in one too large to look
    through. `was`: the row is new, took the place of another answer, or stood there already."""

    path: Path
    rows: int | None
    was: str

    @property
    def words(self) -> str:
        rows = "" if self.rows is None else f"; {self.rows:,} row{'s' * (self.rows != 1)} in it"
        where = clean(str(self.path))
        if self.was == "there":
            return f"this very row stands in {where} already{rows}."
        if self.was == "replaced":
            return f"in the place of the answer before, in {where}{rows}."
        alone = "" if self.rows is not None else "; too large to look for the same question"
        return f"kept as a row of {where}{rows}{alone}."


def corrections_file(session: SessionPaths | None) -> Path:
    """The file that takes corrections: what the user prefers, else the session's, else the user's
    own."""
    preferred = read_preferences().corrections
    if preferred:
        return expanded(preferred).absolute()
    return session.corrections if session is not None else user_folder() / "corrections.jsonl"


def check_file(text: str) -> Path:
    """The file that a typed path means. Raises UserError for what cannot take rows."""
    file = expanded(text).absolute()
    where = clean(str(file))
    if file.suffix.lower() != ".jsonl":
        raise UserError("rows go into a file called .jsonl.", where=where)
    if file.exists() and not file.is_file():
        raise UserError("this is no file.", where=where)
    if not file.parent.is_dir():
        raise UserError("the folder is not there.", where=where, then="Make it first.")
    return file


def keep(file: Path, turns: Sequence[Turn], answer: str) -> Kept:
    """Add the row that says what should have been answered to `turns`, in one write.

    Where the same turns stand in the file already, the row takes the place of theirs: two answers
    to one question teach neither. The file is then written whole, all other lines as they were.
    Raises UserError.
    """
    if not answer.strip():
        raise UserError("an empty answer teaches nothing.")
    row = corrected(turns, answer)
    where = clean(str(file))
    if file.exists() and not file.is_file():
        raise UserError("this is no file.", where=where)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            if (kept := _keep(file, row)) is not None:
                return kept
    except OSError as error:
        raise UserError(f"the row could not be written: {error.strerror}.", where=where) from None
    except UnicodeDecodeError:
        raise UserError(
            "the file has lines that are no UTF-8, so no row of it can be replaced.", where=where
        ) from None
    raise UserError("others keep writing into this file; nothing was changed.", where=where)


def _keep(file: Path, row: dict[str, Any]) -> Kept | None:
    """None where somebody wrote into the file meanwhile."""
    line = json.dumps(row, ensure_ascii=False)
    size = _size(file)
    if size > LOOKED_THROUGH_BYTES:
        append_line(file, line + "\n")
        return Kept(file, None, "new") if _ends_with(file, line) else None
    data = file.read_bytes() if size else b""
    lines = [one for one in data.split(b"\n") if one.strip()]
    same = [at for at, one in enumerate(lines) if _question(one) == row["messages"][:-1]]
    if not same:
        append_line(file, line + "\n")
        if not _ends_with(file, line):
            raise OSError(0, "the row is not at its end")
        return Kept(file, len(lines) + 1, "new")
    if [_messages(lines[at]) for at in same] == [row["messages"]]:
        return Kept(file, len(lines), "there")
    kept = [one for at, one in enumerate(lines) if at not in same[:-1]]
    kept[same[-1] - len(same) + 1] = line.encode("utf-8", errors="replace")
    if _size(file) != len(data):
        return None
    # Bytes that are no UTF-8 stay what they are.
    text = b"".join(one + b"\n" for one in kept)
    write_whole(file, text.decode("utf-8"))
    if file.read_bytes() != text:
        return None
    return Kept(file, len(kept), "replaced")


def _messages(line: bytes) -> Any:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row.get("messages") if isinstance(row, dict) else None


def _question(line: bytes) -> Any:
    messages = _messages(line)
    return messages[:-1] if isinstance(messages, list) else None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _ends_with(file: Path, line: str) -> bool:
    end = line.encode("utf-8", errors="replace") + b"\n"
    with file.open("rb") as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - len(end)))
        return opened.read() == end
