"""Hold answers between simulated sizes against a simulation of each size: how true, how fast.

python benchmarks/between.py FOLDER ... [--scheme nf4] [--card 16GiB]

Each FOLDER has a model's config.json. The sizes that the inspect worker simulates around a question
are simulated first, with checkpointing on and off; then others are asked for. Times are those of
the processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ASKED = [(1, 300), (1, 777), (1, 1500), (1, 3001), (1, 5000), (1, 12345)]
ASKED += [(2, 300), (2, 6001), (3, 1500), (4, 777), (6, 3001), (12, 640)]


def main() -> int:
    from tui_lora.core.cards import card_called
    from tui_lora.core.spec import RunSpec, parse_spec
    from tui_lora.worker.memory.forecast import Unknown
    from tui_lora.worker.memory.forecasts import Forecasts, sizes_around

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--scheme", default="nf4")
    parser.add_argument("--card", default="16GiB")
    given = parser.parse_args()
    card = card_called(given.card)

    def run(folder: Path, checkpointing: bool, rows: int, tokens: int) -> RunSpec:
        training = {"gradient_checkpointing": checkpointing}
        training |= {"micro_batch": rows, "max_length": tokens}
        quantization = {"scheme": given.scheme}
        data = {"model": str(folder), "dataset": "-", "quantization": quantization}
        return parse_spec({**data, "training": training})

    errors: list[float] = []
    times: list[float] = []
    for folder in given.folders:
        for checkpointing in (True, False):
            forecasts = Forecasts()
            base = run(folder, checkpointing, 1, 1024)
            if isinstance(unknown := forecasts.of(base, card, ""), Unknown):
                print(f"{folder.name}: {unknown.reason}")
                continue
            for around in sizes_around(base):
                forecasts.of(around, card, "")
            for rows, tokens in ASKED:
                spec = run(folder, checkpointing, rows, tokens)
                began = time.process_time()
                early = forecasts.between(spec, card, "")
                seconds = time.process_time() - began
                exact = forecasts.of(spec, card, "")
                name = f"{folder.name[:16]:16} {'on ' if checkpointing else 'off'} "
                size = f"{rows:3} x {tokens:<6}"
                if early is None or isinstance(exact, Unknown):
                    print(f"{name} {size} — beyond what is known")
                    continue
                times.append(seconds)
                error = 100 * (early.peak_process_gib / exact.peak_process_gib - 1)
                errors.append(abs(error))
                phase = "" if early.phase == exact.phase else f"  {early.phase} for {exact.phase}"
                print(f"{name} {size} {error:+.4f} %  {seconds:.2f} s{phase}", flush=True)
    if times:
        print(
            f"{len(times)} sizes: median {statistics.median(errors):.4f} %, worst "
            f"{max(errors):.4f} %; median {statistics.median(times):.2f} s, worst "
            f"{max(times):.2f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
