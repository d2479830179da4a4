"""Real train workers for tests, forked from a parent that has imported everything and run nothing.

Importing trl takes seconds; forking takes none. Nothing of torch has run in the parent, so a child
starts as clean as a fresh process. What was imported is frozen there (tests/imported.py).
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.core.view import RunView
from tui_lora.store import lock, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths, cache_folder, config_folder

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "tui_lora.worker.train",
        "tui_lora.worker.trainer",
        "tui_lora.worker.arguments",
        "tui_lora.worker.data",
        "tui_lora.worker.lora",
        "tui_lora.worker.model",
        "tui_lora.worker.notices",
        "tui_lora.worker.planning",
        "tui_lora.worker.resolved",
        "tui_lora.worker.settling",
        "tui_lora.worker.templates",
        "bitsandbytes",
        "tests.imported",
    ]
)


def _be_worker(
    folder: str,
    threads: int,
    cache: str,
    config: str,
    room_gib: float | None,
    first: Callable[[], object] | None,
    *more: str,
) -> None:
    os.setsid()
    # The parent of the forks began before the test set its own folders.
    os.environ["TUI_LORA_CACHE"], os.environ["TUI_LORA_CONFIG"] = cache, config
    with (Path(folder) / "worker.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    # Whoever waits for it in vain asks where it is.
    faulthandler.register(signal.SIGUSR2, file=2)
    import torch

    torch.set_num_threads(threads)
    if room_gib is not None:
        most = psutil.Process().memory_info().vms + int(room_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        _lift_before_handing_on()
    from tui_lora.worker.train import main

    if first is not None:
        first()
    os._exit(main([folder, *more]))


def _lift_before_handing_on() -> None:
    """Let what the worker starts at its end have all the memory again."""
    from tui_lora.store import launch

    begin = launch.start_when_gone

    def lifted(*given: Any) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        begin(*given)

    launch.start_when_gone = lifted


def launch(
    paths: SessionPaths,
    threads: int = 1,
    more: tuple[str, ...] = (),
    room_gib: float | None = None,
    first: Callable[[], object] | None = None,
) -> BaseProcess:
    """A worker for the session, with `more` arguments, that may not have begun yet.

    With `room_gib` it may have so much memory beside what it has when all is imported; beyond that
    memory runs out. `first` is done in it before anything else; it has to be a function that can
    be pickled.
    """
    folders = (str(cache_folder()), str(config_folder()))
    given = (str(paths.folder), threads, *folders, room_gib, first, *more)
    process = _CONTEXT.Process(target=_be_worker, args=given, daemon=True)
    process.start()
    return process


def start(
    paths: SessionPaths,
    threads: int = 1,
    more: tuple[str, ...] = (),
    room_gib: float | None = None,
    first: Callable[[], object] | None = None,
) -> BaseProcess:
    """The same; returns when it holds the lock, or has ended."""
    process = launch(paths, threads, more, room_gib, first)
    deadline = time.monotonic() + 120
    while lock.holder(paths.lock) is None and process.is_alive():
        assert time.monotonic() < deadline, "the worker did not begin"
        time.sleep(0.01)
    return process


def finish(process: BaseProcess, timeout_s: float = 240) -> int:
    """Wait for the worker; its exit code (negative: the signal that killed it)."""
    process.join(timeout_s)
    assert process.exitcode is not None, "the worker did not end"
    return process.exitcode


def train(paths: SessionPaths, threads: int = 1, room_gib: float | None = None) -> int:
    return finish(start(paths, threads, room_gib=room_gib), timeout_s=900)


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)


def wait_for(
    paths: SessionPaths, reached: Callable[[RunView], bool], timeout_s: float = 180
) -> RunView:
    """Fold the session's events until `reached` says so."""
    view, tail = RunView(), Tail(paths.events)
    deadline = time.monotonic() + timeout_s
    while not reached(view):
        assert time.monotonic() < deadline, (
            f"not reached; at step {view.step}, {list(view.log)[-3:]}\n{where_it_is(paths)}"
        )
        for line in tail.read():
            sessions.fold([line], view)
            if reached(view):
                break
        else:
            time.sleep(0.005)
    return view


def where_it_is(paths: SessionPaths) -> str:
    """The end of the worker's log, with what each of its threads is at."""
    pid = lock.holder(paths.lock)
    if pid is not None:
        os.kill(pid, signal.SIGUSR2)
        time.sleep(1)
    return paths.log.read_text(errors="replace")[-4000:] if paths.log.exists() else "no worker.log"


def view_of(paths: SessionPaths) -> RunView:
    """Everything that the session's events add up to."""
    return sessions.fold(Tail(paths.events).read(1 << 26), RunView())


@contextmanager
def running(paths: SessionPaths) -> Iterator[BaseProcess]:
    process = start(paths)
    try:
        yield process
    finally:
        if process.is_alive():
            kill(process)


def tiny_spec(model: Path, dataset: Path, **changes: Any) -> RunSpec:
    """A spec for seconds of training; `changes` as `lora__r=4`."""
    from tui_lora.core.fields import put

    data: dict[str, Any] = {
        "model": {"id": str(model)},
        "dataset": {"path": str(dataset), "eval_share": 0.2},
        "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
        "training": {
            "max_steps": 6,
            "micro_batch": 2,
            "accumulation": 2,
            "learning_rate": 5e-3,
            "max_length": 64,
            "warmup": 1,
        },
        "evaluation": {"every_steps": 3, "save_every_steps": 2, "keep": 2},
    }
    for name, value in changes.items():
        data = put(data, name.replace("__", "."), value)
    return parse_spec(data)
