"""Reads one card, or the slices that it is split into, through NVML's bindings."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tui_lora.core.sensors import CardProcess, CardReading
from tui_lora.core.text import one_line

T = TypeVar("T")

GIB = 2**30

SHARED_MEMORY = "memory is shared with the machine"
NO_PERMISSION = "the driver gives no permission to read this card's memory; it may be split by MIG"
NO_SLICES = "MIG is on and the card is not split yet, so that nothing can run on it"

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The kernel's own number for the machine's processes (PROC_PID_INIT_INO, include/linux/proc_ns.h);
a container that counts its own has another."""
_OF_CUDA = (b"libcuda.so", b"/dev/nvidia")


def answer(*questions: Callable[[], T]) -> T | None:
    """The first answer, or None. A driver refuses values one by one, and each refusal is normal.

    Not only NVMLError is caught: a name may not be UTF-8, old bindings may lack a function.
    """
    for question in questions:
        try:
            return question()
        except Exception:  # noqa: BLE001
            continue
    return None


def unread(index: int, name: str) -> CardReading:
    """A card of which nothing is known."""
    return CardReading(
        index=index,
        uuid=None,
        name=name,
        total_gib=None,
        used_gib=None,
        free_gib=None,
        load_percent=None,
        heat_celsius=None,
        power_watts=None,
        power_limit_watts=None,
        processes=None,
        note=None,
    )


def silent(card: CardReading, since: float) -> CardReading:
    """A card that does not answer: which one it is stays known, its figures do not."""
    return replace(
        unread(card.index, card.name),
        uuid=card.uuid,
        capability=card.capability,
        slice=card.slice,
        whole_uuid=card.whole_uuid,
        silent_since=since,
    )


def read_card(nvml: Any, index: int, card: Any) -> Iterator[CardReading]:
    """The card, or each of its slices; raises when it does not answer at all."""
    # Each other question may be refused by itself; of a lost card all are.
    uuid = _unless_lost(nvml, partial(_text, nvml.nvmlDeviceGetUUID, card))
    whole = replace(
        unread(index, answer(partial(_text, nvml.nvmlDeviceGetName, card)) or f"card {index}"),
        uuid=uuid,
        heat_celsius=answer(
            lambda: float(nvml.nvmlDeviceGetTemperatureV(card, nvml.NVML_TEMPERATURE_GPU)),
            lambda: float(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
        ),
        power_watts=answer(lambda: nvml.nvmlDeviceGetPowerUsage(card) / 1000),  # NVML: milliwatts
        power_limit_watts=answer(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1000),
        capability=answer(lambda: tuple(nvml.nvmlDeviceGetCudaComputeCapability(card))),
    )
    split = answer(lambda: nvml.nvmlDeviceGetMigMode(card)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
    slices = list(_slices(nvml, card)) if split else []
    for number, part in slices:
        name = answer(partial(_text, nvml.nvmlDeviceGetName, part)) or whole.name
        # Heat and power are the whole card's; how busy a slice is, the driver does not say.
        yield replace(
            _with_memory(nvml, part, whole),
            uuid=answer(partial(_text, nvml.nvmlDeviceGetUUID, part)),
            name=name if "MIG" in name else f"{name} MIG",
            slice=number,
            whole_uuid=uuid,
        )
    if not slices:
        found = _with_memory(nvml, card, whole)
        load = answer(lambda: float(nvml.nvmlDeviceGetUtilizationRates(card).gpu))
        empty = split and found.note is None
        yield replace(found, load_percent=load, note=NO_SLICES if empty else found.note)


def _slices(nvml: Any, card: Any) -> Iterator[tuple[int, Any]]:
    for number in range(answer(lambda: int(nvml.nvmlDeviceGetMaxMigDeviceCount(card))) or 0):
        # Places without a slice are not found.
        part = answer(partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, number))
        if part is not None:
            yield number, part


def _with_memory(nvml: Any, card: Any, known: CardReading) -> CardReading:
    total, used, free, note = _memory(nvml, card)
    return replace(
        known,
        total_gib=total,
        used_gib=used,
        free_gib=free,
        processes=_processes(nvml, card),
        note=note,
        shared=note == SHARED_MEMORY,
    )


def _text(question: Callable[[Any], str], card: Any) -> str:
    return one_line(question(card))


def _unless_lost(nvml: Any, question: Callable[[], T]) -> T | None:
    """As `answer`, but a card that is lost raises."""
    try:
        return question()
    except (nvml.NVMLError_GpuIsLost, nvml.NVMLError_ResetRequired):
        raise
    except Exception:  # noqa: BLE001 - as in `answer`
        return None


def _memory(nvml: Any, card: Any) -> tuple[float | None, float | None, float | None, str | None]:
    """Total, used and free in GiB, and a note when they are unknown."""
    memory = answer(lambda: nvml.nvmlDeviceGetMemoryInfo(card, version=nvml.nvmlMemory_v2))
    if memory is None:  # an old driver, or WSL, where v2 is an unknown error
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(card)
        except nvml.NVMLError_NotSupported:
            return None, None, None, SHARED_MEMORY
        except nvml.NVMLError_NoPermission:
            return None, None, None, NO_PERMISSION
        except Exception as error:  # noqa: BLE001 - as in `answer`
            return None, None, None, f"the card's memory is unknown: {one_line(str(error))}"
    if not memory.total:  # some unified-memory parts answer with zeros instead of refusing
        return None, None, None, SHARED_MEMORY
    # v1 counts the driver's own part as used, v2 apart from it: one meaning for both.
    used = memory.used + getattr(memory, "reserved", 0)
    return memory.total / GIB, used / GIB, memory.free / GIB, None


def _processes(nvml: Any, card: Any) -> tuple[CardProcess, ...] | None:
    """All that compute on the card, and those that draw on it where the driver tells of them."""
    computing = answer(
        lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v3(card),
        lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v2(card),  # drivers before 510
    )
    if computing is None:
        return None
    drawing = answer(lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(card)) or []
    found = {process.pid: process for process in (*drawing, *computing)}
    return tuple(
        CardProcess(
            pid=process.pid,
            name=_process_name(process.pid),
            used_gib=None if process.usedGpuMemory is None else process.usedGpuMemory / GIB,
        )
        for process in found.values()
    )


def _process_name(pid: int) -> str | None:
    """None when it is gone, hidden from us, or (in a container) numbered by the host."""
    if not _is_ours(pid):
        return None
    return answer(lambda: one_line(psutil_now().Process(pid).name())) or None


def _is_ours(pid: int) -> bool:
    """Whether the driver means the process that has this number here. In a container the driver
    gives the host's numbers; there a process counts only that has CUDA open itself."""
    if answer(lambda: Path("/proc/self/ns/pid").stat().st_ino) == _FIRST_PID_NAMESPACE:
        return True
    mapped = answer(Path(f"/proc/{pid}/maps").read_bytes) or b""
    return any(sign in mapped for sign in _OF_CUDA)


def psutil_now() -> ModuleType:
    import psutil

    return psutil
