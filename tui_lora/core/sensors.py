"""What the cards and the machine report at one moment. Unknown is None, never 0.

Sizes are in GiB of 2**30 bytes, shares in percent from 0 to 100.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class CardProcess:
    """One process that computes on a card.

    In a container the driver may give the host's `pid`: `name` is then missing, or that of
    another process, so never recognise a process by its pid alone.
    """

    pid: int
    name: str | None
    used_gib: float | None


@dataclass(frozen=True, slots=True)
class CardReading:
    """One card, numbered in PCI order as NVML numbers them (CUDA may order them differently).

    `used_gib` is everything that a new allocation cannot have, what the driver keeps for itself
    included, so that used + free = total whichever driver answers; `nvidia-smi` leaves the
    driver's part out and shows a little less. `processes` is None when the driver does not tell,
    () when nothing computes on the card. `note` is a remark for the user on what is missing.
    `capability` is CUDA's: (8, 9) for sm89. `slice` numbers the parts of a card that is split by
    MIG, each of which is a card of its own here; `whole_uuid` is then the split card's. `shared`:
    it has no memory of its own, and what is said of it is the machine's. `silent_since` (unix
    seconds) since when it does not answer; all its figures are unknown then. `context_gib` is what
    CUDA takes of it for a process before any tensor, and `context_source` says how that is known.
    """

    index: int
    uuid: str | None
    name: str
    total_gib: float | None
    used_gib: float | None
    free_gib: float | None
    load_percent: float | None
    heat_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None
    processes: tuple[CardProcess, ...] | None
    note: str | None
    capability: tuple[int, int] | None = None
    slice: int | None = None
    whole_uuid: str | None = None
    shared: bool = False
    silent_since: float | None = None
    context_gib: float | None = None
    context_source: str = ""

    @property
    def number(self) -> str:
        """Which card it is, as nvidia-smi counts: `1`, and of a slice `1:0`."""
        return str(self.index) if self.slice is None else f"{self.index}:{self.slice}"


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The machine's own memory and processor. `memory_used_gib` is what no program could get now.
    In a control group that allows less than the machine has, what it allows counts, and `whole_gib`
    is what the machine has.

    `cpu_percent` is the mean over all `cores` since the reading before, so the first has none.
    """

    memory_total_gib: float | None
    memory_used_gib: float | None
    cpu_percent: float | None
    cores: int
    whole_gib: float | None = None


@dataclass(frozen=True, slots=True)
class SensorReading:
    """All sensors at one moment.

    `nvml_problem` is None when NVML works, even if it finds no card; else it is a sentence for the
    user (what happened and what to do), and `cards` is empty. `driver` is its version. `visible`
    is CUDA_VISIBLE_DEVICES where it is set, which says what `auto` means for a worker.
    """

    cards: tuple[CardReading, ...]
    machine: MachineReading
    nvml_problem: str | None
    driver: str = ""
    visible: str | None = None

    def card_of(self, devices: str = "auto") -> CardReading | None:
        """The card that a worker uses which is started with `hardware.devices`; None for the
        processor, and for a card that is not here."""
        if devices == "cpu":
            return None
        if devices == "auto":
            devices = "0" if self.visible is None else self.visible.split(",")[0]
        return named_card(self.cards, devices)


def why_no_card(reading: SensorReading, devices: str) -> str:
    """Why `card_of` finds none: a sentence, or less, for the user."""
    if devices == "cpu":
        return "hardware.devices is cpu: it runs on the processor, and takes no card's memory"
    if reading.nvml_problem is not None:
        return reading.nvml_problem
    if not reading.cards:
        return "there is no card here"
    if devices != "auto":
        return f"hardware.devices is {devices}, which names no card here"
    return f"CUDA_VISIBLE_DEVICES is {reading.visible!r}, which names no card here"


def named_card(cards: tuple[CardReading, ...], name: str) -> CardReading | None:
    """The first card that CUDA takes for `name`: an index, or the beginning of a UUID. Of a card
    that is split by MIG it takes the first slice."""
    name = name.strip()
    if name.isdecimal():
        return next((card for card in cards if card.index == int(name)), None)
    if not name.startswith(("GPU-", "MIG-")):
        return None
    return next(
        (
            card
            for card in cards
            if any(uuid and uuid.startswith(name) for uuid in (card.uuid, card.whole_uuid))
        ),
        None,
    )


def calmed(shown: SensorReading | None, now: SensorReading) -> SensorReading:
    """`now`, but with the figure already shown wherever it moved less than anyone would care about.

    So a machine at rest gives the same reading again and again, and nothing is painted.
    """
    if shown is None or len(shown.cards) != len(now.cards):
        return now
    machine = replace(
        now.machine,
        memory_used_gib=_still(shown.machine.memory_used_gib, now.machine.memory_used_gib, 0.1),
        cpu_percent=_still(shown.machine.cpu_percent, now.machine.cpu_percent, 5),
    )
    pairs = zip(shown.cards, now.cards, strict=True)
    cards = tuple(_calmed_card(old, new) for old, new in pairs)
    return replace(now, cards=cards, machine=machine)


def _calmed_card(shown: CardReading, now: CardReading) -> CardReading:
    return replace(
        now,
        used_gib=_still(shown.used_gib, now.used_gib, 0.05),
        free_gib=_still(shown.free_gib, now.free_gib, 0.05),
        load_percent=_still(shown.load_percent, now.load_percent, 3),
        heat_celsius=_still(shown.heat_celsius, now.heat_celsius, 1),
        power_watts=_still(shown.power_watts, now.power_watts, 5),
        processes=shown.processes if _same(shown.processes, now.processes) else now.processes,
    )


def _same(a: tuple[CardProcess, ...] | None, b: tuple[CardProcess, ...] | None) -> bool:
    if a is None or b is None or len(a) != len(b):
        return a is b
    return all(
        x.pid == y.pid and _still(x.used_gib, y.used_gib, 0.05) == x.used_gib
        for x, y in zip(a, b, strict=True)
    )


def _still(shown: float | None, now: float | None, step: float) -> float | None:
    if shown is None or now is None or abs(now - shown) > step:
        return now
    return shown
