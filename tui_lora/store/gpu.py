"""Reads the cards through NVML and the machine through psutil. Never torch: no CUDA context.

Both libraries are imported at the first reading, not here: the UI's first frame comes before it.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.core.text import one_line
from tui_lora.store.cgroups import allowed
from tui_lora.store.gpu_card import GIB, answer, psutil_now, read_card, silent, unread

RETRY_SECONDS = 30.0
# By the name of the exception's class, since pynvml is not imported yet.
PROBLEMS = {
    "ModuleNotFoundError": (
        "The Python package nvidia-ml-py is missing, so no card can be read. "
        "Install it: pip install nvidia-ml-py."
    ),
    "NVMLError_LibraryNotFound": (
        "The NVIDIA driver's library (libnvidia-ml.so.1) was not found, so no card can be read. "
        "Install the NVIDIA driver, or start the container with its GPUs (docker: --gpus all)."
    ),
    "NVMLError_DriverNotLoaded": (
        "The NVIDIA driver is installed but not loaded, so no card can be read. "
        "Load it (sudo modprobe nvidia) or reboot."
    ),
    "NVMLError_LibRmVersionMismatch": (
        "The NVIDIA driver was upgraded while the old one still runs, so no card can be read. "
        "Reboot the machine."
    ),
    "NVMLError_NoPermission": (
        "This user may not talk to the NVIDIA driver, so no card can be read. "
        "Ask for access to /dev/nvidiactl and /dev/nvidia0."
    ),
}


class Sensors:
    """The cards and the machine, read on demand, by one thread at a time.

    `read` and `close` never raise. A card that has fallen off the bus can make a driver call block
    for seconds, so a UI reads through `store/patience.py`. `clock` gives seconds that only grow,
    `wall` unix seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._wall = clock, wall
        self._nvml: Any = None  # the bindings, while NVML is up
        self._problem: str | None = None
        self._retry_at = -math.inf
        self._cpu_before: tuple[float, float] | None = None
        self._driver = ""
        self._known: dict[int, CardReading] = {}
        self._silent: dict[int, float] = {}

    def read(self) -> SensorReading:
        """Reads everything once. After NVML has failed as a whole, tries it again every 30 s."""
        return self.with_cards(self.read_cards())

    def read_cards(self) -> tuple[CardReading, ...]:
        """The cards alone, which is what a driver can hold up."""
        if self._nvml is None and self._clock() >= self._retry_at:
            self._start()
        if self._nvml is None:
            return ()
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except Exception as error:  # noqa: BLE001 - the driver went away while we ran
            self.close()
            self._give_up(error)
            return ()
        return tuple(card for index in range(count) for card in self._read_card(index))

    def with_cards(self, cards: tuple[CardReading, ...]) -> SensorReading:
        """These cards with the machine as it is now; asks no driver."""
        machine = self._read_machine()
        return SensorReading(
            tuple(_shared_with(machine, card) for card in cards),
            machine,
            nvml_problem=self._problem,
            driver=self._driver,
            visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        )

    def close(self) -> None:
        """Lets go of the driver; a later `read` starts it again."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            answer(nvml.nvmlShutdown)

    def _read_card(self, index: int) -> Iterator[CardReading]:
        """The card, or its slices where it is split; one that is lost keeps its name."""
        try:
            card = self._nvml.nvmlDeviceGetHandleByIndex(index)
            found = tuple(read_card(self._nvml, index, card))
        except Exception as error:  # noqa: BLE001 - lost, or not ours to see: the others still count
            since = self._silent.setdefault(index, self._wall())
            known = self._known.get(index) or unread(index, f"card {index}")
            note = f"the card does not answer: {one_line(str(error))}"
            yield replace(silent(known, since), note=note)
            return
        self._silent.pop(index, None)
        self._known[index] = found[0]
        yield from found

    def _start(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - whatever it is, the user reads it
            self._give_up(error)
        else:
            self._nvml, self._problem = pynvml, None
            self._driver = answer(lambda: one_line(pynvml.nvmlSystemGetDriverVersion())) or ""

    def _give_up(self, error: Exception) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        self._problem = PROBLEMS.get(type(error).__name__) or (
            f"The NVIDIA driver does not answer ({one_line(str(error))}), so no card can be read. "
            "Run nvidia-smi: it should name the cause; if it fails too, reboot the machine."
        )

    def _read_machine(self) -> MachineReading:
        memory = answer(lambda: psutil_now().virtual_memory())
        machine = None if memory is None else int(memory.total)
        whole, left = (None, None) if memory is None else allowed(memory.total, memory.available)
        return MachineReading(
            memory_total_gib=None if whole is None else whole / GIB,
            memory_used_gib=None if whole is None or left is None else (whole - left) / GIB,
            whole_gib=None if machine is None or machine == whole else machine / GIB,
            cpu_percent=answer(lambda: self._cpu_percent(psutil_now().cpu_times())),
            cores=os.cpu_count() or 1,
        )

    def _cpu_percent(self, times: Any) -> float | None:
        # Not psutil.cpu_percent: it remembers by thread, and says 0.0 for the first call in each.
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts guest time in user time as well.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._cpu_before = self._cpu_before, (idle, total)
        if before is None or total <= before[1]:
            return None
        idle_share: float = (idle - before[0]) / (total - before[1])
        return 100 * min(max(1 - idle_share, 0.0), 1.0)  # iowait may run backwards


def driver_version() -> str | None:
    """The NVIDIA driver's version (`580.82.07`); None where no driver answers."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - `Sensors` says what is wrong
        return None
    try:
        return answer(lambda: one_line(pynvml.nvmlSystemGetDriverVersion()))
    finally:
        answer(pynvml.nvmlShutdown)


def _shared_with(machine: MachineReading, card: CardReading) -> CardReading:
    """A card without memory of its own has the machine's."""
    total, used = machine.memory_total_gib, machine.memory_used_gib
    if not card.shared or total is None or used is None:
        return card
    return replace(card, total_gib=total, used_gib=used, free_gib=total - used)
