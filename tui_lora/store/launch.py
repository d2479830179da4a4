"""The one place that starts and signals processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store import lock
from tui_lora.store.paths import SessionPaths, expanded

if TYPE_CHECKING:
    from tui_lora.store.adapters import ChatTarget

Process = subprocess.Popen[bytes]
"""A started process, for those who hold one and must not start any."""

FOLDERS = (
    "TUI_LORA_CACHE", "TUI_LORA_CONFIG", "TUI_LORA_SESSIONS", "XDG_CACHE_HOME",
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
)  # fmt: skip
"""Variables that name folders, and may do so as seen from where the viewer was started."""

_STARTED: list[Process] = []
"""Workers that this process started: kept so that the ended ones are reaped."""


def _command(*arguments: str) -> list[str]:
    # -P: the worker's folder is data, never a place to import from.
    return [sys.executable, "-P", "-m", "tui_lora.worker", *arguments]


def _environment(devices: str = "auto") -> dict[str, str]:
    env = dict(os.environ)
    env["PYTHONUNBUFFERED"] = "1"
    env["TOKENIZERS_PARALLELISM"] = "false"
    # trl tells the Hub which trainer is used, unless this is set.
    env["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # NVML counts cards by bus; CUDA must count the same way.
    env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if devices == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
    elif devices != "auto":
        env["CUDA_VISIBLE_DEVICES"] = devices
    else:
        # SFTTrainer refuses several visible cards in one process.
        env["CUDA_VISIBLE_DEVICES"] = env.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    for name in FOLDERS:
        if env.get(name):
            # A train worker runs in its session's folder.
            env[name] = str(expanded(env[name]).absolute())
    return env


def start_training(
    paths: SessionPaths,
    *,
    devices: str = "auto",
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
    wait_s: float = 20.0,
) -> int:
    """Start a worker that belongs to no terminal; returns its pid once it holds the session's lock.
    `changes` are settings that the run goes on with from here, and `reason` says why.

    Its input is /dev/null and its output goes to worker.log: nothing that happens to the caller
    can block or end it. Raises UserError when the session already runs or the worker dies at once.
    """
    running = lock.holder(paths.lock)
    if running is not None:
        raise UserError(
            f"{paths.name} is already running (process {running or 'unknown'}).",
            then=f"Watch it: tui-lora watch {paths.name}",
        )
    _reap()
    with paths.log.open("ab") as log:
        process = subprocess.Popen(
            _command("train", str(paths.folder), *_changes(changes, reason)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=paths.folder,
            env=_environment(devices),
            start_new_session=True,
            close_fds=True,
            umask=0o077,
        )
    _STARTED.append(process)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if lock.holder(paths.lock) is not None:
            return process.pid
        if process.poll() is not None:
            raise UserError(
                f"the worker of {paths.name} ended at once (exit code {process.returncode}): "
                f"{last_words(paths.log)}",
                where=str(paths.log),
                exit_code=1,
            )
        time.sleep(0.02)
    raise UserError(
        f"the worker of {paths.name} did not begin within {wait_s:.0f} s.",
        where=str(paths.log),
        then="Look at the log; a slow disk can cause this.",
        exit_code=1,
    )


def _changes(changes: Mapping[str, Any] | None, reason: str) -> tuple[str, ...]:
    if not changes:
        return ()
    return "--changes", json.dumps(dict(changes)), "--reason", reason


def start_pipe_worker(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
    """Start a worker that serves its caller over pipes and ends at end of input.

    A session of its own keeps a Ctrl-C in the caller's terminal from reaching it.
    """
    return subprocess.Popen(
        _command(kind, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(devices),
        start_new_session=True,
        close_fds=True,
        umask=0o077,
    )


def start_chat(target: ChatTarget) -> subprocess.Popen[bytes]:
    """Start a chat worker on a target's base; adapters are loaded by message.

    A classifier's folder is named already then: it says how many outputs the base must have.
    """
    model = target.model
    revision = ("--revision", model.revision) if model.revision else ()
    code = ("--trust-remote-code", model.trust_remote_code) if model.trust_remote_code else ()
    classifier = ("--classifier", str(target.adapter)) if target.classifier else ()
    return start_pipe_worker(
        "chat",
        target.model.id,
        "--devices",
        target.devices,
        "--quantization",
        target.quantization.scheme,
        "--dtype",
        target.model.dtype,
        *revision,
        *code,
        *classifier,
        devices=target.devices,
    )


def run_worker(kind: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a worker that does one thing and prints its progress as lines (converting a file)."""
    return subprocess.Popen(
        _command(kind, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment("cpu"),
        close_fds=True,
        umask=0o077,
    )


def run_pip(*arguments: str, log: Path, scratch: Path) -> Process:
    """Start this Python's pip; what it says goes to `log`, what it loads first to `scratch`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pip", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch), "LC_ALL": "C.UTF-8"},
            close_fds=True,
        )


def end(process: subprocess.Popen[bytes], patience_s: float = 2.0) -> None:
    """Close a pipe worker's input, wait for it to leave, and kill it if it does not."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def lives(pid: int) -> bool:
    """Whether a process of this number is there; it may be another one than was meant."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def last_words(log: Path, lines: int = 3) -> str:
    """The last lines of a log in one, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "(no log)"
    kept = [clean(line).strip() for line in text.splitlines() if line.strip()]
    return " · ".join(kept[-lines:]) or "(it said nothing)"


def _reap() -> None:
    _STARTED[:] = [process for process in _STARTED if process.poll() is None]
