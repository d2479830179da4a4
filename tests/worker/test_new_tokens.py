"""New tokens: read, learned, written, saved with the adapter, and talked to."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import workers
from tests.answers import reloads_the_same
from tests.in_process import chosen, trained
from tests.kinds import config_of, kind_of, make_model
from tests.tiny import make_tiny_adapter
from tests.workers import tiny_spec, view_of
from tui_lora.core.chat import (
    AdapterLoaded,
    AnswerEnded,
    Ask,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Turn,
)
from tui_lora.core.errors import UserError
from tui_lora.core.inspect import FeedRow, RowFed
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import LoraSpec, ModelSpec, QuantizationSpec
from tui_lora.store import sessions
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model

NEW = ("<tool>", "<rank>")
QUESTION = "What is the rank of run 7?"


class Mute:
    """Pipes that nobody listens to."""

    def say(self, message: FromChat) -> None:
        pass


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i in range(40):
            row = {"prompt": f"What is the rank of run {i}?", "completion": f"<rank> {i} <tool>"}
            file.write(json.dumps(row) + "\n")
    return path


def model_with_rows(folder: Path, *, tied: bool, spare: int) -> Path:
    """A tiny llama whose embeddings have `spare` rows beyond its tokenizer's tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    make_model(kind_of("llama"), folder)
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings, config.vocab_size = tied, config.vocab_size + spare
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def spec_of(model: Path, rows: Path, **changes: Any) -> Any:
    few = {"training__max_steps": 2, "dataset__max_rows": 10, "evaluation__every_steps": 2}
    return tiny_spec(model, rows, **{"lora__new_tokens": NEW, **few, **changes})


LEARN = {"training__max_steps": 30, "training__learning_rate": 2e-2, "dataset__max_rows": 40,
         "evaluation__save_every_steps": 100}  # fmt: skip


def written(model: Any, tokenizer: Any) -> str:
    turns = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    answer = model.eval().generate(**prompt, max_new_tokens=4, do_sample=False)
    return str(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :]))


def as_the_card_says(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer, loaded by the script in the adapter's README."""
    script = (folder / "README.md").read_text().split("```python\n")[1].split("turns = ")[0]
    names: dict[str, Any] = {}
    exec(script.replace('"adapter"', repr(str(folder))), names)
    return names["model"], names["tokenizer"]


@pytest.mark.parametrize(
    ("tied", "spare", "scheme", "layers"),
    [(True, 0, "none", 1), (False, 8, "nf4", 2)],
    ids=["tied-grown", "untied-to-spare"],
)
def test_a_new_token_is_learned_written_and_read_anywhere(
    tied: bool, spare: int, scheme: str, layers: int, tmp_path: Path, rows: Path
) -> None:
    from safetensors.torch import load_file

    model = model_with_rows(tmp_path / "model", tied=tied, spare=spare)
    spec = spec_of(model, rows, quantization__scheme=scheme, **LEARN)
    tuned, paths = trained(tmp_path, "run", spec)
    reloads_the_same(tuned, spec, paths)

    weights = load_file(paths.adapter / "adapter_model.safetensors")
    token_rows = [value for name, value in weights.items() if "trainable_tokens" in name]
    assert [tuple(value.shape) for value in token_rows] == [(2, 64)] * layers
    assert not any("embed_tokens.weight" in name for name in weights)
    plan = view_of(paths).plan
    assert plan is not None
    assert plan.trainable_parameters == sum(value.numel() for value in weights.values())
    assert chosen(paths)["lora.new_tokens"].startswith("2 added")

    if scheme == "none":
        plain, tokenizer = as_the_card_says(paths.adapter)
        assert written(plain, tokenizer) == written(tuned, tokenizer)
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(paths.adapter)
    assert written(tuned, tokenizer).startswith("<rank>")
    assert tokenizer.tokenize("a<rank>") == ["a", "<rank>"]


@pytest.mark.parametrize("tied", [True, False])
def test_they_begin_as_the_mean_of_the_others(tied: bool, tmp_path: Path, rows: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = model_with_rows(tmp_path / "model", tied=tied, spare=1)
    spec = spec_of(model, rows, training__learning_rate=1e-9)
    tuned, _ = trained(tmp_path, "run", spec)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    before = len(base.get_input_embeddings().weight) - 1
    for layer, own in (
        (tuned.get_input_embeddings(), base.get_input_embeddings()),
        (tuned.get_output_embeddings(), base.get_output_embeddings()),
    ):
        mean = own.weight[:before].mean(0)
        assert layer.weight.shape[0] == before + 2
        for row in layer.weight[before:]:
            assert torch.allclose(row, mean, atol=1e-6)
        assert torch.equal(layer.weight[:before], own.weight[:before])


def test_tokens_that_are_there_are_not_added(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    spec = spec_of(tiny_model, rows, lora__new_tokens=["<|im_start|>"])
    tuned, paths = trained(tmp_path, "run", spec)
    assert not any("trainable_tokens" in name for name, _ in tuned.named_parameters())
    assert any("<|im_start|> already" in line.text for line in view_of(paths).log)


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    spec = spec_of(tiny_model, rows, training__max_steps=4)
    whole = sessions.create(tmp_path, "whole", spec)
    assert workers.train(whole) == 0, whole.log.read_text()[-2000:]
    broken = SessionPaths(tmp_path / "broken")
    shutil.copytree(whole.folder, broken.folder)
    shutil.rmtree(broken.checkpoints / "step-000004")
    shutil.rmtree(broken.adapter)
    assert workers.train(broken) == 0, broken.log.read_text()[-2000:]
    assert view_of(broken).resumed_from == 2
    weights, again = (
        load_file(paths.adapter / "adapter_model.safetensors") for paths in (whole, broken)
    )
    assert weights.keys() == again.keys()
    for name, value in weights.items():
        assert torch.allclose(value, again[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"modules_to_save": "lm_head"}, "lm_head is trained whole"),
        ({"modules_to_save": "model.embed_tokens"}, "embed_tokens is trained whole"),
        ({"bias": True}, "has biases"),
        ({}, ""),
    ],
)
def test_embeddings_that_cannot_be_trained_by_rows(settings: dict[str, Any], sentence: str) -> None:
    import torch

    from tui_lora.worker.skeleton import skeleton
    from tui_lora.worker.targets import planned

    bare = skeleton(config_of(kind_of("llama"), 480))
    if settings.pop("bias", False):
        bare.lm_head.bias = torch.nn.Parameter(torch.zeros(480, device="meta"))
    spec = LoraSpec(r=4, new_tokens=NEW, **settings)
    if not sentence:
        with_them, without = planned(spec, bare, tokens=(480, 481)), 8192
        assert with_them.trainable == without + 2 * 2 * 64
        return
    with pytest.raises(UserError, match=sentence) as caught:
        planned(spec, bare, tokens=(480, 481))
    assert caught.value.where == "lora.new_tokens"


def test_a_room_talks_to_them_beside_others(
    tmp_path: Path, tiny_model: Path, tiny_adapter: Path, rows: Path
) -> None:
    from tui_lora.worker.model import load_model
    from tui_lora.worker.room import Room

    _, paths = trained(tmp_path, "few", spec_of(tiny_model, rows, **LEARN))
    more = make_tiny_adapter(tiny_model, tmp_path / "more")
    config = json.loads((more / "adapter_config.json").read_text())
    config["trainable_token_indices"] = {"model.embed_tokens": [9999]}
    (more / "adapter_config.json").write_text(json.dumps(config))
    loaded = load_model(ModelSpec(id=str(tiny_model)), QuantizationSpec(), devices="cpu")
    room = Room(loaded, Mute())

    def load(name: str, folder: Path) -> FromChat:
        return room.load_adapter(LoadAdapter(name=name, path=str(folder)))

    def answer(name: str) -> str:
        turns = (Turn(role="user", content=QUESTION),)
        asked = Ask(id="1", name=name, turns=turns, sampling=Sampling(max_new_tokens=4))
        ended = room.answer(asked, threading.Event())
        assert isinstance(ended, AnswerEnded), ended
        return ended.text

    assert isinstance(load("plain", tiny_adapter), AdapterLoaded)
    before = answer("plain")
    assert isinstance(load("new", paths.adapter), AdapterLoaded)
    assert answer("new").startswith("<rank>")
    assert answer("plain") == before
    failed = load("more", more)
    assert isinstance(failed, ChatFailed)
    assert "tokens more than the adapters beside it" in failed.message
    assert answer("new").startswith("<rank>")


def test_a_row_is_shown_with_each_as_one_token(tiny_model: Path, rows: Path) -> None:
    from tui_lora.worker.inspector import Inspector

    inspector = Inspector()
    for names, whole in (((), False), (NEW, True), ((), False)):
        spec = spec_of(tiny_model, rows, lora__new_tokens=names).model_dump(mode="json")
        fed = inspector.answer(FeedRow(id="1", spec=spec, row=3))
        assert isinstance(fed, RowFed), fed
        texts = [text for piece in fed.sequences[0].pieces for text in piece.texts]
        assert ("<rank>" in texts) is whole


def test_rows_are_tokenized_anew_for_other_tokens(tiny_model: Path, rows: Path) -> None:
    from tui_lora.store.sources import sources_of
    from tui_lora.worker import token_cache
    from tui_lora.worker.model import load_tokenizer
    from tui_lora.worker.vocabulary import add_tokens

    keys = set()
    for names in ((), NEW, NEW[:1]):
        spec = spec_of(tiny_model, rows, lora__new_tokens=names)
        tokenizer = load_tokenizer(str(tiny_model))
        add_tokens(tokenizer, names)
        keys.add(token_cache.key_of(spec, tokenizer, sources_of(spec.dataset, "train"), []))
    assert len(keys) == 3
