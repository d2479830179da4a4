"""A train worker's forecast of its own memory: asked for while it loads, told when it is there.

Nothing waits for it and nothing fails with it. Which card it is comes from the driver, since CUDA
is not to be touched for it.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass

from tui_lora.core.events import MemoryForecasted
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    ForecastMemory,
    InspectFailed,
    MemoryForecast,
)
from tui_lora.core.sensors import CardReading, SensorReading
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import one_line
from tui_lora.store.launch import Process, start_pipe_worker
from tui_lora.store.memory_table import with_learned
from tui_lora.worker.reporter import Reporter


@dataclass(frozen=True)
class _Question:
    spec: RunSpec
    last: bool


class Forecasting:
    """Says MemoryForecasted for a run on a card; on the processor nothing at all.

    `before` was read before this process had anything on a card. Ask at once with the spec, whose
    rows may be as long as `max_length`, and again when the rows are known; `end` it before the
    attempt's last event. All three return at once and never raise.
    """

    def __init__(self, reporter: Reporter, before: SensorReading) -> None:
        self._reporter, self._before = reporter, before
        self._asked: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._ended = False
        self._process: Process | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="forecast")
        self._thread.start()

    def ask(self, spec: RunSpec) -> None:
        """With the settings, before the rows are read."""
        self._asked.put(_Question(spec, last=False))

    def ask_again(self, spec: RunSpec, *, longest_row: int, rows: int) -> None:
        """With every setting settled and the rows known, of which there are `rows`."""
        training = spec.training
        micro_batches = -(-rows // training.micro_batch)
        known = training.model_copy(
            update={
                # The least that the setting allows; shorter rows take hardly less.
                "max_length": max(8, min(training.max_length, longest_row)),
                "micro_batch": max(1, min(training.micro_batch, rows)),
                # A step has no more micro-batches than an epoch.
                "accumulation": max(1, min(training.accumulation, micro_batches)),
            }
        )
        self._asked.put(_Question(spec.model_copy(update={"training": known}), last=True))

    def end(self) -> None:
        """Say nothing from here on, and leave no process behind."""
        with self._guard:
            self._ended = True
            process = self._process
        self._asked.put(None)
        if process is not None:
            with suppress(OSError):
                process.kill()

    def _work(self) -> None:
        with suppress(Exception):
            reading = with_learned(self._before)
            card = reading.card_of()
            if card is not None:
                self._answer_all(reading, card)

    def _answer_all(self, reading: SensorReading, card: CardReading) -> None:
        with self._guard:
            if self._ended:
                return
            self._process = process = start_pipe_worker("forecast", devices="cpu")
        assert process.stderr is not None
        # What libraries print there would fill the pipe.
        threading.Thread(target=process.stderr.read, daemon=True, name="forecast-err").start()
        try:
            while (question := self._asked.get()) is not None:
                found = self._found(process, question.spec, card)
                # What is not known yet may be once the model and its rows are here.
                if found.forecast is not None or question.last:
                    self._tell(found, question.spec, reading, card)
                if question.last:
                    break
        finally:
            process.kill()
            process.communicate()

    def _found(self, process: Process, spec: RunSpec, card: CardReading) -> MemoryForecast:
        assert process.stdin is not None
        assert process.stdout is not None
        asked = ForecastMemory(
            id="run",
            spec=spec.model_dump(mode="json"),
            card=card.name,
            total_gib=card.total_gib,
            capability=card.capability,
            context_gib=card.context_gib,
        )
        process.stdin.write(TO_INSPECT.encode(asked).encode())
        process.stdin.flush()
        for line in process.stdout:
            answer = FROM_INSPECT.decode(line).message
            if isinstance(answer, MemoryForecast) and answer.exact:
                return answer
            if isinstance(answer, InspectFailed):
                return MemoryForecast(id="run", unknown=answer.message)
        return MemoryForecast(id="run", unknown="the forecast's worker ended without a word")

    def _tell(
        self, found: MemoryForecast, spec: RunSpec, reading: SensorReading, card: CardReading
    ) -> None:
        with self._guard:
            if self._ended:
                return
            self._reporter.say(
                MemoryForecasted(
                    card=card.name,
                    tokens=spec.training.max_length,
                    driver=reading.driver,
                    total_gib=card.total_gib,
                    forecast=found.forecast,
                    unknown=one_line(found.unknown),
                    context_source=card.context_source,
                )
            )
