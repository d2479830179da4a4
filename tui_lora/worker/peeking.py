"""Asks the model while it trains: the spec's prompts on the way, and messages as they come.

The run is the same with and without, to the bit (`as_it_was`), and nothing that goes wrong here
ends it.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.events import OrderAnswered, Peeked
from tui_lora.core.orders import Peek
from tui_lora.core.peek import PeekAnswer, Source, key_of, shortened, turns_of
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, duration, one_line
from tui_lora.core.variants import CHANGE_THE_BASE
from tui_lora.store import peeks
from tui_lora.store.heldout import held_out
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.peek_answers import Answers, CutOff
from tui_lora.worker.tables import rows_of
from tui_lora.worker.voice import Discarded

if TYPE_CHECKING:
    from tui_lora.worker.data import Prepared
    from tui_lora.worker.trainer import Session

_PHASE = "peek"


@dataclass(frozen=True)
class _Prompt:
    turns: tuple[Turn, ...]
    source: Source
    reference: str = ""
    order: str = ""

    @property
    def key(self) -> str:
        return key_of(self.turns)

    @property
    def system(self) -> str:
        return next((turn.content for turn in self.turns if turn.role == "system"), "")


class Peeking(TrainerCallback):
    """`attempt` began at `from_step`. `spec` is the one that is trained with; `take_on` another."""

    def __init__(
        self, trainer: Session, spec: RunSpec, data: Prepared, *, attempt: int, from_step: int
    ) -> None:
        self._trainer, self._spec = trainer, spec
        self._attempt, self._from_step = attempt, from_step
        self._plain, self._labels = data.shape == "text", data.labels
        self._answers: Answers | None = None
        self._rows: tuple[int, tuple[_Prompt, ...]] | None = None
        self._base: dict[str, int] = {}
        """Which questions the base has answered, and how many tokens it might have had."""
        self._told: set[str] = set()
        self._asked_at = -1
        self._off = False
        for one in peeks.read(trainer.paths):
            if one.base:
                self._base[one.key] = one.limit

    def take_on(self, spec: RunSpec) -> None:
        """Ask by other settings from here on; also where asking failed with those before."""
        self._off = self._off and spec.peek == self._spec.peek
        self._spec = spec

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 0:
            self._ask_all(state)
        self._after(state, control)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        step = state.global_step
        if step % self._spec.peek.every_steps == 0 or step >= state.max_steps:
            self._ask_all(state)
        self._after(state, control)

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # A run may end before its last step, when it gets no better.
        if self._asked_at != state.global_step > self._from_step:
            self._ask_all(state)

    def _after(self, state: TrainerState, control: TrainerControl) -> None:
        self.answer_asked(state)
        if self._trainer.inbox.discarding:
            raise Discarded
        if self._trainer.inbox.stopping:
            # It was heard between two tokens.
            control.should_training_stop = control.should_save = True

    # What the spec asks.

    def _ask_all(self, state: TrainerState) -> None:
        if self._off or not self._spec.peek.asks or self._trainer.inbox.stopping:
            return
        self._asked_at = state.global_step
        prompts: list[_Prompt] = []
        self._guarded(lambda: prompts.extend(self._prompts()))
        if not prompts:
            return
        reporter, began = self._trainer.reporter, time.monotonic()
        answered = 0

        def ask() -> None:
            nonlocal answered
            for at, prompt in enumerate(prompts):
                reporter.progress(_PHASE, at, len(prompts), "prompts")
                try:
                    self._ask(prompt, state)
                except UserError as error:
                    self._tell(f"a prompt is left out ({_short(prompt)}): {error.what}")
                else:
                    answered += 1

        label = f"answering {_many(len(prompts))} at step {state.global_step:,}"
        with reporter.phase(_PHASE, label):
            self._guarded(ask)
        if answered:
            reporter.say(self._peeked(state, answered, began))

    def _prompts(self) -> tuple[_Prompt, ...]:
        peek = self._spec.peek
        own = (_Prompt((Turn(role="user", content=text),), "spec") for text in peek.prompts)
        return (*own, *self._held_out(peek.held_out))

    def _held_out(self, many: int) -> tuple[_Prompt, ...]:
        """The first held-out rows, read once."""
        if not many:
            return ()
        if self._rows is not None and self._rows[0] == many:
            return self._rows[1]
        rows: tuple[_Prompt, ...] = ()
        try:
            found = held_out(self._spec, many, rows_of)
        except UserError as error:
            self._tell(f"no held-out row can be asked: {error.what}")
        else:
            rows = tuple(_Prompt(one.turns, "held_out", one.reference) for one in found.questions)
            are = "1 held-out row is" if len(rows) == 1 else f"{len(rows):,} held-out rows are"
            self._trainer.reporter.notice(f"{are} asked on the way: {found.source}")
        self._rows = many, rows
        return rows

    # What somebody asks.

    def answer_asked(self, state: TrainerState) -> None:
        """Answer the messages that wait, in turn."""
        inbox, reporter = self._trainer.inbox, self._trainer.reporter
        waiting = inbox.take(Peek)
        for at, order in enumerate(waiting):
            assert isinstance(order, Peek)
            began = time.monotonic()
            ok, said = self._answer(order, state)
            if ok:
                reporter.say(self._peeked(state, 1, began, order.id))
            reporter.say(OrderAnswered(id=order.id, ok=ok, message=said))
            if inbox.stopping:
                for other in waiting[at + 1 :]:
                    reporter.say(OrderAnswered(id=other.id, ok=False, message=_ENDS))
                return

    def _answer(self, order: Peek, state: TrainerState) -> tuple[bool, str]:
        """Whether it was answered, and what is to be said of that."""
        if self._trainer.inbox.stopping:
            return False, _ENDS
        if not order.prompt.strip():
            return False, "there is no question to answer"
        prompt = _Prompt(turns_of(order.prompt, order.system), "asked", order=order.id)
        began, refused = time.monotonic(), ""

        def ask() -> None:
            nonlocal refused
            try:
                self._ask(prompt, state)
            except UserError as error:
                refused = f"{error.what} {error.then}".strip()

        with self._trainer.reporter.phase(_PHASE, "answering a message"):
            failed = self._guarded(ask)
        if self._trainer.inbox.stopping:
            return False, _ENDS
        if refused or failed:
            return False, one_line(refused or failed).rstrip(".")
        taken = duration(time.monotonic() - began)
        return True, f"answered a message at step {state.global_step:,}, {taken}"

    # Both.

    def _ask(self, prompt: _Prompt, state: TrainerState) -> None:
        """Have it answered and keep the answer; the base's too where it is not kept yet."""
        if self._answers is None:
            self._answers = Answers(self._trainer, plain=self._plain, labels=self._labels)
        asking, limit, ended = self._answers, self._spec.peek.max_new_tokens, self._ended
        lora = self._spec.lora
        # That of loftq makes up for what quantization rounded away.
        begins = state.global_step == 0 and lora.start_from is None and lora.variant != "loftq"
        before = self._base.get(prompt.key)
        wants_base = not self._labels and (before is None or before < limit)
        with asking.asking():
            found = asking.of(prompt.turns, limit, base=False, ended=ended)
            own = None
            if wants_base and begins:
                # An untrained adapter adds nothing.
                own = found
            elif wants_base and self._can_be_switched_off:
                own = asking.of(prompt.turns, limit, base=True, ended=ended)
        if own is not None:
            self._keep(prompt, state, {**own, "base": True})
            self._base[prompt.key] = limit
        self._keep(prompt, state, found)

    @property
    def _can_be_switched_off(self) -> bool:
        """Whether the base is left when the adapter is: not where it was taken out of the base, or
        trained the base's own biases."""
        lora = self._spec.lora
        return lora.variant not in CHANGE_THE_BASE and lora.bias == "none"

    def _keep(self, prompt: _Prompt, state: TrainerState, found: dict[str, Any]) -> None:
        answer = PeekAnswer(
            t=round(time.time(), 3),
            attempt=self._attempt,
            from_step=self._from_step,
            step=state.global_step,
            key=prompt.key,
            source=prompt.source,
            prompt=shortened(prompt.turns[-1].content),
            system=shortened(prompt.system),
            reference=shortened(prompt.reference),
            order=prompt.order,
            **found,
        )
        try:
            peeks.keep(self._trainer.paths, answer)
        except OSError as error:
            raise UserError(f"the answer could not be kept: {error.strerror}.") from None

    def _guarded(self, work: Callable[[], None]) -> str:
        """Do it, and say why it failed; training goes on in any case. Empty where it did not."""
        try:
            work()
        except CutOff:
            return _ENDS
        except Exception as error:  # noqa: BLE001 (an answer is not worth a run)
            if is_out_of_memory(error):
                why = "memory ran out for an answer beside what training holds"
            else:
                traceback.print_exc()
                first = one_line(str(error), max_chars=200).rstrip(".")
                why = f"{type(error).__name__}: {first} (worker.log has the whole of it)"
            # The frames of the failure hold tensors.
            traceback.clear_frames(error.__traceback__)
        else:
            return ""
        gc.collect()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if not self._off:
            self._off = self._spec.peek.asks
            then = "; nothing more is asked by itself in this attempt" if self._off else ""
            self._trainer.reporter.notice(f"no answer: {why}{then}. Training goes on", "warning")
        return why

    def _ended(self) -> bool:
        self._trainer.inbox.read()
        return self._trainer.inbox.stopping

    def _tell(self, text: str) -> None:
        """A warning, once in an attempt."""
        if text not in self._told:
            self._told.add(text)
            self._trainer.reporter.notice(text, "warning")

    def _peeked(self, state: TrainerState, answers: int, began: float, order: str = "") -> Peeked:
        return Peeked(
            step=state.global_step,
            path=f"evaluations/{peeks.NAME}",
            answers=answers,
            seconds=round(time.monotonic() - began, 3),
            order=order,
        )


_ENDS = "the run ends before that"


def _many(prompts: int) -> str:
    return "1 prompt" if prompts == 1 else f"{prompts:,} prompts"


def _short(prompt: _Prompt) -> str:
    return one_line(clean(prompt.turns[-1].content), max_chars=40)
