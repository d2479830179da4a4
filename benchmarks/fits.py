"""Whether well-known shapes fit well-known cards, by `tui-lora fit`: no card and no weights needed.

python benchmarks/fits.py [--ways] [--published] [--json]

Six shapes on 8, 12, 16 and 24 GiB, each asked of the program itself; with --ways also the four ways
of training each, and with --published a case whose authors say what it takes, beside our figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

MODELS = {
    "Llama-2-7B": "meta-llama/Llama-2-7b-hf",
    "Llama-3.1-8B": "meta-llama/Llama-3.1-8B",
    "Mistral-7B": "mistralai/Mistral-7B-v0.3",
    "Qwen2.5-7B": "Qwen/Qwen2.5-7B",
    "Qwen2.5-14B": "Qwen/Qwen2.5-14B",
    "Gemma-2-9B": "google/gemma-2-9b",
}
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
}
CARDS = ("8GiB", "12GiB", "16GiB", "24GiB")
USUAL = {
    "quantization.scheme": "nf4",
    "lora.r": "16",
    "lora.target_modules": "all-linear",
    "training.micro_batch": "1",
    "training.max_length": "1024",
    "training.gradient_checkpointing": "true",
}
PUBLISHED = {
    **USUAL,
    "lora.r": "8",
    "lora.alpha": "16",
    "lora.target_modules": "[q_proj, v_proj]",
    "training.max_length": "512",
    "training.optimizer": "paged_adamw_8bit",
}
STOCK = {
    "source": "",
    "gpu": "A100",
    "model": "meta-llama/Llama-2-7b-hf",
    "lora_r": "8",
    "targets": "q_proj+v_proj",
    "micro_batch": "1",
    "seq_len": "512",
    "grad_ckpt": "True",
    "attn": "sdpa",
}
"""A row for benchmarks/memory.py: transformers' loss, as in the time of the published case."""
VERDICTS = {"fits": "fits", "tight": "tight", "does_not_fit": "no", "unknown": "—"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", action="store_true", help="also the four ways of training each")
    parser.add_argument("--published", action="store_true", help="also the published case")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = dict(_folders(Path(scratch)))
        found["fits"] = {
            name: {card: _fit(folder, USUAL, card) for card in CARDS}
            for name, folder in folders.items()
        }
        if given.ways:
            found["ways"] = {name: _ways(folder) for name, folder in folders.items()}
        if given.published:
            found["published"] = _published(folders["Llama-2-7B"])
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    print("\n".join(_tables(found)))
    return 0


def _folders(scratch: Path) -> Iterator[tuple[str, Path]]:
    """A folder for each model with its config.json and nothing else."""
    shapes = json.loads((HERE / "model_shapes.json").read_text(encoding="utf-8"))
    for name, model in MODELS.items():
        facts = shapes[model]
        config = {**facts, "architectures": [ARCHITECTURES[facts["model_type"]]]}
        folder = scratch / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield name, folder


def _fit(folder: Path, settings: dict[str, str], card: str) -> dict[str, Any]:
    """What `tui-lora fit --json` says."""
    spec = folder.parent / "spec.yaml"
    spec.write_text(f"model: {folder}\ndataset: none\n", encoding="utf-8")
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    program = str(Path(sys.executable).with_name("tui-lora"))
    command = [program, "fit", str(spec), *sets, "--card", card, "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if told.returncode:
        raise SystemExit(f"{' '.join(command)}\n{told.stderr}")
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def _ways(folder: Path) -> list[dict[str, Any]]:
    from tui_lora.core.cards import card_called
    from tui_lora.core.memory import CONTEXT_GIB
    from tui_lora.core.spec import parse_spec
    from tui_lora.worker.memory.forecast import Unknown, forecast
    from tui_lora.worker.memory.ways import ways

    spec = parse_spec(
        {
            "model": str(folder),
            "dataset": "none",
            "lora": {"r": 16, "alpha": 32, "target_modules": "all-linear"},
            "training": {"micro_batch": 1, "max_length": 1024, "gradient_checkpointing": True},
        }
    )
    card = card_called("24GiB")

    def simulated(run: Any) -> Any:
        found = forecast(run, card)
        return None if isinstance(found, Unknown) else found

    return [
        {
            "way": way.name,
            "recipe": way.recipe,
            "why_not": way.why_not,
            "peak_process_gib": way.forecast and way.forecast.peak_process_gib,
        }
        for way in ways(spec, card, simulated, CONTEXT_GIB)
    ]


def _published(folder: Path) -> list[dict[str, Any]]:
    import memory  # type: ignore[import-not-found]

    from tui_lora.core.memory import CONTEXT_GIB

    ours = _fit(folder, PUBLISHED, "8GiB")
    rows = [{"recipe": "ours: fused loss, 16-bit leftovers", "process": ours["peak_process_gib"]}]
    shapes = json.loads((HERE / "model_shapes.json").read_text(encoding="utf-8"))
    nf4 = {"quant": "nf4", "double_quant": "True", "base_dtype": "bf16", "prep_kbit": "True"}
    nf4 |= {"method": "qlora", "optimizer": "paged_adamw_8bit"}
    full = {"method": "full", "quant": "none", "prep_kbit": "False", "optimizer": "adamw"}
    for recipe, how in (
        ("the same with transformers' loss and prepare_model_for_kbit_training", nf4),
        ("full, all of it in bfloat16", {**full, "base_dtype": "bf16"}),
        (
            "full, weights in float32, computed in bfloat16",
            {**full, "base_dtype": "fp32", "loss": "fused"},
        ),
    ):
        _alloc, reserved, why = memory.predicted({**STOCK, **how}, shapes)
        assert reserved is not None, why
        rows.append({"recipe": recipe, "process": reserved + CONTEXT_GIB})
    return rows


def _tables(found: dict[str, Any]) -> Iterator[str]:
    yield f"| | takes | {' | '.join(CARDS)} |"
    yield "| --- " * (len(CARDS) + 2) + "|"
    for name, by_card in found["fits"].items():
        cells = [
            f"{VERDICTS[one['verdict']]} ({one['headroom_gib']:+.1f})" for one in by_card.values()
        ]
        takes = by_card[CARDS[-1]]["peak_process_gib"]
        yield f"| {name} | {takes:.2f} GiB | {' | '.join(cells)} |"
    if "ways" in found:
        names = [one["way"] for one in next(iter(found["ways"].values()))]
        yield ""
        yield f"| | {' | '.join(names)} |"
        yield "| --- " * (len(names) + 1) + "|"
        for name, some in found["ways"].items():
            cells = [one["why_not"] or f"{one['peak_process_gib']:.1f} GiB" for one in some]
            yield f"| {name} | {' | '.join(cells)} |"
    if "published" in found:
        yield ""
        yield "| Llama-2-7B | process |"
        yield "| --- | --- |"
        for row in found["published"]:
            yield (
                f"| {row['recipe']} | {row['process']:.2f} GiB "
                f"({row['process'] * 2**30 / 1e9:.2f} GB) |"
            )


if __name__ == "__main__":
    sys.exit(main())
