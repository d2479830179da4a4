"""The memory that this process takes at its peak, one part of its work after the other."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from tui_lora.core.sensors import SensorReading
from tui_lora.store.gpu import Sensors
from tui_lora.worker.card_context import card_of, context_of
from tui_lora.worker.machine_memory import machine_memory

GIB = 2**30
_KIB_IN_GIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_HIGHEST = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Peak:
    """GiB; None where it cannot be measured. `held` is what is still allocated at the end."""

    allocated: float | None = None
    reserved: float | None = None
    process: float | None = None
    held: float | None = None


class Peaks(Protocol):
    """`take` gives the peak since the last call, or since the process began.

    `name` and `total_gib` are those of the card, or of the machine's memory; `others_gib` is what
    others hold of it. `context_gib` is CUDA's own share, as far as it is known.
    """

    name: str
    total_gib: float | None
    others_gib: float | None
    context_gib: float | None
    context_source: str

    def take(self) -> Peak: ...


def peaks_on(device: str, before: SensorReading) -> Peaks:
    """`before` was read before this process had anything on a card."""
    return MachinePeaks() if device == "cpu" else CardPeaks(device, before)


class CardPeaks:
    """By torch, and by what the driver tells of the card."""

    def __init__(self, device: str, before: SensorReading) -> None:
        self._device = device
        self._sensors = Sensors()
        self._uuid = str(torch.cuda.get_device_properties(device).uuid)
        self._before = found = card_of(before, self._uuid)
        self.name = torch.cuda.get_device_name(device)
        total: float | None = torch.cuda.mem_get_info(device)[1] / GIB
        self.total_gib = found.total_gib if found is not None and found.total_gib else total
        self.others_gib = found.used_gib if found is not None else None
        self.context_gib: float | None = None
        self.context_source = ""

    def take(self) -> Peak:
        torch.cuda.synchronize(self._device)
        reserved = torch.cuda.max_memory_reserved(self._device) / GIB
        self._look_at_context()
        found = Peak(
            allocated=torch.cuda.max_memory_allocated(self._device) / GIB,
            reserved=reserved,
            process=None if self.context_gib is None else reserved + self.context_gib,
            held=torch.cuda.memory_allocated(self._device) / GIB,
        )
        torch.cuda.reset_peak_memory_stats(self._device)
        return found

    def _look_at_context(self) -> None:
        """It grows as kernels are loaded, so it is looked at after each part."""
        now = card_of(self._sensors.read(), self._uuid)
        reserved_now = torch.cuda.memory_reserved(self._device) / GIB
        self.context_gib, self.context_source = context_of(self._before, now, reserved_now)


class MachinePeaks:
    """Resident memory, by Linux; where the kernel forbids to begin anew, each peak is that since
    the process began."""

    name = "this machine's memory"
    context_gib: float | None = None
    context_source = ""

    def __init__(self) -> None:
        memory = machine_memory()
        self.total_gib: float | None = memory.total
        self.others_gib: float | None = max(0.0, memory.total - memory.free - memory.own)

    def take(self) -> Peak:
        found = _HIGHEST.search(_STATUS.read_text())
        with suppress(OSError):
            _CLEAR.write_text("5")
        return Peak(process=int(found[1]) / _KIB_IN_GIB if found is not None else None)
