"""Singular values out of an adapter's files, held against the product put together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.recorded import make_session
from tui_lora.core.adapter_figures import rank_words
from tui_lora.core.adapter_layers import Place
from tui_lora.core.errors import UserError
from tui_lora.core.spec import parse_spec
from tui_lora.store.adapter_spectrum import AdapterPlace, Stopped, figures_of, place_of
from tui_lora.store.base_norms import with_base
from tui_lora.store.sessions import create
from tui_lora.store.tensors import TensorFile

PATH = "model.layers.3.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def factors(r: int = 4, out: int = 48, inputs: int = 32, seed: int = 0) -> list[Any]:
    draw = np.random.default_rng(seed)
    return [
        draw.standard_normal((r, inputs), dtype=np.float32),
        draw.standard_normal((out, r), dtype=np.float32),
    ]


def adapter(folder: Path, a: Any, b: Any, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"base_model.model.{PATH}"
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
    return folder


def test_the_singular_values_are_those_of_the_product(tmp_path: Path) -> None:
    a, b = factors()
    found = figures_of(place_of(tmp_path, str(adapter(tmp_path / "one", a, b))))
    right = np.linalg.svd(2.0 * b.astype(np.float64) @ a, compute_uv=False)[:4]
    cell = found.cells[Place("q_proj", 3)]
    assert cell.spectrum == pytest.approx(right, rel=1e-6)
    assert found.norm == pytest.approx(np.linalg.norm(2.0 * b @ a), rel=1e-6)


def test_a_direction_that_is_not_used_is_zero(tmp_path: Path) -> None:
    a, b = factors()
    b[:, 3] = 0
    found = figures_of(AdapterPlace("it", adapter(tmp_path / "one", a, b)))
    spectrum = found.cells[Place("q_proj", 3)].spectrum
    assert spectrum[3] < 1e-6 * spectrum[0]


def test_bfloat16_is_read_without_torch(tmp_path: Path) -> None:
    numbers = np.array([1.0, -0.5, 3.140625, 65280.0], dtype=np.float32)
    raw = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    head = json.dumps({"x": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + raw)
    file = TensorFile(path)
    assert file.read("x").ravel().tolist() == numbers.tolist()
    assert file.norm("x") == pytest.approx(float(np.linalg.norm(numbers)))


def test_a_convolution_and_an_embedding_are_matrices_too(tmp_path: Path) -> None:
    a, b = factors(inputs=32)
    plain = figures_of(AdapterPlace("it", adapter(tmp_path / "a", a, b))).norm
    kernel = a.reshape(4, 8, 2, 2)
    conv = figures_of(AdapterPlace("it", adapter(tmp_path / "b", kernel, b[..., None, None])))
    assert conv.norm == pytest.approx(plain)
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    save_file({f"{name}A": a, f"{name}B": b}, tmp_path / "a" / "adapter_model.safetensors")
    assert figures_of(AdapterPlace("it", tmp_path / "a")).norm == pytest.approx(plain)


def test_what_is_not_finite_is_left_out_and_named(tmp_path: Path) -> None:
    a, b = factors()
    a[0, 0] = np.nan
    with pytest.raises(UserError) as error:
        figures_of(AdapterPlace("it", adapter(tmp_path / "one", a, b)))
    assert "1 x layers with NaN" in error.value.then


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"init_lora_weights": "pissa"}, "takes what the adapter begins with out of the base"),
        ({"use_dora": True}, "without the lengths"),
        ({"init_lora_weights": "loftq"}, "what quantization rounded away"),
    ],
)
def test_what_the_figures_hold_besides_is_said(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    found = figures_of(AdapterPlace("it", adapter(tmp_path / "one", *factors(), **config)))
    assert said in " ".join(found.notices)
    assert found.began_with == (config.get("init_lora_weights") or "")
    assert ("cannot be told" in rank_words(found)) is bool(found.began_with)


@pytest.mark.parametrize("variant", ["olora", "loftq"])
def test_no_verdict_on_r_where_a_session_began_with_more_than_nothing(
    tmp_path: Path, variant: str
) -> None:
    scheme = "nf4" if variant == "loftq" else "none"
    told = {"model": "m", "dataset": "d", "lora": {"variant": variant}}
    spec = parse_spec({**told, "quantization": {"scheme": scheme}})
    paths = create(tmp_path, "run", spec)
    adapter(paths.adapter, *factors())
    words = rank_words(figures_of(place_of(tmp_path, "run")))
    assert f"cannot be told here: ΔW holds what {variant} began with" in words
    assert "looks" not in words


def test_bad_files_are_refused_in_words(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "cut", *factors())
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        figures_of(AdapterPlace("it", folder))
    other = adapter(tmp_path / "ia3", *factors(), peft_type="IA3")
    with pytest.raises(UserError, match="no LoRA adapter but IA3"):
        figures_of(AdapterPlace("it", other))
    with pytest.raises(UserError, match="there is no adapter"):
        place_of(tmp_path, "nobody")


def test_nobody_waits_for_what_is_not_wanted_any_more(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "one", *factors())
    with pytest.raises(Stopped):
        figures_of(AdapterPlace("it", folder), go_on=lambda: False)


def test_a_session_and_its_checkpoints_are_found(tmp_path: Path) -> None:
    paths = make_session(tmp_path, "run")
    with pytest.raises(UserError, match="no adapter and no checkpoint"):
        place_of(tmp_path, "run")
    adapter(paths.adapter, *factors())
    found = place_of(tmp_path, "run")
    assert (found.folder, found.session) == (paths.adapter, paths)
    assert place_of(tmp_path, str(paths.adapter)).session == paths
    with pytest.raises(UserError, match="no checkpoint of step 7"):
        place_of(tmp_path, "run@7")


def test_the_base_s_weights_are_found_by_their_end(tmp_path: Path) -> None:
    weight = np.full((48, 32), 0.5, dtype=np.float32)
    base = tmp_path / "base"
    base.mkdir()
    # The file leaves out what all of the model's paths begin with.
    save_file({"layers.3.self_attn.q_proj.weight": weight}, base / "model.safetensors")
    folder = adapter(tmp_path / "one", *factors(), base_model_name_or_path=str(base))
    place = AdapterPlace("it", folder)
    found = with_base(place, figures_of(place), lambda done, of: None, lambda: True)
    cell = found.cells[Place("q_proj", 3)]
    assert cell.relative == pytest.approx(cell.norm / np.linalg.norm(weight))
    (base / "model.safetensors").unlink()
    with pytest.raises(UserError, match="not on this machine"):
        with_base(place, found, lambda done, of: None, lambda: True)
