"""How the files are that a run stands on: size, time, and a digest that costs little."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tui_lora.core.changed import WEIGHTS, FileMark, Marks
from tui_lora.core.errors import UserError
from tui_lora.core.spec import DatasetSpec, ModelSpec
from tui_lora.store.local_model import local_place
from tui_lora.store.paths import is_there, model_place
from tui_lora.store.sources import Source, sources_of

WHOLE_BYTES = 64 << 20
"""Up to here a digest is over every byte; beyond, over samples."""
MOST_FILES = 500
"""A dataset of more files is not marked: the worker compares its rows."""

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 20
_BUILT_BY = {
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt"),
}

Files = dict[str, Path]
"""By the name under which they are compared, which is relative to the dataset or base."""


def dataset_files(data: DatasetSpec) -> dict[str, Files]:
    """The files of each source by the setting that names it; none of those of the Hub. Raises
    UserError for what cannot be a dataset."""
    train, held_out = sources_of(data, "train"), sources_of(data, "held_out")
    found = {
        f"dataset.mix {number}" if number else "dataset.path": _files(source)
        for number, (source, _) in enumerate(train)
    }
    field = "dataset.eval_path" if data.eval_path is not None else "dataset.eval_split"
    for source, _ in held_out:
        found[field] = _files(source)
    return {field: files for field, files in found.items() if files}


def base_files(model: ModelSpec) -> Files:
    """The files of a base that is on this machine; none where it is not."""
    place = Path(model_place(model.id))
    if place.suffix.lower() == ".gguf" and is_there(place):
        return {place.name: place}
    try:
        files = sorted(local_place(model).iterdir())
    except (OSError, UserError):
        return {}
    return {
        file.name: file
        for file in files
        if file.name in _BUILT_BY or file.suffix.lower() in WEIGHTS
    }


def marks_of(files: Files) -> Marks:
    """How they are, each with its digest. What cannot be read is left out."""
    found = ((name, file, _mark(name, file)) for name, file in files.items())
    return tuple(_with_digest(mark, file) for _, file, mark in found if mark is not None)


def marks_beside(files: Files, was: Marks) -> Marks:
    """The same to be compared with how they `were`: read only where size and time do not tell."""
    before = {mark.name: mark for mark in was}
    only = was[0] if len(was) == len(files) == 1 else None
    found = []
    for name, file in files.items():
        mark = _mark(name, file)
        if mark is None:
            continue
        old = before.get(name, only)
        unclear = old is not None and old.digest and old.size_bytes == mark.size_bytes
        touched = old is not None and old.changed_ns != mark.changed_ns
        found.append(_with_digest(mark, file) if unclear and touched else mark)
    return tuple(found)


def digest_of(file: Path) -> str:
    """`sha256:…` over all of a file, or `samples:…` over its size and 16 MiB spread over it; empty
    where it cannot be read."""
    try:
        with file.open("rb") as opened:
            size_bytes = file.stat().st_size
            if size_bytes <= WHOLE_BYTES:
                return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
            digest = hashlib.sha256(str(size_bytes).encode())
            for number in range(_SAMPLES):
                opened.seek((size_bytes - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                digest.update(opened.read(_SAMPLE_BYTES))
            return f"samples:{digest.hexdigest()}"
    except OSError:
        return ""


def _files(source: Source) -> Files:
    if len(source.files) > MOST_FILES:
        return {}
    return dict(zip(source.names, source.files, strict=True))


def _mark(name: str, file: Path) -> FileMark | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return FileMark(name, found.st_size, found.st_mtime_ns)


def _with_digest(mark: FileMark, file: Path) -> FileMark:
    return FileMark(mark.name, mark.size_bytes, mark.changed_ns, digest_of(file))
