"""What an attempt came to: its last word in result.json, in words that help."""

from __future__ import annotations

import time

from tui_lora.core.events import Result, Verdict
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.progress import Progress, finite

EXIT_CODES: dict[str, int] = {"done": 0, "stopped": 0, "failed": 1, "out_of_memory": 3}


class Outcome:
    """What result.json will say; filled in as the run goes."""

    def __init__(self, attempt: int, step: int) -> None:
        self.attempt, self._begun_at = attempt, step
        self.verdict: Verdict = "failed"
        self.message = ""
        self.total_steps: int | None = None
        self.adapter_bytes: int | None = None
        self.progress: Progress | None = None

    @property
    def step(self) -> int:
        return self.progress.step if self.progress else self._begun_at

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.verdict, 1)

    def failed(self, error: BaseException) -> None:
        """The run ended by an exception that nobody meant."""
        self.verdict = "out_of_memory" if is_out_of_memory(error) else "failed"
        first = next(iter(clean(str(error)).strip().splitlines()), "") or "no message"
        if self.verdict == "out_of_memory":
            self.message = (
                f"memory ran out: {first[:300]} Lower training.micro_batch (and raise "
                "accumulation), shorten training.max_length, or quantize the base."
            )
        else:
            self.message = f"{type(error).__name__}: {first[:500]} (worker.log has the whole of it)"

    def write(self, paths: SessionPaths, seconds: float) -> None:
        """Write result.json whole; raises OSError."""
        progress = self.progress or Progress()
        base, tuned = progress.base_eval, progress.tuned_eval
        result = Result(
            attempt=self.attempt,
            verdict=self.verdict,
            step=self.step,
            total_steps=self.total_steps,
            message=self.message,
            seconds=round(seconds, 3),
            loss=progress.last_loss,
            base_eval_loss=base.loss if base else None,
            eval_loss=tuned.loss if tuned else None,
            base_metrics=finite(base.metrics) if base else {},
            metrics=finite(tuned.metrics) if tuned else {},
            adapter_bytes=self.adapter_bytes,
            finished=round(time.time(), 3),
        )
        write_whole(paths.result, result.model_dump_json(indent=1) + "\n")
