"""What is being looked at and worked on: values that the app hands down to its screens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # pydantic and the spec cost 0.1 s, and the first frame needs neither.
    from tui_lora.core.errors import Problem
    from tui_lora.core.events import Result
    from tui_lora.core.inspect import ModelLooked
    from tui_lora.core.memory import Forecast
    from tui_lora.core.model_shape import ModelShape
    from tui_lora.core.orders import Order
    from tui_lora.core.spec import RunSpec
    from tui_lora.core.status import Status
    from tui_lora.core.view import RunView
    from tui_lora.store.parent import Parent
    from tui_lora.store.paths import SessionPaths
    from tui_lora.store.signals_sent import Sent


@dataclass(frozen=True, eq=False)
class RunNow:
    """The chosen session at one moment: a snapshot that nobody changes any more.

    `whole` is False while only the first and last events have been read: the figures are right,
    the curve is not complete yet. `problem` says why run.yaml cannot be read. `spec` is what the
    run trains with by now, `first` what run.yaml says. `why_ended` is known of an interrupted run.
    `asked` are the orders that its worker has not answered yet, and `signals` those that it was
    sent, whoever gave them. `parent` is the checkpoint that a branch was made from. `why_quiet` is
    what the kernel says of a worker that is not heard of.
    """

    paths: SessionPaths
    status: Status
    view: RunView
    spec: RunSpec | None = None
    problem: str = ""
    result: Result | None = None
    whole: bool = True
    first: RunSpec | None = None
    why_ended: str = ""
    asked: tuple[Order, ...] = ()
    parent: Parent | None = None
    signals: tuple[Sent, ...] = ()
    why_quiet: str = ""

    @property
    def task(self) -> str:
        """`sft` and the others; what the worker said where the spec cannot be read."""
        if self.spec is not None:
            return self.spec.task
        return self.view.plan.task if self.view.plan is not None else "sft"


@dataclass(frozen=True)
class RunOnCard:
    """A run that goes on: `devices` as its spec has them, how many GiB more it will hold at its
    peak than now, and where on the card that peak was predicted, others included."""

    devices: str
    growth_gib: float = 0.0
    peak_at_gib: float | None = None


@dataclass(frozen=True)
class Draft:
    """The run spec being put together, as nested data that may still be wrong or incomplete."""

    name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, values: Mapping[str, Any]) -> Draft:
        """A copy with each `{"lora.r": 8}` replaced."""
        from tui_lora.core.fields import put

        data = dict(self.data)
        for path, value in values.items():
            data = put(data, path, value)
        return replace(self, data=data)

    def check(self) -> tuple[RunSpec | None, tuple[Problem, ...]]:
        """The spec, if it holds, and every problem with it."""
        from tui_lora.core.spec import check_spec

        return check_spec(self.data)


@dataclass(frozen=True, eq=False)
class ModelSeen:
    """What the inspect worker found on the draft's model; it always belongs to the draft as it is.

    `model` is empty while none is chosen. `looked` is the answer for exactly these settings; until
    there is one, `shape` is what is known of the model itself, no adapter marked in it. `busy`:
    it is being asked. `why` says why nothing can be known.
    """

    model: str = ""
    shape: ModelShape | None = None
    looked: ModelLooked | None = None
    busy: bool = False
    why: str = ""


@dataclass(frozen=True)
class CardSeen:
    """The card that a run is held against, and GiB of it that are held by others now.

    `asked`: somebody asked about it, and it need not be here. `total_gib` and `others_gib` are
    None where the card does not tell. `context_gib` is CUDA's own share, where anything is known
    of it.
    """

    name: str
    total_gib: float | None = None
    others_gib: float | None = 0.0
    capability: tuple[int, int] | None = None
    asked: bool = False
    context_gib: float | None = None
    context_source: str = ""


@dataclass(frozen=True, eq=False)
class MemorySeen:
    """What a run of the draft takes of a card; it always belongs to the draft as it is.

    `spec` is the draft's, None while no figure can be had for it. `forecast` is the formula's until
    the simulation's is there, which `busy` says is on its way, with `why` where something else
    comes before it; else `why` there is none to come. `no_card` says why there is no card.
    `measured_gib` is what a fit check found a process of it to hold of this card. `stored` is the
    scheme in which the model's own files are quantized, empty where that is not known to be.
    """

    card: CardSeen | None = None
    spec: RunSpec | None = None
    forecast: Forecast | None = None
    busy: bool = False
    why: str = ""
    measured_gib: float | None = None
    stored: str = ""
    no_card: str = ""


class DraftKeeper:
    """Writes the newest draft in a thread of its own; an older one never lands after a newer."""

    def __init__(self, failed: Callable[[OSError], object]) -> None:
        self._failed = failed
        self._lock = threading.Lock()
        self._newest: Draft | None = None
        self._thread: threading.Thread | None = None

    def keep(self, draft: Draft) -> None:
        with self._lock:
            self._newest = draft
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="draft", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Wait until what was kept is on disk."""
        thread = self._thread
        if thread is not None:
            thread.join(2.0)

    def _write(self) -> None:
        from tui_lora.store.draft import write_draft

        while True:
            with self._lock:
                draft, self._newest = self._newest, None
                if draft is None:
                    self._thread = None
                    return
            try:
                write_draft(draft.name, dict(draft.data))
            except OSError as error:
                self._failed(error)
