"""Memory ran out, in plain lines: what happened, where it went, and the commands that go on."""

from __future__ import annotations

from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted, MemoryForecasted, MemoryRanOut
from tui_lora.core.out_of_memory import (
    Mend,
    asked_for,
    gib,
    happened,
    plain_mends,
    shares,
)
from tui_lora.core.resumable import as_options
from tui_lora.store import sessions
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.paths import SessionPaths
from tui_lora.store.resolved import became
from tui_lora.store.spec_now import spec_now

MOST_MENDS = 5


def ran_out_lines(paths: SessionPaths) -> list[str]:
    """What to print of a session whose last attempt ran out of memory."""
    event: MemoryRanOut | None = None
    forecast: MemoryForecasted | None = None
    for found in sessions.events_of(paths, AttemptStarted, MemoryRanOut, MemoryForecasted):
        if isinstance(found, AttemptStarted):
            event = forecast = None
        elif isinstance(found, MemoryRanOut):
            event = found
        elif isinstance(found, MemoryForecasted):
            forecast = found
    lines = [] if event is None else _where_it_went(event, forecast)
    try:
        return [*lines, *_ways_on(paths, event)]
    except UserError as error:
        return [*lines, str(error)]


def _where_it_went(event: MemoryRanOut, forecast: MemoryForecasted | None) -> list[str]:
    lines = [text for text in (happened(event), asked_for(event)) if text]
    held = shares(event)
    if held:
        width = max(len(share.name) for share in held)
        lines += [f"  {share.name:<{width}}  {gib(share.gib):>6} GiB" for share in held]
    if forecast is not None and forecast.forecast is not None:
        found = forecast.forecast
        lines.append(f"predicted: {gib(found.peak_process_gib)} GiB at the peak ({found.method})")
    return lines


def _ways_on(paths: SessionPaths, event: MemoryRanOut | None) -> list[str]:
    spec = spec_now(paths)
    there = checkpoints(paths.checkpoints)
    mends = plain_mends(spec, became(paths), checkpoint=bool(there), event=event)
    resuming = [mend for mend in mends if mend.resumes][:MOST_MENDS]
    anew = [mend for mend in mends if not mend.resumes][:1]
    if not resuming and not anew:
        return [f"nothing about {paths.name} can be made smaller; it needs more memory."]
    step = there[-1].step if there else None
    lines = [f"what makes it smaller, the mildest first; {_from(step)}:"]
    for mend in resuming:
        lines += _mend_lines(mend, f"tui-lora train {paths.name}")
    for mend in anew:
        name = sessions.free_name(paths.folder.parent, paths.name)
        lines += [
            "or a new run, since the checkpoint does not survive it:",
            *_mend_lines(mend, f"tui-lora train {paths.name} --name {name}"),
        ]
    if event is None or event.device != "cpu":
        lines.append(f"with figures: tui-lora fit {paths.name}")
    return lines


def _from(step: int | None) -> str:
    if step is None:
        return "each begins at the first step, since there is no checkpoint"
    return f"each goes on from step {step:,}"


def _mend_lines(mend: Mend, command: str) -> list[str]:
    notes = "".join(f" ({note})" for note in mend.judged.notes)
    return [f"  {mend.title}{notes}", f"    {command} {as_options(mend.changes)}"]
