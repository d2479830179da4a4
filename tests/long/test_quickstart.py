"""The main job on the real demo model: what `make demo` promises, measured."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests import workers
from tui_lora.core.house_style import in_house_style
from tui_lora.core.status import Status
from tui_lora.core.view import perplexity
from tui_lora.store import demo_model, sessions
from tui_lora.store.presets import read_preset
from tui_lora.store.sources import dataset_file
from tui_lora.store.spec_file import spec_in

pytestmark = [pytest.mark.long, pytest.mark.model]


def test_the_quickstart_learns_the_house_style(tmp_path: Path) -> None:
    model = demo_model.ensure(lambda label, done: None)
    paths = sessions.create(tmp_path / "s", "quickstart", spec_in(read_preset("quickstart").data))
    began = time.monotonic()
    assert workers.train(paths, threads=2) == 0, paths.log.read_text()[-2000:]
    print(f"whole run {time.monotonic() - began:.0f} s")
    assert sessions.status_of(paths) is Status.DONE
    result = sessions.read_result(paths)
    assert result is not None
    base, tuned = perplexity(result.base_eval_loss), perplexity(result.eval_loss)
    assert base is not None
    assert tuned is not None
    print(f"held-out perplexity: base {base:.1f}, tuned {tuned:.1f}")
    assert tuned < base * 2 / 3

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(paths.adapter, padding_side="left")
    net = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), paths.adapter
    ).eval()
    lines = dataset_file("quickstart-heldout").read_text().splitlines()[:20]
    questions = [json.loads(line)["messages"][0] for line in lines]

    def answers() -> list[str]:
        texts = [
            tokenizer.apply_chat_template([q], tokenize=False, add_generation_prompt=True)
            for q in questions
        ]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            out = net.generate(**batch, max_new_tokens=60, do_sample=False)
        return tokenizer.batch_decode(
            out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )

    tuned_in_style = sum(map(in_house_style, answers()))
    with net.disable_adapter():
        base_in_style = sum(map(in_house_style, answers()))
    print(f"in house style: tuned {tuned_in_style} of 20, base {base_in_style} of 20")
    assert tuned_in_style >= 16
    assert base_in_style <= 1
