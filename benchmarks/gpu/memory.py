"""Hold the memory forecast against a real card, on the path that a session trains by.

python benchmarks/gpu/memory.py [--quick | --shape 0.5b ...] [--all] [--json]

Shapes of 0.5B, 1.5B, 3B and 7B with random weights x NF4, int8, 16 bits x checkpointing on and off
x 512, 2,048 and 4,096 tokens x rows apart and packed. Each cell is a process of its own (cell.py
beside this file): it forecasts, makes the model on the card tensor by tensor as transformers loads
one, and has a session's trainer take two steps. Memory that runs out, or a crash, is that cell's
result.

What is done stands in --results, and is not done again (--again: unless it failed). Cells that do
not fit by their forecast are named and left out; --all tries them. --device cpu runs all of it
without a card, which measures nothing of a card.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CELL = Path(__file__).with_name("cell.py")
SHAPES = {
    "0.5b": "Qwen/Qwen2.5-0.5B",
    "1.5b": "Qwen/Qwen2.5-1.5B",
    "3b": "Qwen/Qwen2.5-3B",
    "7b": "Qwen/Qwen2.5-7B",
}
BILLIONS = {"tiny": 0.0, "0.5b": 0.5, "1.5b": 1.5, "3b": 3.1, "7b": 7.6}
SCHEMES = ("nf4", "int8", "none")
TOKENS = (512, 2048, 4096)
QUICK = "0.5b"
KEY = ("shape", "scheme", "checkpointing", "tokens", "packed", "rows", "device")
FAULTS = ("failed", "crashed", "too_slow")
FIGURES = ("allocated", "reserved", "process")

STARTING_S, BUILDING_S, STEP_S = 25.0, 6.0, 4.0
"""Guesses for the estimate that is printed first: importing the libraries, making a billion
weights, and two steps of a billion weights with 4,096 tokens. Measured cells replace them."""


def main() -> int:
    given = _asked()
    cells = _cells(given)
    again = {"does_not_fit"} if given.all else set()
    again |= set(FAULTS) if given.again else set()
    done = _done(given.results, again)
    todo = [cell for cell in cells if _key(cell) not in done]
    if given.device != "cpu" and (why := _no_card()):
        print(f"{why}\nWithout a card, --device cpu --shape tiny tries that all of it runs.")
        return 2
    _say(
        given,
        f"{len(cells)} cells, {len(cells) - len(todo)} of them done ({given.results}); about "
        f"{_minutes(todo)} for the others, by guesses until some are done",
    )
    taken: list[float] = []
    for number, cell in enumerate(todo):
        began = time.monotonic()
        found = cell | _run(cell, everything=given.all, limit_s=given.limit)
        taken.append(time.monotonic() - began)
        # A line at a time: what is there already outlives whatever happens next.
        with given.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        done[_key(cell)] = found
        left = statistics.mean(taken) * (len(todo) - number - 1) / 60
        _say(given, f"{_line(found)}  {taken[-1]:.0f} s, about {left:.0f} min left")
    results = [done[_key(cell)] for cell in cells]
    if given.json:
        print(json.dumps(results, indent=1))
    else:
        print(_table(results))
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", action="append", choices=["tiny", *SHAPES], help="these alone")
    parser.add_argument("--quick", action="store_true", help=f"the {QUICK} shape alone")
    parser.add_argument("--scheme", action="append", choices=SCHEMES, help="these alone")
    parser.add_argument("--tokens", action="append", type=int, help="these lengths alone")
    parser.add_argument("--rows", type=int, default=1, help="rows of a micro-batch (1)")
    parser.add_argument("--all", action="store_true", help="also what is said not to fit")
    parser.add_argument("--again", action="store_true", help="also what failed the last time")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for a cell (900)")
    parser.add_argument("--results", type=Path, default=Path("memory-on-a-card.jsonl"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    if given.quick and given.shape:
        parser.error("--quick is a --shape of its own")
    if given.rows < 1 or any(tokens < 16 for tokens in given.tokens or ()):
        parser.error("at least 1 row, and 16 tokens")
    if given.device == "cpu" and given.shape != ["tiny"]:
        parser.error("--device cpu goes with --shape tiny: it measures nothing of a card")
    return given


def _cells(given: argparse.Namespace) -> list[dict[str, Any]]:
    shapes = [QUICK] if given.quick else given.shape or list(SHAPES)
    lengths = given.tokens or (64, 128) if shapes == ["tiny"] else given.tokens or TOKENS
    every = itertools.product(
        shapes, given.scheme or SCHEMES, (True, False), lengths, (False, True)
    )
    return [
        {**dict(zip(KEY, one, strict=False)), "rows": given.rows, "device": given.device}
        for one in every
    ]


def _done(results: Path, again: set[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What stands in the file but for those outcomes; a line that was cut off is done again."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    if results.is_file():
        for line in results.read_text(encoding="utf-8").splitlines():
            try:
                cell = json.loads(line)
                key, outcome = _key(cell), cell["outcome"]
            except (ValueError, KeyError, TypeError):
                continue
            if outcome in again:
                found.pop(key, None)
            else:
                found[key] = cell
    return found


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in KEY)


def _no_card() -> str:
    asked = "import torch; print(torch.cuda.is_available())"
    told = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    if told.returncode:
        return f"torch cannot be asked for a card: {told.stderr.strip().splitlines()[-1:]}"
    return "" if told.stdout.strip() == "True" else "torch sees no CUDA card on this machine."


def _run(cell: dict[str, Any], *, everything: bool, limit_s: float) -> dict[str, Any]:
    """What became of a cell: `outcome` is measured, does_not_fit, out_of_memory, failed, crashed or
    too_slow."""
    shape = {"name": SHAPES.get(cell["shape"], "")}
    asked = json.dumps({**cell, **shape, "everything": everything})
    command = [sys.executable, str(CELL), asked]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        return {"outcome": "too_slow", "why": f"not done within {limit_s:.0f} s"}
    lines = [line for line in ended.stdout.splitlines() if line.startswith('{"cell"')]
    told: dict[str, Any] = json.loads(lines[-1])["cell"] if lines else {}
    if "outcome" not in told:
        words = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        told |= {"outcome": "crashed", "why": f"exit code {ended.returncode}: {words[0][:300]}"}
    return told


def _minutes(cells: list[dict[str, Any]]) -> str:
    seconds = 0.0
    for cell in cells:
        billions = BILLIONS[cell["shape"]]
        seconds += STARTING_S + billions * (BUILDING_S + STEP_S * cell["tokens"] / 4096)
    return f"{seconds / 60:.0f} min"


def _line(cell: dict[str, Any]) -> str:
    kept = "checkpointing" if cell["checkpointing"] else "all kept"
    packed = "packed" if cell["packed"] else "apart"
    how = (
        f"{cell['shape']:>4} {cell['scheme']:4} {kept:13} {cell['rows']} x {cell['tokens']:>4} "
        f"{packed:6}"
    )
    if cell["outcome"] != "measured":
        return f"{how}  {cell['outcome'].replace('_', ' ')}: {cell.get('why', '')}"
    return f"{how}  {'  '.join(_compared(cell, what) for what in FIGURES)}"


def _compared(cell: dict[str, Any], what: str) -> str:
    ours, theirs = cell["predicted"].get(what), cell["measured"].get(what)
    error = _error(cell, what)
    said = "—" if error is None else f"{error:+.1f} %"
    return f"{what} {_gib(ours)} of {_gib(theirs)} {said}"


def _error(cell: dict[str, Any], what: str) -> float | None:
    ours, theirs = cell["predicted"].get(what), cell["measured"].get(what)
    return 100 * (ours / theirs - 1) if ours is not None and theirs else None


def _gib(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def _table(cells: list[dict[str, Any]]) -> str:
    """Markdown, for benchmarks/RESULTS.md."""
    measured = [cell for cell in cells if cell["outcome"] == "measured"]
    lines = []
    if measured:
        first = measured[0]
        lines += [f"{first['card']}, {first['versions']}.", ""]
    lines += [
        "| shape | scheme | checkpointing | rows x tokens | packed "
        "| allocated | reserved | process | context | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        head = [
            cell["shape"],
            cell["scheme"],
            "on" if cell["checkpointing"] else "off",
            f"{cell['rows']} x {cell['tokens']:,}",
            "yes" if cell["packed"] else "no",
        ]
        figures, why = ["—"] * 4, f"{cell['outcome'].replace('_', ' ')}: {cell.get('why', '')}"
        if cell["outcome"] == "measured":
            figures = [_compared(cell, what).partition(" ")[2] for what in FIGURES]
            figures.append(_gib(cell["measured"]["context"]))
            why = ""
        lines.append(f"| {' | '.join([*head, *figures, why])} |")
    lines.append("")
    for what in FIGURES:
        errors = [error for cell in measured if (error := _error(cell, what)) is not None]
        if errors:
            weighed = [2 * -error if error < 0 else error for error in errors]
            lines.append(
                f"{what}: {len(errors)} cells, median {statistics.median(map(abs, errors)):.2f} %, "
                f"worst {max(map(abs, errors)):.2f} %; with too little counted double: worst "
                f"{max(weighed):.2f} %"
            )
    left_out = [cell for cell in cells if cell["outcome"] != "measured"]
    if left_out:
        lines.append(f"Not measured: {len(left_out)} of {len(cells)} cells.")
    if measured and not any(_error(cell, "reserved") is not None for cell in measured):
        lines.append("Nothing of a card was measured.")
    return "\n".join(lines)


def _say(given: argparse.Namespace, text: str) -> None:
    # What --json prints is JSON alone.
    print(text, file=sys.stderr if given.json else sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
