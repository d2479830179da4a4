"""What the Hub and the libraries that read from it say no to, in words that help."""

from __future__ import annotations

from datasets.exceptions import (
    DataFilesNotFoundError,
    DatasetGenerationCastError,
    DatasetNotFoundError,
)
from datasets.table import CastError
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line
from tui_lora.store.sources import Source

UNREACHABLE = (OfflineModeIsEnabled, HTTPError, ConnectionError, TimeoutError)
"""That nobody answered. `HfHubHTTPError` is one of these too, though somebody did."""


def not_here(source: Source) -> UserError:
    which = f", subset {clean(source.subset)}," if source.subset else ""
    at = f" at {clean(source.revision)}" if source.revision else ""
    name = f"{clean(source.path)}{which}{at}"
    return UserError(
        f"{name} is not in the local cache, and the Hub cannot be reached.",
        where="dataset.path",
        then="Connect, or unset HF_HUB_OFFLINE; or fetch the files elsewhere and give their folder "
        "as dataset.path.",
    )


def in_words(source: Source, error: Exception, subsets: tuple[str, ...] = ()) -> UserError:
    """What `error` means for whoever asked for `source`, and what to do about it."""
    name, said = clean(source.path), str(error)
    if isinstance(error, GatedRepoError) or "gated dataset" in said:
        return UserError(
            f"{name} is gated: its owners ask who wants to read it.",
            where="dataset.path",
            then=f"Ask for access at https://huggingface.co/datasets/{name}, then set HF_TOKEN or "
            "run `hf auth login`.",
        )
    if isinstance(error, RevisionNotFoundError) or said.startswith("Revision '"):
        return UserError(
            f"{name} has no revision {clean(str(source.revision))!r:.60}.",
            where="dataset.revision",
            then="Give a branch, a tag or a commit of it, or leave it empty for the newest.",
        )
    if isinstance(error, RepositoryNotFoundError | DatasetNotFoundError | HFValidationError):
        return UserError(
            f"there is no dataset {name} on the Hub, or it is private.",
            where="dataset.path",
            then="Look for a slip in its name; of a private one, set HF_TOKEN or run "
            "`hf auth login`.",
        )
    if "scripts are no longer supported" in said:
        return UserError(
            f"{name} is made by a script of its own, which is not run here.",
            where="dataset.path",
            then="Set dataset.revision to refs/convert/parquet: the Hub keeps most such datasets "
            "there as tables.",
        )
    if len(subsets) > 1 and source.subset not in subsets:
        return choose_subset(source, subsets)
    if source.subset is not None and "onfig" in said and "not found" in said:
        return UserError(
            f"{name} has no subset {source.subset!r:.60}.",
            where="dataset.subset",
            then="Leave it empty." if len(subsets) <= 1 else "",
        )
    if isinstance(error, DataFilesNotFoundError | EntryNotFoundError) or "data files" in said:
        return UserError(
            f"{name} holds no files that can be read as rows.",
            where="dataset.path",
            then="JSON, JSONL, CSV, Parquet and text are; choose another dataset.",
        )
    cause = error.__cause__ or error
    if isinstance(error, DatasetGenerationCastError) or isinstance(cause, CastError):
        return UserError(
            f"the files of {name} do not have the same columns, so they are no one table.",
            where="dataset.path",
            then="Choose a subset or a split, or fetch the files and give one or their folder.",
        )
    if isinstance(error, UNREACHABLE) or isinstance(cause, UNREACHABLE):
        return UserError(
            f"the Hub went out of reach while {name} was being read.",
            where="dataset.path",
            then="Try again: what was fetched is kept.",
        )
    why = one_line(str(cause), max_chars=300).rstrip(".") or type(cause).__name__
    return UserError(f"{name} cannot be read: {why}.", where="dataset.path")


def choose_subset(source: Source, subsets: tuple[str, ...]) -> UserError:
    what = "has several subsets" if source.subset is None else "has no such subset"
    return UserError(
        f"{clean(source.path)} {what}; they are {_some(subsets)}.",
        where="dataset.subset",
        then="Name one with dataset.subset.",
    )


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return clean(", ".join(names[:20])) + more
