"""Chat templates: ours, the tokenizer's own with the assistant's words marked, ends and padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import CHATML, make_tokenizer
from tui_lora.core.errors import UserError

pytestmark = pytest.mark.model

SHIPPED = ("chatml", "llama2", "llama3", "mistral", "gemma", "zephyr", "alpaca", "plain")
MARKS = ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>")
MORE = ("<end_of_turn>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")

SYSTEM = {"role": "system", "content": "Answer in one word."}
TURNS = [
    {"role": "user", "content": "What colour has the sky?"},
    {"role": "assistant", "content": "Blue"},
    {"role": "user", "content": " And grass,\n\nin summer? "},
    {"role": "assistant", "content": "Green: [/INST] {{ x }}"},
]

OWN = {
    "chatml": CHATML,
    "chatml with a system turn of its own": (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
        '<|im_start|>system\nYou\'re a "small" model.<|im_end|>\n{% endif %}'
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama 2": (
        "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}"
        "{% set rules = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}"
        "{% else %}{% set rest = messages %}{% set rules = '' %}{% endif %}"
        "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% set said = rules + m.content if loop.first else m.content %}{% if m.role == 'user' %}"
        "{{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + said.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "mistral, the system turn before the last question": (
        "{% if messages[0].role == 'system' %}{% set rules = messages[0].content + '\\n\\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}"
        "{% for m in rest %}{% if m.role == 'user' %}[INST] "
        "{{ rules if rules is defined and (loop.last or loop.index == rest|length - 1) }}"
        "{{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    ),
    "zephyr": (
        "{% for m in messages %}\n{% if m.role == 'user' %}\n"
        "{{ '<|user|>\\n' + m.content + eos_token }}\n{% elif m.role == 'system' %}\n"
        "{{ '<|system|>\\n' + m.content + eos_token }}\n{% else %}\n"
        "{{ '<|assistant|>\\n' + m.content + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
        "{% endfor %}"
    ),
    "gemma, other wording": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no system turns') }}{% endif %}<start_of_turn>"
        "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "phi 3, closed behind the last turn": (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    "vicuna": (
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n"
        "{% elif m.role == 'user' %}USER: {{ m.content | trim }}\n"
        "{% else %}ASSISTANT: {{ m.content | trim }}{{ eos_token }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    ),
    "today's date": (
        "<|im_start|>system\nToday is {{ strftime_now('%d %b %Y') }}.<|im_end|>\n"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
}
"""Families as their models have them, in our spelling."""


def tokenizer_with(template: str | None, *, bos: str | None = "<s>", eos: str = "</s>") -> Any:
    """The tiny tokenizer with the marks of all families, its own begin and end tokens."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([*MARKS, *MORE, "<s>", "</s>"], special_tokens=True)
    tokenizer.bos_token, tokenizer.eos_token = bos, eos
    tokenizer.chat_template = template
    return tokenizer


def written(tokenizer: Any, turns: list[dict[str, Any]], **how: Any) -> Any:
    return tokenizer.apply_chat_template(turns, return_dict=True, **how)["input_ids"]


def marked(tokenizer: Any, turns: list[dict[str, Any]]) -> list[str]:
    """Each run of marked tokens as text."""
    found = tokenizer.apply_chat_template(
        turns, return_dict=True, return_assistant_tokens_mask=True
    )
    runs, before = [], 0
    for token, mark in zip(found["input_ids"], found["assistant_masks"], strict=True):
        if mark:
            runs.append([*(runs.pop() if before else []), token])
        before = mark
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize("family", OWN)
def test_the_marked_template_writes_the_same_tokens(family: str) -> None:
    from tui_lora.worker.templates import end_of_turn_ids, training_tokenizer

    own = tokenizer_with(OWN[family])
    training = training_tokenizer(own)
    assert own.chat_template == OWN[family]
    for turns in (TURNS[:2], TURNS):
        assert written(training, turns) == written(own, turns)
        question = turns[:-1]
        asked = written(own, question, add_generation_prompt=True)
        assert written(training, question, add_generation_prompt=True) == asked
        runs = marked(training, turns)
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        ends = own.convert_ids_to_tokens(sorted(end_of_turn_ids(own)))
        assert len(runs) == len(answers)
        for run, answer in zip(runs, answers, strict=True):
            said = next(run.removesuffix(end) for end in ends if run.endswith(end))
            assert said.strip() == answer


@pytest.mark.parametrize("family", OWN)
def test_a_system_turn_is_written_the_same_or_not_at_all(family: str) -> None:
    from jinja2 import TemplateError

    from tui_lora.worker.templates import training_tokenizer

    own = tokenizer_with(OWN[family])
    training = training_tokenizer(own)
    if family.startswith(("gemma", "mistral")):
        with pytest.raises(TemplateError):
            written(training, [SYSTEM, *TURNS])
    else:
        assert written(training, [SYSTEM, *TURNS]) == written(own, [SYSTEM, *TURNS])


@pytest.mark.parametrize("name", ["llama3_1", "llama3_2", "phi3_5", "qwen2_5", "gemma"])
def test_templates_that_trl_knows_or_not_are_marked(name: str) -> None:
    import trl

    from tui_lora.worker.templates import training_tokenizer

    template = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    own = tokenizer_with(template.read_text(encoding="utf-8"))
    training = training_tokenizer(own)
    assert written(training, TURNS) == written(own, TURNS)
    first, second = marked(training, TURNS)
    assert "Blue" in first
    assert "Green" in second


def test_a_template_that_marks_already_is_kept() -> None:
    from tui_lora.worker.templates import training_tokenizer

    own = CHATML.replace(
        "{{ message['content'] }}<|im_end|>", "{% generation %}X{% endgeneration %}"
    )
    own = own.replace("X", "{{ message['content'] }}<|im_end|>")
    assert training_tokenizer(tokenizer_with(own)).chat_template == own


TOOL_CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}


@pytest.mark.parametrize(
    ("turns", "how"),
    [
        (TURNS, {"tools": [{"type": "function", "function": {"name": "look"}}]}),
        ([TURNS[0], {"role": "assistant", "content": "", "tool_calls": [TOOL_CALL]}], {}),
        ([*TURNS, {"role": "tool", "content": "4"}], {}),
    ],
)
@pytest.mark.parametrize("template", [*SHIPPED, "marked"])
def test_tools_are_refused_rather_than_dropped(
    template: str, turns: list[dict[str, Any]], how: dict[str, Any]
) -> None:
    from jinja2 import TemplateError

    from tui_lora.worker.templates import settle_template, training_tokenizer

    tokenizer = tokenizer_with(CHATML)
    if template == "marked":
        tokenizer = training_tokenizer(tokenizer)
    else:
        settle_template(tokenizer, template)
    with pytest.raises(TemplateError):
        written(tokenizer, turns, **how)


FORGETFUL = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")


def test_thoughts_that_the_own_template_drops_are_refused() -> None:
    from jinja2 import TemplateError

    from tui_lora.worker.templates import training_tokenizer

    training = training_tokenizer(tokenizer_with(FORGETFUL))
    assert written(training, TURNS) == written(tokenizer_with(FORGETFUL), TURNS)
    with pytest.raises(TemplateError, match="thoughts"):
        written(training, [TURNS[0], {"role": "assistant", "content": "<think>x</think>y"}])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            CHATML.replace("['content']", "['content'].replace('\\n\\n', '\\n')"),
            "does not say which",
        ),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "ends no turn"),
        ("{% for m in messages[::-1] %}{{ m.content }}<|end|>{% endfor %}", "does not say which"),
        (
            "{% for m in messages %}- {% generation %}{{ m.content }}{% endgeneration %}<|end|>"
            "{% endfor %}",
            "leaves the end of a turn out",
        ),
        ("{{ raise_exception('never') }}", "does not take a question and an answer: never."),
    ],
)
def test_a_template_that_cannot_be_marked_is_refused_with_the_mend(
    template: str, said: str
) -> None:
    from tui_lora.worker.templates import training_tokenizer

    with pytest.raises(UserError, match=said) as refused:
        training_tokenizer(tokenizer_with(template))
    assert refused.value.then


EXPECTED = {
    "chatml": (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
        "<|im_start|>assistant\n§A<|im_end|>\n"
    ),
    "llama2": "[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST]§ A </s>",
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n§A<|eot_id|>"
    ),
    "mistral": "[INST] S\n\nQ [/INST]§ A</s>",
    "gemma": "<start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\n§A<end_of_turn>\n",
    "zephyr": "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\n§A</s>\n",
    "alpaca": "S\n\n### Instruction:\nQ\n\n### Response:\n§A</s>",
    "plain": "S\nQ\n§A</s>",
}
"""A sign stands where the answer begins."""


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("name", SHIPPED)
def test_each_of_ours_writes_and_marks(name: str, begins: bool) -> None:
    """With a begin token only for a tokenizer that begins its texts with it."""
    from tokenizers.processors import TemplateProcessing

    from tui_lora.worker.templates import end_of_turn_ids, settle_template, training_tokenizer

    tokenizer = tokenizer_with(CHATML)
    if begins:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
    [chosen] = settle_template(tokenizer, name)
    assert (chosen.setting, chosen.value) == ("chat template", name)
    assert "generation" not in tokenizer.chat_template.replace("add_generation_prompt", "")
    turns = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A"},
    ]
    before, _, answer = EXPECTED[name].partition("§")
    start = "<s>" if begins else ""
    asked = written(tokenizer, turns[:2], add_generation_prompt=True)
    whole = written(tokenizer, turns)
    assert tokenizer.decode(asked) == start + before
    assert tokenizer.decode(whole) == start + before + answer
    assert whole[: len(asked)] == asked
    training = training_tokenizer(tokenizer)
    assert written(training, turns) == whole
    assert marked(training, turns) == [answer.rstrip("\n")]
    [end] = end_of_turn_ids(tokenizer) - {tokenizer.eos_token_id} or {tokenizer.eos_token_id}
    assert answer.rstrip().endswith(tokenizer.convert_ids_to_tokens(end))


def test_alpaca_has_its_published_wording() -> None:
    from tui_lora.worker.templates import settle_template

    tokenizer = tokenizer_with(None)
    settle_template(tokenizer, "alpaca")
    text = tokenizer.apply_chat_template([TURNS[0]], add_generation_prompt=True, tokenize=False)
    assert text == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nWhat colour has the sky?\n\n### Response:\n"
    )


def test_the_template_outlives_its_folder(tmp_path: Path) -> None:
    from tui_lora.worker.model import load_tokenizer
    from tui_lora.worker.templates import settle_template

    tokenizer = tokenizer_with(CHATML)
    settle_template(tokenizer, "zephyr")
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again.chat_template == tokenizer.chat_template
    assert settle_template(again, "auto")[0].value == "own"
    assert written(again, [SYSTEM, *TURNS]) == written(tokenizer, [SYSTEM, *TURNS])


def test_without_a_template_zephyr_is_chosen_and_said() -> None:
    from tui_lora.worker.templates import settle_template

    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    [chosen] = settle_template(tokenizer, "auto")
    assert (chosen.value, chosen.reason.split(";")[0]) == ("zephyr", "the tokenizer has none")
    text = tokenizer.apply_chat_template(TURNS[:2], tokenize=False)
    assert text.endswith("<|assistant|>\nBlue<|im_end|>\n")


@pytest.mark.parametrize("name", ["llama3", "gemma"])
def test_a_mark_that_is_no_token_is_refused(name: str) -> None:
    from tui_lora.worker.templates import settle_template

    with pytest.raises(UserError, match=f"the template {name} ends a turn with a mark") as refused:
        settle_template(make_tokenizer(), name)
    assert "zephyr, alpaca, llama2, mistral and plain" in refused.value.then


@pytest.mark.parametrize(
    ("template", "wanted", "end"),
    [
        (CHATML, "auto", "<|im_end|>"),
        (None, "chatml", "<|im_end|>"),
        (None, "auto", "</s>"),
    ],
)
def test_a_missing_end_token_is_found_and_said(template: str | None, wanted: str, end: str) -> None:
    from tui_lora.worker.templates import end_of_turn_ids, settle_template

    tokenizer = tokenizer_with(template)
    tokenizer.eos_token = None
    choices = {choice.setting: choice.value for choice in settle_template(tokenizer, wanted)}
    assert choices["end token"] == tokenizer.eos_token == end
    assert end_of_turn_ids(tokenizer) == {tokenizer.eos_token_id}


def test_no_end_token_at_all_is_refused() -> None:
    from tui_lora.worker.templates import settle_template

    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.chat_template = None
    with pytest.raises(UserError, match="has no end token") as refused:
        settle_template(tokenizer, "auto")
    assert "eos_token" in refused.value.then


def test_padding_is_a_spare_token_never_the_end() -> None:
    from tui_lora.worker.templates import settle_template

    tokenizer = make_tokenizer()
    assert [choice.setting for choice in settle_template(tokenizer, "auto")] == ["chat template"]
    for given in (None, tokenizer.eos_token):
        tokenizer.pad_token = given
        pad = settle_template(tokenizer, "auto")[1]
        assert (pad.setting, pad.value) == ("pad token", "<pad>")
        assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_an_end_that_must_pad_too_is_still_learned() -> None:
    """Through trl's own preparation and collator."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    from tui_lora.worker.templates import settle_template

    # Letters, and one token more.
    letters = {letter: at for at, letter in enumerate(ByteLevel.alphabet())}
    bare = Tokenizer(models.BPE({**letters, "<|im_end|>": len(letters)}, []))
    bare.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|im_end|>")
    choices = {choice.setting: choice for choice in settle_template(tokenizer, "auto")}
    assert choices["pad token"].value == "<|im_end|>"
    assert "none is spare" in choices["pad token"].reason
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    rows = [{"prompt": [TURNS[0]], "completion": [TURNS[1]]} for _ in range(2)]
    rows[1]["completion"] = [{"role": "assistant", "content": "Blue and grey and white"}]
    trainer = SFTTrainer(
        model=LlamaForCausalLM(config),
        args=SFTConfig(output_dir="unused", report_to="none", use_cpu=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[at] for at in range(2)])
    end = tokenizer.eos_token_id
    for ids, labels, mask in zip(
        batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
    ):
        learned = ids[labels != -100]
        assert (learned == end).sum() == 1
        assert torch.equal(ids[mask == 0], torch.full_like(ids[mask == 0], end))
        assert (labels[mask == 0] == -100).all()
