"""What the cards and the machine report at one moment. Unknown is None, never 0.

Sizes are in GiB of 2**30 bytes, shares in percent from 0 to 100.
"""

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class MachineReading:
    """The machine's own memory and processor. `memory_used_gib` is what no program could get now.

    `cpu_percent` is the mean over all `cores` since the reading before, so the first has none.
    """

    memory_total_gib: float | None
    memory_used_gib: float | None
    cpu_percent: float | None
    cores: int


@dataclass(frozen=True, slots=True)
class SensorReading:
    """All sensors at one moment.

    `nvml_problem` is None when NVML works, even if it finds no card; else it is a sentence for the
    user (what happened and what to do), and `cards` is empty.
    """

    cards: tuple[CardReading, ...]
    machine: MachineReading
    nvml_problem: str | None
