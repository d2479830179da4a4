"""What the doctor says, and what can be told from versions alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CUDA_12_WHEELS = "https://download.pytorch.org/whl/cu128"

LEAST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580"}
"""The oldest Linux driver that runs programs built for any CUDA of that major version: NVIDIA, CUDA
Compatibility, "Minor Version Compatibility", table 1, with the full numbers of the CUDA Toolkit's
release notes."""


@dataclass(frozen=True)
class Check:
    """One thing looked at. `ok` is None where it could not be told, or does not matter here."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


def numbers(version: str) -> tuple[int, ...]:
    """`(580, 82, 7)` of `580.82.07`; empty where it does not begin with a number."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def least_driver(cuda: str) -> str | None:
    """The oldest driver for a build for `cuda` ("12.8"); None for one that is not in the table."""
    parts = numbers(cuda)
    return LEAST_DRIVER.get(parts[0]) if parts else None


def driver_check(cuda: str, driver: str) -> Check:
    """Whether the driver runs what is built for `cuda`."""
    name, needed = "CUDA and driver", least_driver(cuda)
    if needed is None or not numbers(driver):
        return Check(name, None, f"torch is built for CUDA {cuda}; the driver is {driver}")
    wants = f"torch is built for CUDA {cuda}, which wants driver {needed} or newer"
    if numbers(driver) >= numbers(needed):
        return Check(name, True, f"{wants}; yours is {driver}")
    fix = f"Update the NVIDIA driver to {needed} or newer"
    if numbers(cuda)[0] > 12 and numbers(driver) >= numbers(LEAST_DRIVER[12]):
        fix += f", or install a torch for CUDA 12: {pip_torch()}"
    return Check(name, False, f"{wants}; yours is {driver}", fix)


def pip_torch(wheels: str = CUDA_12_WHEELS) -> str:
    return f"pip install --force-reinstall torch --index-url {wheels}"


def architecture_fits(capability: tuple[int, int], built_for: Iterable[str]) -> bool:
    """Whether a card runs one of the architectures that torch is built for (`sm_86`, `sm_90a`,
    `compute_90`).

    Machine code runs on cards of its own major version and an equal or higher minor one; PTX
    (`compute_*`) on every newer card; those with a letter on that very card (CUDA Programming
    Guide, "Binary Compatibility" and "PTX Compatibility").
    """
    for name in built_for:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", name)
        if found is None:
            continue
        built = int(found[2]), int(found[3])
        if found[4] == "a":
            fits = built == capability
        elif found[1] == "sm":
            fits = built[0] == capability[0] and built[1] <= capability[1]
        else:
            fits = built <= capability
        if fits:
            return True
    return False


def library_for(cuda: str, shipped: Iterable[str]) -> str | None:
    """The build ("128") among `shipped` that bitsandbytes loads under torch's CUDA ("12.9").

    bitsandbytes' own order: the same version, else the highest older one of that major version,
    else the lowest newer one; never another major version.
    """
    wanted = numbers(cuda)[:2]
    there = {(int(build[:2]), int(build[2:])): build for build in shipped if len(build) > 2}
    same = sorted(version for version in there if version[:1] == wanted[:1])
    older = [version for version in same if version <= wanted]
    if older:
        return there[older[-1]]
    return there[same[0]] if same else None
