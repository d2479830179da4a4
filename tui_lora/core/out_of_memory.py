"""Memory ran out: what happened in words, where the memory went, and what may be changed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_lora.core.advice import Advice, RowLengths
from tui_lora.core.candidates import SMALLER
from tui_lora.core.events import MemoryRanOut
from tui_lora.core.fields import get, setting_at, show
from tui_lora.core.log_words import shown
from tui_lora.core.memory import Verdict
from tui_lora.core.resumable import Judged, as_it_ran, judged
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import UNKNOWN, one_line

DURING = {
    "loading": "while the model was loaded",
    "forward": "in the forward pass",
    "backward": "in the backward pass",
    "step": "in the optimizer's part",
    "evaluation": "while the held-out rows were measured",
    "saving": "while it was saved",
}
_PASSES = ("forward", "backward", "step")
REST = "CUDA and the rest"
FREE = "free"


@dataclass(frozen=True)
class Share:
    """Who held how much, in GiB: `ours` for a part of the run, else another process or nobody."""

    name: str
    gib: float
    ours: bool = True


def happened(event: MemoryRanOut) -> str:
    """`In the backward pass of step 213: batch 4 × 2,048 tokens, longest row 1,987.`"""
    said = DURING.get(event.phase, f"during {one_line(event.phase)}")
    if event.step is not None and event.phase != "loading":
        said += f" {'of' if event.phase in _PASSES else 'at'} step {event.step:,}"
    if event.rows is not None and event.tokens is not None:
        said += f": batch {event.rows:,} × {event.tokens:,} tokens"
        if event.longest_row_tokens is not None:
            said += f", longest row {event.longest_row_tokens:,}"
    return f"{said[:1].upper()}{said[1:]}."


def asked_for(event: MemoryRanOut) -> str:
    """`1.25 GiB more were asked for, 0.31 of 15.0 GiB were free.`; empty where nothing is known."""
    asked, free, total = event.asked_gib, event.free_gib, event.total_gib
    where = "the machine" if event.device == "cpu" else "the card"
    of = "" if total is None else f" of {gib(total)}"
    if asked is not None and free is not None:
        return f"{gib(asked)} GiB more were asked for; {gib(free)}{of} GiB of {where} were free."
    if asked is not None:
        return f"{gib(asked)} GiB more were asked for."
    if free is not None:
        return f"{gib(free)}{of} GiB of {where} were free."
    return ""


def shares(event: MemoryRanOut) -> tuple[Share, ...]:
    """Where the memory went: the run's parts, other processes, what nobody is known to hold, and
    what was free. Together the whole of it, where its size is known."""
    found = [Share(one_line(holder.name), holder.gib) for holder in event.held]
    found += [Share(one_line(holder.name), holder.gib, ours=False) for holder in event.others]
    if event.total_gib is not None and event.free_gib is not None and found:
        rest = event.total_gib - event.free_gib - sum(share.gib for share in found)
        if rest >= 0.005:
            found.append(Share(REST, rest, ours=False))
        found.append(Share(FREE, event.free_gib, ours=False))
    return tuple(found)


def gib(size: float | None) -> str:
    """In two decimals; `—` where it is not known."""
    return UNKNOWN if size is None else f"{size:.2f}"


@dataclass(frozen=True)
class Mend:
    """A change that makes a run smaller. GiB are None where nothing could be simulated.

    `judged` says whether the run's checkpoint survives it; without a checkpoint every change can
    be made, since there is nothing that it could break.
    """

    title: str
    changes: Mapping[str, Any]
    cost: str
    judged: Judged
    saves_gib: float | None = None
    peak_process_gib: float | None = None
    verdict: Verdict = "unknown"
    cuts: str = ""

    @property
    def resumes(self) -> bool:
        return not self.judged.refused


_VERDICTS: tuple[Verdict, ...] = ("fits", "tight", "does_not_fit", "unknown")
_KINDS = ("free", "noted", "fixed")


def plain_mends(
    spec: RunSpec,
    became: Mapping[str, str],
    *,
    checkpoint: bool,
    event: MemoryRanOut | None = None,
    lengths: RowLengths | None = None,
) -> tuple[Mend, ...]:
    """The mildest change of each kind, without figures: those that leave the run what it is come
    first, those that take a new run last. `became`: what each `auto` of the run became."""
    if event is not None and event.device == "cpu":
        # What it is there, where the run ended before it could say so.
        became = {"training.gradient_checkpointing": "no", **became}
    ran = as_it_ran(spec, became)
    found = []
    for kind in SMALLER:
        for one in kind.rungs(ran, lengths)[:1]:
            cuts = cuts_words(one.changes, one.cut_rows, one.measured_rows)
            rule = judged(ran, one.changes) if checkpoint else Judged()
            found.append(Mend(one.title, one.changes, one.cost, rule, cuts=cuts))
    loading = event is not None and event.phase == "loading"

    def rank(mend: Mend) -> tuple[bool, int]:
        # While the model is loaded there is nothing but weights.
        weights = any(path.startswith("quantization.") for path in mend.changes)
        return not (loading and weights), _KINDS.index(judged(ran, mend.changes).kind)

    return tuple(sorted(found, key=rank))


def advised_mends(
    advice: Advice, spec: RunSpec, became: Mapping[str, str], *, checkpoint: bool
) -> tuple[Mend, ...]:
    """What was simulated, best first: what fits before what does not, and of those what the
    checkpoint survives before what takes a new run."""
    ran = as_it_ran(spec, became)
    found = [
        Mend(
            change.title,
            change.changes,
            change.cost,
            judged(ran, change.changes) if checkpoint else Judged(),
            change.saves_gib,
            change.peak_process_gib,
            change.verdict,
            cuts_words(change.changes, change.cut_rows, change.measured_rows),
        )
        for change in advice.changes
    ]
    return tuple(sorted(found, key=lambda mend: (_VERDICTS.index(mend.verdict), not mend.resumes)))


def cuts_words(changes: Mapping[str, Any], cut_rows: int | None, measured_rows: int | None) -> str:
    """`cuts 31 of 2,000 measured rows`; empty for a change that does not touch max length."""
    if "training.max_length" not in changes:
        return ""
    if cut_rows is None or measured_rows is None:
        return "rows not measured"
    if not cut_rows:
        return f"cuts none of {measured_rows:,} measured rows"
    return f"cuts {cut_rows:,} of {measured_rows:,} measured rows"


def changes_words(before: RunSpec, changes: Mapping[str, Any]) -> str:
    """`micro-batch 4 → 2, accumulation 8 → 16`; what stays as it was is left out."""
    data = before.model_dump(mode="json")
    said = []
    for path, value in changes.items():
        was = get(data, path)
        if show(was) != show(value):
            label = setting_at(path).label
            said.append(f"{label} {shown(was)} → {shown(value)}")
    return one_line(", ".join(said))
