"""A run with a viewer beside it, for as long as one likes: neither grows, and no event is lost.

A minute by default; TUI_LORA_SOAK_S=1200 makes it twenty:

    TUI_LORA_SOAK_S=1200 python -m pytest -s tests/long/test_soak.py
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import dataclass, field
from itertools import combinations, cycle
from pathlib import Path

import psutil
import pytest

from tests import workers
from tests.pty_terminal import Terminal
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.status import Status
from tui_lora.store import sessions

pytestmark = [pytest.mark.long, pytest.mark.model]

LASTS_S = float(os.environ.get("TUI_LORA_SOAK_S", "60"))
WARM_UP_S = max(20.0, LASTS_S / 6)
"""Until every path was taken once: caches are full and arenas have their size by then."""
SAMPLED_EVERY_S = 1.0
GROWS_BY_MIB = 4.0
"""In all, as noise: an arena more, a list that doubled."""
WORKER_MIB_PER_MIN = 0.2
VIEWER_MIB_PER_MIN = 0.6
"""Seen in twenty minutes: 0.03 and 0.38 (benchmarks/RESULTS.md). Until its curves hold 2,048 points
and rich's caches are full, a viewer does grow."""
MORE_FILES = 2
"""A file that is open just now."""
KEYS = ("l", "l", "?", "\x1b", "1", "5", "y", "y", "7", "5", "6", "5")


@dataclass
class Watched:
    """Samples of one process: minutes since the beginning, MiB of memory of its own (resident, and
    backed by no file), open descriptors. It may grow by so many MiB a minute."""

    name: str
    process: psutil.Process
    may_grow: float
    at: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self, minutes: float) -> None:
        self.at.append(minutes)
        memory = self.process.memory_info()
        self.memory.append((memory.rss - memory.shared) / 2**20)
        self.files.append(self.process.num_fds())

    def slope(self) -> float:
        """MiB a minute after the warm-up: the median over all pairs of samples (Theil and Sen),
        which a single step does not move."""
        samples = zip(self.at, self.memory, strict=True)
        warm = [(at, mib) for at, mib in samples if at * 60 >= WARM_UP_S]
        thin = warm[:: max(1, len(warm) // 150)]
        return statistics.median(
            (later - first) / (to - since) for (since, first), (to, later) in combinations(thin, 2)
        )

    def more_files(self) -> int:
        """How many more are open at the end than after the warm-up, at least."""
        samples = zip(self.at, self.files, strict=True)
        warm = [files for at, files in samples if at * 60 >= WARM_UP_S]
        third = max(1, len(warm) // 3)
        return min(warm[-third:]) - min(warm[:third])

    def told(self) -> str:
        size = max(1, len(self.memory) // 6)
        parts = (self.memory[i : i + size] for i in range(0, size * 6, size))
        sixths = ", ".join(f"{statistics.median(part):.1f}" for part in parts if part)
        return (
            f"{self.name}: {self.slope():+.3f} MiB a minute; in the middle of each sixth {sixths} "
            f"MiB; {self.more_files():+d} files of {self.files[-1]}"
        )


def test_a_long_run_with_a_viewer(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=10_000_000, evaluation__every_steps=150,
        evaluation__save_every_steps=200,
    )  # fmt: skip
    paths = sessions.create(tmp_path / "sessions", "soak", spec)
    environment = {
        "TUI_LORA_SESSIONS": str(paths.folder.parent),
        "TUI_LORA_CONFIG": str(tmp_path / "config"),
    }
    with (
        workers.running(paths) as worker,
        Terminal(columns=120, rows=40, environment=environment) as terminal,
    ):
        wait_for(paths, lambda view: view.step >= 5)
        terminal.wait_for("soak")
        terminal.send("\r")
        terminal.wait_for(r"training +step")
        assert worker.pid is not None
        both = [
            Watched("worker", psutil.Process(worker.pid), WORKER_MIB_PER_MIN),
            Watched("viewer", terminal.process(), VIEWER_MIB_PER_MIN),
        ]  # fmt: skip
        began = time.monotonic()
        keys = cycle(KEYS)
        while (passed := time.monotonic() - began) < LASTS_S:
            for watched in both:
                watched.sample(passed / 60)
            terminal.send(next(keys))
            time.sleep(SAMPLED_EVERY_S)
        terminal.send("\x1b")
        time.sleep(0.3)
        terminal.send("5")
        terminal.wait_for(r"training +step")
        terminal.send("\x11")
        assert terminal.wait() == 0
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    assert sessions.status_of(paths) is Status.STOPPED
    steps = view_of(paths).step
    print(f"{steps:,} steps, {paths.events.stat().st_size:,} bytes of events")
    for watched in both:
        print(watched.told())
    minutes = (LASTS_S - WARM_UP_S) / 60
    for watched in both:
        assert watched.slope() <= watched.may_grow + GROWS_BY_MIB / minutes, watched.told()
        assert watched.more_files() <= MORE_FILES, watched.told()
    check_events(paths.events)
    view = view_of(paths)
    assert (view.unreadable, view.unknown_fields, view.attempt) == (0, 0, 1)


def check_events(log: Path) -> None:
    """Every line is whole, none is missing, and steps go on by one or more, to the last."""
    text = log.read_text(encoding="utf-8")
    assert text.endswith("\n")
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    steps = [event["step"] for event in events if event["type"] == "step_done"]
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    assert steps[-1] == events[-1]["step"]
    saved = [event["step"] for event in events if event["type"] == "checkpoint_saved"]
    # The stop's own is the last, wherever it was.
    assert saved[:-1] == [200 * number for number in range(1, len(saved))]
    evaluated = [event["step"] for event in events if event["type"] == "evaluated"]
    assert [step for step in evaluated if step % 150 == 0] == [
        150 * number for number in range(len([step for step in evaluated if step % 150 == 0]))
    ]
