"""What this machine can do, and what is wrong with it.

Every check has a limit and runs beside the others, so that a disk, a driver or a Hub that does not
answer costs only its own line. Nothing here imports torch; a worker does, and says what it found.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tui_lora.core.doctor import Check
from tui_lora.core.sensors import MachineReading, SensorReading
from tui_lora.core.text import one_line
from tui_lora.store import (
    doctor_disks,
    doctor_hub,
    doctor_libraries,
    doctor_logout,
    doctor_machine,
    doctor_terminal,
    doctor_torch,
)
from tui_lora.store.gpu import Sensors, driver_version
from tui_lora.store.paths import cache_folder, hub_cache_folder, sessions_root

T = TypeVar("T")
OnFound = Callable[[Check], None]

LIMIT_S = 10.0
_READING_S = 8.0


@dataclass(frozen=True)
class Ask:
    """One question: it gives checks, and no answer within the limit is one as well.

    `stuck` is the mend of silence; where there is one, silence is a fault.
    """

    about: str
    find: Callable[[], Iterable[Check]]
    limit_s: float = LIMIT_S
    stuck: str = ""


def checks(
    root: Path | None = None, *, quick: bool = False, on_found: OnFound | None = None
) -> list[Check]:
    """Every check in a fixed order, each given to `on_found` when its turn comes; never raises.

    `root` is the folder of the sessions. A quick look starts no worker and asks no network, and
    takes under a second; the full one about as long as importing torch.
    """
    return ask_all(_asked(root or sessions_root(), quick), on_found)


def ask_all(asked: Iterable[Ask], on_found: OnFound | None = None) -> list[Check]:
    """Ask everything at once, and wait for the answers in order."""
    began = time.monotonic()
    waiting = [(ask, _begin(lambda ask=ask: list(ask.find()))) for ask in asked]  # type: ignore[misc]
    found: list[Check] = []
    for ask, future in waiting:
        for check in _answer(ask, future, began + ask.limit_s):
            found.append(check)
            if on_found is not None:
                on_found(check)
    return found


def _answer(ask: Ask, future: Future[list[Check]], until: float) -> list[Check]:
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        said = f"there was no answer in {ask.limit_s:.0f} s"
        return [Check(ask.about, False if ask.stuck else None, said, ask.stuck)]
    except Exception as error:  # noqa: BLE001 - a doctor that dies helps nobody
        said = f"could not be told: {one_line(str(error)) or type(error).__name__}"
        return [Check(ask.about, None, said)]


def _begin(find: Callable[[], T]) -> Future[T]:
    """Run `find` in a thread that nobody waits for at the end: it may hang in the kernel."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(find())
        except BaseException as error:  # noqa: BLE001 - handed on to whoever asks
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="doctor").start()
    return future


def _asked(root: Path, quick: bool) -> Iterator[Ask]:
    sensors, build = _begin(_read_sensors), _begin(doctor_libraries.torch_build)
    driver = _begin(driver_version)
    mounts, cgroup = _text(Path("/proc/self/mountinfo")), _text(Path("/proc/self/cgroup"))
    allowed = _begin(lambda: doctor_machine.allowance(cgroup))

    def reading() -> SensorReading:
        try:
            return sensors.result(_READING_S)
        except TimeoutError:
            silent = (
                f"The NVIDIA driver has not answered in {_READING_S:.0f} s. A card may have fallen "
                "off the bus: look at `sudo dmesg | grep -i xid`, and reboot."
            )
            return SensorReading((), MachineReading(None, None, None, 1), nvml_problem=silent)

    disk_mend = "The disk does not answer: look at its mount, and choose another folder."
    yield Ask("Python", doctor_libraries.python)
    yield Ask("libraries", doctor_libraries.libraries)
    yield Ask("optional", doctor_libraries.optional)
    yield Ask("torch build", lambda: doctor_libraries.torch(build.result(), reading()))
    yield Ask(
        "bitsandbytes' library",
        lambda: doctor_libraries.bitsandbytes(
            build.result(),
            doctor_libraries.bitsandbytes_folder(),
            os.environ.get("BNB_CUDA_VERSION", ""),
        ),
    )
    yield Ask("GPU (NVML)", lambda: doctor_machine.cards(build.result(), reading()))
    yield Ask("CUDA and driver", lambda: doctor_machine.driver(build.result(), driver.result(5)))
    yield Ask("memory", lambda: doctor_machine.memory(reading(), allowed.result()))
    yield Ask("swap", lambda: doctor_machine.swap(_swap_bytes(), allowed.result()))
    yield Ask("/dev/shm", doctor_machine.shared_memory)
    yield Ask("limits", doctor_machine.limits)
    yield Ask("sessions folder", lambda: doctor_disks.sessions_folder(root), stuck=disk_mend)
    yield Ask("sessions", lambda: doctor_disks.sessions(root))
    for name, folder in (
        ("sessions", root),
        ("models", hub_cache_folder()),
        ("cache", cache_folder()),
        ("temporary", Path(tempfile.gettempdir())),
    ):
        yield Ask(
            f"disk ({name})",
            lambda name=name, folder=folder: doctor_disks.disk(name, folder, mounts),  # type: ignore[misc]
            stuck=disk_mend,
        )
    yield Ask(
        "terminal",
        lambda: doctor_terminal.terminal(os.environ, doctor_terminal.terminal_size()),
    )
    yield Ask("locale", doctor_terminal.encoding)
    yield Ask("themes", doctor_disks.themes)
    yield Ask("after logout", lambda: doctor_logout.logout(getpass.getuser(), cgroup))
    yield Ask("container", _container)
    yield Ask("Hugging Face cache", doctor_hub.cache, stuck=disk_mend)
    yield Ask("Hub token", doctor_hub.token)
    if not quick:
        yield Ask("Hub", doctor_hub.answers)
        yield Ask(
            "torch at work",
            lambda: doctor_torch.at_work(
                doctor_torch.ask_worker(),
                card_here=bool(reading().cards),
                hidden=doctor_torch.hidden_cards(),
            ),
            limit_s=doctor_torch.LIMIT_S + LIMIT_S,
        )


def _container() -> Iterator[Check]:
    marks = tuple(mark for mark in ("/.dockerenv", "/run/.containerenv") if Path(mark).exists())
    first = _text(Path("/proc/1/comm")) or None
    kind = os.environ.get("container", "")  # noqa: SIM112 systemd and podman spell it so
    return doctor_machine.container(first, marks, kind)


def _swap_bytes() -> int:
    import psutil

    return int(psutil.swap_memory().total)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_sensors() -> SensorReading:
    sensors = Sensors()
    try:
        return sensors.read()
    finally:
        sensors.close()
