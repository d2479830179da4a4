"""Stands in for every worker on pipes: whatever it is asked, it answers with hostile texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.hostile import Filler
from tui_lora.core import chat, check, fetch, fit_check, inspect
from tui_lora.core.wire import Message, Wire

FAILS_EVERY = 5

WIRES: dict[str, tuple[Wire[Any], Wire[Any]]] = {
    "chat": (chat.TO_CHAT, chat.FROM_CHAT),
    "inspect": (inspect.TO_INSPECT, inspect.FROM_INSPECT),
    "check": (check.TO_CHECK, check.FROM_CHECK),
    "fetch": (fetch.TO_FETCH, fetch.FROM_FETCH),
    "fit_check": (fit_check.TO_FIT_CHECK, fit_check.FROM_FIT_CHECK),
}
FIRST: dict[str, tuple[type[Message], ...]] = {
    "chat": (chat.Loading, chat.Ready),
    "inspect": (inspect.InspectReady,),
    "fetch": (fetch.FetchPlanned, fetch.FetchProgressed, fetch.FetchPaused, fetch.FetchFailed),
}
ANSWERS: dict[type[Message], tuple[type[Message], ...]] = {
    chat.LoadAdapter: (chat.AdapterLoaded,),
    chat.Ask: (chat.AnswerGrew, chat.AnswerGrew, chat.AnswerEnded),
    chat.Predict: (chat.Predicted,),
    inspect.FeedRow: (inspect.InspectWorking, inspect.RowFed),
    inspect.ReadRow: (inspect.RowRead,),
    inspect.LookAt: (inspect.Looked,),
    inspect.FindText: (inspect.TextFound,),
    inspect.MeasureLengths: (inspect.LengthsMeasured,),
    inspect.LookAtModel: (inspect.ModelLooked,),
    inspect.ForecastMemory: (inspect.InspectWorking, inspect.MemoryForecast),
    inspect.AdviseMemory: (inspect.MemoryAdvised,),
    check.CheckDataset: (check.CheckProgressed, check.Checked),
    fit_check.CheckFit: (
        fit_check.FitWorking,
        fit_check.FitNoticed,
        fit_check.FitBegun,
        fit_check.FitPhase,
        fit_check.FitChecked,
    ),
}
FAILURES: dict[str, type[Message]] = {
    "chat": chat.ChatFailed, "inspect": inspect.InspectFailed, "check": check.CheckFailed,
}  # fmt: skip


def main(kind: str) -> None:
    hears, says = WIRES[kind]
    fill = Filler(sum(kind.encode()))

    def say(kinds: tuple[type[Message], ...], **given: Any) -> None:
        for each in kinds:
            known = {name: value for name, value in given.items() if name in each.model_fields}
            sys.stdout.buffer.write(says.encode(fill.message(each, **known)).encode())
        sys.stdout.buffer.flush()

    say(FIRST.get(kind, ()), models=False)
    for number, line in enumerate(sys.stdin.buffer, 1):
        asked = hears.decode(line).message
        if asked is None:
            continue
        answers = ANSWERS.get(type(asked), ())
        if answers and number % FAILS_EVERY == 0 and kind in FAILURES:
            answers = (FAILURES[kind],)
        known = {key: getattr(asked, key) for key in ("id", "name", "row") if hasattr(asked, key)}
        say(answers, **known, fatal=False)
    sys.stderr.write(fill.text())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(sys.argv[1])
