"""Results: what training changed. Layout and intents; figures come from `ui/results_text.py`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll

from tui_lora.core.chat import BASE
from tui_lora.core.sampling import Sampling
from tui_lora.store.adapters import ChatTarget
from tui_lora.ui.chat_facts import AnswerCame, AnswerOver, voice_of
from tui_lora.ui.evaluating import EVALUATE, EvaluatingPage
from tui_lora.ui.ink import dim, ink, join
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import Said
from tui_lora.ui.result_files import ResultFiles
from tui_lora.ui.results_facts import DiskRead, Kept, Prepared
from tui_lora.ui.side_by_side import MAX_NEW_TOKENS, QUESTIONS, SideBySide
from tui_lora.ui.talking import link_row
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.exchange import ExchangeView
from tui_lora.ui.widgets.line import Line, Lines

if TYPE_CHECKING:
    from tui_lora.store.answer_sheets import AnswerSheet
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.results_text import OnDisk
    from tui_lora.ui.state import RunNow


class ResultsScreen(ResultFiles, EvaluatingPage):
    TITLE_WORD = "Results"
    CSS_PATH = "results.tcss"
    HELP = (
        "What training changed, on rows that were never trained on. Perplexity is e to the mean "
        "loss a token: how many tokens the model hesitates between. v measures base and tuned on "
        "the very same rows, with intervals and tests: held-out rows, trained ones, a general text "
        "(what was forgotten), answers. Below stands what the run itself measured, before its "
        "first step and after its last. a lets both answer some held-out questions beside each "
        "other; the answers are kept. Of preferences the margin stands in place of perplexity, of "
        "a classifier the accuracy, macro F1 and which labels were taken for which."
    )
    BINDINGS = [
        Binding(
            "escape", "stop", "stop", id="results.stop", tooltip="stop answering, or measuring"
        ),
        Binding("a", "ask", "answers", id="results.ask", tooltip="base and tuned answer the same"),
        Binding(
            "k",
            "checkpoints",
            "checkpoints",
            id="results.checkpoints",
            tooltip="pin, delete or talk to a checkpoint, or branch from it",
        ),
        Binding("m", "merge", "merge", id="results.merge", tooltip="merge it into its base"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._disk: OnDisk | None = None
        self._asking: SideBySide | None = None
        self._asking_of: SessionPaths | None = None
        self._prepared: Prepared | None = None

    def compose_body(self) -> ComposeResult:
        yield Empty(id="empty")
        with VerticalScroll(id="results"):
            yield Lines(id="head")
            yield from self.compose_evaluation()
            yield Line(id="source")
            with Horizontal(id="figures"):
                yield Lines(id="change")
                yield Lines(id="facts")
            yield Lines(id="confusion")
            yield Lines(id="memory")
            yield Line(id="asked")
            yield Vertical(id="answers")
            yield Lines(id="checkpoints")
            yield Lines(id="choices")
            yield from self.compose_its_choices()
        yield from self.compose_progress()

    def on_mount(self) -> None:
        self.follow("session", self._show_session)
        self.follow("run_now", self._show_run)

    def on_screen_resume(self) -> None:
        run = self.bench.run_now
        self._read_again(run)
        if run is not None:
            self.read_evaluations(run.paths)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self._asking is not None or self.can_evaluate("cancel")
        if action in ("evaluate", "rows", "evaluations", "cancel", "drop"):
            return self.can_evaluate(action)
        if action == "checkpoints":
            return self._disk is not None and bool(self._disk.checkpoints)
        if action == "merge":
            return self._disk is not None and self._disk.adapter_bytes is not None
        if action == "ask":
            has = self._disk is not None and self._disk.adapter_bytes is not None
            return has and self._asks and self._asking is None and not self.has_class("-empty")
        return super().check_action(action, parameters)

    # What is known.

    def _show_session(self, paths: SessionPaths | None) -> None:
        self._stop_asking()
        self._disk, self._prepared = None, None
        self.query_one("#answers").remove_children()
        if paths is None:
            about = "Here you see what training changed. No session is chosen."
            self._show_empty(about, [("1", "choose one that was trained")])
        else:
            self._show_empty(f"reading {paths.name} …", [])
            self.read_evaluations(paths)
            self._show_run(self.bench.run_now)

    def _show_empty(self, about: str, keys: list[tuple[str, str]]) -> None:
        self.add_class("-empty")
        self.query_one(Empty).show(about, *keys)
        self.refresh_bindings()

    def _show_run(self, run: RunNow | None) -> None:
        if run is None or run.paths != self.bench.session:
            return
        from tui_lora.ui.results_text import not_yet

        nothing = not_yet(run)
        if nothing is not None and not self.has_figures:
            about, keys = nothing
            shown = [key for key in keys if place("train") is not None]
            # A checkpoint can be measured while the run goes on.
            self._show_empty(
                about, [*shown, *([EVALUATE] if self.can_evaluate("evaluate") else [])]
            )
            return
        self.set_class(nothing is not None, "-early")
        if self.has_class("-empty"):
            self.remove_class("-empty")
            self.query_one("#results", VerticalScroll).focus()
        self._draw()
        self._read_again(run)

    def _read_again(self, run: RunNow | None) -> None:
        if run is not None and not run.status.alive and self._asking is None:
            self._read_disk(run.paths, self._disk)

    def evaluations_changed(self) -> None:
        self._show_run(self.bench.run_now)

    def _draw(self) -> None:
        run = self.bench.run_now
        if run is None or self.has_class("-empty"):
            return
        from tui_lora.ui import results_text
        from tui_lora.ui.measured_text import memory_rows
        from tui_lora.ui.run_text import changes_row

        width = max(40, self.size.width - 4)
        changes = changes_row(run)
        head = [results_text.head_row(run, width), *([changes] if changes.plain else [])]
        self.query_one("#head", Lines).say(*head)
        self.draw_evaluation(width)
        source = self.query_one("#source", Line)
        source.display = self.evaluation is not None and not self.has_class("-early")
        source.say(results_text.source_row(width))
        self.query_one("#change", Lines).say(*results_text.change_rows(run))
        self.query_one("#facts", Lines).say(*results_text.fact_rows(run, self._disk))
        self.query_one("#choices", Lines).say(*results_text.choice_rows(run, width))
        if self._disk is not None:
            self.query_one("#checkpoints", Lines).say(*results_text.checkpoint_rows(self._disk))
        runs = self._disk.runs if self._disk is not None else ()
        self.query_one("#memory", Lines).say(*memory_rows(run, runs))
        self._show_confusion(width)
        self.query_one("#asked").display = self._asks
        self.show_link()

    @property
    def _asks(self) -> bool:
        """Whether there is anything that could be answered: a classifier gives labels."""
        run = self.bench.run_now
        return run is None or run.task != "classification"

    def _show_confusion(self, width: int) -> None:
        from tui_lora.ui.confusion import confusion_rows

        report = self._disk.report if self._disk is not None else None
        table = self.query_one("#confusion", Lines)
        table.display = report is not None
        if report is not None:
            table.say(*confusion_rows(report, width))

    def show_link(self) -> None:
        """The row above the answers: whose questions, or what the worker does for them."""
        from tui_lora.ui.results_text import sheet_words

        row = dim("answers side by side")
        state = self.link.state
        sheet = self._disk.sheet if self._disk is not None else None
        if state.phase == "waiting":
            row = link_row(state, self.size.width - 4, time.monotonic())
        elif self._asking is not None:
            if state.label or not state.alive:
                ends = ("Esc", "calls it off") if state.phase == "loading" else None
                row = link_row(state, self.size.width - 4, time.monotonic(), ends)
            else:
                done = f"{self._asking.done} of {self._asking.total}"
                row = join(row, dim("   answering "), ink(done), dim(f"   {self._asking.source}"))
        elif sheet is not None:
            row = join(row, dim(f"   {sheet_words(sheet)}"))
        elif self.check_action("ask", ()):
            hint = f"base and tuned answer the first {QUESTIONS} held-out questions"
            row = join(row, "   ", ("a", "bold $foreground"), dim(f" {hint}"))
        self.query_one("#asked", Line).say(row)

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def _read_disk(self, paths: SessionPaths, known: OnDisk | None) -> None:
        from tui_lora.ui.results_text import read_disk

        for disk in read_disk(paths, known):
            self.post_message(DiskRead(paths, disk))

    @on(DiskRead)
    def _disk_read(self, fact: DiskRead) -> None:
        if fact.paths != self.bench.session or self._asking is not None:
            return
        before = self._disk.sheet if self._disk is not None else None
        self._disk = fact.disk
        if fact.disk.sheet is not None and fact.disk.sheet != before:
            self._mount(SideBySide.of(fact.disk.sheet))
        self._draw()
        self.refresh_bindings()

    def action_checkpoints(self) -> None:
        from tui_lora.ui.branching import show_checkpoints

        show_checkpoints(self)

    def action_merge(self) -> None:
        from tui_lora.ui.screens.export import open_export

        open_export(self)

    # Asking.

    def action_ask(self) -> None:
        if self.bench.session is not None:
            self._prepare(self.bench.session)

    @work(thread=True, exclusive=True, exit_on_error=False, group="held-out")
    def _prepare(self, paths: SessionPaths) -> None:
        from tui_lora.store.adapters import session_target
        from tui_lora.ui.held_out_deck import read_held_out

        found = read_held_out(paths, QUESTIONS).found
        self.post_message(Prepared(paths, session_target(paths), found))

    @on(Prepared)
    def _is_prepared(self, fact: Prepared) -> None:
        if fact.paths != self.bench.session:
            return
        if not fact.found.questions:
            self.say(f"nothing to ask: {fact.found.source}.", "warning")
            return
        self._prepared = fact
        self.talk_to(fact.target)

    def opened(self, target: ChatTarget) -> None:
        # It may be loaded elsewhere, or quantized, than it was trained.
        if self._prepared is None or voice_of(self._prepared.target) != voice_of(target):
            return
        prepared, self._prepared = self._prepared, None
        found, run = prepared.found, self.bench.run_now
        step = run.view.step if run is not None and run.paths == prepared.paths else None
        self._asking = SideBySide(found.source, target.model.id, step)
        self._asking_of = prepared.paths
        for question in found.questions:
            ids = [
                self.link.ask(voice, question.turns, Sampling(max_new_tokens=MAX_NEW_TOKENS))
                for voice in (BASE, voice_of(target))
            ]
            self._asking.add(question, ids[0], ids[1])
        self._mount(self._asking)
        self.show_link()
        self.refresh_bindings()
        self.call_after_refresh(self._bring_answers)

    def _mount(self, side: SideBySide) -> None:
        answers = self.query_one("#answers")
        answers.remove_children()
        answers.mount(
            *(
                ExchangeView(exchange, f"{number}.")
                for number, exchange in enumerate(side.exchanges, start=1)
            )
        )

    def _bring_answers(self) -> None:
        """They stand below the figures, out of sight on a short terminal."""
        asked = self.query_one("#asked")
        self.query_one("#results").scroll_to_widget(asked, top=True, animate=False)

    @on(AnswerCame)
    def _came(self, fact: AnswerCame) -> None:
        if self._asking is not None and self._asking.came(fact.id, fact.text, fact.tokens):
            self._draw_answers(fact.id)

    @on(AnswerOver)
    def _over(self, fact: AnswerOver) -> None:
        asking = self._asking
        if asking is None or not asking.over(fact.id, fact.ended, fact.problem):
            return
        self._draw_answers(fact.id)
        if asking.ended:
            self._asking = None
            if asking.complete and self._asking_of is not None:
                self._keep(self._asking_of, asking.sheet(time.time()))
            self.refresh_bindings()
        self.show_link()

    def _draw_answers(self, id: str) -> None:
        for view in self.query(ExchangeView):
            view.draw(id)

    @work(thread=True, exclusive=True, exit_on_error=False, group="keep")
    def _keep(self, paths: SessionPaths, sheet: AnswerSheet) -> None:
        from tui_lora.store.answer_sheets import keep

        try:
            self.post_message(Kept(paths, sheet, keep(paths, sheet).name))
        except OSError as error:
            self.post_message(Said(f"the answers could not be kept: {error.strerror}.", "error"))

    @on(Kept)
    def _is_kept(self, fact: Kept) -> None:
        self.say(f"kept as evaluations/{fact.name}.", "good")
        if fact.paths == self.bench.session and self._disk is not None:
            # They stand there already.
            self._disk = replace(self._disk, sheet=fact.sheet)
            self.show_link()

    def action_stop(self) -> None:
        if self._asking is None:
            self.action_cancel()
        self._stop_asking()

    def _stop_asking(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            for id in asking.stop():
                self.link.cancel(id)
                self._draw_answers(id)
            if self.link.state.phase == "loading":
                self.link.close()
            self.say("stopped; these answers are not kept.")
            self.show_link()
            self.refresh_bindings()
