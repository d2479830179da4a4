"""Conversations written out: as Markdown, or as JSONL that can be trained on."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tui_lora.core.chat_export import as_markdown, as_rows, file_stem
from tui_lora.core.errors import UserError
from tui_lora.core.kept_chat import KeptChat
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import expanded

Kind = Literal["md", "jsonl"]


@dataclass(frozen=True)
class Exported:
    """`rows` are those of JSONL; of Markdown there are none."""

    path: Path
    size_bytes: int
    rows: int


def place_for(path: Path, chat: KeptChat, kind: Kind) -> Path:
    """Where the conversation kept in `path` is exported to, unless another place is asked for."""
    return path.parent / "exports" / f"{file_stem(chat, path.stem)}.{kind}"


def export(path: Path, chat: KeptChat, kind: Kind, to: str = "", voice: str = "") -> Exported:
    """Write the conversation kept in `path`, whole or not at all, and look at what was written.

    `to` is a path as typed, where nothing may stand yet, or empty for the usual place. `voice`
    names the one whose conversation becomes a row; empty for one of each. Raises UserError.
    """
    usual = place_for(path, chat, kind)
    file = expanded(to).absolute() if to else usual
    where = clean(str(file))
    if file != usual and (file.exists() or file.is_symlink()):
        raise UserError("there is a file already.", where=where, then="Give another name.")
    text, rows = _text(path, chat, kind, voice)
    if file == usual and file.parent.is_symlink():
        raise UserError("the folder of exports is a link.", where=where)
    try:
        if file == usual:
            file.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(file, text)
        written = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"it could not be written: {why}.", where=where) from None
    if written != text:
        raise UserError("what stands in the file is not what was written.", where=where)
    return Exported(file, len(written.encode()), rows)


def _text(path: Path, chat: KeptChat, kind: Kind, voice: str) -> tuple[str, int]:
    if kind == "md":
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(chat.began or 0))
        return as_markdown(chat, when if chat.began else clean(path.stem)), 0
    rows = as_rows(chat, voice)
    if not rows:
        raise UserError(
            "there is nothing in it to train on: no message of a chat was answered whole.",
            where=clean(str(path)),
        )
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    return "".join(lines), len(rows)
