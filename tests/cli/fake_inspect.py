"""An inspect worker without a tokenizer: a real process on real pipes; a word is a token.

A model called `broken` cannot be read.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tui_lora.core.advice import Advice, Change, Largest, OneWay
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    AdviseMemory,
    FeedRow,
    ForecastMemory,
    FromInspect,
    InspectFailed,
    InspectReady,
    InspectWorking,
    LengthsMeasured,
    MeasureLengths,
    MemoryAdvised,
    MemoryForecast,
    Piece,
    RowFed,
    Sequence,
)
from tui_lora.core.memory import Forecast, Parts

FORECAST = Forecast(
    method="simulated",
    parts=Parts(
        weights=5.3,
        adapter=0.08,
        gradients=0.0,
        optimizer=0.16,
        activations=0.5,
        workspace=0.94,
        loss=0.02,
        context=0.3,
    ),
    peak_allocated_gib=6.7,
    peak_reserved_gib=7.0,
    phase="backward",
)
EARLY = FORECAST.model_copy(
    update={"parts": FORECAST.parts.model_copy(update={"weights": 4.0}), "peak_reserved_gib": 5.7}
)
"""From sizes that were simulated before."""
ADVICE = Advice(
    forecast=FORECAST,
    verdict="does_not_fit",
    changes=(
        Change(
            title="rows of 512 tokens",
            changes={"training.max_length": 512},
            cost="longer rows are cut",
            saves_gib=0.4,
            peak_process_gib=6.9,
            verdict="fits",
        ),
    ),
)

LARGEST = (
    Largest(
        setting="lora.r",
        value=64,
        peak_process_gib=7.4,
        limit="memory",
        said="at 68 it takes 7.5 of 7.5 GiB, which is tight",
    ),
    Largest(
        setting="training.micro_batch",
        value=None,
        peak_process_gib=None,
        limit="memory",
        said="even at 1 it takes 9.0 of 7.5 GiB, which does not fit",
    ),
)
WAYS = (
    OneWay(name="full fine-tuning", recipe="all of it", why_not="it cannot be simulated"),
    OneWay(name="LoRA, int8", recipe="rank 16", forecast=FORECAST, verdict="tight"),
)


def start_fake(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
    """Stands in for `store.launch.start_pipe_worker`; the check worker is the real one."""
    command = [sys.executable, __file__]
    if kind != "inspect":
        command = [sys.executable, "-P", "-m", "tui_lora.worker", kind]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def say(message: FromInspect) -> None:
    sys.stdout.write(FROM_INSPECT.encode(message))
    sys.stdout.flush()


def main() -> None:
    say(InspectReady(seconds=0.1))
    for line in sys.stdin:
        asked = TO_INSPECT.decode(line).message
        if isinstance(asked, MeasureLengths):
            if "broken" in asked.spec["model"]["id"]:
                say(InspectFailed(id=asked.id, message="the model broken has no tokenizer."))
                continue
            say(InspectWorking(id=asked.id, label="loading the tokenizer"))
            say(measured(asked, rows=1, done=False))
            say(measured(asked, rows=min(4, asked.rows), done=True))
        elif isinstance(asked, FeedRow):
            say(fed(asked))
        elif isinstance(asked, AdviseMemory):
            say(MemoryAdvised(id=asked.id, advice=ADVICE, done=False))
            some = ADVICE.model_copy(update={"largest": LARGEST})
            say(MemoryAdvised(id=asked.id, advice=some, done=False))
            if "half" in asked.spec["model"]["id"]:
                say(InspectFailed(id=asked.id, message="the ways fell off the bus."))
                continue
            whole = some.model_copy(update={"ways": WAYS})
            say(MemoryAdvised(id=asked.id, advice=whole, done=True))
        elif isinstance(asked, ForecastMemory):
            if "broken" in asked.spec["model"]["id"]:
                say(InspectFailed(id=asked.id, message="lora.r: it cannot be run."))
                continue
            say(InspectWorking(id=asked.id, label="simulating a step"))
            say(MemoryForecast(id=asked.id, forecast=EARLY, exact=False))
            say(MemoryForecast(id=asked.id, forecast=FORECAST))


def measured(asked: MeasureLengths, *, rows: int, done: bool) -> LengthsMeasured:
    return LengthsMeasured(
        id=asked.id,
        rows=rows,
        of_rows=4,
        done=done,
        edges=(0, 16, 32),
        lengths=(3, 1),
        mean=12.5,
        p50=12,
        p95=20,
        longest=21,
        tokens=50,
        trained_tokens=30,
        max_length=asked.spec["training"]["max_length"],
        cut_rows=1,
        cut_tokens=5,
        untrained_rows=0,
    )


def fed(asked: FeedRow) -> RowFed:
    pieces = (
        Piece(texts=("<|user|>\n",), trained=False, special=True),
        Piece(texts=("[/INST]", " Who", "?\n", "\x1b[31m"), trained=False),
        Piece(texts=("<|assistant|>\n",), trained=False, special=True),
        Piece(texts=(" Me", ", of", " course", "."), trained=True),
        Piece(texts=(" lost",), trained=True, cut=True),
    )
    return RowFed(
        id=asked.id,
        row=asked.row,
        sequences=(Sequence(pieces=pieces, tokens=10, trained_tokens=4, cut_tokens=1),),
        notes=("one token lies behind max length",),
    )


if __name__ == "__main__":
    main()
