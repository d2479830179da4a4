"""An evaluate worker without a model: a real process on real pipes that makes figures up and writes
them down as the real one does.

Files in the folder that stands in the environment gate it: `wait` holds it before its second batch
until it is gone or the evaluation is cancelled, `die` ends it there, `die-early` before anything is
measured, `fail` makes it fail.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from tui_lora.core.evaluate import (
    FROM_EVALUATE,
    TO_EVALUATE,
    CancelEvaluation,
    Evaluate,
    EvaluationEnded,
    EvaluationFailed,
    EvaluationPlanned,
    EvaluationProgressed,
    FigureSoFar,
    PlannedPart,
    Preparing,
)
from tui_lora.core.evaluation import (
    AnswerRow,
    AnswersReport,
    Evaluation,
    Figure,
    Loss,
    LossRow,
    MetricReport,
    PartReport,
    Written,
)
from tui_lora.core.events import Choice
from tui_lora.store import evaluations
from tui_lora.store.measured_adapter import mark_of
from tui_lora.store.paths import SessionPaths

GATES = "FAKE_EVALUATE_GATES"
HOSTILE = "[/INST] [@click=app.quit]x[/] [bold"
ROWS = 8


def start_fake_evaluate(kind: str, *arguments: str, devices: str = "auto") -> object:
    """Stands in for `store.launch.start_pipe_worker`."""
    assert (kind, arguments) == ("evaluate", ())
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )


def part_of(name: str, rows: list[LossRow]) -> PartReport:
    def loss(value: float) -> Loss:
        around = Figure(value=value, low=value - 0.1, high=value + 0.1)
        return Loss(loss=around, perplexity=Figure(value=9.5, low=9.0, high=10.0))

    return PartReport(
        part=name,  # type: ignore[arg-type]
        source="held out of rows.jsonl by seed 42",
        unit="rows",
        rows=len(rows),
        of=40,
        tokens=sum(row.tokens for row in rows),
        cut_rows=1,
        cut_tokens=3,
        base=loss(2.25),
        tuned=loss(1.75),
        change=Figure(value=-0.5, low=-0.6, high=-0.4),
        improved=len(rows),
        most_improved=tuple(rows[:3]),
    )


def evaluation(asked: Evaluate, *, complete: bool = True) -> tuple[Evaluation, list[object]]:
    done = ROWS if complete else ROWS // 2
    parts, told = [], []
    for part in asked.parts:
        rows = [
            LossRow(
                part=part, at=at, line=at + 1, begin=HOSTILE, tokens=10, base=22.5, tuned=17.0 + at
            )
            for at in range(done)
        ]
        parts.append(part_of(part, rows))
        told += rows
    names = asked.metrics or ("exact_match",)
    answers = [
        AnswerRow(
            at=at,
            question=HOSTILE,
            reference="4",
            base=Written(text="5", tokens=2, ended_by="end", scores=dict.fromkeys(names, 0.0)),
            tuned=Written(text="4", tokens=2, ended_by="length", scores=dict.fromkeys(names, 1.0)),
        )
        for at in range(done)
    ]
    metrics = [
        MetricReport(
            name=name,
            label=name,
            why="as you said",
            kind="right",
            rows=done,
            base=Figure(value=0.0, low=0.0, high=0.32),
            tuned=Figure(value=1.0, low=0.68, high=1.0),
            change=Figure(value=1.0, low=0.5, high=1.0),
            test="exact McNemar test",
            p=0.0078,
            only_base=0,
            only_tuned=done,
        )
        for name in names
    ]
    found = Evaluation(
        t=round(time.time(), 3),
        session=Path(asked.session).name,
        task="sft",
        step=asked.step,
        adapter=mark_of(Path(asked.adapter)),
        adapter_step=asked.step if asked.step is not None else 400,
        model="tiny",
        device="cpu",
        dtype="float32",
        quantization="none",
        seed=asked.seed,
        complete=complete,
        seconds=1.5,
        parts=tuple(parts),
        metrics=tuple(metrics),
        answers=AnswersReport(
            source="held out", rows=done, of=40, max_new_tokens=asked.max_new_tokens
        ),
        choices=(Choice(setting="metrics", value=names[0], reason="as you said"),),
    )
    return found, [*told, *answers]


def main() -> None:
    gates = Path(os.environ.get(GATES, "/nonexistent"))
    inbox: queue.SimpleQueue[Evaluate] = queue.SimpleQueue()
    cancelled = threading.Event()

    def say(message: object) -> None:
        sys.stdout.write(FROM_EVALUATE.encode(message))  # type: ignore[arg-type]
        sys.stdout.flush()

    def listen() -> None:
        for line in sys.stdin:
            message = TO_EVALUATE.decode(line).message
            if isinstance(message, CancelEvaluation):
                cancelled.set()
            elif isinstance(message, Evaluate):
                inbox.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        asked = inbox.get()
        paths = SessionPaths(Path(asked.session))
        say(Preparing(label="loading the weights of tiny"))
        if (gates / "die-early").exists():
            sys.stderr.write("killed\n")
            os._exit(9)
        if (gates / "fail").exists():
            say(EvaluationFailed(message="memory ran out.", then="Free some.", exit_code=3))
            continue
        t = time.time()
        about = {"t": t, "asked": asked.model_dump(mode="json")}
        partial = evaluations.open_partial(paths, "key", about, t, anew=asked.anew)
        before = len(partial.lines) // 2
        planned = PlannedPart(part="eval", rows=ROWS, of=40, batches=2, done=before)
        say(
            EvaluationPlanned(
                parts=(planned,), metrics=(), choices=(), device="cpu", dtype="float32"
            )
        )
        partial.add({"kind": "loss", "part": "eval", "at": 0})
        say(
            EvaluationProgressed(
                part="eval", part_done=4, part_rows=ROWS, done=4, total=ROWS, rows_per_s=2.0,
                eta_s=2.0,
            )
        )  # fmt: skip
        say(FigureSoFar(name="perplexity eval", rows=4, base=9.4, tuned=5.8))
        while (gates / "wait").exists() and not cancelled.is_set():
            time.sleep(0.01)
        if (gates / "die").exists():
            sys.stderr.write("killed\n")
            os._exit(9)
        partial.close()
        found, rows = evaluation(asked, complete=not cancelled.is_set())
        path = partial.path
        if found.complete:
            path = evaluations.keep(paths, partial, found, rows)  # type: ignore[arg-type]
        say(EvaluationEnded(evaluation=found, path=str(path)))


if __name__ == "__main__":
    main()
