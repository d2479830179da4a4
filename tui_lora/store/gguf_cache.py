"""Where a GGUF file's plain safetensors twin is kept; it can be deleted at any time."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import cache_folder

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def converted_folder(gguf: Path) -> Path:
    """The folder of the twin of `gguf`, whether it is there yet or not.

    Size and time of change are part of its name, so that a file that was replaced is converted
    again. Raises UserError where there is no such file.
    """
    try:
        stat = gguf.stat()
    except OSError as error:
        raise UserError(
            f"the GGUF file {clean(str(gguf))} cannot be read: {error.strerror}."
        ) from None
    seal = hashlib.sha256(f"{stat.st_size}:{stat.st_mtime_ns}:{gguf.name}".encode()).hexdigest()[:8]
    stem = _NOT_IN_A_NAME.sub("-", gguf.stem).strip(".-")[:80] or "model"
    return cache_folder() / "models" / f"{stem}-{seal}"


def is_converted(folder: Path) -> bool:
    """Whether `folder` holds a converted model. It appears by one rename, so it is never half."""
    weights = ("model.safetensors", "model.safetensors.index.json")
    return (
        (folder / "config.json").is_file()
        and (folder / "tokenizer.json").is_file()
        and any((folder / name).is_file() for name in weights)
    )
