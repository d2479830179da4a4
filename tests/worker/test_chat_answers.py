"""How the chat worker writes: sampling, strength, stop strings, carrying on, tokens, and whole
models beside the base. In this process, against plain transformers and peft."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import CONTEXT, make_tiny_adapter, make_tiny_model
from tui_lora.core.chat import (
    BASE,
    AdapterLoaded,
    AdapterUnloaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    ChatFailed,
    FromChat,
    LoadAdapter,
    LoadModel,
    LookAtTokens,
    MemoryHeld,
    TokensShown,
    Turn,
    UnloadAdapter,
)
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean

pytestmark = pytest.mark.model

QUESTION = (Turn(role="user", content="What is the rank of a matrix?"),)


class Kept:
    """Pipes that keep what is said."""

    def __init__(self) -> None:
        self.said: list[FromChat] = []

    def say(self, message: FromChat) -> None:
        self.said.append(message)


def make_room(model: Path, scheme: str = "none") -> Any:
    from tui_lora.worker.model import load_model
    from tui_lora.worker.room import Room

    spec, stored = ModelSpec(id=str(model)), QuantizationSpec.model_validate({"scheme": scheme})
    loaded = load_model(spec, stored, devices="cpu")
    return Room(loaded, Kept(), spec=spec, quantization=stored)


@pytest.fixture(scope="module")
def room(tiny_model: Path, tiny_adapter: Path) -> Iterator[Any]:
    room = make_room(tiny_model)
    load(room, "one", tiny_adapter)
    return room


def load(room: Any, name: str, folder: Path) -> AdapterLoaded:
    found = room.load_adapter(LoadAdapter(name=name, path=str(folder)))
    assert isinstance(found, AdapterLoaded), found
    return found


NUMBER = iter(range(10**6))


def ask(
    room: Any, name: str = "one", cancelled: threading.Event | None = None, **settings: Any
) -> Any:
    drawn = {k: settings.pop(k) for k in list(settings) if k in Sampling.model_fields}
    sampling = Sampling.model_validate({"max_new_tokens": 24, **drawn})
    asked = Ask(
        id=f"answer-{next(NUMBER)}",
        name=name,
        sampling=sampling,
        **{"turns": QUESTION, **settings},
    )
    room.pipes.said.clear()
    return room.answer(asked, cancelled or threading.Event())


def answer(room: Any, name: str = "one", **settings: Any) -> AnswerEnded:
    ended = ask(room, name, **settings)
    assert isinstance(ended, AnswerEnded), ended
    grown = "".join(m.text for m in room.pipes.said if isinstance(m, AnswerGrew))
    assert grown == ended.text
    return ended


def ids_of(room: Any, ended: AnswerEnded) -> list[int]:
    return list(room.answers.get(ended.id).ids)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"repetition_penalty": 1.4},
        {"temperature": 0.8},
        {"temperature": 1.2, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.6},
        {"temperature": 1.5, "min_p": 0.3},
        {"temperature": 0.9, "top_k": 40, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.1},
    ],
    ids=lambda given: "-".join(given) or "greedy",
)
def test_tokens_are_drawn_as_generate_draws_them(
    room: Any, tiny_model: Path, tiny_adapter: Path, given: dict[str, Any]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_adapter)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter
    )
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION[0].content}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    torch.manual_seed(11)
    # Without top_k=0 transformers draws from the 50 likeliest.
    plain = {"top_k": 0, **given} if "temperature" in given else given
    output = model.generate(**prompt, max_new_tokens=24, do_sample="temperature" in given, **plain)
    expected = output[0, prompt["input_ids"].shape[1] :].tolist()
    assert ids_of(room, answer(room, seed=11, **given)) == expected


@pytest.mark.parametrize("how", ["lora", "rslora", "stacked"])
def test_strength_scales_what_the_adapter_adds(tmp_path: Path, tiny_model: Path, how: str) -> None:
    import torch

    folder = make_tiny_adapter(tiny_model, tmp_path / "adapter", scale=0.05)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["use_rslora"] = how == "rslora"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    room = make_room(tiny_model)
    load(room, "one", folder)
    if how == "stacked":
        load(room, "two", make_tiny_adapter(tiny_model, tmp_path / "two", seed=5))
    ids = torch.arange(3, 40)[None]
    layer = "model.layers.0.self_attn.q_proj"
    seen: dict[float, Any] = {}

    def at(strength: float, name: str = "one") -> tuple[Any, Any]:
        kept = []
        module = room.loaded.model.get_submodule(layer)
        hook = module.register_forward_hook(lambda _m, _i, out: kept.append(out))
        with room.speaking(room.the_speaker(name), strength) as model, torch.inference_mode():
            logits = model(input_ids=ids).logits
        hook.remove()
        return kept[0], logits

    base, base_logits = at(1.0, BASE)
    seen = {strength: at(strength) for strength in (0.0, 0.5, 1.0, 1.5)}
    again = at(1.0)
    assert torch.equal(seen[0.0][1], base_logits)
    assert torch.equal(seen[1.0][1], again[1])
    whole = seen[1.0][0] - base
    assert whole.abs().max() > 1e-3
    for strength in (0.5, 1.5):
        assert torch.allclose(seen[strength][0] - base, strength * whole, atol=1e-5)
    assert not torch.allclose(seen[0.5][1], seen[1.0][1], atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "says"),
    [("dora", "DoRA"), ("saved", "trained whole"), ("biases", "biases"), ("tokens", "new tokens")],
)
def test_what_cannot_be_scaled_is_refused(
    tmp_path: Path, tiny_model: Path, kind: str, says: str
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = tiny_model
    if kind == "biases":
        model = make_tiny_model(tmp_path / "biased", kind="qwen2")
    given = {
        "dora": {"use_dora": True},
        "saved": {"modules_to_save": ["norm"]},
        "biases": {"bias": "all"},
        "tokens": {"trainable_token_indices": {"embed_tokens": [5]}},
    }[kind]
    made = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **given),
    )
    made.save_pretrained(tmp_path / "adapter")
    room = make_room(model)
    loaded = load(room, "one", tmp_path / "adapter")
    assert says in loaded.fixed
    failed = ask(room, strength=0.5)
    assert isinstance(failed, ChatFailed)
    assert says in failed.message
    assert answer(room, strength=0).text == answer(room, BASE).text
    assert answer(room, strength=1).text


def test_a_strength_beyond_its_range_is_refused(room: Any) -> None:
    failed = ask(room, strength=1.6)
    assert isinstance(failed, ChatFailed)
    assert "1.6 is not between 0 and 1.5" in failed.message


def test_a_stop_string_ends_an_answer_and_is_never_shown(room: Any) -> None:
    whole = answer(room, max_new_tokens=40)
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 5]
    at = whole.text.index(stop)
    ended = answer(room, max_new_tokens=40, stop=("never there", stop))
    assert (ended.text, ended.ended_by) == (whole.text[:at], "stop")
    shown = [m.text for m in room.pipes.said if isinstance(m, AnswerGrew)]
    assert "".join(shown) == whole.text[:at]
    # Not a token more than the one that completes it.
    ids = ids_of(room, ended)
    tokenizer = room.loaded.tokenizer
    assert stop in clean(tokenizer.decode(ids))
    assert stop not in clean(tokenizer.decode(ids[:-1]))
    # What only looked like one is shown after all.
    kept = answer(room, max_new_tokens=40, stop=(whole.text[-3:] + "and no more",))
    assert (kept.text, kept.ended_by) == (whole.text, whole.ended_by)


def test_a_special_token_may_be_a_stop_string(room: Any) -> None:
    from tui_lora.worker.streaming import stop_ids

    tokenizer = room.loaded.tokenizer
    ids = stop_ids(tokenizer, ("<|im_start|>", "word"))
    assert ids == {tokenizer.convert_tokens_to_ids("<|im_start|>")}


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("known", [True, False])
def test_a_cut_answer_is_carried_on(room: Any, plain: bool, known: bool) -> None:
    whole = answer(room, max_new_tokens=30, plain=plain)
    cut = answer(room, max_new_tokens=9, plain=plain)
    assert cut.ended_by == "length"
    if not known:
        room.answers._written.clear()
    rest = answer(room, max_new_tokens=21, begun=cut.text, plain=plain)
    if known:
        # Bytes of half a character at the cut are written once more.
        assert whole.text.startswith(cut.text + rest.text)
        ids = ids_of(room, rest)
        assert 25 <= len(ids) <= 30
        assert ids == ids_of(room, whole)[: len(ids)]
        # And once more from there, none of it told again.
        third = answer(room, max_new_tokens=5, begun=cut.text + rest.text, plain=plain)
        before = ids_of(room, third)[: -third.tokens]
        assert before == ids[: len(before)]
        assert len(ids) - len(before) <= 4
    else:
        assert rest.text
        assert not rest.text.startswith(cut.text)
    assert rest.prompt_tokens == pytest.approx(cut.prompt_tokens + 9, abs=12)


def test_plain_text_goes_on_without_a_template(room: Any) -> None:
    turns = (Turn(role="user", content="LoRA freezes the "), Turn(role="user", content="base"))
    ended = answer(room, BASE, turns=turns, plain=True, max_new_tokens=3)
    expected = room.loaded.tokenizer("LoRA freezes the base")["input_ids"]
    assert list(room.answers.get(ended.id).prompt) == expected
    failed = ask(room, BASE, turns=(Turn(role="user", content=""),), plain=True)
    assert isinstance(failed, ChatFailed)


def test_a_cancel_takes_one_token_at_most(room: Any) -> None:
    cancelled = threading.Event()

    class Cancels(Kept):
        def say(self, message: FromChat) -> None:
            super().say(message)
            if isinstance(message, AnswerGrew) and message.tokens >= 4:
                cancelled.set()
                self.at = message.tokens

    before, room.pipes = room.pipes, Cancels()
    try:
        ended = ask(room, cancelled=cancelled, max_new_tokens=100_000, temperature=1.0)
        assert ended.ended_by == "cancel"
        assert ended.tokens <= room.pipes.at + 1
    finally:
        room.pipes = before


def test_what_never_ends_is_cut_at_the_context(room: Any) -> None:
    ended = answer(room, turns=(Turn(role="user", content="ab " * 1300),), max_new_tokens=100_000)
    assert ended.ended_by in ("length", "end")
    if ended.ended_by == "length":
        assert ended.context_left == 0
        assert ended.prompt_tokens + ended.tokens == CONTEXT


@pytest.mark.parametrize(("content", "overrun"), [("ab " * CONTEXT, True), ("", False)])
def test_what_fails_tells_whether_it_was_too_long(room: Any, content: str, overrun: bool) -> None:
    failed = ask(room, turns=(Turn(role="user", content=content),), plain=True)
    assert isinstance(failed, ChatFailed)
    assert failed.overrun is overrun


def test_the_tokens_of_an_answer_have_their_probabilities(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tui_lora.worker import seen_tokens

    # A few tokens at a time, so that the cache between chunks is proved.
    monkeypatch.setattr(seen_tokens, "_LOGITS_AT_ONCE", 3 * 480)
    ended = answer(room, max_new_tokens=10, strength=0.5)
    found = room.look(LookAtTokens(id="t", answer_id=ended.id, name="nobody"))
    assert isinstance(found, TokensShown), found
    written = room.answers.get(ended.id)
    assert [token.id for token in found.tokens] == [*written.prompt, *written.ids]
    assert (found.again, found.left_out) == (False, 0)
    parts = [token.part for token in found.tokens]
    assert parts == ["prompt"] * ended.prompt_tokens + ["answer"] * len(written.ids)
    first = found.tokens[0]
    assert (first.text, first.special, first.probability) == ("<|im_start|>", True, None)
    ids = torch.tensor([[token.id for token in found.tokens]])
    with room.speaking(room.the_speaker("one"), 0.5) as model, torch.inference_mode():
        expected = model(input_ids=ids).logits[0].float().softmax(-1)
    for at in range(ended.prompt_tokens, ids.shape[1]):
        token = found.tokens[at]
        assert token.probability == pytest.approx(float(expected[at - 1, token.id]), abs=1e-5)
        assert len(token.others) == 5
        # Greedy: the token itself is the likeliest.
        assert token.others[0].id == token.id
        assert token.others[0].probability == pytest.approx(token.probability)


def test_tokens_of_an_answer_that_is_not_known_are_made_anew(room: Any) -> None:
    look = LookAtTokens(id="t", name=BASE, turns=QUESTION, text="The rank is 3.")
    found = room.look(look)
    assert isinstance(found, TokensShown), found
    assert found.again
    assert "".join(t.text for t in found.tokens if t.part == "answer") == "The rank is 3."
    assert all(t.probability is not None for t in found.tokens if t.part == "answer")
    prompt = room.look(LookAtTokens(id="t", turns=QUESTION))
    assert all(token.part == "prompt" for token in prompt.tokens)


def test_of_many_tokens_the_last_are_shown(room: Any) -> None:
    turns = (Turn(role="user", content="ab " * 1100),)
    found = room.look(LookAtTokens(id="t", turns=turns, text="The rank."))
    assert len(found.tokens) == 2048
    assert found.left_out > 0
    assert found.tokens[-1].part == "answer"


def tensors(model: Any) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("scheme", ["none", "nf4"])
def test_an_adapter_that_is_unloaded_leaves_nothing_behind(
    tmp_path: Path, tiny_model: Path, tiny_adapter: Path, scheme: str
) -> None:
    import gc
    import weakref

    room = make_room(tiny_model, scheme)
    before, said = tensors(room.model), answer(room, BASE).text
    loaded = load(room, "one", tiny_adapter)
    assert loaded.gib is not None
    assert loaded.gib * 2**30 == tensors(room.model) - before > 0
    load(room, "two", make_tiny_adapter(tiny_model, tmp_path / "two", seed=4))
    second = answer(room, "two").text
    gone = [
        weakref.ref(parameter)
        for name, parameter in room.model.named_parameters()
        if "adapter_0" in name
    ]
    assert gone
    assert room.unload(UnloadAdapter(name="one")) == AdapterUnloaded(name="one")
    gc.collect()
    assert not any(ref() is not None for ref in gone)
    assert answer(room, "two").text == second
    assert isinstance(ask(room, "one"), ChatFailed)
    assert room.unload(UnloadAdapter(name="two")) == AdapterUnloaded(name="two")
    assert tensors(room.model) == before
    assert room.model is room.loaded.model
    assert answer(room, BASE).text == said
    for name in ("two", BASE):
        assert isinstance(room.unload(UnloadAdapter(name=name)), ChatFailed)
    assert load(room, "one", tiny_adapter).gib == loaded.gib
    held = room.memory()
    assert isinstance(held, MemoryHeld)
    assert held.allocated_gib > 0.05


def test_an_adapter_of_another_base_of_the_same_shape_is_told(
    tmp_path: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "owner/other"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    room = make_room(tiny_model)
    assert load(room, "one", folder).warning == ""
    room.spec = ModelSpec(id="owner/name")
    assert "trained on owner/other, and owner/name is loaded" in load(room, "one", folder).warning


@pytest.fixture(scope="module")
def merged(tiny_model: Path, tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("merged") / "model"
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter
    )
    model.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_adapter).save_pretrained(folder)
    return folder


def test_a_merged_model_is_one_more_voice(
    tiny_model: Path, tiny_adapter: Path, merged: Path
) -> None:
    room = make_room(tiny_model)
    base = answer(room, BASE).text
    load(room, "one", tiny_adapter)
    found = room.load_model(LoadModel(name="whole", path=str(merged)))
    assert isinstance(found, AdapterLoaded), found
    assert found.whole
    assert found.gib is not None
    assert found.gib * 2**30 == tensors(room.voices["whole"].model)
    assert answer(room, "whole").text == answer(room).text != base
    assert answer(room, BASE).text == base
    assert isinstance(ask(room, "whole", strength=0.5), ChatFailed)
    assert isinstance(room.unload(UnloadAdapter(name="whole")), AdapterUnloaded)
    assert isinstance(ask(room, "whole"), ChatFailed)


def spoil_kind(folder: Path, tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "qwen", kind="qwen2")


def spoil_size(folder: Path, tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "wide", hidden=128)


def spoil_pickles(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    return tmp_path / "pickled"


def spoil_nothing_there(folder: Path, tmp_path: Path) -> Path:
    return tmp_path / "nowhere"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_kind, "it is a qwen2 and the base a llama"),
        (spoil_size, "128 numbers a token, and the base has 64"),
        (spoil_pickles, "safetensors"),
        (spoil_nothing_there, "there is no folder"),
    ],
)
def test_a_model_of_another_shape_is_refused(
    room: Any, merged: Path, tmp_path: Path, spoil: Callable[[Path, Path], Path], says: str
) -> None:
    failed = room.load_model(LoadModel(name="whole", path=str(spoil(merged, tmp_path))))
    assert isinstance(failed, ChatFailed)
    assert says in failed.message
    assert failed.message.startswith("the model whole cannot be used")


def test_an_adapter_that_failed_leaves_the_others_as_they_were(
    room: Any, tmp_path: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    before = {name: answer(room, name).text for name in ("one", BASE)}
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    for change, says in (({"r": 8}, "size mismatch"), ({"peft_type": "P_TUNING"}, "no LoRA but")):
        (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
        failed = room.load_adapter(LoadAdapter(name="bad", path=str(folder)))
        assert isinstance(failed, ChatFailed)
        assert says in failed.message
        assert {name: answer(room, name).text for name in before} == before


def test_an_adapter_taken_for_a_model_is_refused(room: Any, tiny_adapter: Path) -> None:
    failed = room.load_model(LoadModel(name="whole", path=str(tiny_adapter)))
    assert "is an adapter, not a whole model" in failed.message


def test_switching_gives_what_peft_gives(
    tmp_path: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    import torch

    room = make_room(tiny_model)
    ids = torch.arange(3, 30)[None]

    def logits(name: str) -> Any:
        with room.speaking(room.the_speaker(name)) as model, torch.inference_mode():
            return model(input_ids=ids).logits

    load(room, "one", tiny_adapter)
    load(room, "two", make_tiny_adapter(tiny_model, tmp_path / "two", seed=9))
    expected = {}
    with torch.inference_mode():
        for name in ("one", "two"):
            room.model.base_model.enable_adapter_layers()
            room.model.set_adapter(room.voices[name].adapter, inference_mode=True)
            expected[name] = room.model(input_ids=ids).logits
        with room.model.disable_adapter():
            expected[BASE] = room.model(input_ids=ids).logits
    room._switch.learn(room.model)
    for name in ("one", "two", BASE, "two", "one", BASE):
        assert torch.equal(logits(name), expected[name]), name
