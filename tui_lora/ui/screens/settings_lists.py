"""The lists that the Settings screen opens: choices, presets, problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tui_lora.core.errors import Problem
from tui_lora.core.fields import SECTION_TITLES, show
from tui_lora.store.presets import preset_names, read_preset
from tui_lora.ui.forms.entry import Entry, options, sentence, setting_at, settings
from tui_lora.ui.forms.picker import Picker
from tui_lora.ui.ink import ACCENT, BRIGHT, dim, ink
from tui_lora.ui.widgets.table import Column, Row


def choice_list(entry: Entry) -> Picker:
    """The values of one setting, the present one under the cursor."""
    now, default = show(entry.value), show(entry.setting.default)
    rows = []
    for option in options(entry.setting):
        mark = "now" if option == now else "default" if option == default else ""
        style = ACCENT if option == now else BRIGHT
        rows.append(Row(option, (ink(option, style), dim(mark))))
    details = {row.key: entry.setting.help for row in rows}
    columns = (Column(entry.setting.label, 24), Column("", 0))
    return Picker(columns, rows, details=details, at=now)


def preset_list() -> Picker:
    presets = [read_preset(name) for name in preset_names()]
    rows = [Row(p.name, (ink(p.name), dim(p.about))) for p in presets]
    details = {p.name: p.about for p in presets}
    columns = (Column("preset", 16), Column("what it is for", 0))
    return Picker(columns, rows, details=details, verb="fills the form with it (u undoes)")


def problem_list(problems: Sequence[Problem], file: str = "") -> Picker:
    """Every problem; the keys of its rows are their numbers."""
    rows = [
        Row(str(at), (ink(field_label(problem, file)), dim(problem.message)))
        for at, problem in enumerate(problems)
    ]
    details = {str(at): sentence(problem) for at, problem in enumerate(problems)}
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    where = f" in {Path(file).name}" if file else ""
    columns = (Column("setting", 28), Column(f"{count}{where}", 0))
    verb = "closes this" if file else "goes there"
    return Picker(columns, rows, details=details, verb=verb)


def field_label(problem: Problem, file: str = "") -> str:
    """`LoRA · rank`; in a file as it stands there, with its line."""
    if file:
        line = f"line {problem.line}  " if problem.line else ""
        return f"{line}{problem.field}"
    if problem.field not in {setting.path for setting in settings()}:
        return problem.field
    setting = setting_at(problem.field)
    section = SECTION_TITLES.get(setting.section, "")
    return f"{section} · {setting.label}" if section else setting.label
