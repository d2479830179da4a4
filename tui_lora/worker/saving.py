"""Checkpoints of a run: written beside, sealed, put in place; then older ones go.

A disk that takes no more ends no run: the half is removed, the run is told of it once and goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.best import best_step
from tui_lora.core.errors import UserError
from tui_lora.core.events import CheckpointSaved, OrderAnswered
from tui_lora.core.orders import SaveCheckpoint
from tui_lora.core.text import size
from tui_lora.store.checkpoints import MANIFEST, checkpoints, folder_name, keep_apart, prune, seal
from tui_lora.store.paths import SessionPaths
from tui_lora.store.pins import pinned
from tui_lora.store.versions import versions
from tui_lora.worker.lora import not_finite
from tui_lora.worker.schedule import put_at_rest
from tui_lora.worker.unwritten import why_unwritten

if TYPE_CHECKING:
    from tui_lora.worker.trainer import Session

_SPARE_BYTES = 1 << 16
"""Beside the checkpoint itself, for the log and the run's last words."""


class Saving:
    """Saves the checkpoints of a trainer. `failed` says why the last one could not be written;
    empty when it was, or none had to be yet."""

    def __init__(self, trainer: Session, paths: SessionPaths, stop_by: str) -> None:
        self._trainer, self._paths, self._stop_by = trainer, paths, stop_by
        self._scratch = Path(trainer.args.output_dir)
        self._saved_step: int | None = None
        self._from_step = trainer.progress.step
        self._missed: list[int] = []
        self.failed = ""

    def save_now(self) -> str:
        """Save between two steps, without waiting for the trainer to do so; returns why that could
        not be, empty where it could."""
        self._trainer._save_checkpoint(self._trainer.model, None)
        return self.failed

    def save(self, write: Callable[[], None]) -> None:
        """Save where the trainer stands; `write` puts the libraries' files into its output folder.

        What is not finite stays so, and would push the last good ones out: it is not saved.
        """
        trainer, step = self._trainer, self._trainer.state.global_step
        broken = not_finite(trainer.model)
        if broken is not None:
            self.failed = f"{broken} holds NaN or infinity"
            self._missed.append(step)
            what = f"no checkpoint at step {step}: {self.failed}"
            trainer.reporter.notice(f"{what}; those before it are kept", "warning")
            self._answer(ok=False, message=what)
            return
        if step == self._saved_step and (self._folder(step) / MANIFEST).is_file():
            # The end of a run that was held, or of an epoch.
            self._answer(ok=True, message=f"there is a checkpoint of step {step} already")
            return
        trainer.doing.phase = "saving"
        try:
            self._look_for_room()
            self._write(step, write)
        except Exception as error:
            why = why_unwritten(error)
            if why is None:
                raise
            self._could_not(step, why)
        trainer.doing.phase = "forward"

    def look_for_room(self) -> None:
        """Raises OSError where the disk has less room than the adapter takes."""
        _must_have(self._paths.folder, _trained_bytes(self._trainer.model))

    def _look_for_room(self) -> None:
        """Raises OSError where the disk has less room than the last checkpoint took; before the
        first, than what is trained and what the optimizer holds."""
        there = checkpoints(self._paths.checkpoints)
        if there:
            _must_have(self._paths.checkpoints, there[-1].size_bytes)
        else:
            trained = _trained_bytes(self._trainer.model)
            _must_have(self._paths.folder, trained + _held_bytes(self._trainer.optimizer))

    def _write(self, step: int, write: Callable[[], None]) -> None:
        began = time.monotonic()
        trainer, final = self._trainer, self._folder(step)
        shutil.rmtree(self._scratch, ignore_errors=True)
        put_at_rest(trainer.optimizer)
        try:
            write()
            taken = seal(
                self._scratch / f"checkpoint-{step}",
                final,
                step=step,
                tokens_seen=trainer.progress.tokens_seen,
                versions=versions(),
            )
        finally:
            # On a full disk this is the room in which the run can say why it ended.
            shutil.rmtree(self._scratch, ignore_errors=True)
        seconds = time.monotonic() - began
        trainer.reporter.say(
            CheckpointSaved(step=step, path=final.name, size_bytes=taken, seconds=seconds)
        )
        if self._saved_step is None:
            self._keep_apart(final.parent, step)
        self._saved_step = step
        self._works_again(step)
        prune(final.parent, trainer.keep, step, self._spared())
        self._answer(ok=True, message=f"checkpoint saved at step {step}")

    def _keep_apart(self, folder: Path, step: int) -> None:
        """What was passed over when the run went on, now that a newer one is whole."""
        apart = keep_apart(folder, self._from_step, {*pinned(self._paths), step})
        if apart:
            self._trainer.reporter.notice(
                f"what was passed over is kept beside the checkpoints as {', '.join(apart)}; "
                "nothing reads it any more"
            )

    def _folder(self, step: int) -> Path:
        return self._paths.checkpoints / folder_name(step)

    def _spared(self) -> set[int]:
        """The steps of checkpoints that stay, however old: the best one, and those pinned."""
        steps = [checkpoint.step for checkpoint in checkpoints(self._paths.checkpoints)]
        best = best_step(self._trainer.progress.evaluations, steps, self._stop_by)
        return {*pinned(self._paths), *([best] if best is not None else [])}

    def _could_not(self, step: int, why: str) -> None:
        """Said at the first of several that fail in a row; each order is answered."""
        self._missed.append(step)
        what = f"no checkpoint at step {step}: {why}"
        trainer = self._trainer
        ends = trainer.inbox.stopping or trainer.control.should_training_stop
        ends = ends or step >= trainer.state.max_steps
        then = "ends all the same" if ends else "goes on and tries again at the next interval"
        if ends or not self.failed:
            trainer.reporter.notice(f"{what}. The run {then}; those before it are kept", "warning")
        self.failed = why
        self._answer(ok=False, message=what)

    def _works_again(self, step: int) -> None:
        if self.failed:
            # A warning as well: on a full disk the first may not have come into the log.
            missed = f"step {self._missed[0]}"
            if self._missed[1:]:
                missed = f"{len(self._missed)} steps, {self._missed[0]} to {self._missed[-1]}"
            self._trainer.reporter.notice(
                f"checkpoints are saved again, this one at step {step}; that of {missed} could "
                f"not be written: {self.failed}",
                "warning",
            )
        self.failed, self._missed = "", []

    def _answer(self, *, ok: bool, message: str) -> None:
        for order in self._trainer.inbox.take(SaveCheckpoint):
            self._trainer.reporter.say(OrderAnswered(id=order.id, ok=ok, message=message))


def _must_have(folder: Path, needed_bytes: int) -> None:
    needed, disk = needed_bytes + _SPARE_BYTES, shutil.disk_usage(folder)
    # One of no size at all tells nothing of itself (FUSE without statfs): it is tried.
    if disk.total and disk.free < needed:
        words = f"{size(disk.free)} are free, and it takes about {size(needed)}"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({words})")


def _trained_bytes(model: Any) -> int:
    return sum(one.numel() * one.element_size() for one in model.parameters() if one.requires_grad)


def _held_bytes(optimizer: Any) -> int:
    """Of the tensors in an optimizer's state."""
    tensors = (one for state in optimizer.state.values() for one in state.values())
    return sum(one.numel() * one.element_size() for one in tensors if hasattr(one, "element_size"))


@contextmanager
def words_for_the_disk(what: str, then: str) -> Iterator[None]:
    """Turns what a disk refuses while this is open into a UserError: that `what` could not be
    written, why, and what to do `then`."""
    try:
        yield
    except Exception as error:
        why = why_unwritten(error)
        if why is None:
            raise
        raise UserError(f"{what} could not be written: {why}.", then=then, exit_code=1) from error
