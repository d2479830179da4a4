"""Which files a dataset is: one, those of a folder, or those that a pattern matches."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import is_there

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "document",
    ".md": "document",
    ".markdown": "document",
}
"""What a file holds, by its suffix; all but Parquet may be compressed (.gz)."""

KNOWN = ", ".join(KINDS) + " (all but Parquet also .gz)"
_CALLED = {
    "jsonl": "JSONL",
    "json": "JSON",
    "csv": "CSV and TSV",
    "parquet": "Parquet",
    "document": "text and Markdown",
}
NO_ROWS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""What `datasets` writes beside rows."""

_MOST_LOOKED_AT = 200_000
_SPLIT = re.compile(
    r"(train|training|validation|valid|val|dev|test|eval|evaluation)(?:[-_.]?[0-9].*|[-_.].*)?",
    re.IGNORECASE,
)
_SAME_SPLIT = {
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "evaluation": "eval",
}


@dataclass(frozen=True)
class FoundFiles:
    """Files of one kind, by split; `splits` is empty where they have no such names. `note` says
    what was left out."""

    kind: str
    root: Path
    files: tuple[Path, ...]
    splits: dict[str, tuple[Path, ...]]
    note: str = ""


def kind_of(path: Path) -> str:
    """What a file holds by its name; empty where that is not known."""
    name = path.name.lower()
    plain = name.removesuffix(".gz")
    kind = KINDS.get(Path(plain).suffix, "")
    return "" if kind == "parquet" and plain != name else kind


def split_name(text: str) -> str:
    """The split that a name such as `train-00001`, `dev` or `test.en` means; empty for none."""
    match = _SPLIT.fullmatch(text)
    return "" if match is None else _SAME_SPLIT.get(match[1].lower(), match[1].lower())


def is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def files_in(folder: Path) -> FoundFiles | None:
    """The data files in a folder and below it; None where there are none. Raises UserError."""
    return _sorted_out(folder, list(_walk(folder)))


def files_like(pattern: Path) -> FoundFiles | None:
    """The data files that a pattern such as `docs/**/*.md` matches; None where there are none."""
    parts = pattern.parts
    fixed = 0
    # A folder may be called [so].
    while not is_pattern(parts[fixed]) or is_there(Path(*parts[: fixed + 1])):
        fixed += 1
    root = Path(*parts[:fixed]) if fixed else Path()
    wanted = parts[fixed:]
    return _sorted_out(
        root, [file for file in _walk(root) if _matches(file.relative_to(root).parts, wanted)]
    )


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path fits a pattern, part by part; `**` stands for any number of folders."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[at:], wanted[1:]) for at in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _walk(root: Path) -> Iterator[Path]:
    """Data files below `root`, sorted; no hidden ones, none of sessions, no folder twice."""
    looked_at = 0
    seen: set[tuple[int, int]] = set()

    def below(folder: Path) -> Iterator[Path]:
        nonlocal looked_at
        try:
            stat = folder.stat()
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise UserError(f"{clean(str(folder))} cannot be read: {error.strerror}.") from None
            return
        # A link may lead back up.
        if (stat.st_dev, stat.st_ino) in seen:
            return
        seen.add((stat.st_dev, stat.st_ino))
        if folder != root and any(entry.name == "run.yaml" for entry in entries):
            return
        looked_at += len(entries)
        if looked_at > _MOST_LOOKED_AT:
            raise UserError(
                f"{clean(str(root))} holds over {_MOST_LOOKED_AT:,} files.",
                then="Name the folder that the data is in.",
            )
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is(entry.is_dir):
                yield from below(folder / entry.name)
            elif _is(entry.is_file) and kind_of(Path(entry.name)) and entry.name not in NO_ROWS:
                yield folder / entry.name

    return below(root)


def _is(asked: object) -> bool:
    try:
        return bool(asked())  # type: ignore[operator]
    except OSError:
        return False


def _sorted_out(root: Path, files: list[Path]) -> FoundFiles | None:
    """The files of the kind that holds most bytes, and their splits."""
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[kind_of(file)] += _size(file)
    files = [file for file in files if _size(file)]
    if not files:
        return None
    kind = max(sizes, key=lambda kind: sizes[kind])
    chosen = tuple(file for file in files if kind_of(file) == kind)
    notes = []
    others = [file for file in files if kind_of(file) != kind]
    if others:
        kinds = " and ".join(sorted({_CALLED[kind_of(file)] for file in others}))
        notes.append(f"{_many(len(others))} of {kinds} left out, since most is {_CALLED[kind]}")
    splits, stray = _splits(root, chosen, by_name=kind != "document")
    if stray:
        notes.append(f"{_many(stray)} of no split left out")
    return FoundFiles(kind, root, chosen, splits, "; ".join(notes))


def _many(files: int) -> str:
    return "1 file" if files == 1 else f"{files:,} files"


def _splits(
    root: Path, files: Sequence[Path], *, by_name: bool
) -> tuple[dict[str, tuple[Path, ...]], int]:
    """The files by split, and how many are of none.

    A split is a folder called so or, but for documents (testing.md), a file. Where others are
    named and none is train, the rest is.
    """
    found: dict[str, list[Path]] = {}
    for file in files:
        parts = file.relative_to(root).parts
        names = [*parts[:-1], parts[-1].split(".", 1)[0]] if by_name else parts[:-1]
        split = next((split for name in names if (split := split_name(name))), "")
        found.setdefault(split, []).append(file)
    rest = found.pop("", [])
    if found and rest and "train" not in found:
        found["train"], rest = rest, []
    order = ["train", *sorted(found.keys() - {"train"})]
    splits = {name: tuple(found[name]) for name in order if name in found}
    return splits, len(rest) if splits else 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
