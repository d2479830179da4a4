"""What a process holds of a card beside torch's memory: CUDA's context, its kernels and libraries.

torch does not count it, and the driver counts a process as a whole, where it tells at all.
"""

from __future__ import annotations

import os

from tui_lora.core.sensors import CardProcess, CardReading, SensorReading

_SAME_GIB = 0.01
_MOST_GIB = 4.0
"""More than any context: then another process took it. Up to 1 GiB is usual."""

_SILENT = "the driver does not tell"


def card_of(reading: SensorReading, uuid: str) -> CardReading | None:
    """The card that torch computes on by its `uuid`; None for what NVML shows otherwise (MIG)."""
    found = [card for card in reading.cards if card.uuid and uuid and card.uuid.endswith(uuid)]
    return found[0] if found else None


def context_of(
    before: CardReading | None, now: CardReading | None, reserved_gib: float
) -> tuple[float | None, str]:
    """CUDA's own share of a card in GiB, and how it is known; None where it cannot be told.

    `before` was read before this process had anything on the card. A driver may give the host's
    process ids, so one that is ours must be new on the card and hold what torch reserved.
    """
    if now is None:
        return None, _SILENT
    if before is not None and before.processes is not None and now.processes is not None:
        known = {found.pid for found in before.processes}
        new = [found for found in now.processes if found.pid not in known]
        ours = [found for found in new if found.pid == os.getpid()] or new
        if len(ours) == 1 and ours[0].used_gib is not None and ours[0].used_gib >= reserved_gib:
            how = "for this process" if ours[0].pid == os.getpid() else "for the one new process"
            return ours[0].used_gib - reserved_gib, f"by the driver, {how}"
        if len(new) > 1 or not _same(before.processes, now.processes):
            return None, "other processes came, left or changed meanwhile"
    if before is None or before.used_gib is None or now.used_gib is None:
        return None, _SILENT
    more = now.used_gib - before.used_gib - reserved_gib
    if not 0 <= more <= _MOST_GIB:
        return None, "other processes took or gave back memory meanwhile"
    return more, "by what the card holds more than before"


def _same(before: tuple[CardProcess, ...], now: tuple[CardProcess, ...]) -> bool:
    """Whether all that were there before hold what they held."""
    held = {found.pid: found.used_gib for found in now}
    for found in before:
        if found.pid not in held:
            return False
        was, by_now = found.used_gib, held[found.pid]
        if was is not None and by_now is not None and abs(was - by_now) > _SAME_GIB:
            return False
    return True
