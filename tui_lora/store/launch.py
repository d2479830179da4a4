"""The one place that starts and signals processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.store import lock, signalled
from tui_lora.store.inside import check_inside
from tui_lora.store.last_words import last_words
from tui_lora.store.paths import SessionPaths, expanded
from tui_lora.store.process_began import started_ticks
from tui_lora.store.sessions import read_worker
from tui_lora.store.sudden_end import boot_id

if TYPE_CHECKING:
    from tui_lora.store.adapters import ChatTarget

Process = subprocess.Popen[bytes]
"""A started process, for those who hold one and must not start any."""

FOLDERS = (
    "TUI_LORA_CACHE", "TUI_LORA_CONFIG", "TUI_LORA_DATA", "TUI_LORA_SESSIONS", "XDG_CACHE_HOME",
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
)  # fmt: skip
"""Variables that name folders, and may do so as seen from where the viewer was started."""

HOOK_S = 60.0
"""How long a user's command may take when a run ends."""

_APPENDED = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW

_STARTED: list[Process] = []
"""Processes that this one started: kept so that the ended ones are reaped."""


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
    accept: Collection[str] = (),
    wait_s: float = 60.0,
) -> int:
    """Start a worker that belongs to no terminal; returns its pid once it holds the session's lock
    and has introduced itself.
    `changes` are settings that the run goes on with from here, and `reason` says why;
    `accept` names what is otherwise than before and may be.

    Its input is /dev/null and its output goes to worker.log: nothing that happens to the caller
    can block or end it. Raises UserError when the session already runs or the worker dies at once.
    """
    running = lock.holder(paths.lock)
    if running is not None:
        raise UserError(
            f"{paths.name} is already running (process {running or 'unknown'}).",
            then=f"Watch it: tui-lora watch {paths.name}",
        )
    check_inside(paths.folder)
    with os.fdopen(os.open(paths.log, _APPENDED, 0o600), "ab") as log:
        process = subprocess.Popen(
            _command("train", str(paths.folder), *asked_of(changes, reason, accept)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=paths.folder,
            env=_environment(devices),
            start_new_session=True,
            close_fds=True,
            umask=0o077,
        )
    _keep(process)
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if process.poll() is None and _has_begun(paths, process.pid):
            return process.pid
        if process.poll() is not None:
            raise UserError(
                f"the worker of {paths.name} ended at once (exit code {process.returncode}): "
                f"{last_words(paths.log)}",
                where=str(paths.log),
                exit_code=1,
            )
        time.sleep(0.02)
    if lock.holder(paths.lock) == process.pid:
        return process.pid
    # It must not begin after all, beside another that is started in its place.
    process.kill()
    process.wait()
    raise UserError(
        f"the worker of {paths.name} did not begin within {wait_s:.0f} s.",
        where=str(paths.log),
        then="Look at the log; a slow disk can cause this.",
        exit_code=1,
    )


def _has_begun(paths: SessionPaths, pid: int) -> bool:
    told = read_worker(paths)
    is_it = told.get("pid") == pid and told.get("started_ticks") == started_ticks(pid)
    return is_it and lock.holder(paths.lock) is not None


def train_on(
    paths: SessionPaths,
    descriptor: int,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    unless: Callable[[], bool] = lambda: False,
) -> None:
    """Become the session's worker anew: this very process, so that pid, log and lock stay, but with
    none of its memory. Only for a train worker, in its main thread, while `sigterm_waits`.

    `descriptor` is that of the lock, `environment` what the worker was started with; `unless` is
    asked at the last moment. Raises OSError. Where it does that or returns, it is still itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    lock.keep_beyond(descriptor)
    try:
        if unless():
            return
        os.execve(
            sys.executable,
            _command("train", str(paths.folder), *arguments, "--lock", str(descriptor)),
            dict(environment),
        )
    finally:
        lock.kept(paths.lock, descriptor)


@contextlib.contextmanager
def sigterm_waits() -> Iterator[None]:
    """While this is open a SIGTERM waits, also for the program that this process becomes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def start_when_gone(root: Path, card: str, environment: Mapping[str, str], log: Path) -> None:
    """Start what starts the next session of a root's queue on a card, once the calling process is
    gone. Only for a train worker that ends; what is said goes to `log`. Raises OSError."""
    _start_next(root, card, os.getpid(), environment, log)


def guard_queue(
    paths: SessionPaths, card: str, pid: int, environment: Mapping[str, str] | None = None
) -> None:
    """Start what does so where the session's worker, process `pid`, ends without a last word; of
    several for an attempt one stays. `environment` is that of the next worker. Raises OSError."""
    env = environment or _environment(card)
    _start_next(paths.folder.parent, card, pid, env, paths.log, "--guard", paths.name)


def _start_next(
    root: Path, card: str, pid: int, environment: Mapping[str, str], log: Path, *more: str
) -> None:
    with os.fdopen(os.open(log, _APPENDED, 0o600), "ab") as output:
        process = subprocess.Popen(
            _command("next", str(root), "--card", card, "--after", str(pid), *more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=root,
            env=dict(environment),
            start_new_session=True,
            close_fds=True,
            umask=0o077,
        )
    _keep(process)


def asked_of(
    changes: Mapping[str, Any] | None, reason: str, accept: Collection[str]
) -> tuple[str, ...]:
    """What a train worker is told beside its session, as arguments; see `start_training`."""
    told = ("--changes", json.dumps(dict(changes)), "--reason", reason) if changes else ()
    return *told, *(("--accept", json.dumps(sorted(accept))) if accept else ())


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
    tokens = ("--most-tokens", str(target.most_tokens)) if target.most_tokens else ()
    memory = ("--most-gib", f"{target.most_gib:.3f}") if target.most_gib is not None else ()
    return start_pipe_worker(
        "chat",
        target.model.id,
        "--devices",
        target.devices,
        "--quantization",
        target.quantization.model_dump_json(),
        "--dtype",
        target.model.dtype,
        *revision,
        *code,
        *classifier,
        *tokens,
        *memory,
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


def wait_out(process: Process, limit_s: float) -> tuple[bytes, bytes, int | None]:
    """All that a pipe worker wrote (output, errors) and its exit code; None where it was killed,
    since it had not ended within `limit_s`."""
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return *process.communicate(), None
    return out, err, process.returncode


def run_hook(command: str, told: Mapping[str, str], paths: SessionPaths) -> str:
    """Run a user's command by /bin/sh in a session's folder, a minute at most; returns what came of
    it. `told` stands in its environment, what it says goes to worker.log. Never raises."""
    try:
        with paths.log.open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=paths.folder,
                env={**os.environ, **told},
                start_new_session=True,
                close_fds=True,
            )
        try:
            return f"ended with exit code {process.wait(HOOK_S)}"
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"ended by us: it took longer than {HOOK_S:.0f} s"
    except (OSError, ValueError) as error:
        return f"could not be run: {error}"


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


def signal_worker(paths: SessionPaths, number: signal.Signals) -> int:
    """Send a signal to the session's train worker; returns its pid.

    Only to the very process that holds the session's lock and is the one that worker.json tells
    of: a number that was given to another process by now is never signalled. Raises UserError.
    """
    told = read_worker(paths)
    pid = told.get("pid")
    if lock.holder(paths.lock) is None:
        raise UserError(f"{paths.name} is not running, so there is nobody to signal.")
    if not isinstance(pid, int) or pid <= 1:
        raise _not_signalled(paths, "worker.json does not say which process it is")
    try:
        # From here on it is this process or none, even if it ends and its number is given anew.
        process = os.pidfd_open(pid)
    except (OSError, OverflowError):
        raise _not_signalled(paths, f"there is no process {pid} here") from None
    try:
        if told.get("boot_id") != boot_id():
            raise _not_signalled(paths, f"process {pid} was begun before this machine was")
        if "started_ticks" in told and told["started_ticks"] != started_ticks(pid):
            raise _not_signalled(paths, f"process {pid} is another one by now")
        held = lock.holder(paths.lock)
        if held != pid:
            whose = f"process {held}" if held else "a process that cannot be seen from here"
            raise _not_signalled(paths, f"the lock is held by {whose}, not by {pid}")
        signalled.note(paths, number.name)
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        raise UserError(f"{paths.name} has just ended.") from None
    except PermissionError:
        raise _not_signalled(paths, f"process {pid} belongs to another user") from None
    finally:
        os.close(process)
    return pid


def _not_signalled(paths: SessionPaths, why: str) -> UserError:
    return UserError(
        f"the worker of {paths.name} is not signalled: {why}.",
        where=str(paths.worker),
        then="End it where it was started, if it must end now.",
        exit_code=1,
    )


def lives(pid: int) -> bool:
    """Whether a process of this number is there; it may be another one than was meant."""
    try:
        with contextlib.suppress(PermissionError):
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _keep(started: Process) -> None:
    _STARTED[:] = [*(process for process in _STARTED if process.poll() is None), started]
