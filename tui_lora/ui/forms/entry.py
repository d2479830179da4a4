"""A setting as one row of the form: label, mark, value, unit and what follows from it."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from tui_lora.core import fields
from tui_lora.core.errors import Problem
from tui_lora.core.explanations import explained
from tui_lora.core.fields import SECTION_TITLES, Setting
from tui_lora.core.text import one_line, shorten_middle
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, FAINT, TIGHT, WRONG, dim, ink, join, left
from tui_lora.ui.state import Draft

NAME = Setting(
    path="name",
    label="name",
    help="What the run is called: its folder in the sessions folder. Empty: a free name made from "
    "the dataset and the model.",
    unit="",
    argument="",
    kind="text",
    choices=(),
    minimum=None,
    maximum=None,
    default=None,
    optional=True,
)
"""The one row that is no setting of the spec."""

MARK_AT = 20
VALUE_AT = 22
NOTE_AFTER = 3
FACT_AT = 13
LEAST_OF_NAMES = 10


@dataclass(frozen=True)
class Note:
    """What follows from a value, and whether the value plays a part at all."""

    text: str = ""
    idle: bool = False


@dataclass(frozen=True)
class Entry:
    """A setting with the draft's value; `problem` is the sentence that stands below it."""

    setting: Setting
    value: Any
    problem: str = ""
    missing: bool = False
    note: Note = Note()
    stand_in: str = ""

    @property
    def path(self) -> str:
        return self.setting.path

    @property
    def changed(self) -> bool:
        """Whether a default was replaced; where there is none, nothing was."""
        default = self.setting.default
        return default is not ... and fields.show(self.value) != fields.show(default)

    @property
    def chosen(self) -> bool:
        """Whether the value is one of a few, so that ← → change it."""
        return bool(options(self.setting))


def settings() -> tuple[Setting, ...]:
    """Every row of the form in its order."""
    return (NAME, *fields.settings())


def setting_at(path: str) -> Setting:
    return NAME if path == NAME.path else fields.setting_at(path)


def title(setting: Setting) -> str:
    """The heading that a setting stands under."""
    return SECTION_TITLES.get(setting.section, "Session")


def options(setting: Setting) -> tuple[str, ...]:
    """The values that can be chosen; empty where one is typed."""
    return ("no", "yes") if setting.kind == "yes_no" else setting.choices


def turned(entry: Entry, step: int) -> str:
    """The choice that comes so many after the present one, round and round."""
    texts, now = options(entry.setting), fields.show(entry.value)
    at = texts.index(now) + step if now in texts else 0
    return texts[at % len(texts)]


def value_of(draft: Draft, path: str) -> Any:
    """The draft's value, or the default."""
    if path == NAME.path:
        return draft.name or None
    return fields.get(draft.data, path)


def entries(
    draft: Draft,
    problems: Collection[Problem],
    notes: Mapping[str, Note],
    stand_ins: Mapping[str, str],
    elsewhere: Mapping[str, str],
) -> tuple[Entry, ...]:
    """The rows of a draft.

    A stand-in is what an empty value amounts to, where that is known; `elsewhere` has the keys of
    the screens that choose a value.
    """
    said: dict[str, Problem] = {}
    for problem in problems:
        said.setdefault(problem.field, problem)
    found = []
    for setting in settings():
        path, problem_here = setting.path, said.get(setting.path)
        value = value_of(draft, path)
        missing = value is ... or value == ""
        said_below = sentence(problem_here) if problem_here else ""
        if missing and path in elsewhere:
            said_below = f"Needed: Enter or {elsewhere[path]} chooses one, e types it."
        found.append(
            Entry(
                setting,
                value,
                said_below,
                missing,
                notes.get(path, Note()),
                stand_ins.get(path, ""),
            )
        )
    return tuple(found)


def sentence(problem: Problem) -> str:
    """A problem as it stands below its field, which names it; what begins with a name such as
    lm_head keeps it."""
    text = one_line(f"{problem.message} {problem.mend}".strip())
    begins = text.partition(" ")[0].rstrip(",.:")
    return text[:1].upper() + text[1:] if begins.isalpha() else text


def typed(setting: Setting, value: Any) -> str:
    """A value as one would type it."""
    return one_line(fields.typed(setting, value))


def shown(setting: Setting, value: Any) -> str:
    """A value as it is read: as typed, with thousands separated where they are counted."""
    if setting.unit and isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return typed(setting, value)


def row(entry: Entry, width: int, here: bool = False) -> Content:
    """One row of `width` cells."""
    setting = entry.setting
    mark, style = " ", DIM
    if entry.missing:
        mark, style = "!", TIGHT
    elif entry.problem:
        mark, style = "▲", WRONG
    elif entry.changed:
        mark, style = "•", ACCENT
    start = join(
        (" ▸ " if here else "   ", ACCENT),
        left(ink(setting.label, BRIGHT if here else DIM), MARK_AT - 3),
        (mark, style),
        " ",
    )
    room = width - VALUE_AT - 1
    # A list of names gives way to what follows from it.
    spare = room - len(entry.note.text) - NOTE_AFTER if entry.note.text else room
    gives_way = setting.kind in ("names", "texts") and spare >= LEAST_OF_NAMES
    value = _value(entry, spare if gives_way else room)
    note_at = 16 if room < 50 else 24
    if entry.note.text:
        note_at = min(note_at, room - len(entry.note.text))
        at = max(note_at, value.cell_length + NOTE_AFTER)
        if room - at >= len(entry.note.text):
            value = join(left(value, at), dim(entry.note.text))
    return left(join(start, value), width)


def unit_of(setting: Setting, value: Any) -> str:
    """The unit behind a value, unless the label names it already: ` rows`, ` step`."""
    if not setting.unit or setting.label.startswith(setting.unit):
        return ""
    return f" {setting.unit.removesuffix('s') if value == 1 else setting.unit}"


def _value(entry: Entry, room: int) -> Content:
    setting, text = entry.setting, shown(entry.setting, entry.value)
    if not text:
        empty = entry.stand_in or ("none yet" if entry.missing else "not set")
        return dim(shorten_middle(empty, room))
    unit = unit_of(setting, entry.value)
    value = ink(shorten_middle(text, room - len(unit)), DIM if entry.note.idle else BRIGHT)
    return join(value, (" ▾", FAINT) if entry.chosen else dim(unit))


def help_text(entry: Entry, figures: Sequence[str] = (), width: int = 74) -> Content:
    """What `?` says of a setting, with the draft's own value; `figures` are sentences on what it
    means for the user's own model and rows."""
    setting = entry.setting
    now = shown(setting, entry.value) or entry.stand_in or "not set"
    unit = unit_of(setting, 0)
    default = "not set"
    if setting.default is ...:
        default = "none: it has to be chosen"
    elif setting.default is not None:
        default = shown(setting, setting.default) or "not set"
    facts = [
        ("now", f"{now}{unit_of(setting, entry.value) if entry.value is not None else ''}"),
        ("default", f"{default}{unit if setting.default not in (None, ...) else ''}"),
        ("may be", f"{setting.range_text}{unit if setting.range_text else ''}"),
        ("so far", entry.note.text),
        ("problem", entry.problem),
        *(("here" if at == 0 else "", figure) for at, figure in enumerate(figures)),
        *explained(setting.path).parts,
        ("in the file", setting.path if setting is not NAME else ""),
        ("becomes", setting.argument),
    ]
    rows = [ink(setting.label, "bold $foreground")]
    rows += [ink(line) for line in textwrap.wrap(setting.help, width)]
    rows.append(Content(""))
    for label, text in facts:
        style = WRONG if label == "problem" else BRIGHT
        lines = textwrap.wrap(text, width - FACT_AT, break_on_hyphens=False)
        for at, line in enumerate(lines):
            rows.append(join(left(dim(label if at == 0 else ""), FACT_AT), ink(line, style)))
    return Content("\n").join(rows)
