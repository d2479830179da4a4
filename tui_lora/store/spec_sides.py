"""What can be laid side by side: a run spec's file, a session, or `preset:NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.events import SpecChanged
from tui_lora.core.fields import put
from tui_lora.core.presets import filled
from tui_lora.core.spec import check_spec
from tui_lora.core.spec_differences import Side, side_of
from tui_lora.core.text import one_line
from tui_lora.store import sessions
from tui_lora.store.paths import SessionPaths, expanded
from tui_lora.store.presets import read_preset
from tui_lora.store.resolved import became
from tui_lora.store.spec_file import parse_data, read_text, spec_in

PRESET = "preset:"


@dataclass(frozen=True)
class HeldOut:
    """A session's losses on held-out rows, in nats a token: the base's, the last, the best and the
    step that it was measured at. Unknown is None."""

    base: float | None = None
    last: float | None = None
    best: float | None = None
    best_step: int | None = None


@dataclass(frozen=True)
class Found:
    """One of two sides; `held_out` is None for what is no session."""

    side: Side
    held_out: HeldOut | None = None


def found(root: Path, what: str) -> Found:
    """The side called `what`: `preset:NAME`, a YAML file, or a session in `root`.

    Raises UserError.
    """
    if what.startswith(PRESET):
        name = what.removeprefix(PRESET)
        return Found(side_of(what, read_preset(name).data))
    path = expanded(what)
    if what.endswith((".yaml", ".yml")) or path.is_file():
        return Found(_of_file(path, title=one_line(what)))
    try:
        return of_session(sessions.find(root, what))
    except UserError as error:
        raise UserError(
            error.what,
            where=error.where,
            then=f"{error.then} A file ends in .yaml; a preset is written preset:NAME.".strip(),
        ) from None


def of_session(paths: SessionPaths) -> Found:
    """A session as a side: its spec as it holds now, what its settings became, and its losses.
    Raises UserError."""
    title = one_line(paths.name)
    data = dict(_of_file(paths.spec, title=title).data)
    for event in sessions.events_of(paths, SpecChanged):
        for path, value in event.changes.items():
            data = put(data, path, value)
    return Found(side_of(title, data, became(paths)), _held_out(paths))


def _of_file(path: Path, *, title: str) -> Side:
    text = read_text(path)
    data = parse_data(text, where=str(path))
    spec, _ = check_spec(filled(data))
    if spec is None:
        # For errors that name the line.
        spec_in(filled(data), text=text, where=str(path))
    return side_of(title, data)


def _held_out(paths: SessionPaths) -> HeldOut:
    measured = sessions.evaluations(paths)
    tuned = [one for one in measured if one.step and one.loss is not None]
    base = next((one.loss for one in measured if not one.step), None)
    if not tuned:
        return HeldOut(base)
    best = min(tuned, key=lambda one: one.loss if one.loss == one.loss else float("inf"))
    return HeldOut(base, tuned[-1].loss, best.loss, best.step)
