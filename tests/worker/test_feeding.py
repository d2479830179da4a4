"""Rows as we show them are rows as trl feeds them: held against a real trainer's batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.model

ROWS = [
    {
        "prompt": [{"role": "user", "content": "What is a rank?"}],
        "completion": [{"role": "assistant", "content": "The inner width of both matrices."}],
    },
    {
        "prompt": [
            {"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": "Ist 日本 ein Land?"},
            {"role": "assistant", "content": "Ja."},
            {"role": "user", "content": "And Köln?"},
        ],
        "completion": [{"role": "assistant", "content": "No, a city."}],
    },
    {
        "prompt": [{"role": "user", "content": "Count."}],
        "completion": [{"role": "assistant", "content": "one two three four five " * 20}],
    },
    {
        "prompt": [{"role": "user", "content": "a prompt that fills it all " * 20}],
        "completion": [{"role": "assistant", "content": "Never seen."}],
    },
]
MAX_LENGTH = 96


def batches_of_a_real_trainer(
    model: Path, loss_on: str, out: Path
) -> set[tuple[tuple[int, ...], ...]]:
    """(ids, labels) of every row in the very batches that training would see, without padding."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from tui_lora.worker.model import load_tokenizer

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=SFTConfig(
            output_dir=str(out),
            max_length=MAX_LENGTH,
            completion_only_loss=loss_on != "all",
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=load_tokenizer(str(model)),
    )
    seen = set()
    for batch in trainer.get_train_dataloader():
        for ids, labels, real in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"].bool(), strict=True
        ):
            seen.add((tuple(ids[real].tolist()), tuple(labels[real].tolist())))
    return seen


@pytest.mark.parametrize("loss_on", ["completion", "all"])
def test_the_mask_is_that_of_a_real_trainers_batches(
    tiny_model: Path, tmp_path: Path, loss_on: str
) -> None:
    from tui_lora.worker.feeding import fed
    from tui_lora.worker.model import load_tokenizer

    tokenizer = load_tokenizer(str(tiny_model))
    ours = set()
    for row in ROWS:
        found = fed(row["prompt"], row["completion"], tokenizer, loss_on, MAX_LENGTH)
        labels = [
            token if learned else -100
            for token, learned in zip(found.ids, found.trained, strict=True)
        ]
        if any(found.trained):
            ours.add((tuple(found.ids), tuple(labels)))
    assert ours == batches_of_a_real_trainer(tiny_model, loss_on, tmp_path)
    # The row whose prompt fills max length is left out of training when only answers are learned.
    assert len(ours) == (len(ROWS) if loss_on == "all" else len(ROWS) - 1)


class RewritingTokenizer:
    """Writes the end of a prompt otherwise once an answer follows, as some templates do."""

    def apply_chat_template(
        self, turns: Any, *, add_generation_prompt: bool = False, **_: Any
    ) -> dict[str, list[int]]:
        return {"input_ids": [1, 2, 3, 9, 9] if add_generation_prompt else [1, 2, 3, 4, 5, 6, 7]}


def test_what_is_learned_begins_where_prompt_and_whole_part_ways() -> None:
    from tui_lora.worker.feeding import fed

    found = fed([], [], RewritingTokenizer(), "completion", 6)
    assert found.ids == [1, 2, 3, 4, 5, 6]
    assert found.trained == [False] * 3 + [True] * 3
    assert found.cut_tokens == 1
    assert all(fed([], [], RewritingTokenizer(), "all").trained)
