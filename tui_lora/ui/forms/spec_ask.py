"""Asks for the path of a run spec, to open it or to write the draft there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual import on
from textual.message import Message

from tui_lora.core.spec import RunSpec
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.settings_facts import (
    ProblemsFound,
    SpecOpened,
    SpecWritten,
    WouldReplace,
    opened,
    written,
)

YAML_SUFFIXES = (".yaml", ".yml")


class SpecAsk(AskLine):
    """`SpecOpened`, `SpecWritten` or `ProblemsFound` say what came of it."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spec: RunSpec | None = None
        self._replaces = ""
        self._last_opened = ""

    def ask_open(self) -> None:
        hint = "A run spec in YAML; it takes the place of the draft (u undoes). → completes."
        self.ask("open", "run spec", hint, value=self._last_opened, completes=YAML_SUFFIXES)

    def ask_write(self, name: str, spec: RunSpec) -> None:
        self._spec, self._replaces = spec, ""
        hint = "A YAML file for tui-lora train, and for o here. → completes."
        self.ask("write", "write to", hint, value=f"{name}.yaml", completes=YAML_SUFFIXES)

    @on(AskLine.Answered)
    def _answered(self, answer: AskLine.Answered) -> None:
        answer.stop()
        text = answer.text
        if not text:
            self.close()
        elif answer.purpose == "open":
            self._last_opened = text
            self.wait("reading …")
            self._in_thread(partial(opened, text))
        elif self._spec is not None:
            self.wait("writing …")
            over = text == self._replaces
            self._in_thread(partial(written, answer.text, self._spec, over=over))

    def _in_thread(self, find: Callable[[], Message]) -> None:
        def found() -> None:
            self.post_message(find())

        self.screen.run_worker(
            found, thread=True, exclusive=True, exit_on_error=False, group="file"
        )

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        fact.stop()
        self.refuse(fact.why)

    @on(WouldReplace)
    def _would_replace(self, fact: WouldReplace) -> None:
        fact.stop()
        self._replaces = fact.text
        self.refuse(f"{fact.file} is there already; Enter again writes over it.")

    @on(SpecOpened)
    @on(SpecWritten)
    @on(ProblemsFound)
    def _done(self) -> None:
        self.close()
