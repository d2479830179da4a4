"""Whether there is room for a chat, asked before its worker is started: sizes from headers, the
card from NVML, and what trains there from its events. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tui_lora.core.chat_fit import Beside, ChatFit, may_still_take
from tui_lora.core.chat_memory import (
    TOKENS,
    ChatBase,
    ChatForecast,
    Place,
    Tensors,
    adapter_bytes_in,
    chat_forecast,
    weights_in,
)
from tui_lora.core.errors import UserError
from tui_lora.core.model_facts import ModelFacts, facts_of, facts_of_gguf
from tui_lora.core.quantization_spec import QuantizationSpec
from tui_lora.core.sensors import CardReading, SensorReading
from tui_lora.core.text import one_line
from tui_lora.core.view import RunView
from tui_lora.store import sessions
from tui_lora.store.adapter_files import WEIGHTS
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.gpu import Sensors
from tui_lora.store.json_file import read_object
from tui_lora.store.local_model import local_place
from tui_lora.store.memory_table import with_learned
from tui_lora.store.model_weights import read_weights
from tui_lora.store.paths import SessionPaths
from tui_lora.store.quantized import quantized
from tui_lora.store.spec_file import read_spec
from tui_lora.store.spec_now import with_changes
from tui_lora.store.weights import BadWeights, WeightFile, read_gguf, read_safetensors

_AMPERE = (8, 0)
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
"""One of these is there where CUDA could find a card (Linux, WSL)."""

WayKind = Literal["cpu", "nf4"]


@dataclass(frozen=True)
class Way:
    """Another way to load a target that fits, as `fit` says."""

    kind: WayKind
    target: ChatTarget
    fit: ChatFit


@dataclass(frozen=True)
class ChatRoom:
    """What was found for a target, and the ways in which it would fit where it does not so."""

    target: ChatTarget
    fit: ChatFit
    ways: tuple[Way, ...] = ()

    @property
    def beside(self) -> str:
        """The names of what trains there."""
        return " and ".join(one_line(one.name) for one in self.fit.beside)

    @staticmethod
    def of_loaded(target: ChatTarget) -> ChatRoom:
        """That of a target which is in memory as it is."""
        return ChatRoom(target, ChatFit("card", None, None, None))


@dataclass(frozen=True)
class _Sizes:
    facts: ModelFacts
    tensors: Tensors | None
    own: bool


def look_for_room(
    root: Path,
    targets: Sequence[ChatTarget],
    reading: SensorReading | None = None,
    *,
    gained: Mapping[Place, float] | None = None,
    loaded: bool = False,
) -> ChatRoom:
    """Hold a base with the adapters of all `targets` against what is free; reads disks and, where
    there is no `reading`, the sensors. `gained` becomes free there before it is loaded; `loaded`:
    the base is in memory already, and only the adapters come to it."""
    now = reading if reading is not None else read_sensors()
    base = targets[0]
    running = sessions.running(root)
    sizes = _sizes_of(base)
    adapters = [target.adapter for target in targets if target.adapter is not None]
    wholes = [target.whole for target in targets if target.whole is not None]

    def fit(target: ChatTarget) -> ChatFit:
        return _fit(target, sizes, adapters, wholes, now, running, gained or {}, loaded=loaded)

    found = fit(base)
    if found.verdict != "does_not_fit" or loaded:
        return ChatRoom(base, found)
    others: list[tuple[WayKind, ChatTarget]] = []
    if found.place == "card":
        others.append(("cpu", replace(base, devices="cpu")))
    own = sizes is not None and sizes.own
    if base.quantization.scheme not in ("nf4", "fp4") and not own:
        others.append(("nf4", replace(base, quantization=QuantizationSpec(scheme="nf4"))))
    ways = [Way(kind, target, fit(target)) for kind, target in others]
    return ChatRoom(base, found, tuple(w for w in ways if w.fit.verdict in ("fits", "tight")))


def held_to(target: ChatTarget, fit: ChatFit) -> ChatTarget:
    """The target, which takes no more than was counted where something trains beside it."""
    if not fit.beside or fit.forecast is None:
        return target
    return replace(target, most_tokens=fit.forecast.tokens, most_gib=fit.most_gib)


def read_sensors() -> SensorReading:
    """The sensors once, for whoever has no feed of them."""
    sensors = Sensors()
    try:
        return with_learned(sensors.read())
    finally:
        sensors.close()


def _fit(
    target: ChatTarget,
    sizes: _Sizes | None,
    adapters: Sequence[Path],
    wholes: Sequence[Path],
    now: SensorReading,
    running: Sequence[SessionPaths],
    gained: Mapping[Place, float],
    *,
    loaded: bool,
) -> ChatFit:
    place, card, why = _where(target.devices, now)
    gained_gib = gained.get(place, 0.0)
    beside = tuple(_beside(running, place, card, now))
    forecast = None
    if sizes is None:
        what = one_line(target.model.id, max_chars=60)
        why = why or f"how large {what} is, is not told by files on this machine"
    else:
        forecast = _forecast(target, sizes, adapters, wholes, place, card, loaded=loaded)
    if place == "cpu":
        machine = now.machine
        total, used = machine.memory_total_gib, machine.memory_used_gib
        free = total - used if total is not None and used is not None else None
        why = why or ("" if free is not None else "the machine does not tell its memory")
        return ChatFit(place, forecast, free, total, beside, gained_gib, why)
    free, total = (card.free_gib, card.total_gib) if card is not None else (None, None)
    if free is None and not why:
        why = (card.note if card is not None else None) or "the card does not tell what is free"
    return ChatFit(place, forecast, free, total, beside, gained_gib, why)


def _where(devices: str, now: SensorReading) -> tuple[Place, CardReading | None, str]:
    """Where a worker with these devices loads it, as the worker will decide, and what hinders the
    look there."""
    card = now.card_of(devices)
    if devices == "cpu":
        return "cpu", None, ""
    if card is not None:
        return "card", card, ""
    driver = any(Path(name).exists() for name in _DRIVERS)
    if devices == "auto" and not driver:
        return "cpu", None, ""
    if now.nvml_problem is not None:
        return "card", None, one_line(now.nvml_problem).rstrip(".")
    if devices == "auto" and not now.cards:
        return "cpu", None, ""
    return "card", None, f"there is no card {one_line(devices)}"


def _beside(
    running: Sequence[SessionPaths],
    place: Place,
    card: CardReading | None,
    now: SensorReading,
) -> list[Beside]:
    """What every training that lives in this place may still take."""
    found = []
    for paths in running:
        view = sessions.fold(sessions.first_and_last(paths)[0], RunView())
        where, its_card = _place_of(paths, view, now)
        if where != place or (card is not None and its_card not in (None, card)):
            continue
        found.append(may_still_take(paths.name, view, place))
    return found


def _place_of(
    paths: SessionPaths, view: RunView, now: SensorReading
) -> tuple[Place, CardReading | None]:
    """Where a session trains: as its worker said, else as its spec asks for."""
    try:
        devices = with_changes(read_spec(paths.spec), view.spec_changes).hardware.devices
    except UserError:
        devices = "auto"
    where, card, _ = _where(devices, now)
    told = view.loaded or view.plan
    said = told.device if told is not None else ""
    if said:
        where = "cpu" if said == "cpu" else "card"
    return where, card if where == "card" else None


def _forecast(
    target: ChatTarget,
    sizes: _Sizes,
    adapters: Sequence[Path],
    wholes: Sequence[Path],
    place: Place,
    card: CardReading | None,
    *,
    loaded: bool,
) -> ChatForecast:
    model, facts = target.model, sizes.facts
    capability = card.capability if card is not None else None
    old = capability is not None and capability < _AMPERE
    single = model.dtype == "float32" or (model.dtype == "auto" and place == "cpu")
    number = 4 if single else 2
    base = ChatBase(
        facts=facts,
        quantization=target.quantization,
        number=number,
        tensors=sizes.tensors,
        own=sizes.own,
        headless=target.classifier,
        # Before Ampere PyTorch has no fused kernel for heads that share keys.
        scores=model.attention == "eager" or facts.capped or (old and facts.keys != facts.queries),
    )
    beside = sum(_adapter_bytes(folder, number) for folder in adapters)
    # Of the base's shape, so it takes what the base does.
    beside += len(wholes) * (weights_in(base) if base.tensors is not None else 0)
    forecast = chat_forecast(
        base,
        place,
        adapter_bytes=beside,
        context_gib=card.context_gib if card is not None else None,
        tokens=TOKENS,
    )
    if not loaded:
        return forecast
    parts = replace(forecast.parts, weights=0.0, cache=0.0, workspace=0.0, context=0.0)
    return ChatForecast(parts, forecast.tokens, ("beside a base that is loaded",))


def _sizes_of(target: ChatTarget) -> _Sizes | None:
    """The sizes of a target's base, from headers alone; None where they are not known."""
    try:
        place = local_place(target.model)
        if place.is_file():
            facts = facts_of_gguf(read_gguf(place).metadata)
            return _Sizes(facts, None, own=False) if facts is not None else None
        names = [child.name for child in place.iterdir()]
    except (UserError, BadWeights, OSError):
        return None
    config = read_object(place / "config.json")
    facts = facts_of(config) if config is not None else None
    if config is None or facts is None:
        return None
    own = quantized(config)
    weights = read_weights(place, names)
    sound = weights.files and not weights.problem and not weights.missing
    if own is not None and (own.problem or not sound):
        return None
    return _Sizes(facts, _tensors(weights.files) if sound else None, own is not None)


def _tensors(files: Sequence[WeightFile]) -> Tensors:
    return {
        name: (shape, file.dtypes[name]) for file in files for name, shape in file.shapes.items()
    }


def _adapter_bytes(folder: Path, number: int) -> int:
    try:
        return adapter_bytes_in(_tensors([read_safetensors(folder / WEIGHTS)]), number)
    except BadWeights:
        # What is wrong with it is said when it is loaded.
        return 0
