"""What our own sessions train, in every variant, merges and answers the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import trained
from tests.kinds import kind_of, make_model
from tests.worker.test_merge import answers, merged
from tests.workers import tiny_spec
from tui_lora.core.variants import SCHEMES, VARIANTS, refusal

pytestmark = [pytest.mark.model, pytest.mark.long]

FEW = {"training__max_steps": 4, "dataset__max_rows": 12, "evaluation__every_steps": 100}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
# loftq is merged into the rounded weights: test_merge_loftq.py.
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "loftq"])
def test_every_variant(variant: str, kind: str, tmp_path: Path, rows: Path) -> None:
    from tui_lora.core.errors import UserError

    base = make_model(kind_of(kind), tmp_path / "base")
    scheme = next(s for s in SCHEMES if not refusal(variant, s))
    changes: dict[str, Any] = {"lora__variant": variant, "quantization__scheme": scheme, **FEW}
    try:
        _, paths = trained(tmp_path / "sessions", "run", tiny_spec(base, rows, **changes))
    except UserError as error:
        pytest.skip(f"{variant} does not train {kind}: {error.what}")
    told = merged(base, paths.adapter, tmp_path / "out")
    plain, together, alone = answers(base, paths.adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4
    assert (plain - together).abs().max() > 1e-4
    assert told.verified.logits_rms <= told.verified.logits_allowed


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_bring_their_rows(tied: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.worker.test_new_tokens import model_with_rows

    file = tmp_path / "rows.jsonl"
    with file.open("w") as rows:
        for number in range(20):
            row = {"prompt": f"What is {number}?", "completion": f"<rank> {number} <tool>"}
            rows.write(json.dumps(row) + "\n")
    base = model_with_rows(tmp_path / "base", tied=tied, spare=0)
    spec = tiny_spec(base, file, lora__new_tokens=("<tool>", "<rank>"), **FEW)
    _, paths = trained(tmp_path / "sessions", "run", spec)
    told = merged(base, paths.adapter, tmp_path / "out")
    assert "2 more rows" in " ".join(told.notices)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer("<rank>")["input_ids"]) == 1
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
    shared = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert shared is tied


def test_a_run_on_preferences_that_began_from_an_adapter(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    _, first = trained(tmp_path / "sessions", "sft", tiny_spec(tiny_model, rows, **FEW))
    pairs = tmp_path / "pairs.jsonl"
    with pairs.open("w") as file:
        for number in range(12):
            row = {"prompt": f"What is {number}?", "chosen": "A rank.", "rejected": "No idea."}
            file.write(json.dumps(row) + "\n")
    spec = tiny_spec(
        tiny_model, pairs, task="dpo", lora__start_from=str(first.adapter), lora__dropout=0.0, **FEW
    )
    _, paths = trained(tmp_path / "sessions", "dpo", spec)
    merged(tiny_model, paths.adapter, tmp_path / "out")
    _, together, alone = answers(tiny_model, paths.adapter, tmp_path / "out")
    assert (alone - together).abs().max() < 1e-4
