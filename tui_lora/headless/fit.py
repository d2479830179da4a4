"""`tui-lora fit`: how much of a card a run would take, and whether it fits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tui_lora.core.advice import Advice
from tui_lora.core.cards import Card, capability_of, card_called
from tui_lora.core.errors import UserError
from tui_lora.core.fields import put
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    AdviseMemory,
    ForecastMemory,
    FromInspect,
    InspectFailed,
    InspectWorking,
    MemoryAdvised,
    MemoryForecast,
    ToInspect,
)
from tui_lora.core.measured_runs import ASSUMED, Context
from tui_lora.core.memory import Forecast
from tui_lora.core.memory_formula import formula
from tui_lora.core.sensors import why_no_card
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean
from tui_lora.headless.changes import changed
from tui_lora.headless.fit_text import Answer, AskedCard, as_json, report_lines
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.questions import ProgressLine, Questions
from tui_lora.store import sessions
from tui_lora.store.catalog import describe
from tui_lora.store.gpu import Sensors
from tui_lora.store.memory_table import with_learned
from tui_lora.store.model_sizes import facts_at, fetch_config, is_here
from tui_lora.store.paths import expanded
from tui_lora.store.preflight import anchored
from tui_lora.store.presets import read_preset
from tui_lora.store.spec_file import read_data, spec_in
from tui_lora.store.spec_now import spec_now

_SILENT_S = 1.0
"""For so long nothing is said of what is being done."""


def fit(
    root: Path,
    *,
    what: str | None,
    preset: str | None,
    changes: Sequence[str],
    card: str | None,
    json_wanted: bool,
    more: bool = False,
) -> int:
    """Print the forecast for a run spec, a session or a preset, and what makes it fit where it does
    not; with `more` also what else fits. 0 whatever the verdict is. Raises UserError for what
    cannot be run at all."""
    spec = spec_asked(root, what, preset, changes)
    asked = card_asked(card, spec)
    progress = ProgressLine()
    try:
        forecast, reasons, advice = _forecast(spec, asked, progress, more=more)
    finally:
        progress.clear()
    answer = Answer(spec, asked, forecast, reasons, advice, more=more)
    if json_wanted:
        to_stdout(json.dumps(as_json(answer)))
    else:
        for line in report_lines(answer):
            to_stdout(line)
    return 0


def spec_asked(
    root: Path, what: str | None, preset: str | None, changes: Sequence[str], *, rows: bool = False
) -> RunSpec:
    """The run spec that was named, with its paths made absolute. `rows`: it needs some."""
    if (what is None) == (preset is None):
        raise UserError(
            "give one of: a run spec, a session, or --preset.",
            then="For example: tui-lora fit --preset 16gb-ada-7b --set model.id=FOLDER",
        )
    base = Path.cwd()
    if preset is not None:
        data, where = read_preset(preset).data, f"preset {preset}"
    else:
        path = expanded(str(what))
        if str(what).endswith((".yaml", ".yml")) or path.is_file():
            data = read_data(path)
        else:
            session = sessions.find(root, str(what))
            data, path = spec_now(session).model_dump(mode="json"), session.spec
        where, base = str(path), path.absolute().parent
    data = changed(data, changes)
    if not data.get("model"):
        raise UserError(
            f"{where} names no model, and its memory is the model's.",
            where="model.id",
            then="Give one: --set model.id=FOLDER, or the id of a Hub model.",
        )
    if not data.get("dataset") and rows:
        raise UserError(
            f"{where} names no dataset, and it is its longest rows that are measured.",
            where="dataset.path",
            then="Give one: --set dataset.path=FILE",
        )
    if not data.get("dataset"):
        # How long its rows may be is a setting; what they say takes no memory.
        data = put(data, "dataset.path", "none")
    return anchored(spec_in(data, where=where), base, root)


def card_asked(text: str | None, spec: RunSpec) -> AskedCard:
    """The card that was named, else the one that the run would use."""
    if text is not None:
        try:
            return AskedCard(card_called(text), source="as you said")
        except ValueError as error:
            raise UserError(f"{error}.", where="--card") from None
    sensors = Sensors()
    try:
        reading = with_learned(sensors.read())
    finally:
        sensors.close()
    found = reading.card_of(spec.hardware.devices)
    if found is None:
        why = why_no_card(reading, spec.hardware.devices).rstrip(".")
        return AskedCard(None, source=f"{why}; name one with --card 16GiB or --card T4")
    if found.total_gib is None:
        return AskedCard(None, source=found.note or "the card does not tell its memory")
    name, capability = clean(found.name), found.capability
    return AskedCard(
        Card(name, found.total_gib, capability or capability_of(name)),
        found.used_gib,
        "in this machine" + (", whose memory it shares" if found.shared else ""),
        Context(found.context_gib, found.context_source) if found.context_gib else ASSUMED,
    )


def _forecast(
    spec: RunSpec, asked: AskedCard, progress: ProgressLine, *, more: bool
) -> tuple[Forecast | None, tuple[str, ...], Advice | None]:
    """The forecast, its reasons, and what would help: simulated, or by the formula alone where
    nobody can simulate."""
    if not is_here(spec.model):
        describe(spec.model.id)  # which refuses what no model is called, as a run would
        progress.say(f"fetching the config.json of {clean(spec.model.id)}")
        try:
            fetch_config(spec.model)
        except UserError as error:
            return None, (f"{error.what} {error.then}",), None
    try:
        found, advice, why_not = _simulated(spec, asked, progress, more=more)
    except UserError as error:
        if error.exit_code != 1:
            raise
        facts = facts_at(spec.model)
        why = f"not simulated: {error.what.rstrip('.')}"
        if facts is None:
            return None, (why,), None
        card = asked.card or Card("", 0.0)
        guessed = formula(facts, spec, card, context_gib=asked.context.gib)
        return guessed, (why, *guessed.reasons, _context(asked)), None
    if found.forecast is None:
        return None, (found.unknown,), None
    reasons = [*found.forecast.reasons, _context(asked)]
    return found.forecast, (*reasons, *([why_not] if why_not else [])), advice


def _context(asked: AskedCard) -> str:
    return f"CUDA's own share (context): {asked.context.source}"


def _simulated(
    spec: RunSpec, asked: AskedCard, progress: ProgressLine, *, more: bool
) -> tuple[MemoryForecast, Advice | None, str]:
    """The forecast, and where it does not fit or `more` is wanted what would, and why that is not
    all."""
    about = question_about(spec, asked)
    began = time.monotonic()
    worker: Questions[ToInspect, FromInspect]
    with Questions("inspect", sends=TO_INSPECT, hears=FROM_INSPECT) as worker:
        for message in worker.ask(ForecastMemory.model_validate(about)):
            if isinstance(message, InspectWorking) and time.monotonic() - began > _SILENT_S:
                progress.say(clean(message.label))
            elif isinstance(message, InspectFailed):
                raise UserError(clean(message.message))
            elif isinstance(message, MemoryForecast) and message.exact:
                verdict = Answer(spec, asked, message.forecast, ()).verdict
                if verdict == "unknown" or (verdict == "fits" and not more):
                    return message, None, ""
                question = {**about, "others_gib": asked.others_gib}
                advice = AdviseMemory.model_validate(question)
                return message, *_advice(worker, advice, progress, whole=more)
    raise UserError("the inspect worker said nothing.", exit_code=1)


def question_about(spec: RunSpec, asked: AskedCard) -> dict[str, Any]:
    """The fields of a question about a spec's memory."""
    card = asked.card
    return {
        "id": "fit",
        "spec": spec.model_dump(mode="json"),
        "card": card.name if card is not None else "",
        "total_gib": card.total_gib if card is not None else None,
        "capability": card.capability if card is not None else None,
        "context_gib": asked.context.gib,
    }


def _advice(
    worker: Questions[ToInspect, FromInspect],
    question: AdviseMemory,
    progress: ProgressLine,
    *,
    whole: bool,
) -> tuple[Advice | None, str]:
    """The changes that were found, and why not all of them were; what else would be told is waited
    for only for the `whole`."""
    found: Advice | None = None
    looking = "looking for what else fits" if whole else "looking for what makes it fit"
    progress.say(looking)
    for message in worker.ask(question):
        if isinstance(message, InspectFailed):
            return found, f"not all that may fit was found: {clean(message.message)}"
        if isinstance(message, MemoryAdvised):
            found = message.advice or found
            if message.done or (found is not None and found.largest and not whole):
                break
            if found is not None:
                many = len(found.changes) + len(found.largest) + len(found.ways)
                progress.say(f"{looking}: {many} found so far")
    return found, ""
