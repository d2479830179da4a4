"""Settings: every setting of the draft, from presets or one by one; and the start."""

from __future__ import annotations

import textwrap
from dataclasses import replace

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.worker import get_current_worker

from tui_lora.core import fields
from tui_lora.core.errors import Problem
from tui_lora.core.presets import filled
from tui_lora.core.spec import check_spec
from tui_lora.ui import start_choices
from tui_lora.ui.forms.card_ask import CardAsk
from tui_lora.ui.forms.checked import Checked, check, without
from tui_lora.ui.forms.derived import notes, summary, with_survey
from tui_lora.ui.forms.draft_ask import DraftAsk, OtherChosen, PresetKept
from tui_lora.ui.forms.editor import Verdict
from tui_lora.ui.forms.entry import NAME, Entry, entries, help_text, settings, turned
from tui_lora.ui.forms.form import Form
from tui_lora.ui.forms.history import History
from tui_lora.ui.forms.judged import judged
from tui_lora.ui.forms.known import Known, known_of
from tui_lora.ui.forms.model_notes import model_notes, with_model
from tui_lora.ui.forms.module_picker import module_picker
from tui_lora.ui.forms.own_figures import own_figures
from tui_lora.ui.forms.relevance import shown, unused, wanted
from tui_lora.ui.forms.rows import Rows
from tui_lora.ui.forms.spec_ask import SpecAsk
from tui_lora.ui.forms.start_line import StartLine
from tui_lora.ui.forms.survey import Survey, survey_key
from tui_lora.ui.forms.target_list import PICK, TARGETS, TYPE, target_list, why_unknown
from tui_lora.ui.ink import dim, ink
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import DraftReplaced, Said, SettingsChanged
from tui_lora.ui.screens.advice import open_advice
from tui_lora.ui.screens.compare import compare_draft
from tui_lora.ui.screens.fit_check import open_fit_check
from tui_lora.ui.screens.settings_keys import KEYS
from tui_lora.ui.screens.settings_lists import choice_list, preset_list, problem_list
from tui_lora.ui.screens.settings_queue import StartsLater
from tui_lora.ui.settings_facts import (
    ProblemsFound,
    SpecOpened,
    SpecWritten,
    StartEnded,
    Surveyed,
    surveyed,
    with_preset,
)
from tui_lora.ui.state import Draft, ModelSeen
from tui_lora.ui.widgets.headroom import HeadroomFoot, HeadroomPanel
from tui_lora.ui.widgets.line import Block, Line

ELSEWHERE = {"model.id": "model", "dataset.path": "data"}
"""Settings that have a screen of their own."""


class SettingsScreen(StartsLater):
    TITLE_WORD = "Settings"
    OF_DRAFT = True
    CSS_PATH = "settings.tcss"
    HELP = (
        "Every setting of the run that you are putting together. Arrows move, Enter edits or opens "
        "a list, ← → change a choice, Esc leaves a value as it was. • marks what differs from the "
        "default, ▲ what is wrong. Settings that play no part in the task are not shown; m shows "
        "those that are seldom needed. Whether it fits the card is always in sight: a finds what "
        "makes it fit or what else fits, f measures it on your longest rows, C holds it against "
        "any card. The draft is kept as you go; s checks everything and starts it."
    )
    BINDINGS = KEYS

    def __init__(self) -> None:
        super().__init__()
        self._draft: Draft | None = None
        self._checked = Checked(None, None, (), frozenset())
        self._survey = Survey(())
        self._known: Known | None = None
        self._unfolded = False
        self._history = History()
        self._form = Form(self._judge, id="form")
        self._ask = SpecAsk(id="ask")
        self._draft_ask = DraftAsk(id="draft-ask")
        self._start_line = StartLine(id="summary")

    def compose_body(self) -> ComposeResult:
        form = Vertical(self._form, self._ask, self._draft_ask, CardAsk(id="card-ask"))
        yield Horizontal(form, HeadroomPanel(id="headroom"), id="beside")
        yield Line(id="foot-rule")
        yield Block(2, id="about")
        yield HeadroomFoot(id="headroom-foot")
        yield self._start_line

    def on_mount(self) -> None:
        self.follow("draft", self._show_draft)
        self.follow("model_seen", self._show_model)
        self._form.take_focus()
        self.bench.look_at_model()

    def on_resize(self) -> None:
        self.query_one("#foot-rule", Line).say(ink("─" * self.size.width, "$faint"))
        self.call_after_refresh(self._show_foot)

    def on_screen_resume(self) -> None:
        if self._draft is not None:
            self._ask_disk(self._draft)
            self.bench.look_at_model()

    # What is shown.

    def _show_draft(self, draft: Draft) -> None:
        self._history.saw(draft)
        named = self._draft.name if self._draft is not None else ""
        self._draft = draft
        if survey_key(draft) != self._survey.key:
            self._survey = Survey(survey_key(draft))
            self._ask_disk(draft)
        elif draft.name != named:
            self._ask_disk(draft)
        self._check_again()

    def _show_model(self, seen: ModelSeen) -> None:
        # With another draft it comes first, and that is shown in a moment.
        if self._draft is self.bench.draft:
            self._check_again()

    def _check_again(self) -> None:
        """Put together what the draft, the disk and the model say."""
        draft, survey, seen = self._draft, self._survey, self.bench.model_seen
        if draft is None:
            return
        checked = with_survey(check(draft), draft, survey)
        self._known = known_of(checked, survey, seen, self.bench.sensors)
        self._checked = with_model(checked, self._known)
        self._show_form()
        self.refresh_bindings()

    def _show_form(self) -> None:
        assert self._draft is not None
        checked, survey = self._checked, self._survey
        screens = {path: found.key for path, id in ELSEWHERE.items() if (found := place(id))}
        stand_ins = {NAME.path: survey.name, "dataset.columns": survey.columns}
        beside = notes(checked, survey) | model_notes(self._known, busy=self.bench.model_seen.busy)
        every = entries(self._draft, checked.problems, beside, stand_ins, screens)
        rows, folded = shown(
            every,
            unused(checked.sound, survey) if checked.sound is not None else {},
            wanted(checked.sound, survey) if checked.sound is not None else (),
            unfolded=self._unfolded,
            keep=self._form.editing,
        )
        words = "m folds {} away" if self._unfolded else "m shows {} more"
        self._form.show(rows, {name: words.format(count) for name, count in folded.items()})
        self._show_foot()

    def _show_foot(self) -> None:
        entry, width = self._form.pointed, self.size.width - 2
        if entry is None or width < 40:
            return
        rows = textwrap.wrap(entry.setting.help, width, max_lines=2, placeholder=" …")
        self.query_one("#about", Block).say([dim(row) for row in rows])
        adapter = self._known.adapter if self._known is not None else None
        trained = adapter.trainable if adapter is not None else None
        words = summary(self._checked, self._survey, width, trained, self.card_runs)
        self._start_line.show_summary(words)

    def help_for_focus(self) -> Content | None:
        entry, known = self._form.pointed, self._known
        if entry is None:
            return None
        figures = own_figures(entry.path, known, self._checked) if known is not None else ()
        return help_text(entry, figures, min(self.size.width - 8, 100))

    def topic(self) -> str:
        entry = self._form.pointed
        return entry.setting.path if entry is not None else super().topic()

    def _judge(self, path: str, text: str) -> Verdict:
        return judged(self._draft or Draft(), path, text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        busy = self._start_line.busy
        if action == "undo":
            return bool(self._history)
        if action == "problems":
            return bool(self._checked.problems)
        if action in ("start", "cancel"):
            return busy == (action == "cancel")
        if action == "default":
            entry = self._form.pointed
            return entry is not None and (entry.changed or bool(entry.problem))
        return True

    # Changes of the draft.

    @on(Rows.Pointed)
    def _pointed(self) -> None:
        self._show_foot()
        self.refresh_bindings()

    @on(Rows.Opened)
    def _opened(self, event: Rows.Opened) -> None:
        path, entry = event.path, self._form.pointed
        if entry is None or entry.path != path:
            return
        if (elsewhere := ELSEWHERE.get(path, "")) and place(elsewhere) is not None:
            self.bench.go(elsewhere)
        elif path == TARGETS:
            listed = target_list(entry, self._known, self.bench.model_seen)
            self.app.push_screen(listed, self._target_chosen)
        elif entry.setting.choices:
            listed = choice_list(entry, self._known)
            self.app.push_screen(listed, lambda text: self._chosen(path, text))
        elif entry.chosen:
            self._turn(entry, 1)
        elif path == start_choices.SETTING:
            start_choices.open_start_choices(
                self, lambda text: self._chosen(path, text), lambda: self._form.edit(path)
            )
        else:
            self._form.edit(path)

    def _target_chosen(self, way: str | None) -> None:
        known, seen = self._known, self.bench.model_seen
        if way == TYPE:
            self._form.edit(TARGETS)
        elif way != PICK:
            self._chosen(TARGETS, way)
        elif known is None or known.shape is None:
            self.say(why_unknown(seen), "warning")
        else:
            picker = module_picker(known)
            self.app.push_screen(picker, lambda names: self._chosen(TARGETS, names))

    @on(Rows.Turned)
    def _turned(self, event: Rows.Turned) -> None:
        entry = self._form.pointed
        if entry is not None and entry.path == event.path:
            self._turn(entry, event.step)

    def _turn(self, entry: Entry, step: int) -> None:
        self._chosen(entry.path, turned(entry, step))

    def _chosen(self, path: str, text: str | None) -> None:
        if text is not None:
            self._give(path, fields.read(path, text))

    @on(Form.Given)
    def _given(self, event: Form.Given) -> None:
        self._give(event.path, event.value)

    def _give(self, path: str, value: object) -> None:
        if path == NAME.path:
            self.post_message(DraftReplaced(replace(self.bench.draft, name=str(value))))
        else:
            self.post_message(SettingsChanged({path: value}))

    def action_default(self) -> None:
        entry = self._form.pointed
        if entry is not None:
            self._forget(entry.path)

    def _forget(self, path: str) -> None:
        draft = self.bench.draft
        if path == NAME.path:
            draft = replace(draft, name="")
        else:
            draft = replace(draft, data=without(draft.data, path))
        self.post_message(DraftReplaced(draft))

    def action_more(self) -> None:
        self._unfolded = not self._unfolded
        self._show_form()
        self._form.bring_group_into_sight()
        self.refresh_bindings()

    def action_undo(self) -> None:
        if (before := self._history.undo()) is not None:
            self.post_message(DraftReplaced(before))

    def action_presets(self) -> None:
        def chosen(name: str | None) -> None:
            if name is not None:
                self.post_message(DraftReplaced(with_preset(self.bench.draft, name)))
                self.post_message(Said(f"the settings are those of {name}; u undoes.", "good"))

        self.app.push_screen(preset_list(self.bench.sensors), chosen)

    def action_advise(self) -> None:
        open_advice(self)

    def action_fit_check(self) -> None:
        open_fit_check(self)

    def action_card(self) -> None:
        self.query_one(CardAsk).ask_card(self.bench.memory_seen.card)

    # Problems, and the start.

    def action_problems(self) -> None:
        self._list_problems(self._checked.problems)

    def _list_problems(self, problems: tuple[Problem, ...]) -> None:
        def chosen(key: str | None) -> None:
            if key is None:
                return
            path = problems[int(key)].field
            if path in {setting.path for setting in settings()}:
                self._form.point(path)
            else:
                self._forget(path)
                self.post_message(Said(f"{path} is no setting and was taken out; u undoes."))

        self.app.push_screen(problem_list(problems), chosen)

    def action_start(self, queued: bool = False) -> None:
        if self._known is not None and self._known.looked and self._known.looked.problems:
            # The worker would refuse them, after reading all rows.
            self._list_problems(self._checked.problems)
        elif self._draft is not None:
            self._start_line.begin(self._draft, self.bench.root, queued=queued)

    def action_cancel(self) -> None:
        self._start_line.cancel()

    @on(ProblemsFound)
    def _problems_found(self, fact: ProblemsFound) -> None:
        if fact.file:
            self.app.push_screen(problem_list(fact.problems, fact.file))
        else:
            self._list_problems(fact.problems)

    @on(StartEnded)
    def _start_ended(self, fact: StartEnded) -> None:
        if fact.paths is not None:
            # The next run gets a name of its own.
            self.post_message(DraftReplaced(replace(self.bench.draft, name="")))
            self.turn_to_started(fact)
        elif fact.cancelled:
            self.say("not started; nothing was left behind.")

    # Files.

    def action_open_spec(self) -> None:
        self._ask.ask_open()

    def action_write_spec(self) -> None:
        spec, problems = self._checked.spec, self._checked.problems
        if spec is None or problems:
            self._list_problems(problems)
        elif self._draft is not None:
            self._ask.ask_write(self._draft.name or self._survey.name or "run", spec)

    @on(SpecOpened)
    def _spec_opened(self, fact: SpecOpened) -> None:
        self.post_message(DraftReplaced(Draft("", fact.spec.model_dump(mode="json"))))
        self.post_message(Said(f"{fact.file} is the draft now; u undoes.", "good"))

    @on(SpecWritten)
    def _spec_written(self, fact: SpecWritten) -> None:
        self.say(f"written: {fact.file}", "good")

    # Presets of the user's own, and another spec beside the draft.

    def action_keep_preset(self) -> None:
        if problems := check_spec(filled(self.bench.draft.data))[1]:
            self._list_problems(problems)
        else:
            self._draft_ask.ask_keep(self.bench.draft)

    @on(PresetKept)
    def _preset_kept(self, fact: PresetKept) -> None:
        self.say(f"kept as {fact.name}; p lists it. Its file: {fact.file}", "good")

    def action_compare(self) -> None:
        self._draft_ask.ask_other(self.bench.root)

    @on(OtherChosen)
    def _other_chosen(self, fact: OtherChosen) -> None:
        self.app.push_screen(compare_draft(self.bench.draft, fact.what, self.bench.root))

    # What the disk says.

    @on(Surveyed)
    def _surveyed(self, fact: Surveyed) -> None:
        if fact.survey.key == self._survey.key and fact.survey != self._survey:
            self._survey = fact.survey
            self._check_again()

    @work(thread=True, exclusive=True, exit_on_error=False, group="survey")
    def _ask_disk(self, draft: Draft) -> None:
        worker, found = get_current_worker(), surveyed(draft, self.bench.root)
        if not worker.is_cancelled:
            self.post_message(found)
