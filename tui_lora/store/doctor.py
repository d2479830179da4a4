"""What this machine can do, and what is wrong with it. Reads versions, never imports torch."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.sensors import SensorReading
from tui_lora.core.text import clean, one_line, size
from tui_lora.store.gpu import Sensors
from tui_lora.store.paths import cache_folder, data_folder, hub_cache_folder, sessions_root

PACKAGE = "tui-lora"
MEMORY_NEEDED_GIB = 3.0
_FREE_NEEDED = 2 << 30
_SHM_NEEDED = 64 << 20
COLUMNS, LINES = 80, 24


@dataclass(frozen=True)
class Check:
    """One thing looked at. `ok` is None where it could not be told, or does not matter here."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


def checks(root: Path | None = None) -> list[Check]:
    """Every check, in under a second; never raises. `root` is the folder of the sessions."""
    reading = _read_sensors()
    torch = _version("torch")
    asked: list[Callable[[], Iterator[Check]]] = [
        _python,
        _libraries,
        lambda: _torch(torch, reading),
        lambda: _cards(torch, reading),
        lambda: _memory(reading),
        lambda: _sessions(root or sessions_root()),
        lambda: _disk("cache", cache_folder()),
        _shared_memory,
        _terminal,
        _hub,
    ]
    found: list[Check] = []
    for ask in asked:
        try:
            found.extend(ask())
        except Exception as error:  # noqa: BLE001 - a doctor that dies helps nobody
            name = getattr(ask, "__name__", "check").strip("_<>").replace("_", " ")
            found.append(Check(name, None, f"could not be told: {one_line(str(error))}"))
    return found


def _python() -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= (3, 11)
    yield Check("Python", ok, version, "" if ok else "Python 3.11 or newer is needed.")


def _libraries() -> Iterator[Check]:
    """One line for all that fit, and one for each that does not."""
    from packaging.requirements import InvalidRequirement, Requirement

    requirements = _requirements()
    if not requirements:
        yield Check("libraries", None, "tui-lora is not installed, so nothing says which it needs")
        return
    fitting = []
    wrong = False
    for text in requirements:
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        have = _version(needed.name)
        wanted = f"{needed.name}{needed.specifier}"
        if have is None:
            wrong = True
            yield Check(needed.name, False, "is missing", f"pip install '{wanted}'")
        elif not needed.specifier.contains(have, prereleases=True):
            wrong = True
            detail = f"is {have}, outside {needed.specifier}"
            yield Check(needed.name, False, detail, f"pip install '{wanted}'")
        else:
            fitting.append(f"{needed.name} {have}")
    shown = [name for name in fitting if name.split()[0] in _SHOWN]
    detail = f"{len(fitting)} as needed: {', '.join(shown)}"
    yield Check("libraries", not wrong, detail, "" if not wrong else "See the lines above.")


_SHOWN = ("transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "textual")


def _requirements() -> list[str]:
    """What the installed package asks for; in a checkout that is not installed, pyproject.toml."""
    try:
        return importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        text = (data_folder().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
        return [str(line) for line in tomllib.loads(text)["project"]["dependencies"]]
    except (OSError, ValueError, KeyError):
        return []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch(version: str | None, reading: SensorReading) -> Iterator[Check]:
    if version is None:
        yield Check("torch build", False, "torch is missing", "pip install torch")
        return
    build = _build(version)
    if build == "cpu" and reading.cards:
        yield Check(
            "torch build",
            False,
            f"{version} is built for the CPU, but there is a card",
            "Install torch's CUDA build: pip install --force-reinstall torch "
            "--index-url https://download.pytorch.org/whl/cu128",
        )
    else:
        yield Check("torch build", True, f"{version}: {_BUILDS.get(build, build)}")


_BUILDS = {"cpu": "for the CPU only", "": "PyPI's, for CUDA on Linux x86_64"}


def _build(version: str) -> str:
    """`cpu`, `cu128`, `rocm6.4` … from `2.13.0+cpu`; empty for PyPI's own."""
    return version.partition("+")[2]


def _cards(torch: str | None, reading: SensorReading) -> Iterator[Check]:
    if reading.nvml_problem is not None:
        # Without a device file there is no card to be had, and that is no fault.
        present = any(Path("/dev").glob("nvidia[0-9]*"))
        what, _, fix = reading.nvml_problem.partition(". ")
        if present or _build(torch or "").startswith("cu"):
            yield Check("GPU (NVML)", False, f"{what}.", fix)
        else:
            yield Check("GPU (NVML)", None, "no NVIDIA card here: training runs on the CPU")
        return
    if not reading.cards:
        yield Check("GPU (NVML)", None, "the NVIDIA driver answers and knows no card")
    for card in reading.cards:
        total = "—" if card.total_gib is None else f"{card.total_gib:.1f} GiB"
        free = "" if card.free_gib is None else f", {card.free_gib:.1f} GiB free"
        note = f" ({clean(card.note)})" if card.note else ""
        yield Check(
            f"GPU {card.index}", None if card.note else True, f"{card.name}, {total}{free}{note}"
        )


def _memory(reading: SensorReading) -> Iterator[Check]:
    total, used = reading.machine.memory_total_gib, reading.machine.memory_used_gib
    if total is None or used is None:
        yield Check("memory", None, "could not be read")
        return
    ok = total - used >= MEMORY_NEEDED_GIB
    detail = f"{total - used:.1f} of {total:.1f} GiB free"
    fix = f"A worker needs about {MEMORY_NEEDED_GIB:.0f} GiB: end other programs."
    yield Check("memory", ok, detail, "" if ok else fix)


def _sessions(root: Path) -> Iterator[Check]:
    shown = clean(str(root))
    place = _nearest(root)
    if place == root and not root.is_dir():
        ok = False
    else:
        ok = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    yield Check(
        "sessions folder",
        ok,
        f"{shown} {'can' if ok else 'cannot'} be written",
        "" if ok else "Choose another with --sessions FOLDER or $TUI_LORA_SESSIONS.",
    )
    yield from _disk("sessions", root)


def _disk(name: str, folder: Path) -> Iterator[Check]:
    try:
        free = shutil.disk_usage(_nearest(folder)).free
    except OSError as error:
        yield Check(f"disk ({name})", None, f"{clean(str(folder))}: {error.strerror}")
        return
    ok = free >= _FREE_NEEDED
    detail = f"{size(free)} free at {clean(str(folder))}"
    yield Check(f"disk ({name})", ok, detail, "" if ok else "Free some room, 2 GB or more.")


def _nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there already."""
    for place in (folder, *folder.parents):
        try:
            place.stat()
        except OSError:
            continue
        return place
    return Path("/")


def _shared_memory() -> Iterator[Check]:
    try:
        total = shutil.disk_usage("/dev/shm").total
    except OSError:
        yield Check("/dev/shm", None, "is not there")
        return
    ok = total >= _SHM_NEEDED
    fix = "Start the container with --shm-size=1g."
    yield Check("/dev/shm", ok, size(total), "" if ok else fix)


def _terminal() -> Iterator[Check]:
    term = os.environ.get("TERM", "")
    if not sys.stdout.isatty():
        yield Check("terminal", None, "the output goes to no terminal")
    else:
        width, height = shutil.get_terminal_size()
        colours = _colours(term)
        detail = f"{clean(term) or 'no TERM'}, {width}x{height}, {colours}"
        if term in ("", "dumb", "unknown"):
            yield Check("terminal", False, detail, "Set TERM, for instance to xterm-256color.")
        elif width < COLUMNS or height < LINES:
            fix = f"Make it at least {COLUMNS}x{LINES}."
            yield Check("terminal", False, detail, fix)
        else:
            yield Check("terminal", True, detail)
    # Not locale.getpreferredencoding: Python in UTF-8 mode would hide what the terminal is told.
    encoding = locale.getencoding()
    ok = encoding.lower().replace("-", "") == "utf8"
    yield Check("locale", ok, encoding, "" if ok else "Set LANG=C.UTF-8, else lines become ?s.")


def _colours(term: str) -> str:
    if os.environ.get("NO_COLOR"):
        return "no colour ($NO_COLOR)"
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    return "256 colours" if "256" in term else "16 colours"


def _hub() -> Iterator[Check]:
    from huggingface_hub import constants, get_token

    token = "a token is set" if get_token() else "no token (gated models need one)"
    offline = ", offline by $HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""
    folder = hub_cache_folder()
    place = _nearest(folder)
    ok = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    yield Check(
        "Hugging Face cache",
        ok,
        f"{clean(str(folder))}, {token}{offline}",
        "" if ok else "It cannot be written: set HF_HOME to another folder.",
    )


def _read_sensors() -> SensorReading:
    sensors = Sensors()
    try:
        return sensors.read()
    finally:
        sensors.close()
