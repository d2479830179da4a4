"""How the rows are read: the few settings of it, changed in place while the row below follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual import on
from textual.message import Message
from textual.widgets import Input

from tui_lora.core import fields
from tui_lora.core.columns import show_columns
from tui_lora.core.formats import format_of
from tui_lora.core.text import one_line
from tui_lora.ui.dataset_draft import READ_WITH
from tui_lora.ui.dataset_facts import Seen
from tui_lora.ui.dataset_task import WORDS
from tui_lora.ui.forms.checked import check
from tui_lora.ui.forms.editor import Editor, Verdict
from tui_lora.ui.forms.entry import Entry, Note, entries, turned
from tui_lora.ui.forms.form import Form
from tui_lora.ui.forms.judged import judged
from tui_lora.ui.forms.picker import Picker
from tui_lora.ui.forms.rows import Rows
from tui_lora.ui.ink import ACCENT, BRIGHT, dim, ink
from tui_lora.ui.messages import SettingsChanged
from tui_lora.ui.screens.settings_lists import choice_list
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.table import Column, Row


class ReadingForm(Form):
    """`show_draft` fills it; `Tried` tells what is being typed, `SettingsChanged` what is kept."""

    class Tried(Message):
        """These values are being tried and hold; none when what was typed is given up."""

        def __init__(self, values: Mapping[str, Any]) -> None:
            self.values = values
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self._judged, headed=False, id=id)
        self._draft = Draft()
        self._names: Mapping[str, Sequence[str]] = {}

    def show_draft(
        self,
        draft: Draft,
        notes: Mapping[str, Note],
        stand_ins: Mapping[str, str],
        names: Mapping[str, Sequence[str]],
    ) -> None:
        """`names` has what there is to choose from, of splits and subsets that are known."""
        self._draft, self._names = draft, names
        found = {e.path: e for e in entries(draft, check(draft).problems, notes, stand_ins, {})}
        self.show([found[path] for path in READ_WITH])

    def _judged(self, path: str, text: str) -> Verdict:
        return judged(self._draft, path, text)

    @on(Input.Changed)
    def _tried(self, event: Input.Changed) -> None:
        path = self.editing
        if not path:
            return
        verdict = self._judged(path, event.value)
        if verdict.holds:
            self.post_message(self.Tried({path: verdict.value}))

    @on(Editor.Left)
    def _gave_up(self, event: Editor.Left) -> None:
        if not event.keep:
            self.post_message(self.Tried({}))

    @on(Rows.Opened)
    def _opened(self, event: Rows.Opened) -> None:
        event.stop()
        entry = self.pointed
        if entry is None or entry.path != event.path:
            return
        path = entry.path
        if names := self._names.get(path):
            picker = name_list(entry.setting.label, names, fields.show(entry.value))
            self.app.push_screen(picker, lambda name: self._chosen(path, name))
        elif entry.setting.choices:
            self.app.push_screen(choice_list(entry), lambda text: self._chosen(path, text))
        elif entry.chosen:
            self._turn(entry, 1)
        else:
            self.edit(path)

    @on(Rows.Turned)
    def _turned(self, event: Rows.Turned) -> None:
        event.stop()
        entry = self.pointed
        if entry is not None and entry.path == event.path:
            self._turn(entry, event.step)

    def _turn(self, entry: Entry, step: int) -> None:
        self._chosen(entry.path, turned(entry, step))

    def _chosen(self, path: str, text: str | None) -> None:
        if text is not None:
            self.post_message(SettingsChanged({path: fields.read(path, text)}))

    @on(Form.Given)
    def _given(self, event: Form.Given) -> None:
        event.stop()
        self.post_message(SettingsChanged({event.path: event.value}))


def reading_notes(
    seen: Seen | None, draft: Draft, template: str
) -> tuple[dict[str, Note], dict[str, str], dict[str, Sequence[str]]]:
    """What is known beside the settings, what stands in for empty ones, names to choose from."""
    task = str(fields.get(draft.data, "task"))
    notes = {"task": Note(WORDS.get(task, ""))}
    if template and fields.get(draft.data, "model.chat_template") == "auto":
        notes["model.chat_template"] = Note(one_line(template, max_chars=40))
    if task != "sft":
        notes["dataset.loss_on"] = Note(f"unused: {task}", idle=True)
    if seen is None:
        return notes, {}, {}
    if seen.format != "text":
        notes["dataset.overlap"] = Note("unused: no plain text", idle=True)
    if fields.get(draft.data, "dataset.format") == "auto":
        found = format_of(seen.format).title if seen.format else "not found"
        notes["dataset.format"] = Note(found)
    if seen.total is not None:
        notes["dataset.max_rows"] = Note(f"of {seen.total:,}")
    stand_ins = {
        "dataset.columns": one_line(show_columns(seen.parts)),
        "dataset.split": "train" if "train" in seen.splits else "all of it",
    }
    names = {"dataset.split": seen.splits, "dataset.subset": seen.subsets}
    return notes, stand_ins, {path: listed for path, listed in names.items() if listed}


def name_list(label: str, names: Sequence[str], now: str) -> Picker:
    """The splits or subsets of a dataset, the present one under the cursor."""
    rows = [
        Row(name, (ink(name, ACCENT if name == now else BRIGHT), dim("now" if name == now else "")))
        for name in names
    ]
    columns = (Column(label, 40, middle=True), Column("", 0))
    return Picker(columns, rows, details={}, at=now)
