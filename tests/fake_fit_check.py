"""A fit check worker without a model: a real process on real pipes that speaks the real protocol.

What it does depends on the model's name: with `slow` it waits in its first step for the file in
`FAKE_FIT_GATE` to be gone, with `short` memory runs out in it, with `broken` the run cannot be
made, with `dead` it ends without a word. Devices `cpu` are a machine without a card.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from tui_lora.core.events import MemoryHolder, MemoryRanOut
from tui_lora.core.fit_check import (
    FROM_FIT_CHECK,
    TO_FIT_CHECK,
    Batch,
    CheckFit,
    FitBegun,
    FitChecked,
    FitFailed,
    FitNoticed,
    FitPhase,
    FitRanOut,
    FitWorking,
    FromFitCheck,
)
from tui_lora.core.spec import RunSpec

GATE = "FAKE_FIT_GATE"


def start_fake_fit_check(
    kind: str, *arguments: str, devices: str = "auto"
) -> subprocess.Popen[bytes]:
    """Stands in for `store.launch.start_pipe_worker`, for fit check workers."""
    return subprocess.Popen(
        [sys.executable, __file__, devices],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def main(devices: str) -> None:
    def say(message: FromFitCheck) -> None:
        sys.stdout.write(FROM_FIT_CHECK.encode(message))
        sys.stdout.flush()

    asked = TO_FIT_CHECK.decode(sys.stdin.readline()).message
    assert isinstance(asked, CheckFit)
    spec = RunSpec.model_validate(asked.spec)
    threading.Thread(target=lambda: os._exit(0) if not sys.stdin.read() else None).start()
    name = Path(spec.model.id).name
    if "dead" in name:
        sys.stderr.write("the library fell off the bus\n")
        sys.stderr.flush()
        os._exit(3)
    say(FitWorking(label="loading the model [/b]", done=1, total=2, unit="tensors"))
    if "broken" in name:
        say(FitFailed(message="lora.target_modules: no such layer.\n  Choose others.", exit_code=2))
        os._exit(0)
    on_card = devices != "cpu"
    training = spec.training
    say(FitNoticed(level="warning", text="3 rows are cut at max length"))
    say(
        FitBegun(
            device="cuda:0" if on_card else "cpu",
            name="NVIDIA RTX 0000" if on_card else "this machine's memory",
            total_gib=16.0,
            others_gib=0.4,
            batch=Batch(rows=training.micro_batch, tokens=training.micro_batch * 500, longest=500),
            held_out=Batch(rows=1, tokens=480, longest=480),
            micro_batches=min(2, training.accumulation),
            of_micro_batches=training.accumulation,
        )
    )
    say(phase("loaded", 5.2, on_card))
    say(FitWorking(label="taking the first step"))
    gate = os.environ.get(GATE)
    while "slow" in name and gate and Path(gate).exists():
        time.sleep(0.01)
    if "short" in name:
        where = MemoryRanOut(
            phase="backward",
            device="cuda:0",
            rows=4,
            tokens=2000,
            longest_row_tokens=500,
            asked_gib=1.25,
            free_gib=0.31,
            total_gib=16.0,
            held=(MemoryHolder(name="weights", gib=5.1), MemoryHolder(name="unused", gib=2.0)),
            message="CUDA out of memory. [/INST]",
        )
        say(FitRanOut(phase="first step", where=where))
        os._exit(0)
    say(phase("first step", 6.1, on_card))
    say(phase("second step", 6.2, on_card))
    say(phase("evaluation", 5.8, on_card))
    context, source = (0.3, "by the driver, for this process") if on_card else (None, "")
    say(FitChecked(step_s=2.0, tokens_per_s=1000.0, context_gib=context, context_source=source))
    os._exit(0)


def phase(name: str, gib: float, on_card: bool) -> FitPhase:
    return FitPhase(
        phase=name,  # type: ignore[arg-type]
        seconds=2.0,
        allocated_gib=gib if on_card else None,
        reserved_gib=gib + 0.2 if on_card else None,
        process_gib=gib + 0.5,
        held_gib=5.0 if on_card else None,
    )


if __name__ == "__main__":
    main(sys.argv[1])
