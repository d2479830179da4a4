"""What the screens cost over a terminal: first frame, key to paint, bytes a second, memory, CPU.

    make bench                 or: python benchmarks/terminal.py [--quick]

Runs the real app in a pseudo-terminal of 120x40 (truecolor) and reads every byte.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import streaming_run
from tests.pty_terminal import Terminal

BUDGETS = {
    "first frame, median": (0.7, "s"),
    "key to paint, p95": (0.05, "s"),
    "Train screen, live": (8 * 1024, "B/s"),
    "Train screen, idle": (0, "B/s"),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer starts and seconds")
    quick = arguments.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "sessions"
        os.environ["TUI_LORA_SESSIONS"] = str(root)
        os.environ["TUI_LORA_CONFIG"] = str(Path(folder) / "config")
        paths = streaming_run.make(root)
        first_frame(3 if quick else 10)
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "streaming_run.py"), str(paths.folder), "600"],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
        try:
            live(10 if quick else 60, 10 if quick else 60)
        finally:
            worker.kill()
            worker.wait()
        idle(5 if quick else 20)


def first_frame(starts: int) -> None:
    """From the start of the process to the session's name on the screen."""
    seconds = []
    for _ in range(starts):
        with Terminal() as terminal:
            seconds.append(terminal.wait_for("streaming") - terminal.started)
            terminal.send("q")
            terminal.wait()
    show(
        "first frame, median", statistics.median(seconds), f"of {starts}, worst {max(seconds):.2f}"
    )


def live(seconds: float, keys: int) -> None:
    """The Train screen of a run that reports two steps a second."""
    with Terminal() as terminal:
        terminal.wait_for("streaming")
        terminal.send("\r")
        terminal.wait_for("step +[0-9]+ of")
        time.sleep(6)
        process = terminal.process()
        cpu_before, at = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        used = sum(process.cpu_times()[:2]) - cpu_before
        rate = terminal.bytes_between(at, end) / (end - at)
        show("Train screen, live", rate, f"mean of {end - at:.0f} s at 120x40")
        show("CPU of the UI, live", 100 * used / (end - at), "% of a core", budget=False)
        show("memory of the UI", process.memory_info().rss / 2**20, "MiB resident", budget=False)

        # Open and close the help, enlarge and shrink the log: what each shows by its last word.
        waits: dict[str, list[float]] = {"help opens": [], "help closes": [], "log grows": []}
        for _ in range(keys // 3):
            sent = terminal.send("?")
            waits["help opens"].append(terminal.wait_for("Esc +close") - sent)
            time.sleep(0.13)
            sent = terminal.send("?")
            waits["help closes"].append(terminal.wait_gone("Esc +close") - sent)
            time.sleep(0.19)
            before = len(terminal.writes)
            sent = terminal.send("l")
            while len(terminal.writes) == before:
                time.sleep(0.001)
            waits["log grows"].append(terminal.writes[before].at - sent)
            terminal.send("l")
            time.sleep(0.23)
        for name, each in waits.items():
            show(f"  {name}, p50", statistics.median(each), f"of {len(each)}", budget=False)
        every = sorted(wait for each in waits.values() for wait in each)
        p95 = every[min(len(every) - 1, int(0.95 * len(every)))]
        show("key to paint, p50", statistics.median(every), f"of {len(every)}", budget=False)
        show("key to paint, p95", p95, f"of {len(every)}, worst {every[-1]:.3f}")


def idle(seconds: float) -> None:
    """The Train screen of a run whose worker is gone."""
    with Terminal() as terminal:
        terminal.wait_for("streaming")
        terminal.send("\r")
        terminal.wait_for("interrupted")
        time.sleep(5)
        at = time.monotonic()
        time.sleep(seconds)
        rate = terminal.bytes_between(at, time.monotonic()) / seconds
        show("Train screen, idle", rate, f"mean of {seconds:.0f} s")


def show(name: str, value: float, note: str, *, budget: bool = True) -> None:
    limit, unit = BUDGETS.get(name, (None, "s" if "p50" in name else ""))
    verdict = ""
    if budget and limit is not None:
        verdict = f"   budget {limit:g} {unit}: {'met' if value <= limit else 'MISSED'}"
    print(f"{name:<22}{value:>10.3f} {unit:<4} {note}{verdict}", flush=True)


if __name__ == "__main__":
    main()
