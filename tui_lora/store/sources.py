"""Where the rows of a dataset come from: files here, Parquet, or a dataset of the Hub."""

from __future__ import annotations

import errno
import hashlib
import re
import stat
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tui_lora.core.columns import parse_mixed
from tui_lora.core.errors import UserError
from tui_lora.core.spec import DatasetSpec
from tui_lora.core.text import clean
from tui_lora.store.data_files import (
    KNOWN,
    FoundFiles,
    files_in,
    files_like,
    is_pattern,
    kind_of,
    split_name,
)
from tui_lora.store.hub_cache import is_cached
from tui_lora.store.paths import data_folder, expanded, is_there
from tui_lora.store.row_reading import FIRST, Place, Row, RowReader

__all__ = [
    "SHIPPED",
    "Part",
    "Place",
    "Row",
    "RowReader",
    "Source",
    "dataset_file",
    "fingerprint",
    "is_hub_id",
    "open_source",
    "rows_of",
    "sources_of",
]

SHIPPED = {"quickstart": "train.jsonl", "quickstart-heldout": "heldout.jsonl"}
"""Names that a spec may use for the files that come with the package."""

Part = Literal["train", "held_out"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Rows of one origin. `files` are those of the split that is read; a Hub dataset has none.

    `kind`: "rows" are read here, "parquet" and "hub" by a worker (`worker/tables.py`). `root` is
    what the files' names are relative to; `note` says what was left out.
    """

    path: str
    kind: Literal["rows", "parquet", "hub"]
    files: tuple[Path, ...] = ()
    split: str | None = None
    splits: tuple[str, ...] = ()
    size_bytes: int | None = None
    subset: str | None = None
    revision: str | None = None
    streaming: bool = False
    root: Path = Path()
    note: str = ""

    @property
    def name(self) -> str:
        """What to call it: its path, and the split where one was chosen."""
        split = f" ({self.split})" if self.split else ""
        return clean(f"{self.path}{split}")

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names relative to the folder."""
        return tuple(str(file.relative_to(self.root)) for file in self.files)

    @property
    def stamp(self) -> Hashable:
        """Another one as soon as a file is changed, added or taken away."""
        return (
            self.path,
            self.subset,
            self.split,
            self.revision,
            tuple((str(file), *_size_and_time(file)) for file in self.files),
        )


def open_source(data: DatasetSpec, part: Part = "train", *, path: str | None = None) -> Source:
    """The rows that are trained on, or the held-out file or split; `path` for one mixed in.

    Looks at names and sizes only. Raises UserError for what cannot be a dataset.
    """
    if path is not None:
        return _opened(path, "dataset.mix")
    if part == "train":
        return _opened(data.path, "dataset.path", data, data.split, "dataset.split")
    if data.eval_path is not None:
        found = _opened(data.eval_path, "dataset.eval_path")
        held_out = next((name for name in found.splits if name != "train"), None)
        if found.kind == "hub" or held_out is None:
            return found
        return _opened(data.eval_path, "dataset.eval_path", None, held_out)
    if data.eval_split is not None:
        return _opened(data.path, "dataset.path", data, data.eval_split, "dataset.eval_split")
    raise UserError(
        "has no held-out file or split; a share of its rows is held out.", where=clean(data.path)
    )


def sources_of(data: DatasetSpec, part: Part) -> list[tuple[Source, float]]:
    """Every source of a part with its weight; none where a share of the rows is held out."""
    if part == "held_out":
        given = data.eval_path is not None or data.eval_split is not None
        return [(open_source(data, part), 1.0)] if given else []
    found = [(open_source(data), 1.0)]
    for entry in data.mix:
        path, weight = parse_mixed(entry)
        found.append((open_source(data, path=path), weight))
    return found


def rows_of(source: Source, start: Place = FIRST) -> RowReader:
    """The rows of files here, from `start` on. Raises UserError where a file cannot be read on."""
    if source.kind != "rows":
        raise UserError(f"{source.name} is not read here but by a worker.")
    return RowReader(source.files, source.names, start)


def fingerprint(source: Source) -> str:
    """sha256 over the files' names and bytes; of a Hub dataset over what was asked for."""
    digest = hashlib.sha256()
    if not source.files:
        digest.update(repr((source.path, source.subset, source.split, source.revision)).encode())
    for name, file in zip(source.names, source.files, strict=True):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\x00")
        try:
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}.", where=str(file)) from None
        digest.update(b"\x00")
    return digest.hexdigest()


def dataset_file(path: str) -> Path:
    """The file or folder that a spec's dataset path means; `quickstart` is one that we ship."""
    if path in SHIPPED:
        return data_folder() / "quickstart" / SHIPPED[path]
    return expanded(path)


def is_hub_id(path: str, base: Path = Path()) -> bool:
    """Whether `path` means a dataset of the Hub: nothing stands at `base`/`path`, and a dataset
    may be called so."""
    if path in SHIPPED or is_pattern(path) or is_there(base / expanded(path)):
        return False
    if kind_of(Path(path)) or path.startswith((".", "~", "/")):
        return False
    if "/" not in path:
        return is_cached(path)
    # Where a folder of that name is, it is its file that is missing.
    return _HUB_ID.fullmatch(path) is not None and not is_there(base / path.split("/")[0])


def _opened(
    path: str,
    field: str,
    data: DatasetSpec | None = None,
    split: str | None = None,
    split_field: str = "dataset.split",
) -> Source:
    if is_hub_id(path):
        if data is None:
            return Source(path, "hub")
        return Source(
            path,
            "hub",
            split=split,
            subset=data.subset,
            revision=data.revision,
            streaming=data.streaming,
        )
    file = dataset_file(path)
    if is_pattern(path) and not is_there(file):
        return _of_many(path, files_like(file), field, split, split_field)
    mode = _mode(file, field)
    if stat.S_ISDIR(mode):
        if is_there(file / "run.yaml"):
            raise UserError(f"{clean(str(file))} is a session, not a dataset.", where=field)
        return _of_many(path, files_in(file), field, split, split_field)
    return _of_one(path, file, mode, field, split, split_field)


def _mode(file: Path, field: str) -> int:
    """What stands at `file`; raises UserError where nothing does or it cannot be told."""
    shown = clean(str(file))
    try:
        return file.stat().st_mode
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
    if number == errno.ELOOP:
        raise UserError(f"{shown} is a link that leads in a circle.", where=field)
    if number in (errno.EACCES, errno.EPERM):
        raise UserError(
            f"{shown} cannot be reached: permission denied.",
            where=field,
            then="Read rights are needed on it and on the folders above it.",
        )
    if number == errno.ENOENT and file.is_symlink():
        raise UserError(f"{shown} is a link to a file that is not there.", where=field)
    raise UserError(
        f"there is no dataset {shown}.",
        where=field,
        then="Give a file, a folder, a pattern (docs/**/*.md), the id of a Hub dataset (org/name), "
        "or quickstart for the dataset that comes along.",
    )


def _of_one(
    path: str, file: Path, mode: int, field: str, split: str | None, split_field: str
) -> Source:
    shown = clean(str(file))
    if not stat.S_ISREG(mode):
        raise UserError(f"{shown} is a pipe or a device, not a file.", where=field)
    kind = kind_of(file)
    if not kind:
        raise UserError(
            f"{shown} is no file of a kind that is known.", where=field, then=f"Known: {KNOWN}."
        )
    try:
        with file.open("rb"):
            size = file.stat().st_size
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}.", where=field) from None
    if size == 0:
        raise UserError(f"{shown} is empty.", where=field)
    if split not in (None, "train"):
        raise UserError(
            f"{shown} is one file and has no split {split!r:.40}.",
            where=split_field,
            then="Leave it empty, or give the folder of the splits.",
        )
    return Source(
        path,
        "parquet" if kind == "parquet" else "rows",
        (file,),
        size_bytes=size,
        root=file.parent,
    )


def _of_many(
    path: str, found: FoundFiles | None, field: str, split: str | None, split_field: str
) -> Source:
    shown = clean(path)
    if found is None:
        what = "matches no file with data" if is_pattern(path) else "is a folder without data"
        raise UserError(f"{shown} {what}.", where=field, then=f"Known: {KNOWN}.")
    wanted = split_name(split) or split if split else None
    if wanted is not None and wanted not in found.splits:
        there = ", ".join(found.splits) or "none"
        raise UserError(f"{shown} has no split {split!r:.40}; it has {there}.", where=split_field)
    if wanted is None and "train" in found.splits:
        wanted = "train"
    files = found.splits[wanted] if wanted else found.files
    return Source(
        path,
        "parquet" if found.kind == "parquet" else "rows",
        files,
        split=wanted,
        splits=tuple(found.splits),
        size_bytes=sum(_size_and_time(file)[0] for file in files),
        root=found.root,
        note=found.note,
    )


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
