"""What is counted of a chat before it is loaded is what it holds once it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_tiny_adapter, make_tiny_model
from tui_lora.core.chat_memory import ChatBase, adapter_bytes_in, chat_forecast, weights_in
from tui_lora.core.model_facts import facts_of
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.chat_room import look_for_room
from tui_lora.store.json_file import read_object
from tui_lora.store.model_weights import read_weights

pytestmark = pytest.mark.model

GIB = 2**30


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain, and with biases."""
    return make_tiny_model(tmp_path_factory.mktemp("chat") / request.param, kind=request.param)


def base_of(folder: Path, quantization: QuantizationSpec, number: int = 2) -> ChatBase:
    config = read_object(folder / "config.json") or {}
    facts = facts_of(config)
    assert facts is not None
    files = read_weights(folder, [child.name for child in folder.iterdir()]).files
    tensors = {n: (s, file.dtypes[n]) for file in files for n, s in file.shapes.items()}
    return ChatBase(facts, quantization, number, tensors)


def held(parameter: Any) -> Iterator[Any]:
    """The tensors that a parameter consists of, scales and tables among them."""
    yield parameter.data
    if getattr(parameter, "SCB", None) is not None:
        yield parameter.SCB
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        yield from (state.absmax, state.code)
        if state.nested:
            yield from (state.state2.absmax, state.state2.code, state.offset)


def taken(model: Any) -> int:
    tensors = (tensor for parameter in model.parameters() for tensor in held(parameter))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize(
    "quantization",
    [
        QuantizationSpec(),
        QuantizationSpec(scheme="int8"),
        QuantizationSpec(scheme="nf4", double_quant=False),
        QuantizationSpec(scheme="nf4", double_quant=True),
        QuantizationSpec(scheme="nf4", keep=("down_proj",)),
    ],
    ids=["none", "int8", "nf4", "nf4-double", "nf4-keep"],
)
def test_weights_are_counted_to_the_byte(model: Path, quantization: QuantizationSpec) -> None:
    from tui_lora.worker.model import load_model

    spec = ModelSpec(id=str(model), dtype="bfloat16")
    loaded = load_model(spec, quantization, devices="cpu").model
    assert taken(loaded) == weights_in(base_of(model, quantization))


def test_an_adapter_is_counted_to_the_byte(tmp_path: Path, tiny_model: Path) -> None:
    """In float32, also where files and base are bfloat16."""
    from safetensors.torch import load_file, save_file

    from tui_lora.store.weights import read_safetensors
    from tui_lora.worker.adapter import attach
    from tui_lora.worker.model import load_model

    folder = make_tiny_adapter(tiny_model, tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    save_file({name: weight.bfloat16() for name, weight in load_file(file).items()}, file)
    spec = ModelSpec(id=str(tiny_model), dtype="bfloat16")
    base = load_model(spec, QuantizationSpec(), devices="cpu").model
    before = taken(base)
    headers = read_safetensors(file)
    tensors = {name: (shape, headers.dtypes[name]) for name, shape in headers.shapes.items()}
    assert taken(attach(base, folder, "one", "cpu")) - before == adapter_bytes_in(tensors, 2)


def test_the_cache_is_counted_to_the_byte(model: Path) -> None:
    import torch

    from tui_lora.worker.model import load_model

    loaded = load_model(ModelSpec(id=str(model)), QuantizationSpec(), devices="cpu").model
    ids = torch.ones(1, 40, dtype=torch.long)
    out = loaded.generate(
        input_ids=ids, attention_mask=ids, max_new_tokens=9, min_new_tokens=9, do_sample=False,
        return_dict_in_generate=True, pad_token_id=0,
    )  # fmt: skip
    cached = sum(
        part.numel() * part.element_size()
        for layer in out.past_key_values.layers
        for part in (layer.keys, layer.values)
    )
    # The last token that was written is not read any more.
    base = base_of(model, QuantizationSpec(), number=4)
    assert cached == chat_forecast(base, "cpu", tokens=48).parts.cache * GIB


def test_room_on_the_cpu_is_looked_for_without_loading(tmp_path: Path, model: Path) -> None:
    room = look_for_room(tmp_path, [ChatTarget("m", ModelSpec(id=str(model)), devices="cpu")])
    assert room.fit.verdict == "fits"
    assert room.fit.forecast is not None
    assert room.fit.free_gib is not None
    assert room.fit.free_gib > room.fit.forecast.takes_gib > 0.4


class Mute:
    """Pipes that nobody listens to."""

    def say(self, message: object) -> None:
        pass


@pytest.mark.parametrize(
    "quantization",
    [
        QuantizationSpec(
            scheme="nf4", double_quant=False, compute_dtype="bfloat16", keep=("down_proj",)
        ),
        QuantizationSpec(scheme="int8", threshold=0.5, keep=("down_proj",)),
    ],
    ids=["nf4", "int8"],
)
def test_what_is_talked_to_is_stored_as_it_was_trained(
    tiny_model: Path, quantization: QuantizationSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that starts the worker, taken by the worker, makes the same layers."""
    import torch

    from tui_lora.store import launch
    from tui_lora.worker.chat import _load, _parse

    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        launch, "start_pipe_worker", lambda kind, *given, devices: commands.append(given)
    )
    spec = ModelSpec(id=str(tiny_model))
    launch.start_chat(ChatTarget("t", spec, quantization, "cpu", most_tokens=100, most_gib=2.0))
    asked = _parse(list(commands[0]))
    assert (asked.quantization, asked.most_gib) == (quantization, 2.0)
    room = _load(asked, Mute())  # type: ignore[arg-type]
    assert room.context == 100
    layers = dict(room.loaded.model.named_modules())
    packed = layers["model.layers.0.self_attn.q_proj"]
    assert type(layers["model.layers.0.mlp.down_proj"]) is torch.nn.Linear
    if quantization.scheme == "nf4":
        assert not packed.weight.quant_state.nested
        assert packed.compute_dtype is torch.bfloat16
    else:
        assert packed.state.threshold == 0.5


def test_a_conversation_is_held_to_its_share(tiny_model: Path) -> None:
    import threading

    from tui_lora.core.chat import Ask, ChatFailed, Turn
    from tui_lora.worker.model import load_model
    from tui_lora.worker.room import Room

    loaded = load_model(ModelSpec(id=str(tiny_model)), QuantizationSpec(), devices="cpu")
    room = Room(loaded, Mute(), most_tokens=20)  # type: ignore[arg-type]
    ask = Ask(id="1", turns=(Turn(role="user", content="word " * 40),))
    failed = room.answer(ask, threading.Event())
    assert isinstance(failed, ChatFailed)
    assert "beside a training it is held to 20" in failed.message
