"""Prompts of one's own: a line of JSON each, as `tui-lora chat --prompt-file` reads them too."""

from __future__ import annotations

import json
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.paths import config_folder


def prompts_file() -> Path:
    return config_folder() / "prompts.jsonl"


def own_prompts() -> tuple[str, ...]:
    """Each once, in the order in which they were kept; lines that cannot be read are left out."""
    tail = Tail(prompts_file())
    found: dict[str, None] = {}
    while lines := tail.read():
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            text = row.get("prompt") if isinstance(row, dict) else None
            if isinstance(text, str) and text.strip():
                found[clean(text)] = None
    return tuple(found)


def keep_prompt(text: str) -> int | None:
    """Keep a prompt; returns how many there are, None where it is there already. Raises
    UserError."""
    text = clean(text).strip()
    if text in own_prompts():
        return None
    file = prompts_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_line(file, json.dumps({"prompt": text}, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(
            f"the prompt could not be kept: {error.strerror}.", where=clean(str(file))
        ) from None
    known = own_prompts()
    if text not in known:
        raise UserError("the prompt is not in the file.", where=clean(str(file)))
    return len(known)
