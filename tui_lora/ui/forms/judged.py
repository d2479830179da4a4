"""What to say of a value while it is typed, and whether it can be kept."""

from __future__ import annotations

from tui_lora.core import fields
from tui_lora.core.fields import Setting
from tui_lora.ui.forms.checked import check, name_problems
from tui_lora.ui.forms.editor import Verdict
from tui_lora.ui.forms.entry import NAME, sentence, setting_at, settings, shown
from tui_lora.ui.state import Draft


def judged(draft: Draft, path: str, text: str) -> Verdict:
    """A value that does not hold by itself is not kept; one that clashes with another is."""
    setting = setting_at(path)
    if path == NAME.path:
        name = text.strip()
        for problem in name_problems(name):
            return Verdict(name, sentence(problem), holds=False, trouble=True)
        return Verdict(name, hint(setting))
    value = fields.read(path, text)
    checked = check(draft.changed({path: value}))
    before = {(problem.field, problem.message) for problem in check(draft).problems}
    for problem in checked.problems:
        if problem.field == path:
            return Verdict(value, sentence(problem), path not in checked.wrong, trouble=True)
    known = {one.path for one in settings()}
    for problem in checked.problems:
        if (problem.field, problem.message) not in before and problem.field in known:
            label = setting_at(problem.field).label
            return Verdict(value, f"{label}: {problem.message} {problem.mend}", trouble=True)
    return Verdict(value, hint(setting))


def hint(setting: Setting) -> str:
    """What may be typed, in a line."""
    unit = f" {setting.unit}" if setting.unit else ""
    pieces = [f"{setting.range_text}{unit}"] if setting.range_text else []
    if setting.kind == "columns":
        pieces.append("part=column, with commas between")
    if setting.kind == "pairs":
        pieces.append("name=number, with commas between")
    if setting.default in ((), {}):
        pieces.append("may be empty")
    elif setting.default not in (None, ...):
        pieces.append(f"default {shown(setting, setting.default)}")
    elif setting.optional:
        pieces.append("may be empty")
    return " · ".join([*pieces, "Enter keeps it, Esc leaves it"])
