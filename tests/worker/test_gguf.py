"""A GGUF written from a known model comes back as that model; a broken one leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import CHATML, SPECIAL_TOKENS
from tui_lora.core.errors import UserError

pytestmark = pytest.mark.model


def write_gguf(
    model_folder: Path,
    gguf_file: Path,
    *,
    quantized: bool = False,
    pad_is_end: bool = False,
    without: str = "",
    rope_factors: Any = None,
) -> Path:
    """Write the llama in a folder as llama.cpp's converter would."""
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    config = model.config
    writer = gguf.GGUFWriter(gguf_file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)

    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [
        gguf.TokenType.CONTROL if t in SPECIAL_TOKENS else gguf.TokenType.NORMAL for t in tokens
    ]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id if pad_is_end else tokenizer.pad_token_id)
    writer.add_chat_template(CHATML)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" or (without and without in name):
            continue
        array = tensor.float().numpy()
        heads = {
            "q_proj": config.num_attention_heads,
            "k_proj": config.num_key_value_heads,
        }.get(name.split(".")[-2])
        if heads:
            # llama.cpp rotates neighbours where transformers rotates halves.
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        gguf_name = names.get_name(name, try_suffixes=(".weight",))
        if quantized and array.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(gguf_name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name, array)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf_file


def convert(gguf_file: Path, out: Path) -> list[tuple[str, float | None]]:
    from tui_lora.worker.gguf import convert

    heard: list[tuple[str, float | None]] = []
    convert(gguf_file, out, lambda label, done: heard.append((label, done)))
    return heard


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("quantized", "error"), [(False, 0.0), (True, 2e-3)])
def test_weights_and_tokenizer_come_back(
    tiny_model: Path, tmp_path: Path, quantized: bool, error: float
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tui_lora.store.gguf_cache import is_converted

    source = write_gguf(tiny_model, tmp_path / "tiny.gguf", quantized=quantized)
    out = tmp_path / "cache" / "tiny"
    heard = convert(source, out)

    assert is_converted(out)
    assert left_in(out.parent) == ["tiny"]
    shares = [done for _, done in heard if done is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    before = AutoModelForCausalLM.from_pretrained(tiny_model)
    after = AutoModelForCausalLM.from_pretrained(out)
    assert after.dtype == torch.float32
    assert not hasattr(after.config, "quantization_config")
    assert after.generation_config.eos_token_id == before.config.eos_token_id
    weights = dict(before.named_parameters())
    assert weights.keys() == dict(after.named_parameters()).keys()
    for name, parameter in after.named_parameters():
        assert (parameter - weights[name]).abs().max().item() <= error, name
    plain, converted = (AutoTokenizer.from_pretrained(folder) for folder in (tiny_model, out))
    assert converted.chat_template == CHATML
    turns = [{"role": "user", "content": "Grüße, it's 2e-4?\n\n  日本"}]
    assert converted.apply_chat_template(turns) == plain.apply_chat_template(turns)
    assert (converted.pad_token, converted.eos_token) == ("<pad>", "<|im_end|>")
    # A second call finds it there and does nothing.
    assert convert(source, out) == []


def test_padding_is_kept_apart_from_the_end_token(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    convert(write_gguf(tiny_model, tmp_path / "tiny.gguf", pad_is_end=True), tmp_path / "out")
    converted = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert converted.pad_token == "<pad>"
    assert converted.pad_token_id != converted.eos_token_id


def test_llama_3s_stretched_positions_reach_the_config(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = AutoConfig.from_pretrained(tiny_model)
    theta = config.rope_parameters["rope_theta"]
    config.rope_parameters = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    half = stretched.numel()
    factors = (theta ** -(torch.arange(half) / half) / stretched).float().numpy()
    assert factors.max() == pytest.approx(8, rel=1e-3), "the tiny model's slowest is stretched"

    convert(write_gguf(tiny_model, tmp_path / "a.gguf", rope_factors=factors), tmp_path / "a")
    found = AutoConfig.from_pretrained(tmp_path / "a").rope_parameters
    assert found["rope_type"] == "llama3"
    assert found["factor"] == pytest.approx(8, rel=1e-3)

    factors[1] = 3.0
    odd = write_gguf(tiny_model, tmp_path / "b.gguf", rope_factors=factors)
    with pytest.raises(UserError, match="rotary"):
        convert(odd, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.3, 0.97])
def test_a_truncated_file_gets_a_sentence_and_leaves_nothing(
    tiny_model: Path, tmp_path: Path, share: float
) -> None:
    whole = write_gguf(tiny_model, tmp_path / "whole.gguf").read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole[: max(6, int(len(whole) * share))])
    (tmp_path / "cache").mkdir()
    with pytest.raises(UserError) as caught:
        convert(broken, tmp_path / "cache" / "out")
    assert "broken.gguf is damaged" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert left_in(tmp_path / "cache") == []


def test_a_missing_weight_is_not_left_random(tiny_model: Path, tmp_path: Path) -> None:
    source = write_gguf(tiny_model, tmp_path / "holes.gguf", without="layers.1.mlp.up_proj")
    with pytest.raises(UserError, match=r"lacks 1 of the weights.*up_proj"):
        convert(source, tmp_path / "cache" / "out")
    assert left_in(tmp_path / "cache") == []


def test_places_that_will_not_do(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        convert(tmp_path / "nowhere.gguf", tmp_path / "out")
    with pytest.raises(UserError, match="folder"):
        convert(tmp_path, tmp_path / "out")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(UserError, match="no GGUF file"):
        convert(tmp_path / "text.gguf", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    source = write_gguf(tiny_model, tmp_path / "tiny.gguf")
    with pytest.raises(UserError, match="is there already"):
        convert(source, tmp_path / "mine")
    assert left_in(tmp_path / "mine") == ["letter.txt"]


def test_a_full_disk_is_seen_before_anything_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    source = write_gguf(tiny_model, tmp_path / "tiny.gguf")
    with pytest.raises(UserError, match=r"1\.00 MB are free"):
        convert(source, tmp_path / "cache" / "out")
    assert left_in(tmp_path / "cache") == []


def test_what_a_killed_conversion_left_is_swept(tiny_model: Path, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = tmp_path / f".out.{child.pid}.partial"
    living = tmp_path / f".out.{os.getppid()}.partial"
    dead.mkdir()
    living.mkdir()
    convert(write_gguf(tiny_model, tmp_path / "tiny.gguf"), tmp_path / "out")
    assert not dead.exists()
    assert living.exists()


def test_the_worker_prints_only_json_lines(tiny_model: Path, tmp_path: Path) -> None:
    from tui_lora.store.launch import run_worker

    broken = tmp_path / "broken.gguf"
    broken.write_bytes(write_gguf(tiny_model, tmp_path / "t.gguf").read_bytes()[:9000])
    process = run_worker("convert", str(broken), str(tmp_path / "out"))
    printed, _ = process.communicate(timeout=120)
    lines = [json.loads(line) for line in printed.splitlines()]
    assert process.returncode == 2
    assert lines[0] == {"done": 0.0, "label": "reading broken.gguf"}
    assert "broken.gguf is damaged" in lines[-1]["error"]


def test_a_files_twin_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.store.gguf_cache import converted_folder, is_converted

    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    odd = tmp_path / "a b\x1b[31m.Q4.gguf"
    odd.write_bytes(b"GGUF1")
    first = converted_folder(odd)
    assert first.parent == tmp_path / "cache" / "models"
    assert first.name.isascii()
    assert " " not in first.name
    assert "\x1b" not in first.name
    assert not is_converted(first)
    odd.write_bytes(b"GGUF12")
    assert converted_folder(odd) != first
    with pytest.raises(UserError, match="cannot be read"):
        converted_folder(tmp_path / "nowhere.gguf")
