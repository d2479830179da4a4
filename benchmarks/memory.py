"""Hold the memory forecast against measurements on real cards: no card and no weights needed.

python benchmarks/memory.py ROWS.csv [--json] [--shapes FILE]

ROWS.csv has a line for each measured run, with the columns model, method (lora, qlora, full),
quant (none, int8, nf4, fp4), double_quant, base_dtype (fp16, bf16, fp32), lora_r, targets (names
joined with +, "attention qkvo" or all-linear), micro_batch, seq_len, grad_ckpt, optimizer, attn,
prep_kbit, gpu, peak_alloc_GiB and peak_reserved_GiB (or metric and peak_GiB). Shapes come from
model_shapes.json beside this file, or from --shapes FILE; they are the facts of each model's
config.json and nothing else. A row that does not say enough gets a reason and no figure.

Published runs used transformers' loss, which builds all logits, and peft's
prepare_model_for_kbit_training; a row whose column `loss` says `fused` is simulated with trl's.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import re
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

GIB = 2**30
DTYPES = {
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "half": "float16",
    "": "bfloat16",
}
SCHEMES = {"": "none", "bf16": "none", "fp16": "none", "16bit": "none", "4bit": "nf4"}
SCHEMES |= {"8bit": "int8", "llm.int8": "int8", "nf4+dq": "nf4", "nf4_double_quant": "nf4"}
KNOWN_SCHEMES = ("none", "int8", "nf4", "fp4")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
IN_OTHER_WORDS = {
    "gpt2": ("c_attn",),
    "gpt_neox": ("query_key_value", "dense"),
    "falcon": ("query_key_value", "dense"),
    "bloom": ("query_key_value", "dense"),
    "phi": ("q_proj", "k_proj", "v_proj", "dense"),
    "phi3": ("qkv_proj", "o_proj"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "gptj": ("q_proj", "k_proj", "v_proj", "out_proj"),
}
"""What models that are not built as Llama is call the layers of attention."""
SHORT = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"}
NO_PART_OF_A_NAME = {"instruct", "chat", "hf", "it", "pt", "base", "meta", "bnb", "4bit", "unsloth"}
MOST_TOKENS = 2**22
NOT_FOR_THIS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a row that nobody thought of may break in a library; the others are done all the same."""


class Unclear(Exception):
    """Why a row cannot be simulated."""


class Harness(NamedTuple):
    """How a source measured, as far as it changes the memory: read in its code.

    `loading`: how 16-bit weights came to the card. `empties_cache`: its peft's
    prepare_model_for_kbit_training ended so. `holds_output`: its loop named the model's output, so
    that the last step's logits lived on during the next one's.
    """

    loading: str = "moved"
    empties_cache: bool = True
    holds_output: bool = False


HARNESSES = {
    # scripts/measure.py. peft empties the cache since its pull request 3293 of June 2026; that this
    # run's was older and the others' newer is a guess, and moves their figures by 1.2 % at most.
    "fitcheck-llm 0.3.1 sdist t4-qlora-2026-09-01": Harness(empties_cache=False),
    "fitcheck": Harness(),
    # src/canifinetune/bench/runner.py: `outputs = model(...)`, peft 0.19.
    "canifinetune": Harness(empties_cache=False, holds_output=True),
}
"""By what a row's source begins with."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, metavar="ROWS.csv")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--shapes", type=Path, default=Path(__file__).with_name("model_shapes.json")
    )
    given = parser.parse_args()
    try:
        shapes = json.loads(given.shapes.read_text(encoding="utf-8"))
        rows = rows_in(given.rows)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    found = []
    for number, row in enumerate(rows):
        began = time.monotonic()
        alloc, reserved, why = predicted(row, shapes)
        found.append(
            {
                "row": number,
                "predicted_alloc_gib": alloc,
                "predicted_reserved_gib": reserved,
                "measured_alloc_gib": measured(row, "alloc"),
                "measured_reserved_gib": measured(row, "reserved"),
                "why_not": why,
            }
        )
        if not given.json:
            print(_line(row, found[-1], time.monotonic() - began), flush=True)
    if given.json:
        print(json.dumps(found, indent=1))
    else:
        _sum_up(found)
        _repeats(rows)
    return 0


def rows_in(path: Path) -> list[dict[str, str]]:
    """The lines by column; a cell that is missing is empty, one behind the last column is nobody's.
    Raises OSError and ValueError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return [
                {name: row[name] or "" for name in row if name is not None}
                for row in csv.DictReader(file)
            ]
        except csv.Error as error:
            raise ValueError(f"{path}: {error}") from error


def predicted(
    row: dict[str, str], shapes: dict[str, Any]
) -> tuple[float | None, float | None, str]:
    """GiB allocated and reserved, or why not."""
    from tui_lora.core.cards import Card, card_called
    from tui_lora.worker.memory.forecast import cublas_bytes, trace_of
    from tui_lora.worker.memory.peak import peak_of

    try:
        shape = shape_of(row.get("model", ""), shapes)
        rows, tokens = _count(row, "micro_batch"), _count(row, "seq_len")
        if rows * tokens > MOST_TOKENS:
            raise Unclear(f"{rows * tokens:,} tokens at once are more than are simulated")
        recipe = recipe_of(row, shape)
        card = Card("sm75", 15.0, (7, 5)) if is_old(row) else card_called("16GiB")
        try:
            trace = trace_of(recipe, rows, tokens)
        except RuntimeError as error:
            if "No available kernel" not in str(error):
                raise
            # No fused kernel takes what this model gives it.
            trace = trace_of(replace(recipe, kernel="math"), rows, tokens)
        peak = peak_of(trace, cublas_bytes(card))
    except Unclear as error:
        return None, None, str(error)
    except NOT_FOR_THIS as error:
        return None, None, f"cannot be run without weights: {error!s:.100}"
    return peak.allocated / GIB, peak.reserved / GIB, ""


def recipe_of(row: dict[str, str], shape: dict[str, Any]) -> Any:
    """How the row was trained. Raises Unclear."""
    import torch
    from transformers import AutoConfig

    from tui_lora.worker.memory.recipe import Recipe

    facts = dict(shape)
    config = AutoConfig.for_model(facts.pop("model_type"), **facts)
    named = row.get("base_dtype", "").lower()
    dtype = getattr(torch, DTYPES.get(named, named), None)
    if not isinstance(dtype, torch.dtype):
        raise Unclear(f"it does not say which base_dtype {named!r} is")
    quant = row.get("quant", "").lower()
    scheme = SCHEMES.get(quant, quant)
    if scheme not in KNOWN_SCHEMES:
        raise Unclear(f"how {quant!r} stores weights is not simulated")
    lora = None if row.get("method", "").lower() == "full" else _lora(row, shape)
    prepared = _yes(row, "prep_kbit") and scheme != "none"
    heads = getattr(config, "num_attention_heads", None)
    grouped = getattr(config, "num_key_value_heads", None) not in (None, heads)
    fused = row.get("loss", "") == "fused"
    # peft makes an adapter float32; the whole model, and trl's on bfloat16, stay as they are.
    own_precision = lora is None or (fused and dtype == torch.bfloat16)
    harness = _harness(row)
    return Recipe(
        config=config,
        lora=lora,
        dtype=dtype,
        adapter_dtype=dtype if own_precision else torch.float32,
        scheme=scheme,
        double_quant=_yes(row, "double_quant") or "dq" in quant or "double" in quant,
        kernel=_kernel(row, prepared=prepared, grouped=grouped, exact=dtype == torch.float32),
        checkpointing=_yes(row, "grad_ckpt"),
        optimizer=_optimizer(row.get("optimizer", "")),
        fused_loss=fused,
        fp32_rest=prepared,
        autocast=fused,
        loading="placed" if scheme != "none" else harness.loading,
        empties_cache=harness.empties_cache,
        holds_output=harness.holds_output,
    )


def measured(row: dict[str, str], what: str) -> float | None:
    """GiB as measured; None where the row does not say."""
    given = row.get(f"peak_{what}_GiB", "")
    metric = row.get("metric", "")
    if not given and f"max_{what}" in metric and "/" not in metric:
        given = row.get("peak_GiB", "")
    try:
        found = float(given)
    except ValueError:
        return None
    return found if 0 < found < float("inf") else None


def is_old(row: dict[str, str]) -> bool:
    """Whether the card is older than Ampere."""
    old = ("T4", "V100", "P100", "RTX 20", "sm75", "sm70", "sm60")
    return any(name in row.get("gpu", "") for name in old)


def shape_of(model: str, shapes: dict[str, Any]) -> dict[str, Any]:
    """A model's facts, by its name or that of a tuned one of the same shape. Raises Unclear."""
    if model in shapes:
        return dict(shapes[model])
    by_name = {_plain(name): facts for name, facts in shapes.items()}
    if _plain(model) not in by_name:
        raise Unclear(f"the table of shapes has no {model or 'model without a name'}")
    return dict(by_name[_plain(model)])


def _plain(model: str) -> str:
    name = model.rsplit("/", 1)[-1].lower().split(" on ")[0].replace(" ", "-")
    name = re.sub(r"^llama(?=\d)", "llama-", name)
    return "-".join(part for part in name.split("-") if part not in NO_PART_OF_A_NAME)


def _lora(row: dict[str, str], shape: dict[str, Any]) -> Any:
    from peft import LoraConfig

    rank = _count(row, "lora_r")
    named = row.get("targets", "").strip()
    targets: Any = re.split(r"[+,\s]+", named)
    attention = IN_OTHER_WORDS.get(shape["model_type"], ATTENTION)
    if not named or named.startswith("attention") or named == "qkvo":
        targets = list(attention)
    elif named in ("all", "all-linear", "all linear"):
        targets = "all-linear"
    elif re.fullmatch("[qkvo]+", named):
        targets = [SHORT[letter] for letter in named]
    else:
        targets = [SHORT.get(name, name) for name in targets]
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM")


def _kernel(row: dict[str, str], *, prepared: bool, grouped: bool, exact: bool) -> Any:
    """What computed attention. PyTorch has no fused kernel for heads that share keys where it is
    not flash attention, which older cards and float32 are without."""
    attention = row.get("attn", "").lower()
    for word in ("eager", "efficient", "math"):
        if word in attention:
            return word
    if "flash" in attention or "fa2" in attention:
        return "flash"
    if prepared or exact or is_old(row):
        return "math" if grouped else "efficient"
    return "flash"


def _optimizer(given: str) -> str:
    from tui_lora.core.optimizers import OPTIMIZERS

    name = given.strip().lower().replace("-", "_")
    if name in OPTIMIZERS:
        return name
    if "adam" in name:
        bits = "8bit" if "8bit" in name.replace("_", "") else "32bit" if "paged" in name else ""
        if bits:
            return f"{'paged_' if 'paged' in name else ''}adamw_{bits}"
    if "adam" in name or not name:
        return "adamw_torch"
    raise Unclear(f"what the optimizer {given!r} keeps is not known")


def _harness(row: dict[str, str]) -> Harness:
    source = row.get("source", "")
    return next((h for begin, h in HARNESSES.items() if source.startswith(begin)), Harness())


def _count(row: dict[str, str], column: str) -> int:
    given = row.get(column, "").strip()
    if not given.isdecimal() or not int(given):
        raise Unclear(f"it says {column} {given!r}, which is no number of them")
    return int(given)


def _yes(row: dict[str, str], column: str) -> bool:
    said = row.get(column, "").strip().lower()
    if said in ("true", "yes", "1", "on"):
        return True
    if said in ("false", "no", "0", "off", ""):
        return False
    raise Unclear(f"it says {column} {said!r}, which is neither yes nor no")


def _error(found: dict[str, Any], what: str) -> float | None:
    ours, theirs = found[f"predicted_{what}_gib"], found[f"measured_{what}_gib"]
    return None if ours is None or not theirs else 100 * (ours / theirs - 1)


def _line(row: dict[str, str], found: dict[str, Any], seconds: float) -> str:
    name = row.get("model", "").rsplit("/", 1)[-1][:22]
    how = (
        f"{row.get('quant', ''):4} {row.get('attn', '')[:6]:6} {row.get('micro_batch', ''):>2} x "
        f"{row.get('seq_len', ''):>4}"
    )
    if found["why_not"]:
        return f"{found['row']:3}  {name:22} {how}  — {found['why_not']}"
    cells = []
    for what in ("alloc", "reserved"):
        error = _error(found, what)
        theirs = found[f"measured_{what}_gib"]
        cells.append(
            f"{what} {found[f'predicted_{what}_gib']:6.2f} of "
            f"{'—' if theirs is None else f'{theirs:.2f}':>5} GiB "
            f"{'—' if error is None else f'{error:+.1f}%':>6}"
        )
    return f"{found['row']:3}  {name:22} {how}  {'  '.join(cells)}  {seconds:.1f} s"


def _sum_up(found: list[dict[str, Any]]) -> None:
    for what in ("alloc", "reserved"):
        errors = [error for row in found if (error := _error(row, what)) is not None]
        if not errors:
            continue
        # Saying too little ends a run; saying too much only costs some rows.
        weighed = [2 * -error if error < 0 else error for error in errors]
        plain = [abs(error) for error in errors]
        print(
            f"{what}: {len(errors)} rows, median {statistics.median(plain):.2f} %, worst "
            f"{max(plain):.2f} %; with too little counted double: median "
            f"{statistics.median(weighed):.2f} %, worst {max(weighed):.2f} %"
        )


def _repeats(rows: list[dict[str, str]]) -> None:
    """How far the same run, measured again, was from itself: no forecast can be nearer."""
    same: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        key = tuple(
            value
            for name, value in row.items()
            if not name.endswith("_GiB") and name not in ("source", "params", "notes", "tok_s")
        )
        if (reserved := measured(row, "reserved")) is not None:
            same.setdefault(key, []).append(reserved)
    apart = [100 * (max(some) / min(some) - 1) for some in same.values() if len(some) > 1]
    if apart:
        print(
            f"{len(apart)} runs were measured more than once: their reserved peaks are "
            f"{statistics.median(apart):.1f} % apart in the median, {max(apart):.1f} % at worst"
        )


if __name__ == "__main__":
    sys.exit(main())
