"""What is otherwise, where a run goes on from a checkpoint, than when it was last at work.

Judged here by what the session wrote down then and what was found now; looked up in
`store/changed_since.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tui_lora.core.errors import UserError
from tui_lora.core.fields import get, settings, show
from tui_lora.core.resumable import judged
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, one_line, size

How = Literal["note", "ask", "refuse"]
"""The log says so; the user has to agree; a checkpoint does not survive it."""

ROWS, TEMPLATE = "rows", "template"
"""What only the worker sees, once it has read and written down every row."""

CHECKPOINTS = "checkpoints"
"""There are some, and none is whole: a run would begin anew. Accepted by this name alone."""

WHAT_OTHER_ROWS_MEAN = "some may be trained twice or never, and held-out ones may have been trained"

WHAT_ANOTHER_TEMPLATE_MEANS = (
    "what was learned is how turns were written down, and they would be written down otherwise"
)

OTHER_ROWS_BY_SETTING = ("dataset.eval_rows", "training.max_length")
"""Settings that a checkpoint survives, though some rows are others with them."""

EVERYTHING = "all"
"""Among what is accepted: whatever a run may go on with."""

_PUT_BACK = "Put it back, or begin a new run with it: tui-lora train {name} --name NEW"


@dataclass(frozen=True)
class Difference:
    """`what` is a setting by its path, a library, or what else a run stands on; `was` and `now`
    are for people, and `why` says in a sentence what follows from it."""

    what: str
    was: str
    now: str
    how: How
    why: str

    def __post_init__(self) -> None:
        # File names, values of a file, and the words of a driver stand in all of them.
        for name in ("what", "was", "now", "why"):
            object.__setattr__(self, name, one_line(clean(getattr(self, name)), max_chars=300))

    def __str__(self) -> str:
        return f"{self.what}: {self.was} → {self.now} ({self.why.rstrip('.')})"


@dataclass(frozen=True)
class FileMark:
    """How a file was found. `digest` is over its bytes, of a large one over samples; empty where it
    was not made. Times in nanoseconds since 1970."""

    name: str
    size_bytes: int
    changed_ns: int
    digest: str = ""

    def same_as(self, other: FileMark) -> bool | None:
        """Whether it holds the same bytes; None where that cannot be told."""
        if self.size_bytes != other.size_bytes:
            return False
        if self.digest and other.digest:
            return self.digest == other.digest
        return True if self.changed_ns == other.changed_ns else None


Marks = tuple[FileMark, ...]


class ChangedSince(UserError):
    """A run would go on with what is not as it was, and nobody has accepted that, or nobody can."""

    def __init__(self, name: str, differences: Sequence[Difference]) -> None:
        self.differences = tuple(differences)
        refused = [one for one in differences if one.how == "refuse"]
        asked = [one for one in differences if one.how == "ask"]
        self.acceptable = not refused
        told = "; ".join(str(one) for one in refused or asked)
        if refused:
            what = f"{name} cannot go on from its checkpoint with what was changed since: {told}."
            then = _PUT_BACK.format(name=name)
        else:
            what = f"{name} would go on with what was changed since it was last at work: {told}."
            then = f"To go on all the same: tui-lora resume {name} --accept-changes"
            if self.anew:
                what = f"{name} has nothing to go on from: {told}."
                then = f"To begin anew all the same: tui-lora resume {name} --begin-anew"
        super().__init__(what, then=then)

    @property
    def anew(self) -> bool:
        """Whether a run would begin from its first step again, for want of a whole checkpoint."""
        return any(one.what == CHECKPOINTS for one in self.differences)

    @property
    def keys(self) -> tuple[str, ...]:
        """What a user accepts who accepts them."""
        return accepted_keys(self.differences)


def accepted_keys(differences: Sequence[Difference]) -> tuple[str, ...]:
    """What is accepted with these: with a file, what the worker finds when it has read it."""
    found = dict.fromkeys(one.what for one in differences if one.how == "ask")
    if any(what.startswith("dataset.") for what in found):
        found[ROWS] = None
    if "model.id" in found:
        found[TEMPLATE] = None
    return tuple(found)


def is_accepted(what: str, accepted: Collection[str]) -> bool:
    return what in accepted or (EVERYTHING in accepted and what != CHECKPOINTS)


def of_checkpoints(wrong: Sequence[str]) -> list[Difference]:
    """Checkpoints of which none is whole, by what is wrong with each, the newest first; nothing
    where a run has one to go on from, or never had one."""
    if not wrong:
        return []
    many = "1 checkpoint" if len(wrong) == 1 else f"{len(wrong):,} checkpoints"
    why = f"it would begin anew, at step 0, and train over what is left of them: {wrong[0]}"
    return [Difference(CHECKPOINTS, many, "none that is whole", "ask", why)]


def not_accepted(
    differences: Sequence[Difference], accepted: Collection[str]
) -> tuple[Difference, ...]:
    """Those that keep a run from going on."""
    return tuple(
        one
        for one in differences
        if one.how == "refuse" or (one.how == "ask" and not is_accepted(one.what, accepted))
    )


def of_spec(before: RunSpec, now: RunSpec, same: Collection[str] = ()) -> list[Difference]:
    """Settings that were edited since; `same` are paths whose files were found to be the same
    under another name."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    edits: dict[str, Any] = {
        setting.path: value
        for setting in settings()
        if (value := get(new, setting.path)) != get(old, setting.path) and setting.path not in same
    }
    found = judged(before, edits)
    refused = {problem.field: problem.message for problem in found.refused}
    differences = []
    for path, value in edits.items():
        how: How = "note"
        why = "a run can go on with it"
        if path in refused:
            how, why = "refuse", refused[path].removeprefix("cannot change now: ")
        elif path in found.noted:
            how, why = "ask", found.noted[path]
        was = show(get(old, path)) or "not set"
        differences.append(Difference(path, was, show(value) or "not set", how, why))
    return differences


_TRAINING: Mapping[str, str] = {
    "torch": "rounding, random numbers and what is stored of an optimizer may differ",
    "transformers": "the order of the rows and the course of the learning rate may differ",
    "peft": "how an adapter is built and loaded may differ",
    "trl": "how rows become batches, and the loss, may differ",
    "accelerate": "the order of the rows may differ",
    "bitsandbytes": "how weights are rounded, and the state of an 8-bit optimizer, may differ",
}
_PATCH = "a small change: it should go on as it was"
_BESIDE = "it takes no part in the steps themselves"


def of_versions(
    was: Mapping[str, str], now: Mapping[str, str], *, eight_bits: bool = True
) -> list[Difference]:
    """Libraries that are others; `eight_bits`: whether bitsandbytes has a part in the run. One that
    the session did not write down is not compared."""
    differences = []
    for name, before in was.items():
        here = now.get(name, "")
        if here == before or (not here and name not in _TRAINING):
            continue
        how: How = "note"
        why = _PATCH if name in _TRAINING else _BESIDE
        plays = name in _TRAINING and (name != "bitsandbytes" or eight_bits)
        if plays and _release(before)[:2] != _release(here)[:2]:
            how, why = "ask", _TRAINING[name]
        elif name in _TRAINING and not plays:
            why = "nothing of this run is stored in 8 or 4 bits"
        elif name == "cuda":
            why = "rounding may differ in the last bits"
        differences.append(Difference(name, before, here or "not installed", how, why))
    return differences


_PROCESSOR = "the processor"


def of_card(was: str, now: str, *, on_purpose: bool) -> list[Difference]:
    """Cards by name, empty for the processor. `on_purpose`: the settings ask for the processor."""
    if was == now:
        return []
    how: How = "ask" if not now and not on_purpose else "note"
    why = (
        "rounding may differ in the last bits"
        if now
        else "each step takes many times as long there"
    )
    return [Difference("device", was or _PROCESSOR, now or _PROCESSOR, how, why)]


def of_rows(field: str, was: Marks, now: Marks) -> list[Difference]:
    """Files of a dataset that the setting `field` names."""
    unlike = _unlike(was, now)
    if not unlike:
        return []
    certain = [words for words, same in unlike if same is False]
    if not certain:
        why = f"{unlike[0][0]}; every row is compared when they are read"
        return [Difference(field, _many(was), _many(now), "note", why)]
    more = f" and {len(certain) - 1:,} more" if len(certain) > 1 else ""
    why = f"{certain[0]}{more}: {WHAT_OTHER_ROWS_MEAN}"
    before, here = _many(was), _many(now)
    return [Difference(field, before, here if here != before else "other bytes", "ask", why)]


WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def of_base(was: Marks, now: Marks) -> list[Difference]:
    """Files of the base: its weights, how it is built, its tokenizer."""
    before, here = _by_name(was), _by_name(now)
    differences = []
    other_files = before.keys() ^ here.keys()
    for name in (name for name in before if name in here):
        old, new = before[name], here[name]
        same = old.same_as(new)
        if same is None:
            why = f"{name} was written since, in the same size"
            differences.append(Difference("model.id", size(old.size_bytes), name, "note", why))
        elif not same and name.endswith(WEIGHTS):
            why = "the adapter was trained on those weights, and means nothing on others"
            differences.append(_file("model.id", old, new, "refuse", why))
        elif not same:
            built = name == "config.json"
            why = (
                "the base may be built or computed otherwise"
                if built
                else "texts may be written down or cut into tokens otherwise"
            )
            differences.append(_file("model.id", old, new, "ask", why))
    if other_files:
        names = ", ".join(sorted(other_files)[:3])
        why = f"{names} came or went, so whether it is the same base is not known"
        differences.append(Difference("model.id", _many(was), _many(now), "ask", why))
    return differences


def all_same(was: Marks, now: Marks) -> bool:
    """Whether these are the same files, certainly; False where none was marked."""
    return bool(was) and not _unlike(was, now)


def _file(what: str, old: FileMark, new: FileMark, how: How, why: str) -> Difference:
    was, now = size(old.size_bytes), size(new.size_bytes)
    return Difference(what, f"{old.name}, {was}", now if now != was else "other bytes", how, why)


def _unlike(was: Marks, now: Marks) -> list[tuple[str, bool | None]]:
    """Files that are not certainly the same, in words; False: certainly others."""
    before, here = _by_name(was), _by_name(now)
    if len(before) == len(here) == 1 and before.keys() != here.keys():
        # One file under another name.
        here = {next(iter(before)): next(iter(here.values()))}
    found: list[tuple[str, bool | None]] = []
    for name, mark in before.items():
        if name not in here:
            found.append((f"{name} is gone", False))
        elif (same := mark.same_as(here[name])) is not True:
            what = "holds other rows" if same is False else "was written since, in the same size"
            found.append((f"{name} {what}", same))
    return [*found, *((f"{name} is new", False) for name in here if name not in before)]


def _by_name(marks: Marks) -> dict[str, FileMark]:
    return {mark.name: mark for mark in marks}


def _many(marks: Marks) -> str:
    taken = size(sum(mark.size_bytes for mark in marks))
    return taken if len(marks) == 1 else f"{len(marks):,} files, {taken}"


def _release(version: str) -> tuple[int, ...]:
    """`2.8.1+cu126` as (2, 8, 1)."""
    numbers = []
    for part in version.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
