"""Loading weights: in the precision asked for, told of as it goes on, and what it took."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import trained
from tests.kinds import kind_of, make_model
from tests.workers import tiny_spec, view_of
from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec, QuantizationSpec

pytestmark = pytest.mark.model


def loaded(model: Path, dtype: str = "auto", **named: Any) -> Any:
    from tui_lora.worker.model import load_model

    return load_model(
        ModelSpec(id=str(model), dtype=dtype), QuantizationSpec(), devices="cpu", **named
    )


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("llama", "float32"), ("llama", "bfloat16"), ("llama", "float16"), ("gpt2", "bfloat16"),
        ("mixtral", "bfloat16"),
    ],
)  # fmt: skip
def test_weights_have_the_precision_that_was_asked_for(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    folder = make_model(kind_of(kind), tmp_path / "model")
    found = loaded(folder, dtype)
    assert {str(weight.dtype) for weight in found.model.parameters()} == {f"torch.{dtype}"}
    assert str(found.dtype) == f"torch.{dtype}"


def test_every_tensor_is_told_of(tiny_model: Path) -> None:
    told: list[tuple[float, float | None, str]] = []
    found = loaded(tiny_model, on_progress=lambda *heard: told.append(heard))
    total = len(list(found.model.parameters()))
    assert told == [(done, total, "tensors") for done in range(total + 1)]
    assert found.took.shards == 1
    assert found.took.seconds > 0


def test_threads_that_load_are_waited_for(tiny_model: Path) -> None:
    late = threading.Thread(target=lambda: threading.Event().wait(1.5))

    def begin(done: float, *_: Any) -> None:
        if not done:
            late.start()

    loaded(tiny_model, on_progress=begin)
    assert late.ident is not None
    assert not late.is_alive()


def test_what_hears_of_it_can_end_it(tiny_model: Path) -> None:
    from transformers.utils import logging

    class Enough(Exception):
        pass

    def stop(done: float, total: float | None, unit: str) -> None:
        if done == 3:
            raise Enough

    with pytest.raises(Enough):
        loaded(tiny_model, on_progress=stop)
    assert logging.set_tqdm_hook(None) is None


@pytest.mark.parametrize("scheme", ["none", "nf4"])
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"num_hidden_layers": 3}, "lack 9 of the weights .* model.layers.2.input_layernorm"),
        ({"vocab_size": 500}, "embed_tokens.weight of .* is 481 x 64 in its files, and 500 x 64 "),
        ({"tie_word_embeddings": False}, "lack 1 of the weights .* lm_head.weight"),
    ],
)
def test_no_weight_is_left_to_chance(
    scheme: str, config: dict[str, Any], sentence: str, tmp_path: Path, tiny_model: Path
) -> None:
    from tui_lora.worker.model import load_model

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    known = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(known | config))
    quantization = QuantizationSpec(scheme=scheme)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=sentence) as caught:
        load_model(ModelSpec(id=str(folder)), quantization, devices="cpu")
    assert caught.value.where == "model.id"


def test_shards_are_counted(tmp_path: Path, tiny_model: Path) -> None:
    found = loaded(tiny_model)
    found.model.save_pretrained(tmp_path, max_shard_size="50KB")
    found.tokenizer.save_pretrained(tmp_path)
    shards = len(list(tmp_path.glob("*.safetensors")))
    assert shards > 1
    assert loaded(tmp_path).took.shards == shards


def test_memory_is_that_of_the_weights(tiny_model: Path) -> None:
    whole, half = (loaded(tiny_model, dtype) for dtype in ("float32", "bfloat16"))
    weights = sum(weight.numel() for weight in whole.model.parameters())
    assert whole.took.memory_bytes == pytest.approx(4 * weights, rel=0.01)
    assert half.took.memory_bytes == pytest.approx(2 * weights, rel=0.01)


def test_on_a_card_memory_is_what_torch_allocated(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from tui_lora.worker.loading import watched

    allocated = iter((1000, 4000))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: next(allocated))
    with watched(str(tiny_model), None, "cuda:0", None) as took:
        pass
    assert (took.memory_bytes, took.told().device) == (3000, "cuda:0")


def test_a_run_tells_what_loading_took(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(tiny_model, rows, training__max_steps=2, dataset__max_rows=8)
    _, paths = trained(tmp_path, "run", spec)
    view = view_of(paths)
    assert view.loaded is not None
    assert view.loaded.device == "cpu"
    assert view.loaded.shards == 1
    assert any(line.text.startswith("model loaded in ") for line in view.log)


def test_a_stop_is_heard_while_the_weights_are_loaded(
    tmp_path: Path, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.core.orders import ORDERS, Stop
    from tui_lora.store import sessions
    from tui_lora.store.journal import append_line
    from tui_lora.worker import assemble, train
    from tui_lora.worker.reporter import Reporter

    said = Reporter.progress

    def progress(reporter: Reporter, name: str, done: float, *more: Any) -> None:
        said(reporter, name, done, *more)
        heard.append((name, done))
        if heard[-1] == ("model", 5):
            append_line(paths.orders, ORDERS.encode(Stop(id="enough", t=0)))

    heard: list[tuple[str, float]] = []
    spec = tiny_spec(tiny_model, rows, dataset__max_rows=8)
    paths = sessions.create(tmp_path, "stopped", spec)
    monkeypatch.setattr(Reporter, "progress", progress)
    # Each look at the clock is a second after the last.
    seconds = itertools.count()
    clock = types.SimpleNamespace(monotonic=lambda: float(next(seconds)), time=time.time)
    monkeypatch.setattr(assemble, "time", clock)
    monkeypatch.setattr(sessions, "create", lambda *_: paths)
    with pytest.raises(train._Stopped):
        trained(tmp_path, "stopped", spec)
    assert [done for name, done in heard if name == "model"] == [0, 1, 2, 3, 4, 5]
