"""`tui-lora fit --check`: what a run takes in memory, measured on its own longest rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tui_lora.core.errors import SpecError, UserError
from tui_lora.core.fit_check import (
    FROM_FIT_CHECK,
    TO_FIT_CHECK,
    CheckFit,
    FitFailed,
    FitFound,
    FitWorking,
    FromFitCheck,
    ToFitCheck,
    as_checked,
)
from tui_lora.core.fit_check_words import NOTHING_PREDICTED
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    ForecastMemory,
    FromInspect,
    InspectFailed,
    MemoryForecast,
    ToInspect,
)
from tui_lora.core.memory import Forecast
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, number
from tui_lora.headless.fit import card_asked, question_about, spec_asked
from tui_lora.headless.fit_check_text import as_json, report_lines
from tui_lora.headless.fit_text import Answer, AskedCard
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.questions import ProgressLine, Questions
from tui_lora.store import runs
from tui_lora.store.card_users import training_on_cards
from tui_lora.store.preflight import preflight

_ON_CPU = AskedCard(None, source="this run is on the processor, and takes no card's memory")


def fit_check(
    root: Path,
    *,
    what: str | None,
    preset: str | None,
    changes: Sequence[str],
    card: str | None,
    json_wanted: bool,
) -> int:
    """Take two steps and an evaluation on the longest rows, and print what they took beside what
    was predicted; 0 whatever the verdict is, 3 where memory ran out. Raises UserError."""
    if card is not None:
        raise UserError(
            "--check measures on this machine, so no other card can be asked about.",
            where="--card",
            then="Leave one of the two out.",
        )
    spec = spec_asked(root, what, preset, changes, rows=True)
    progress = ProgressLine()
    try:
        runs.get_model(spec, lambda label, done: progress.say(label))
        if problems := preflight(spec, root):
            raise SpecError(problems)
        asked = _ON_CPU if spec.hardware.devices == "cpu" else card_asked(None, spec)
        if asked.card is not None:
            _refuse_beside(root, asked)
        found = _measured(spec, root, progress)
        forecast, of_batch, why = _predicted(spec, asked, found, progress)
    finally:
        progress.clear()
    answer = Answer(spec, asked, forecast, forecast.reasons if forecast else (why,))
    if json_wanted:
        to_stdout(json.dumps(as_json(answer, found, of_batch)))
    else:
        for line in report_lines(answer, found, of_batch):
            to_stdout(line)
    return 3 if found.ran_out is not None else 0


def _refuse_beside(root: Path, asked: AskedCard) -> None:
    """What trains now could run out of memory by this."""
    if names := training_on_cards(root):
        raise UserError(
            f"{', '.join(names[:3])} trains now, and {number(asked.others_gib)} GiB of the card "
            "are held: a check beside it could end it.",
            then=f"Wait for it, or stop it first: tui-lora stop {names[0]}",
        )


def _measured(spec: RunSpec, root: Path, progress: ProgressLine) -> FitFound:
    found = FitFound()
    question = CheckFit(spec=spec.model_dump(mode="json"), root=str(root))
    worker: Questions[ToFitCheck, FromFitCheck]
    devices = spec.hardware.devices
    with Questions(
        "fit_check", sends=TO_FIT_CHECK, hears=FROM_FIT_CHECK, devices=devices
    ) as worker:
        for message in worker.ask(question):
            found = found.heard(message)
            if isinstance(message, FitWorking):
                progress.say(_how_far(message))
            elif isinstance(message, FitFailed):
                raise UserError(clean(message.message), exit_code=message.exit_code)
            if found.ended is not None:
                return found
    raise UserError("the fit check worker said nothing.", exit_code=1)


def _how_far(message: FitWorking) -> str:
    if message.done is None or not message.total:
        return message.label
    return f"{message.label}  {100 * message.done / message.total:.0f}%"


def _predicted(
    spec: RunSpec, asked: AskedCard, found: FitFound, progress: ProgressLine
) -> tuple[Forecast | None, Forecast | None, str]:
    """The forecasts of the spec and of the batch that was measured, and why there is none."""
    if found.begun is not None and not found.on_card:
        return None, None, NOTHING_PREDICTED
    if asked.card is None:
        return None, None, f"nothing is predicted: {asked.source}"
    progress.say("simulating the same")
    about = [spec]
    if found.begun is not None:
        about.append(as_checked(spec, found.begun))
    answers: list[Forecast | None] = []
    worker: Questions[ToInspect, FromInspect]
    try:
        with Questions("inspect", sends=TO_INSPECT, hears=FROM_INSPECT) as worker:
            for each in about:
                question = ForecastMemory.model_validate(question_about(each, asked))
                answer = _answer(worker, question)
                if answer.forecast is None:
                    return None, None, answer.unknown
                answers.append(answer.forecast)
    except UserError as error:
        return None, None, f"not simulated: {error.what}"
    return answers[0], answers[-1], ""


def _answer(worker: Questions[ToInspect, FromInspect], question: ForecastMemory) -> MemoryForecast:
    for message in worker.ask(question):
        if isinstance(message, InspectFailed):
            raise UserError(clean(message.message))
        if isinstance(message, MemoryForecast) and message.exact:
            return message
    raise AssertionError("unreachable: the worker's end is an error")
