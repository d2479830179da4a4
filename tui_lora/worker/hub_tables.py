"""Datasets of the Hub through `datasets`: fetched, streamed, or as they are in the local cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
from huggingface_hub.utils import disable_progress_bars, logging, tqdm

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import hub_cache_folder
from tui_lora.store.sources import Row, Source
from tui_lora.worker.cells import Cells
from tui_lora.worker.hub_refusals import UNREACHABLE, choose_subset, in_words, not_here

OnProgress = Callable[[str, float | None, float | None], None]

_ANSWER_WITHIN_S = 15.0
_ROWS_AT_ONCE = 500
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class _Table:
    """A dataset opened. `place` is what it is opened by: its id, or a folder in the local cache.

    `sizes` are bytes of its files on the Hub, by name.
    """

    builder: Any
    commit: str
    place: str
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        known = self.builder.info.splits or self.builder.config.data_files or {}
        return tuple(str(name) for name in known)


def rows_of(source: Source, start: int, on_progress: OnProgress) -> Iterator[Row]:
    """Rows from number `start` on; fetches what is not here yet. Raises UserError, and what
    `on_progress` raises."""
    ended: list[Exception] = []

    def tell(label: str, done: float | None, total: float | None) -> None:
        try:
            on_progress(label, done, total)
        except Exception as error:
            ended.append(error)
            raise

    tell(f"asking the Hub for {clean(source.path)}", None, None)
    table = _open(source)
    number = start
    try:
        for part in _parts(source, table, tell):
            cells = Cells(list(part.features), part.features) if part.features else None
            if start and not source.streaming:
                passed = min(start, len(part))
                start, part = start - passed, part.select(range(passed, len(part)))
            for found in _examples(part, source.streaming):
                if start:
                    start -= 1
                    continue
                # What columns a stream has is not always known beforehand.
                value = (cells or Cells(list(found), None)).row(found)
                yield Row(number, number + 1, value, "", source.path)
                number += 1
    except UserError:
        raise
    except Exception as error:
        if ended:
            raise ended[0] from None
        if table.place != source.path and not isinstance(error, DatasetGenerationError):
            # A folder of the cache that has only part of the files.
            raise not_here(source) from error
        raise in_words(source, error) from error


def facts(source: Source) -> tuple[tuple[str, ...], tuple[str, ...], int | None, str]:
    """Splits, subsets, rows where they are known, and what is not read. Raises UserError."""
    table = _open(source)
    info = table.builder.info
    rows = None
    if info.splits:
        wanted = _wanted(source, table)
        counts = [info.splits[name].num_examples for name in wanted if name in info.splits]
        rows = sum(counts) if counts and all(counts) and len(counts) == len(wanted) else None
    note = Cells(list(info.features), info.features).note if info.features else ""
    return table.splits, subsets(source), rows, note


def splits(source: Source) -> tuple[str, ...]:
    return _open(source).splits


def subsets(source: Source) -> tuple[str, ...]:
    """Its subsets where it has several."""
    commit, _ = _commit(source.path, source.revision)
    place = source.path if commit else str(_snapshot(source) or "")
    found = _subsets(place, commit) if place else ()
    return found if len(found) > 1 else ()


def fingerprint(source: Source) -> str:
    """The same for the same rows, whether they come from the Hub or from the cache."""
    table = _open(source)
    wanted = ",".join(_wanted(source, table))
    parts = (source.path, table.commit, str(table.builder.config.name), wanted)
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def _wanted(source: Source, table: _Table) -> tuple[str, ...]:
    """The splits to read: the one asked for, else train, else all. Raises UserError."""
    known = table.splits
    if source.split is not None:
        # `datasets` takes slices too, such as train[:10%].
        names = re.findall(r"(?:^|\+)\s*([\w.-]+)", source.split)
        if known and (not names or not set(names) <= set(known)):
            raise UserError(
                f"{clean(source.path)} has no split {source.split!r:.40}; "
                f"it has {clean(', '.join(known))}.",
                where="dataset.split",
            )
        return (source.split,)
    return ("train",) if "train" in known or not known else known


def _parts(source: Source, table: _Table, on_progress: OnProgress) -> Iterator[Any]:
    """Each split that is wanted, as a dataset."""
    wanted, builder = _wanted(source, table), table.builder
    if source.streaming:
        for name in wanted:
            # What its columns are is in its first file: names of labels, pictures.
            yield builder.as_streaming_dataset(split=name)._resolve_features()
        return
    if table.place == source.path and table.sizes:
        _fetch(source, table, on_progress)
    on_progress(f"writing the tables of {clean(source.path)}", None, None)
    # What a card says of the number of rows is often out of date.
    builder.download_and_prepare(verification_mode="no_checks")
    for name in wanted:
        yield builder.as_dataset(split=name)


def _examples(part: Any, streaming: bool) -> Iterator[dict[str, Any]]:
    media = Cells(list(part.features), part.features).left_out if part.features else ()
    if media:
        # Pictures would be decoded one by one only to be thrown away.
        part = (part.decode(False) if streaming else part).remove_columns(list(media))
    if streaming:
        yield from part
        return
    for batch in part.iter(batch_size=_ROWS_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _fetch(source: Source, table: _Table, on_progress: OnProgress) -> None:
    """Bring the files of the subset into the local cache, and say how far that is."""
    beginning = f"hf://datasets/{source.path}@{table.commit}/"
    names = [
        url.removeprefix(beginning)
        for urls in (table.builder.config.data_files or {}).values()
        for url in map(str, urls)
        if url.startswith(beginning)
    ]
    total = sum(table.sizes.get(name, 0) for name in names) or None
    label, before = f"fetching {clean(source.path)}", 0.0

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.got = float(kwargs.get("initial") or 0)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.got += n or 0
            on_progress(label, before + self.got, total)

    # A look at the branch or tag that was asked for notes its commit in the cache, for times
    # without a Hub.
    with suppress(EntryNotFoundError, HfHubHTTPError):
        hf_hub_download(
            source.path, "README.md", repo_type="dataset", revision=source.revision or "main"
        )
    for name in names:
        on_progress(label, before, total)
        hf_hub_download(
            source.path, name, repo_type="dataset", revision=table.commit, tqdm_class=Bar
        )
        before += table.sizes.get(name, 0)


def _open(source: Source) -> _Table:
    return _opened(source.path, source.subset, source.revision)


@lru_cache(maxsize=4)
def _opened(path: str, subset: str | None, revision: str | None) -> _Table:
    source = Source(path, "hub", subset=subset, revision=revision)
    _hush()
    commit, sizes = _commit(path, revision)
    if commit is None:
        return _cached(source)
    try:
        builder = datasets.load_dataset_builder(path, name=subset, revision=commit)
    except Exception as error:
        raise in_words(source, error, _subsets(path, commit)) from error
    return _Table(builder, commit, path, sizes)


@lru_cache(maxsize=1)
def _hush() -> None:
    """Our stdout is a wire, our stderr a log."""
    datasets.disable_progress_bars()
    disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    logging.set_verbosity_error()


@lru_cache(maxsize=8)
def _asked(path: str, revision: str | None) -> tuple[str, dict[str, int]]:
    info = HfApi().dataset_info(
        path, revision=revision, files_metadata=True, timeout=_ANSWER_WITHIN_S
    )
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return str(info.sha), sizes


def _commit(path: str, revision: str | None) -> tuple[str | None, dict[str, int]]:
    """The commit that is meant, and the bytes of its files; None where the Hub cannot be reached.

    Raises UserError for what the Hub says no to.
    """
    try:
        return _asked(path, revision)
    except (HfHubHTTPError, HFValidationError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status >= 500 or status == 429:
            return None, {}
        raise in_words(Source(path, "hub", revision=revision), error) from error
    except UNREACHABLE:
        return None, {}


def _cached(source: Source) -> _Table:
    """The dataset as an earlier time left it here. Raises UserError where none did."""
    folder = _snapshot(source)
    if folder is None and source.revision is not None:
        raise not_here(source)
    subset = source.subset or (_default_subset(folder) if folder else None)
    if folder and subset is None and len(found := _subsets(str(folder), None)) > 1:
        raise choose_subset(source, found)
    try:
        builder = Cache(
            repo_id=source.path,
            dataset_name=source.path.split("/")[-1],
            config_name=subset,
            version="auto",
            hash="auto",
        )
        if folder is None or builder.hash == folder.name:
            return _Table(builder, str(builder.hash), source.path)
    except ValueError:
        # Not made into tables yet, or another subset than is asked for.
        pass
    if folder is None:
        raise not_here(source)
    try:
        builder = datasets.load_dataset_builder(str(folder), name=subset)
    except Exception as error:
        subsets = _subsets(str(folder), None)
        if subset in subsets:
            raise not_here(source) from error
        raise in_words(source, error, subsets) from error
    return _Table(builder, folder.name, str(folder))


def _default_subset(folder: Path) -> str | None:
    try:
        found = datasets.get_dataset_default_config_name(str(folder))
    except Exception:  # noqa: BLE001 what is wrong with the folder comes out when it is read
        return None
    return None if found is None else str(found)


def _snapshot(source: Source) -> Path | None:
    """The folder in the local cache with the files of the revision; without one, the newest."""
    top = hub_cache_folder() / f"datasets--{source.path.replace('/', '--')}"
    snapshots = top / "snapshots"
    try:
        commit = (top / "refs" / (source.revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = source.revision or ""
    try:
        there = sorted(
            (folder for folder in snapshots.iterdir() if folder.is_dir()),
            key=lambda folder: folder.stat().st_mtime,
        )
    except OSError:
        return None
    for folder in reversed(there):
        if _COMMIT.fullmatch(commit) and folder.name.startswith(commit):
            return folder
    return there[-1] if there and source.revision is None else None


@lru_cache(maxsize=8)
def _subsets(place: str, commit: str | None) -> tuple[str, ...]:
    """The names of all subsets; none where they cannot be told."""
    try:
        return tuple(datasets.get_dataset_config_names(place, revision=commit))
    except Exception:  # noqa: BLE001 it only adds to another message
        return ()
