"""The guards of a run that trains: what they see becomes events, and ends the run if so asked."""

from __future__ import annotations

import math
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from tui_lora.core.events import GuardTripped
from tui_lora.core.guards import Alarm, Guards
from tui_lora.core.guards_spec import GuardsSpec
from tui_lora.store.patience import PatientSensors

if TYPE_CHECKING:
    from tui_lora.worker.trainer import Session

GIB = 2**30
_LOOK_EVERY_S = 15.0


class Watch(TrainerCallback):
    """Tells the guards what happens in a trainer, and does what they ask for."""

    def __init__(self, trainer: Session, spec: GuardsSpec) -> None:
        self._trainer, self._guards = trainer, Guards(spec)
        self._began = time.monotonic()
        self._looked = float("-inf")
        self._celsius: float | None = None
        self._ended = threading.Event()
        for earlier in trainer.progress.evaluations:
            # What an earlier attempt measured counts on; it was told then. A loss that was no
            # number then says nothing of now: it is told again where it is none still.
            if math.isfinite(earlier.loss):
                self._guards.see_evaluation(earlier.step or 0, earlier.loss)
        on_card = trainer.args.device.type == "cuda"  # type: ignore[attr-defined]
        if on_card and spec.temperature != "off":
            # A driver may take seconds to answer; training does not wait for it.
            threading.Thread(target=self._sense, daemon=True, name="guards").start()

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        norm = logs.get("grad_norm")
        if args.fp16 and norm is not None and not math.isfinite(norm):
            # The scaler of fp16 looks for the highest scale that does: it skips such a step.
            norm = None
        self._do(self._guards.see_step(state.global_step, logs["loss"], norm), control)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        loss = self._trainer.current_eval_loss()
        if loss is not None:
            self._do(self._guards.see_evaluation(state.global_step, loss), control)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        try:
            disk = shutil.disk_usage(self._trainer.paths.folder)
        except OSError:
            disk = None
        # One of no size at all tells nothing of itself.
        free = disk.free / GIB if disk is not None and disk.total else None
        seen = self._guards.see_machine(
            now, celsius=self._celsius, free_gib=free, running_s=now - self._began
        )
        self._do(seen, control)

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._ended.set()

    def _do(self, alarms: tuple[Alarm, ...], control: TrainerControl) -> None:
        for alarm in alarms:
            self._trainer.reporter.say(
                GuardTripped(guard=alarm.guard, action=alarm.action, text=alarm.text)
            )
            if alarm.action in ("pause", "stop"):
                how = "pause" if alarm.action == "pause" else "stop"
                self._trainer.inbox.end(how, f"as guards.{alarm.guard} says: {alarm.text}")
                control.should_training_stop = control.should_save = True

    def _sense(self) -> None:
        sensors = PatientSensors()
        while not self._ended.wait(_LOOK_EVERY_S):
            card = sensors.read().card_of()
            self._celsius = card.heat_celsius if card is not None else None
