"""Rows as we show them are rows as trainers feed them, for every format and every task.

Three ways to the same tokens: a trainer of trl's that prepares the rows itself, from Arrow; the
batches of a session's trainer; and what the inspect worker shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.workers import tiny_spec
from tui_lora.core.examples import example
from tui_lora.core.formats import FORMAT_NAMES, FormatName, decide, format_of, shape_of
from tui_lora.core.inspect import FeedRow, RowFed
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean

pytestmark = pytest.mark.model

MAX_LENGTH = 64
LONG = "one two three four five " * 12
ASKED = ("What is a rank?", "Ist 日本 ein Land? 👩‍🚀", "Count.", LONG)
SAID = ("The inner width.", "Ja.", LONG, "Never seen.")

Tokens = tuple[tuple[int, bool], ...]


def row_of(format: str, number: int) -> dict[str, Any]:
    """A row of each format; the third is cut, the fourth has a prompt that fills max length."""
    ask, say = ASKED[number], SAID[number]
    turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": say}]
    if number == 1:
        before = [{"role": "system", "content": "One word."}, *turns]
        turns = [
            *before,
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "No"},
        ]
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    rows: dict[str, dict[str, Any]] = {
        "messages": {"messages": turns},
        "sharegpt": {
            "conversations": [{"from": names[t["role"]], "value": t["content"]} for t in turns]
        },
        "alpaca": {"instruction": ask, "input": "some more" if number else "", "output": say},
        "prompt_completion": {"prompt": ask, "completion": say},
        "pairs": {"question": ask, "answer": say},
        "gsm8k": {"question": ask, "answer": f"{say}\n#### {number}"},
        "guanaco": {"text": f"### Human: {ask} ### Assistant: {say}"},
        "text": {"text": f"{ask} {say}"[: 60 + number]},
        "preference": {"prompt": ask, "chosen": say, "rejected": f"No. {ask}"},
        "kto": {"prompt": ask, "completion": say, "label": number % 2 == 0},
        "classification": {"text": f"{ask} {say}", "label": ("good", "bad")[number % 2]},
    }
    return rows[format]


CASES = [(name, task) for name in FORMAT_NAMES for task in format_of(name).tasks]


def spec_of(model: Path, folder: Path, format: str, task: str, **changes: Any) -> RunSpec:
    file = folder / "rows.jsonl"
    lines = [json.dumps(row_of(format, number), ensure_ascii=False) for number in range(4)]
    file.write_text("\n".join(lines), encoding="utf-8")
    own = {"dataset__format": format, "dataset__overlap": 8, "training__max_length": MAX_LENGTH}
    return tiny_spec(model, file, task=task, dataset__eval_share=0, **{**own, **changes})


def settled(spec: RunSpec) -> Any:
    from tui_lora.worker.model import load_tokenizer
    from tui_lora.worker.templates import settle_template

    tokenizer = load_tokenizer(spec.model.id)
    settle_template(tokenizer, spec.model.chat_template)
    return tokenizer


def in_batches(trainer: Any) -> Counter[Tokens]:
    """Every sequence in the batches of a trainer's own loader: ids, and whether each is trained."""
    seen: Counter[Tokens] = Counter()
    for batch in trainer.get_train_dataloader():
        ids, labels = batch["input_ids"], batch.get("labels")
        trained = batch["completion_mask"].bool() if "completion_mask" in batch else labels != -100
        if trained.shape != ids.shape:
            trained = ids < 0
        if "attention_mask" not in batch:
            starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), ids.shape[1]]
            cuts = [(0, slice(a, b)) for a, b in pairwise(starts)]
        else:
            cuts = [(n, slice(0, int(m.sum()))) for n, m in enumerate(batch["attention_mask"])]
        for n, part in cuts:
            pairs = zip(ids[n, part].tolist(), trained[n, part].tolist(), strict=True)
            seen[tuple(pairs)] += 1
    return seen


def own_batches(spec: RunSpec, tokenizer: Any, out: Path) -> Counter[Tokens]:
    """Of the library's trainer, which is given the rows and does all else itself."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl import DPOTrainer, KTOTrainer, SFTTrainer

    from tui_lora.worker.arguments import trainer_config
    from tui_lora.worker.classifier import ClassificationTrainer
    from tui_lora.worker.lora import lora_config
    from tui_lora.worker.templates import training_tokenizer

    values = [json.loads(line) for line in Path(spec.dataset.path).read_text().splitlines()]
    data = spec.dataset
    reading, why = decide(values, format=data.format, system=data.system, task=spec.task)
    assert reading is not None, why
    examples = [example(value, reading) for value in values]
    config, _ = trainer_config(
        spec,
        scratch=out,
        device="cpu",
        dtype=torch.float32,
        held_out=False,
        resumed=False,
        shape=reading.shape,
    )
    more: dict[str, Any] = {"peft_config": lora_config(spec.lora, task=spec.task)}
    if spec.task == "classification":
        more["labels"] = sorted({e["label"] for e in examples})
        model = AutoModelForSequenceClassification.from_pretrained(spec.model.id, num_labels=2)
    else:
        model = AutoModelForCausalLM.from_pretrained(spec.model.id)
    kind = {
        "sft": SFTTrainer,
        "dpo": DPOTrainer,
        "kto": KTOTrainer,
        "classification": ClassificationTrainer,
    }[spec.task]
    if spec.dataset.loss_on == "assistant":
        tokenizer = training_tokenizer(tokenizer)
    return in_batches(
        kind(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(examples, on_mixed_types="use_json"),
            processing_class=tokenizer,
            **more,
        )
    )


def session_batches(spec: RunSpec, tokenizer: Any, folder: Path) -> Counter[Tokens]:
    """Of the trainer that a session trains with, over the rows that were prepared for it."""
    import torch

    from tui_lora.store.paths import SessionPaths
    from tui_lora.worker.arguments import trainer_config
    from tui_lora.worker.data import prepare
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.lora import lora_config
    from tui_lora.worker.model import load_model
    from tui_lora.worker.progress import Progress
    from tui_lora.worker.reporter import Reporter
    from tui_lora.worker.trainer import TRAINERS

    folder.mkdir(exist_ok=True)
    paths = SessionPaths(folder)
    data = prepare(
        spec,
        tokenizer,
        say=lambda text, level="info": None,
        progress=lambda done, total, unit: None,
        left_out_file=folder / "left_out.jsonl",
    )
    loaded = load_model(
        spec.model, spec.quantization, devices="cpu", tokenizer=tokenizer, labels=data.labels
    )
    config, _ = trainer_config(
        spec,
        scratch=folder / "scratch",
        device="cpu",
        dtype=torch.float32,
        held_out=False,
        resumed=False,
        shape=data.shape,
    )
    return in_batches(
        TRAINERS[spec.task](
            model=loaded.model,
            args=config,
            train_dataset=data.train,
            processing_class=tokenizer,
            peft_config=lora_config(spec.lora, task=spec.task),
            reporter=Reporter(paths.events),
            inbox=Inbox(paths.orders),
            paths=paths,
            keep=2,
            adapter_dtype=torch.float32,
            progress=Progress(),
            **({"labels": data.labels} if data.labels else {}),
        )
    )


def shown(spec: RunSpec) -> Iterator[RowFed]:
    from tui_lora.worker.inspector import Inspector

    inspector = Inspector()
    for number in range(4):
        asked = FeedRow(id=str(number), spec=spec.model_dump(mode="json"), row=number)
        answer = inspector.answer(asked)
        assert isinstance(answer, RowFed), answer
        yield answer


def as_shown(tokens: Counter[Tokens], tokenizer: Any) -> Counter[tuple[tuple[str, bool], ...]]:
    """What a viewer should see of them."""
    from tui_lora.worker.token_texts import token_texts

    seen: Counter[tuple[tuple[str, bool], ...]] = Counter()
    for sequence, many in tokens.items():
        texts = map(clean, token_texts(tokenizer, [token for token, _ in sequence]))
        trained = [learned for _, learned in sequence]
        seen[tuple(zip(texts, trained, strict=True))] += many
    return seen


def agree(spec: RunSpec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[Tokens]:
    monkeypatch.setenv("TUI_LORA_CACHE", str(folder / "cache"))
    tokenizer = settled(spec)
    trained = session_batches(spec, tokenizer, folder / "session")
    assert trained == own_batches(spec, tokenizer, folder / "own")
    seen: Counter[tuple[tuple[str, bool], ...]] = Counter()
    for row in shown(spec):
        for sequence in row.sequences:
            kept = [piece for piece in sequence.pieces if not piece.cut]
            pairs = [(text, piece.trained) for piece in kept for text in piece.texts]
            assert sequence.tokens == len(pairs)
            assert sequence.trained_tokens == sum(learned for _, learned in pairs)
            if not any("left out of training" in note for note in row.notes):
                seen[tuple(pairs)] += 1
    assert seen == as_shown(trained, tokenizer)
    return trained


@pytest.mark.parametrize(("format", "task"), CASES)
def test_what_is_shown_is_what_is_trained(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, task: str
) -> None:
    spec = spec_of(tiny_model, tmp_path, format, task)
    trained = agree(spec, tmp_path, monkeypatch)
    if task != "classification":
        assert any(learned for sequence in trained for _, learned in sequence)


@pytest.mark.parametrize("loss_on", ["assistant", "all"])
@pytest.mark.parametrize("packing", [False, True])
def test_whatever_the_loss_is_on_and_packed_or_not(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss_on: str, packing: bool
) -> None:
    spec = spec_of(
        tiny_model,
        tmp_path,
        "messages",
        "sft",
        dataset__loss_on=loss_on,
        training__packing=packing,
        dataset__system="Be brief.",
    )
    agree(spec, tmp_path, monkeypatch)


def test_nothing_is_left_in_the_folder_for_scratch(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    from tui_lora.worker.feeding import Feeder

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    spec = spec_of(tiny_model, tmp_path, "pairs", "sft")
    turns = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    feeder = Feeder(spec, settled(spec), "chat")
    assert feeder.fed(feeder.rows([{"prompt": [turns[0]], "completion": [turns[1]]}]))
    assert list(scratch.iterdir()) == []


def test_a_long_text_is_trained_in_the_passages_that_are_shown(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    spec = spec_of(tiny_model, tmp_path, "text", "sft")
    rows = [{"text": f"Paragraph {n} of many words.\n\n" * 30} for n in range(4)]
    Path(spec.dataset.path).write_text("\n".join(map(json.dumps, rows)))
    tokenizer = settled(spec)
    trained = session_batches(spec, tokenizer, tmp_path / "session")
    seen: Counter[tuple[tuple[str, bool], ...]] = Counter()
    for row in shown(spec):
        names = [sequence.name for sequence in row.sequences]
        assert names == [f"passage {n} of {len(names)}" for n in range(1, len(names) + 1)]
        assert all(sequence.tokens <= MAX_LENGTH for sequence in row.sequences)
        assert row.cut_tokens == 0
        for sequence in row.sequences:
            texts = ((text, p.trained) for p in sequence.pieces for text in p.texts)
            seen[tuple(texts)] += 1
    assert seen == as_shown(trained, tokenizer)


TOOLS_TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message.tool_calls %}{{ call | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_tool_calls_reach_the_template_as_they_were_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    calls = [{"a": 1}, {"b": [1, "two", None]}, {"a": "three", "c": {"d": None}}]
    model = tmp_path / "model"
    for file in tiny_model.iterdir():
        (tmp_path / "model").mkdir(exist_ok=True)
        (model / file.name).write_bytes(file.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TOOLS_TEMPLATE
    tokenizer.save_pretrained(model)
    spec = spec_of(model, tmp_path, "messages", "sft", training__max_length=1024)
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Call it."},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "f", "arguments": json.dumps(call)}}],
                },
                {"role": "tool", "content": "done"},
                {"role": "assistant", "content": f"It says {number}."},
            ],
            "tools": [{"type": "function", "function": {"name": f"f{number}", "x": call}}],
        }
        for number, call in enumerate([*calls, {}])
    ]
    Path(spec.dataset.path).write_text("\n".join(map(json.dumps, rows)))
    trained = agree(spec, tmp_path, monkeypatch)
    texts = {tokenizer.decode([token for token, _ in sequence]) for sequence in trained}
    for number, call in enumerate([*calls, {}]):
        ours = next(text for text in texts if f"It says {number}." in text)
        assert f'"arguments": {json.dumps(call)}}}' in ours
        assert f'"name": "f{number}", "x": {json.dumps(call)}' in ours


@pytest.mark.parametrize(("format", "task"), CASES)
def test_no_rows_are_fed_as_none(
    tiny_model: Path, tmp_path: Path, format: FormatName, task: str
) -> None:
    # Lengths are measured some rows at a time, and of these none may be left.
    from tui_lora.worker.feeding import ANY_LABEL, Feeder

    spec = spec_of(tiny_model, tmp_path, format, task)
    shape = shape_of(format, spec.task)
    labels = (ANY_LABEL,) if shape == "labelled" else ()
    feeder = Feeder(spec, settled(spec), shape, labels)

    assert feeder.rows([]) == []
