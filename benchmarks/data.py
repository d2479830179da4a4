"""What a dataset of a million rows costs: until it is seen, and until it is checked whole.

    python benchmarks/data.py [--rows N]      (1,000,000 rows, 1 GB in a temporary folder)

Each figure is of a fresh process. No torch, no tokenizer.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tui_lora.core.check import FROM_CHECK, TO_CHECK, CheckDataset, Checked, FromCheck
from tui_lora.core.spec import parse_spec
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.pipe import PipeWorker

ROWS = 1_000_000
ROW_BYTES = 1000
FIRST_ROWS = 20

PREVIEW = f"""
import sys, time
from tui_lora.core.spec import DatasetSpec
from tui_lora.store.dataset import look
from tui_lora.store.row_file import RowFile
from tui_lora.store.sources import open_source

data = DatasetSpec(path=sys.argv[1])
found = look(data, "sft", max_rows=200)
rows = RowFile(open_source(data))
assert found.usable_rows == 200 and all(rows.row(at) for at in range({FIRST_ROWS}))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=ROWS, help="rows of the dataset")
    rows = arguments.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(file, rows)
        size = file.stat().st_size / 1e9
        print(f"{rows:,} rows of JSONL, {size:.2f} GB")
        preview(file)
        check(file, rows)


def write_rows(file: Path, rows: int) -> None:
    """Questions and answers of random words, no two the same; one line in 10,000 is torn."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzé", k=6)) for _ in range(5000)]
    # Text is cut from one long one: drawing every word would take minutes.
    text = " ".join(draw.choices(words, k=200_000))
    with file.open("w", encoding="utf-8") as out:
        for number in range(rows):
            at, share = draw.randrange(len(text) - ROW_BYTES), draw.randrange(100, 500)
            asked, answered = text[at : at + share], text[at + share : at + ROW_BYTES - 150]
            turns = [
                {"role": "user", "content": f"{number}: {asked}"},
                {"role": "assistant", "content": answered},
            ]
            line = json.dumps({"messages": turns}, ensure_ascii=False)
            out.write((line[:-9] if number % 10_000 == 9_999 else line) + "\n")


def preview(file: Path) -> None:
    """From the start of the process to the format, the first problems and the first rows."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", PREVIEW, str(file)], check=True, cwd=HERE.parent, timeout=600
    )
    show("format and first rows", time.monotonic() - began, "s", most=2.0)


def check(file: Path, rows: int) -> None:
    """The check worker, asked as the Data screen and `tui-lora data` ask it."""
    answered = threading.Event()
    heard: list[FromCheck] = []

    def on_message(message: FromCheck) -> None:
        heard.append(message)
        if isinstance(message, Checked):
            answered.set()

    worker = PipeWorker(
        start_pipe_worker("check", devices="cpu"),
        sends=TO_CHECK,
        hears=FROM_CHECK,
        on_message=on_message,
        on_end=lambda code, words: answered.set(),
    )
    spec = parse_spec({"model": "none", "dataset": str(file)}).model_dump(mode="json")
    began = time.monotonic()
    worker.send(CheckDataset(id="1", spec=spec, list_to=str(file.with_name("problems.jsonl"))))
    answered.wait()
    seconds = time.monotonic() - began
    peak = peak_mb(worker.process.pid)
    worker.close()
    found = heard[-1]
    assert isinstance(found, Checked), found
    assert (found.rows, found.usable_rows) == (rows, rows - rows // 10_000)
    show("check of all rows", rows / seconds, "rows/s", least=20_000)
    show("memory of the check", peak, "MB", most=500)
    show("check of all rows", seconds, "s")
    show("progress told", (len(heard) - 1) / seconds, "a second", most=5.0)


def peak_mb(pid: int) -> float:
    """The most memory that a process has held (resident), in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this kernel does not say how much memory was held")


def show(
    name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None
) -> None:
    verdict = ""
    if most is not None:
        verdict = f"   budget {most:g} at most: {'met' if value <= most else 'MISSED'}"
    if least is not None:
        verdict = f"   budget {least:,g} at least: {'met' if value >= least else 'MISSED'}"
    print(f"{name:<22}{value:>12,.2f} {unit:<9}{verdict}", flush=True)


if __name__ == "__main__":
    main()
