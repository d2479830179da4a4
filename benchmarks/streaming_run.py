"""A run that does nothing but report: holds a session's lock and writes two steps a second.

    python benchmarks/streaming_run.py SESSION_FOLDER [SECONDS]

The terminal benchmark watches it, so that what is measured is the screen and not the training.
"""

import math
import random
import sys
import time
from pathlib import Path

from tui_lora.core.events import AttemptStarted, Evaluated, RunPlanned, StepDone
from tui_lora.core.spec import parse_spec
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.reporter import Reporter

TOTAL = 20_000


def make(root: Path, name: str = "streaming") -> SessionPaths:
    """A session for it, as a draft."""
    spec = parse_spec({"model": "a/model", "dataset": "rows.jsonl"})
    return sessions.create(root, name, spec)


def run(folder: Path, seconds: float) -> None:
    """Report until `seconds` are over."""
    paths = SessionPaths(folder)
    lock.hold(paths.lock)
    reporter = Reporter(paths.events)
    reporter.begin(AttemptStarted(attempt=1, pid=0))
    reporter.say(
        RunPlanned(
            total_steps=TOTAL,
            epochs=3,
            train_rows=7473,
            eval_rows=100,
            rows_per_step=16,
            trainable_parameters=40_000_000,
            total_parameters=7_600_000_000,
            device="cuda:0",
        )
    )
    noise = random.Random(1)
    end = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end:
        step += 1
        loss = 1.1 + 0.9 * math.exp(-step / 200) + noise.gauss(0, 0.03)
        reporter.step(
            StepDone(
                step=step,
                epoch=3 * step / TOTAL,
                loss=loss,
                learning_rate=2e-4 * (1 - step / TOTAL),
                grad_norm=0.4 + noise.gauss(0, 0.05),
                tokens_per_s=4800 + noise.gauss(0, 60),
                tokens_seen=step * 2400,
                step_s=0.5,
                eta_s=(TOTAL - step) * 0.5,
                allocated_gib=9.8,
                reserved_gib=10.6,
                peak_reserved_gib=11.0,
                process_gib=3.1,
            ),
            always=True,
        )
        if step % 20 == 0:
            reporter.say(Evaluated(step=step, loss=loss + 0.1, rows=100, seconds=1.0))
        time.sleep(0.5)


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 600.0)
