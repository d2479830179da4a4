"""`tui-lora data`: what a dataset holds, what is wrong with it, and what of it would be trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tui_lora.core.check import (
    FROM_CHECK,
    TO_CHECK,
    CheckDataset,
    Checked,
    CheckFailed,
    CheckProgressed,
    FromCheck,
    ToCheck,
)
from tui_lora.core.errors import UserError
from tui_lora.core.formats import Task, usual_task
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    FeedRow,
    FromInspect,
    InspectFailed,
    InspectWorking,
    LengthsMeasured,
    MeasureLengths,
    RowFed,
    ToInspect,
)
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.headless.changes import changed
from tui_lora.headless.data_text import as_json, problem_line, report_lines, row_lines
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.questions import ProgressLine, Questions
from tui_lora.store.paths import expanded
from tui_lora.store.spec_file import spec_in

NO_MODEL = "none"
"""Stands where a spec wants a model and none was named; the check worker loads none."""

_TASKS: tuple[Task, ...] = ("sft", "classification", "dpo", "kto")
_EVERY_ROW = 1 << 40


@dataclass(frozen=True)
class Found:
    """What was found out; `problem` says why the tokens are not known although they were wanted."""

    spec: RunSpec
    checked: Checked
    lengths: LengthsMeasured | None = None
    row: RowFed | None = None
    problem: str = ""


def data(
    path: str,
    *,
    model: str | None,
    task: str | None,
    changes: Sequence[str],
    row: int | None,
    rows: int | None,
    list_to: str | None,
    json_wanted: bool,
) -> int:
    """Check a dataset and print what was found; 0 when it has rows that can be used.

    `row` counts from 1. With a `model` its tokenizer says how long the rows are and what of them is
    trained, over all rows or `rows` of them. Raises UserError when no row can be used, and when
    what a classifier would learn is no set of classes.
    """
    if row is not None and model is None:
        raise UserError(
            "--row shows what a model is fed, and none is named.",
            then="Name one with --model: a folder, a GGUF file or a Hub id.",
        )
    spec = _spec(path, model, task, changes)
    if model is not None:
        from tui_lora.store.catalog import check_model

        check_model(spec.model.id)
    listed = str(expanded(list_to).absolute()) if list_to is not None else None
    progress = ProgressLine()
    try:
        spec, checked = _checked(spec, listed, progress, settled=task is not None or _says(changes))
        found = Found(spec, checked)
        if model is not None and checked.usable_rows:
            found = _measured(found, row, rows, progress)
    finally:
        progress.clear()
    if json_wanted:
        to_stdout(json.dumps(as_json(checked, found.lengths, found.row)))
    else:
        for line in report_lines(spec, checked, found.lengths):
            to_stdout(line)
        for line in row_lines(spec, found.row) if found.row is not None else ():
            to_stdout(line, styled=True)
    if not checked.usable_rows:
        raise _unusable(path, checked)
    if "labels" in checked.kinds:
        raise _no_classes(path, checked)
    if found.problem:
        raise UserError(found.problem)
    return 0


def _spec(path: str, model: str | None, task: str | None, changes: Sequence[str]) -> RunSpec:
    given: dict[str, Any] = {"model": {"id": model or NO_MODEL}, "dataset": {"path": path}}
    if task is not None:
        given["task"] = task
    return spec_in(changed(given, changes))


def _says(changes: Sequence[str]) -> bool:
    return any(change.partition("=")[0].strip() == "task" for change in changes)


def _checked(
    spec: RunSpec, list_to: str | None, progress: ProgressLine, *, settled: bool
) -> tuple[RunSpec, Checked]:
    """The whole dataset read, for the task given or for the one that its rows can teach."""
    with Questions[ToCheck, FromCheck]("check", sends=TO_CHECK, hears=FROM_CHECK) as worker:
        looked = None if settled else _task_by_looking(spec)
        if looked is not None:
            spec, settled = spec.model_copy(update={"task": looked}), True
        checked = _check(worker, spec, list_to, progress)
        if settled:
            return spec, checked
        if checked.format is not None and checked.usable_rows:
            tasks: list[Task] = [usual_task(checked.format)]
        else:
            tasks = [task for task in _TASKS if task != spec.task]
        for task in tasks:
            if task == checked.task:
                continue
            other = spec.model_copy(update={"task": task})
            again = _check(worker, other, list_to, progress)
            if again.format is not None and again.usable_rows:
                return other, again
        return spec, checked


def _task_by_looking(spec: RunSpec) -> Task | None:
    """What the first rows can teach; None where only a worker can read them."""
    from tui_lora.store.dataset import look
    from tui_lora.store.sources import open_source

    source = open_source(spec.dataset)
    if source.kind != "rows":
        return None
    for task in _TASKS:
        seen = look(spec.dataset, task, max_rows=200)
        if seen.reading is not None:
            return usual_task(seen.reading.format)
    return spec.task


def _check(
    worker: Questions[ToCheck, FromCheck],
    spec: RunSpec,
    list_to: str | None,
    progress: ProgressLine,
) -> Checked:
    question = CheckDataset(
        id=f"check {spec.task}", spec=spec.model_dump(mode="json"), list_to=list_to
    )
    for message in worker.ask(question):
        if isinstance(message, Checked) and message.id == question.id:
            return message
        if isinstance(message, CheckFailed):
            raise UserError(message.message)
        if isinstance(message, CheckProgressed):
            share = f"  {message.done / message.total:.0%}" if message.total else ""
            wrong = f"  {message.problems:,} problems" if message.problems else ""
            progress.say(f"reading{share}  {message.rows:,} rows{wrong} …")
    raise AssertionError("the worker says something or ends")


def _measured(found: Found, row: int | None, rows: int | None, progress: ProgressLine) -> Found:
    """The same with lengths, and with the row that was asked for."""
    told = found.spec.model_dump(mode="json")
    lengths: LengthsMeasured | None = None
    fed: RowFed | None = None
    progress.say("starting the tokenizer …")
    with Questions[ToInspect, FromInspect](
        "inspect", sends=TO_INSPECT, hears=FROM_INSPECT
    ) as worker:
        measure = MeasureLengths(id="lengths", spec=told, rows=rows or _EVERY_ROW)
        for message in worker.ask(measure):
            if isinstance(message, LengthsMeasured) and message.done:
                lengths = message
                break
            if isinstance(message, InspectFailed):
                return Found(found.spec, found.checked, problem=message.message)
            _progressed(message, progress)
        if row is not None:
            for message in worker.ask(FeedRow(id="row", spec=told, row=row - 1)):
                if isinstance(message, RowFed):
                    fed = message
                    break
                if isinstance(message, InspectFailed):
                    return Found(found.spec, found.checked, lengths, problem=message.message)
                _progressed(message, progress)
    return Found(found.spec, found.checked, lengths, fed)


def _progressed(message: FromInspect, progress: ProgressLine) -> None:
    if isinstance(message, LengthsMeasured):
        of = f" of {message.of_rows:,}" if message.of_rows else ""
        progress.say(f"tokenizing  {message.rows:,}{of} rows …")
    elif isinstance(message, InspectWorking):
        share = f"  {message.done / message.total:.0%}" if message.done and message.total else ""
        progress.say(f"{message.label}{share} …")


def _no_classes(path: str, checked: Checked) -> UserError:
    what = f"{path} has over {len(checked.labels):,} labels, which is no set of classes."
    if len(checked.labels) == 1:
        only = one_line(next(iter(checked.labels)), max_chars=60)
        what = f"every row of {path} has the same label, {only!r}; there is nothing to tell apart."
    return UserError(
        what,
        where="dataset.columns",
        then="Name the column that holds the labels: --set dataset.columns=text=review,label=stars",
    )


def _unusable(path: str, checked: Checked) -> UserError:
    if not checked.rows:
        return UserError(f"{path} holds no row.", where="dataset.path")
    first = next((problem for problem in checked.problems if problem.left_out), None)
    if checked.format is None and (checked.columns or first is None):
        return UserError(f"{path}: {checked.reason}.", where="dataset.path")
    why = f" ({problem_line(first)})" if first else ""
    return UserError(
        f"no row of {path} can be used{why}.",
        where="dataset.path",
        then="--list FILE writes down what is wrong with each.",
    )
