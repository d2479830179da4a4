"""The report of a session: gathered from its folder, written beside its curve, and looked at.

Names of people and machines, keys and the home folder's path are taken out.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.events import EVENTS
from tui_lora.core.figures import Curves
from tui_lora.core.run_curve import RunCurve
from tui_lora.core.run_figures import loss_curves
from tui_lora.core.session_report import Facts, report
from tui_lora.core.text import clean
from tui_lora.core.view import RunView
from tui_lora.store import evaluations, figures, sessions
from tui_lora.store.adapter_spectrum import figures_of, session_places
from tui_lora.store.doctor_report import scrubber_here
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths, expanded
from tui_lora.store.resolved import model_commit
from tui_lora.store.spec_now import spec_now


@dataclass(frozen=True)
class Written:
    """The page, and the picture beside it; None where there is no curve yet."""

    path: Path
    size_bytes: int
    curve: Path | None


def write(paths: SessionPaths, out: Path | str | None = None) -> Written:
    """Write a session's report to `out`, else into its exports/. Raises UserError, also where a
    file of that name is there. Blocks."""
    place = _place(paths, out)
    facts, curves = gathered(paths)
    curve = place.with_name(f"{place.stem}-loss.svg") if curves.curves else None
    if curve is not None:
        facts = replace(facts, curve=curve.name)
    text = report(facts)
    if curve is not None:
        figures.save(curves, curve)
    raw = text.encode("utf-8")
    figures.write(place, raw)
    try:
        there = place.read_bytes()
    except OSError as error:
        raise UserError(f"{clean(str(place))} cannot be read back: {error.strerror}.") from None
    if there != raw or (curve is not None and not curve.is_file()):
        raise UserError(f"{clean(str(place))} is not what was written there.", exit_code=1)
    return Written(place, len(there), curve)


def _place(paths: SessionPaths, out: Path | str | None) -> Path:
    if out is None:
        return figures.free_path(paths.folder / "exports", f"{paths.name}-report", "md")
    place = expanded(str(out)).absolute()
    if place.suffix.lower() != ".md":
        raise UserError(f"{clean(place.name)}: a report is Markdown.", then="End its name in .md.")
    for path in (place, place.with_name(f"{place.stem}-loss.svg")):
        if path.exists() or path.is_symlink():
            raise UserError(
                f"there is already something at {clean(str(path))}.", then="Give another name."
            )
    return place


def gathered(paths: SessionPaths) -> tuple[Facts, Curves]:
    """What the report says, and its curve. Raises UserError where the spec cannot be read."""
    spec = spec_now(paths)
    view, curve = _folded(paths)
    result = sessions.read_result(paths)
    when = result.finished if result is not None else None
    facts = Facts(
        name=paths.name,
        status=sessions.status_of(paths, view).value,
        day=_day(when if when is not None else view.last_t),
        view=view,
        spec=spec,
        scrub=scrubber_here(os.environ).scrub,
        commit=model_commit(paths),
        result=result,
        seconds=curve.seconds,
        evaluations=tuple(
            (_day(kept.evaluation.t), kept.evaluation)
            for kept in evaluations.listed(paths)
            if kept.current
        ),
        adapter_bytes=sessions.adapter_bytes(paths.adapter),
    )
    places = [one for one in session_places(paths) if one.step is None]
    if not places:
        return replace(facts, why_no_adapter="none is saved yet"), loss_curves(
            paths.name, view, spec.task
        )
    try:
        facts = replace(facts, adapter=figures_of(places[0]))
    except UserError as error:
        facts = replace(facts, why_no_adapter=error.what)
    return facts, loss_curves(paths.name, view, spec.task)


def _folded(paths: SessionPaths) -> tuple[RunView, RunCurve]:
    view, curve = RunView(), RunCurve()
    tail = Tail(paths.events)
    while lines := tail.read():
        for line in lines:
            event = EVENTS.decode(line).message
            if event is not None:
                view.apply(event)
                curve.apply(event)
    return view, curve


def _day(t: float | None) -> str:
    return time.strftime("%d %b %Y", time.localtime(t)) if t is not None else ""
