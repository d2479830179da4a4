"""Answers a viewer's questions about rows and models; keeps what it opened for the next ones.

Nothing of trl is imported before the first question that needs it.
"""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_lora.core.errors import SpecError, UserError
from tui_lora.core.events import Choice
from tui_lora.core.formats import Reading
from tui_lora.core.inspect import (
    AdviseMemory,
    FeedRow,
    FindText,
    ForecastMemory,
    FromInspect,
    HeldOutQuestion,
    HeldOutRead,
    InspectFailed,
    InspectWorking,
    LengthsMeasured,
    LookAt,
    LookAtModel,
    Looked,
    MeasureLengths,
    MemoryAdvised,
    MemoryForecast,
    ModelLooked,
    ReadHeldOut,
    ReadRow,
    RowFed,
    RowRead,
    TextFound,
    ToInspect,
)
from tui_lora.core.spec import RunSpec, check_spec
from tui_lora.core.text import clean, one_line
from tui_lora.store.dataset import look_at
from tui_lora.store.heldout import held_out
from tui_lora.store.paths import model_place
from tui_lora.store.row_file import holds
from tui_lora.store.sources import Part, Row, open_source
from tui_lora.worker.examples import example_of
from tui_lora.worker.in_words import in_words
from tui_lora.worker.last_used import LastUsed
from tui_lora.worker.open_rows import GoOn, OpenRows
from tui_lora.worker.stamps import stamp_at, stamp_of
from tui_lora.worker.tables import rows_of
from tui_lora.worker.time_limit import MOST_CHARS, TookTooLong, chars_in, time_limit
from tui_lora.worker.tokenizer_here import tokenizer_at

if TYPE_CHECKING:
    from tui_lora.worker.feeding import Feeder
    from tui_lora.worker.memory.forecasts import Forecasts
    from tui_lora.worker.model_look import ModelShapes

ROW_LIMIT_S = 10.0
_TOKENIZERS_KEPT, _FEEDERS_KEPT, _SOURCES_KEPT = 3, 6, 4
_WORKING_EVERY_S = 0.25

Say = Callable[[FromInspect], None]


class Loaded(NamedTuple):
    """A tokenizer with its template settled, and what was chosen for it."""

    key: Hashable
    tokenizer: Any
    choices: tuple[Choice, ...]


class Inspector:
    """Answers one question at a time; `say` hears that something takes a while."""

    def __init__(self, say: Say = lambda told: None) -> None:
        self._say = say
        self._tokenizers: LastUsed[Loaded] = LastUsed(_TOKENIZERS_KEPT)
        self._feeders: LastUsed[Feeder] = LastUsed(_FEEDERS_KEPT)
        self._sources: LastUsed[OpenRows] = LastUsed(_SOURCES_KEPT)
        self._shapes: ModelShapes | None = None
        self._forecasts: Forecasts | None = None
        self._warming: threading.Thread | None = None
        self._asked_id = ""
        self._told = float("-inf")

    def warm_up_for_models(self) -> None:
        """Import what it takes to look at a model, without a word on stderr."""
        warnings.simplefilter("ignore")
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from transformers.utils.logging import set_verbosity_error

        from tui_lora.worker import model_look  # noqa: F401

        set_verbosity_error()

    def warm_up(self) -> None:
        """Import the rest, which the first question about a row would otherwise wait for."""
        from datasets import disable_progress_bars

        from tui_lora.worker import lengths, row_fed  # noqa: F401
        from tui_lora.worker.memory import forecasts  # noqa: F401

        disable_progress_bars()
        # Each forecast looks for what nobody holds; all that was imported need not be gone through.
        gc.freeze()

    def wait_for(self, warming: threading.Thread) -> None:
        """Let questions that need what it imports wait for `warming`."""
        self._warming = warming

    def answer(self, asked: ToInspect, go_on: GoOn = lambda: True) -> FromInspect | None:
        """The answer, or the sentence that says why not; None when `go_on` said no."""
        self._asked_id = id = str(getattr(asked, "id", ""))
        if not go_on():
            return None
        try:
            if isinstance(asked, FeedRow):
                return self._feed(asked, go_on)
            if isinstance(asked, ReadRow):
                return self._read(asked, go_on)
            if isinstance(asked, LookAt):
                return self._look(asked)
            if isinstance(asked, FindText):
                return self._find(asked, go_on)
            if isinstance(asked, ReadHeldOut):
                return _held_out(asked)
            if isinstance(asked, LookAtModel):
                return self._look_at_model(asked)
            return None
        except (Exception, TookTooLong) as error:  # noqa: BLE001 templates are foreign code
            return InspectFailed(id=id, message=in_words(error, getattr(asked, "row", None)))

    def measure(
        self, asked: MeasureLengths, go_on: GoOn = lambda: True
    ) -> Iterator[LengthsMeasured | InspectFailed | None]:
        """What was found so far, each time that there is something to tell; None in between, for
        whoever has something else to do."""
        self._asked_id = asked.id
        try:
            spec = _spec(asked.spec)
            self._join()
            from tui_lora.worker.measuring import measured

            rows = self._open(spec, "train")
            # Rows that share a sequence have no length of their own.
            training = spec.training.model_copy(update={"packing": False})
            spec = spec.model_copy(update={"training": training})
            reading = rows.reading(spec.dataset, spec.task, "train")
            feeder = self._feeder(spec, self._load(spec), reading)
            yield from measured(asked, spec, feeder, rows, reading, go_on)
        except (Exception, TookTooLong) as error:  # noqa: BLE001 templates are foreign code
            yield InspectFailed(id=asked.id, message=in_words(error, None))

    def advise(
        self, asked: AdviseMemory, go_on: GoOn = lambda: True
    ) -> Iterator[MemoryAdvised | InspectFailed | None]:
        """What makes a run fit, each time that more of it is known; None between simulations."""
        self._asked_id = asked.id
        try:
            self._join()
            from tui_lora.worker.memory.advising import advice_for
            from tui_lora.worker.memory.forecasts import Forecasts

            self._forecasts = self._forecasts or Forecasts()
            yield from advice_for(asked, _spec(asked.spec), self._forecasts, go_on)
        except UserError as error:
            yield InspectFailed(id=asked.id, message=in_words(error, None))
        except (Exception, TookTooLong) as error:  # noqa: BLE001 what a config leads to is open
            why = one_line(str(error), max_chars=200) or type(error).__name__
            yield InspectFailed(id=asked.id, message=f"what fits cannot be told: {why}")

    def forecast(
        self, asked: ForecastMemory, go_on: GoOn = lambda: True, idle: GoOn = lambda: True
    ) -> Iterator[MemoryForecast | InspectFailed | None]:
        """What a run takes, at first from what is known already; then None before each of the sizes
        around it that are simulated for the next questions, while nobody asks any (`idle`)."""
        self._asked_id = asked.id
        try:
            if self._warming is not None and self._warming.is_alive():
                self._working("getting ready to simulate a step", None, None)
            self._join()
            from tui_lora.worker.memory.forecasts import Forecasts

            if not go_on():
                return
            spec = _spec(asked.spec)
            self._working("simulating a step", None, None)
            self._forecasts = self._forecasts or Forecasts()
            yield from self._forecasts.answers(asked, spec, stamp_of(spec), go_on, idle)
        except (Exception, TookTooLong) as error:  # noqa: BLE001 what a config leads to is open
            yield InspectFailed(id=asked.id, message=in_words(_about_memory(error), None))

    def _feed(self, asked: FeedRow, go_on: GoOn) -> RowFed | None:
        spec = _spec(asked.spec)
        rows = self._open(spec, asked.part)
        reading = rows.reading(spec.dataset, spec.task, _part(asked.part))
        row = rows.row(asked.row, go_on)
        if not go_on():
            return None
        found = example_of(_there(rows, row, asked.row), reading)
        # Of plain text only the first passages are made.
        if reading.shape != "text" and chars_in(found) > MOST_CHARS:
            raise UserError(
                f"row {asked.row + 1:,} has more than {MOST_CHARS:,} characters; to show its "
                "tokens would take too long.",
                then=f"Training reads it whole and cuts it at max length "
                f"({spec.training.max_length:,} tokens).",
            )
        self._join()
        from tui_lora.worker.row_fed import label_of, sequences_of

        loaded = self._load(spec)
        feeder = self._feeder(spec, loaded, reading)
        with time_limit(ROW_LIMIT_S):
            sequences, notes = sequences_of(feeder, found)
        chats = reading.shape in ("chat", "preference", "judged")
        chosen = next((c.value for c in loaded.choices if c.setting == "chat template"), "")
        told = [
            f"{c.setting} {c.value}: {c.reason}"
            for c in loaded.choices
            if c.value != "own" and (chats or c.setting != "chat template")
        ]
        return RowFed(
            id=asked.id,
            row=asked.row,
            sequences=sequences,
            label=label_of(feeder, found),
            template=clean(chosen) if chats else "",
            notes=tuple(map(one_line, notes)),
            choices=tuple(map(one_line, told)),
        )

    def _read(self, asked: ReadRow, go_on: GoOn) -> RowRead | None:
        rows = self._open(_spec(asked.spec), asked.part)
        row = rows.row(asked.row, go_on)
        if row is None:
            if not go_on():
                return None
            return RowRead(id=asked.id, row=asked.row, there=False, rows=rows.rows)
        return RowRead(
            id=asked.id,
            row=asked.row,
            there=True,
            value=row.value,
            line=row.line,
            file=clean(row.file),
            problem=clean(row.problem),
            rows=rows.rows,
        )

    def _look(self, asked: LookAt) -> Looked:
        spec = _spec(asked.spec)
        rows = self._open(spec, asked.part)
        found = look_at(
            rows.all_rows(),
            spec.dataset,
            spec.task,
            path=rows.source.path,
            max_rows=asked.rows,
        )
        facts = rows.facts
        note = f"; {facts.note}" if facts.note else ""
        return Looked(
            id=asked.id,
            format=found.format,
            reason=clean(found.reason + note),
            columns=tuple(found.columns),
            splits=tuple(map(clean, facts.splits)),
            subsets=tuple(map(clean, facts.subsets)),
            seen=found.rows,
            usable=found.usable_rows,
            rows=found.rows if found.complete else rows.rows,
            first_problem=str(found.problems[0]) if found.problems else "",
        )

    def _find(self, asked: FindText, go_on: GoOn) -> TextFound | None:
        rows = self._open(_spec(asked.spec), asked.part)
        wanted, number = asked.text.casefold(), asked.start
        while (row := rows.row(number, go_on)) is not None:
            if holds(row.problem or row.value, wanted):
                return TextFound(id=asked.id, row=number)
            number += 1
            self._working("searching", number, rows.rows)
        return TextFound(id=asked.id, row=None) if go_on() else None

    def _look_at_model(self, asked: LookAtModel) -> ModelLooked:
        from tui_lora.worker.model_look import ModelShapes

        if self._shapes is None:
            self._shapes = ModelShapes()
        return self._shapes.answer(asked.id, _spec(asked.spec))

    def _open(self, spec: RunSpec, part: str) -> OpenRows:
        source = open_source(spec.dataset, _part(part))
        key = (source.stamp, source.subset, source.revision, source.streaming)
        return self._sources.get(key, lambda: OpenRows(source, self._working))

    def _load(self, spec: RunSpec) -> Loaded:
        model, writes_turns = spec.model, spec.task != "classification"
        place = model_place(model.id)
        files = (stamp_at(place), model.revision, model.trust_remote_code)
        key = (place, files, model.chat_template, writes_turns, spec.lora.new_tokens)

        def load() -> Loaded:
            from tui_lora.worker.templates import settle_pad, settle_template
            from tui_lora.worker.vocabulary import add_tokens

            self._working(f"loading the tokenizer of {clean(model.id)}", None, None)
            tokenizer = tokenizer_at(place, model)
            with time_limit(ROW_LIMIT_S):
                if writes_turns:
                    choices = settle_template(tokenizer, model.chat_template)
                else:
                    choices = settle_pad(tokenizer)
            add_tokens(tokenizer, spec.lora.new_tokens)
            return Loaded(key, tokenizer, tuple(choices))

        return self._tokenizers.get(key, load)

    def _feeder(self, spec: RunSpec, loaded: Loaded, reading: Reading) -> Feeder:
        from tui_lora.worker.feeding import ANY_LABEL, Feeder

        labels = (ANY_LABEL,) if reading.shape == "labelled" else ()
        settings = spec.model_dump(mode="json", include={"task", "training", "preference"})
        data = (spec.dataset.loss_on, spec.dataset.overlap, reading.shape)
        key = (loaded.key, json.dumps(settings, sort_keys=True), data)
        return self._feeders.get(key, lambda: Feeder(spec, loaded.tokenizer, reading.shape, labels))

    def _join(self) -> None:
        if self._warming is not None and self._warming is not threading.current_thread():
            self._warming.join()

    def _working(self, label: str, done: float | None, total: float | None) -> None:
        now = time.monotonic()
        if done is None or now - self._told > _WORKING_EVERY_S:
            self._told = now
            self._say(InspectWorking(id=self._asked_id, label=clean(label), done=done, total=total))


def _held_out(asked: ReadHeldOut) -> HeldOutRead:
    found = held_out(_spec(asked.spec), asked.limit, rows_of)
    questions = tuple(HeldOutQuestion(**vars(one)) for one in found.questions)
    return HeldOutRead(id=asked.id, questions=questions, source=clean(found.source))


def _spec(data: dict[str, Any]) -> RunSpec:
    """The run spec; one that breaks a rule can be looked at all the same. Raises SpecError."""
    spec, problems = check_spec(data)
    if spec is None:
        raise SpecError(problems)
    return spec


def _about_memory(error: BaseException) -> BaseException:
    """What a config leads to is anybody's guess, and so are the words that it is said with."""
    if isinstance(error, UserError | SpecError | TookTooLong):
        return error
    why = one_line(str(error), max_chars=200).rstrip(".") or type(error).__name__
    return UserError(f"the memory that this takes cannot be told: {why}.")


def _part(part: str) -> Part:
    return "held_out" if part == "held_out" else "train"


def _there(rows: OpenRows, row: Row | None, number: int) -> Row:
    if row is None:
        many = rows.rows or 0
        raise UserError(f"{rows.source.name} has no row {number + 1:,}; it has {many:,}.")
    return row if not row.problem else replace(row, problem=f"(line {row.line:,}) {row.problem}")
