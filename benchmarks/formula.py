"""Hold the formula for memory against the simulation: no card and no weights needed.

python benchmarks/formula.py [--all | --presets] [--json]

Six shapes in nf4, int8 and 16 bits, with checkpointing and without, 512 and 2,048 tokens, 1 and 4
rows: GiB of the process's peak by both, and the difference. Without --all, a third of them.
--presets: the shipped presets instead, each with the model and card of docs/presets.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

MODELS = (
    "HuggingFaceTB/SmolLM2-1.7B",
    "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-7B",
    "mistralai/Mistral-7B-v0.3",
    "meta-llama/Llama-2-7b-hf",
    "meta-llama/Llama-3.1-8B",
)
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
SCHEMES = ("nf4", "int8", "none")
TOKENS = (512, 2048)
ROWS = (1, 4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every cell, which takes minutes")
    parser.add_argument("--presets", action="store_true", help="the shipped presets instead")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    if given.presets:
        return _of_presets(as_json=given.json)
    cells = list(itertools.product(shapes().items(), SCHEMES, (True, False), TOKENS, ROWS))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, scheme, kept, tokens, rows in cells if given.all else cells[::3]:
            name, config = shape
            place = Path(folder) / name.replace("/", "--")
            place.mkdir(exist_ok=True)
            (place / "config.json").write_text(json.dumps(config))
            row = compared(place, scheme, checkpointing=kept, tokens=tokens, rows=rows)
            found.append({"model": name, **row})
            if not given.json:
                print(_line(found[-1]), flush=True)
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        errors = [abs(row["error_percent"]) for row in found]
        middle, worst = statistics.median(errors), max(errors)
        print(f"{len(found)} cells: median {middle:.1f} %, worst {worst:.1f} %")
    return 0


def shapes() -> dict[str, dict[str, Any]]:
    """config.json facts by model, of the table beside this file and this one."""
    table = json.loads(Path(__file__).with_name("model_shapes.json").read_text(encoding="utf-8"))
    return {name: table[name] for name in MODELS if name in table}


def _of_presets(*, as_json: bool) -> int:
    from tui_lora.store.presets import preset_names

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in preset_names():
            row = of_preset(name, Path(folder))
            if row is None:
                continue
            found.append(row)
            if not as_json:
                print(
                    f"{name:18} {row['model']:14} {row['card']:20} simulated "
                    f"{row['simulated']['process']:6.2f}  formula {row['formula']['process']:6.2f} "
                    f"GiB  {row['error_percent']:+6.1f} %",
                    flush=True,
                )
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        errors = [abs(row["error_percent"]) for row in found]
        middle, worst = statistics.median(errors), max(errors)
        print(f"{len(found)} presets: median {middle:.1f} %, worst {worst:.1f} %")
    return 0


def of_preset(name: str, folder: Path) -> dict[str, Any] | None:
    """Both forecasts of a preset, with the model and card that its sum stands for in
    docs/presets.md; None for one that is for no card."""
    script = _presets_script()
    spec, model, card = script.of_preset(name)
    if card is None:
        return None
    place = folder / model.rpartition("/")[2]
    place.mkdir(exist_ok=True)
    facts = script.configs()[model]
    config = {**facts, "architectures": [ARCHITECTURES[facts["model_type"]]]}
    (place / "config.json").write_text(json.dumps(config))
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"id": str(place)})})
    return {
        "preset": name,
        "model": place.name,
        "card": card.spoken,
        **_both(spec, script.as_a_card(card), facts),
    }


def _presets_script() -> Any:
    path = Path(__file__).resolve().parent.parent / "scripts" / "presets.py"
    spec = importlib.util.spec_from_file_location("presets_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compared(
    place: Path, scheme: str, *, checkpointing: bool, tokens: int, rows: int
) -> dict[str, Any]:
    """Both forecasts for one cell."""
    from tui_lora.core.cards import card_called
    from tui_lora.core.spec import parse_spec

    spec = parse_spec(
        {
            "model": str(place),
            "dataset": "none",
            "quantization": {"scheme": scheme},
            "training": {
                "micro_batch": rows,
                "max_length": tokens,
                "gradient_checkpointing": checkpointing,
            },
        }
    )
    config = json.loads((place / "config.json").read_text())
    return {
        "scheme": scheme,
        "checkpointing": checkpointing,
        "tokens": tokens,
        "rows": rows,
        **_both(spec, card_called("24GiB"), config),
    }


def _both(spec: Any, card: Any, config: dict[str, Any]) -> dict[str, Any]:
    from tui_lora.core.memory_formula import formula
    from tui_lora.core.model_facts import facts_of
    from tui_lora.worker.memory.forecast import Unknown, forecast

    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    simulated = forecast(spec, card)
    assert not isinstance(simulated, Unknown), simulated.reason
    facts = facts_of(config)
    assert facts is not None
    guessed = formula(facts, spec, card)
    return {
        "simulated": _parts(simulated),
        "formula": _parts(guessed),
        "error_percent": 100 * (guessed.peak_process_gib / simulated.peak_process_gib - 1),
    }


def _parts(forecast: Any) -> dict[str, float]:
    parts = {name: round(value, 3) for name, value in forecast.parts}
    return {"process": round(forecast.peak_process_gib, 3), **parts}


def _line(row: dict[str, Any]) -> str:
    kept = "checkpointing" if row["checkpointing"] else "all kept"
    return (
        f"{row['model'].rsplit('/', 1)[-1]:18} {row['scheme']:5} {kept:13} "
        f"{row['rows']} x {row['tokens']:>5}  simulated {row['simulated']['process']:6.2f}  "
        f"formula {row['formula']['process']:6.2f} GiB  {row['error_percent']:+6.1f} %"
    )


if __name__ == "__main__":
    sys.exit(main())
