"""Orders that hold a run or change it while it trains: carried out between two steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from tui_lora.core.errors import SpecError
from tui_lora.core.events import HoldChanged, OrderAnswered, SpecChanged
from tui_lora.core.orders import ChangeSpec, GoOn, Hold, Order
from tui_lora.core.resumable import judged
from tui_lora.core.spec import RunSpec
from tui_lora.store.spec_now import with_changes
from tui_lora.worker.inbox import AS_YOU_ASKED
from tui_lora.worker.voice import Discarded

if TYPE_CHECKING:
    from tui_lora.worker.peeking import Peeking
    from tui_lora.worker.trainer import Session

_LOOK_EVERY_S = 0.2

AT_ONCE = {
    "evaluation.log_every_steps": "logging_steps",
    "evaluation.every_steps": "eval_steps",
    "evaluation.save_every_steps": "save_steps",
    "evaluation.keep": "",
    "peek.prompts": "",
    "peek.held_out": "",
    "peek.every_steps": "",
    "peek.max_new_tokens": "",
}
"""What a run takes on without loading anew, and what transformers calls it."""


class _NotNow(Exception):
    """The run cannot load anew: it ends, or would have no checkpoint to go on from."""


class Control(TrainerCallback):
    """Has a trainer hold, go on and change its settings. `spec` is the one that it trains with.

    `onward` are settings for which the run must load anew: it then ends with a checkpoint, and
    whoever started it writes them down and goes on from there.
    """

    def __init__(self, trainer: Session, spec: RunSpec, peeking: Peeking) -> None:
        self._trainer, self._spec, self._peeking = trainer, spec, peeking
        self.onward: dict[str, Any] = {}

    def on_substep_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.inbox.read()
        if self._trainer.inbox.discarding:
            raise Discarded

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._take_changes(args, state, control)
        self._hold(args, state, control)

    def _hold(self, args: Any, state: TrainerState, control: TrainerControl) -> None:
        """Wait until told to go on or to end; a checkpoint is saved in between where asked for."""
        inbox, reporter = self._trainer.inbox, self._trainer.reporter
        inbox.read()
        if not inbox.holding:
            self._answer(Hold, "it does not hold")
            return
        self._answer(Hold, f"holding at step {state.global_step:,}, with everything loaded")
        reporter.say(HoldChanged(step=state.global_step, holding=True))
        while inbox.holding:
            if inbox.wants_checkpoint():
                self._trainer.saving.save_now()
            self._take_changes(args, state, control)
            self._answer(Hold, "it holds already")
            self._peeking.answer_asked(state)
            time.sleep(_LOOK_EVERY_S)
            inbox.read()
        reporter.say(HoldChanged(step=state.global_step, holding=False))
        self._answer(GoOn, f"going on from step {state.global_step:,}")
        if inbox.discarding:
            raise Discarded
        if inbox.stopping:
            control.should_training_stop = control.should_save = True

    def _answer(self, kind: type[Order], message: str) -> None:
        for order in self._trainer.inbox.take(kind):
            self._trainer.reporter.say(OrderAnswered(id=order.id, ok=True, message=message))

    def _take_changes(self, args: Any, state: TrainerState, control: TrainerControl) -> None:
        self._answer_idle(state)
        for order in self._trainer.inbox.take(ChangeSpec):
            assert isinstance(order, ChangeSpec)
            try:
                said = self._change(order.changes, args, state, control)
            except SpecError as error:
                said, ok = "; ".join(str(problem) for problem in error.problems), False
            except _NotNow as error:
                said, ok = str(error), False
            else:
                ok = True
            self._trainer.reporter.say(OrderAnswered(id=order.id, ok=ok, message=said))

    def _answer_idle(self, state: TrainerState) -> None:
        if not self._trainer.inbox.holding:
            self._answer(GoOn, "it does not hold")

    def _change(
        self, changes: Mapping[str, Any], args: Any, state: TrainerState, control: TrainerControl
    ) -> str:
        """Take on what can be, and say how; raises SpecError for what cannot, and _NotNow where
        the run has to load anew and cannot."""
        wanted = with_changes(self._spec, changes)
        refused = judged(self._spec, changes).refused
        if refused:
            raise SpecError(refused)
        step = state.global_step
        if not set(changes) <= AT_ONCE.keys():
            if self._trainer.inbox.stopping:
                raise _NotNow("the run is to end after this step")
            if why := self._trainer.saving.save_now():
                raise _NotNow(f"no checkpoint at step {step:,}: {why}. It goes on as it was")
            self._spec = wanted
            self.onward |= changes
            self._trainer.inbox.holding = False
            control.should_training_stop = control.should_save = True
            return f"saved at step {step:,}, and loading anew with it"
        self._spec = wanted
        evaluation = wanted.evaluation
        args.logging_steps = evaluation.log_every_steps
        args.save_steps = evaluation.save_every_steps
        if args.eval_steps is not None:
            args.eval_steps = evaluation.every_steps
        state.compute_steps(args, state.max_steps)
        self._trainer.keep = evaluation.keep
        self._peeking.take_on(wanted)
        self._trainer.reporter.say(SpecChanged(changes=dict(changes), reason=AS_YOU_ASKED))
        return f"changed from step {step + 1:,} on"
