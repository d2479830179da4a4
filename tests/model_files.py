"""Model files of a few bytes, made without torch."""

import json
import struct
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "vocab_size": 16,
    "max_position_embeddings": 64,
    "dtype": "bfloat16",
}
SIZES = {"F32": 4, "BF16": 2, "U8": 1, "I32": 4}


def tensors(path: Path, shapes: dict[str, tuple[str, list[int]]], *, cut: int = 0) -> None:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in shapes.items():
        length = SIZES[dtype]
        for side in shape:
            length *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(at)
    path.write_bytes(data[: len(data) - cut])


def model(
    folder: Path, config: dict[str, Any] | None = None, *, cut: int = 0, dtype: str = "BF16"
) -> Path:
    """A folder that looks like a model: 16 x 8 + 8 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    shapes = {"embed.weight": (dtype, [16, 8]), "norm.weight": (dtype, [8])}
    tensors(folder / "model.safetensors", shapes, cut=cut)
    tokenizer(folder, 16)
    return folder


def tokenizer(folder: Path, tokens: int, added: dict[str, int] | None = None) -> None:
    """A tokenizer.json with words for tokens."""
    listed = [{"id": number, "content": text} for text, number in (added or {}).items()]
    vocab = {f"t{number}": number for number in range(tokens)}
    whole = {"added_tokens": listed, "model": {"type": "BPE", "vocab": vocab, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(whole))


def gguf(path: Path, extra: dict[str, Any] | None = None, *, cut: int = 0) -> Path:
    """A GGUF file of version 3 with one Q8_0 tensor of 64 x 4."""
    values: dict[str, Any] = {
        "general.architecture": "llama",
        "general.file_type": 7,
        "llama.context_length": 512,
        "llama.embedding_length": 64,
        "tokenizer.ggml.tokens": [f"t{number}" for number in range(100)],
        "tokenizer.chat_template": "{{ messages }}",
        "llama.rope.freq_base": 1.5,
        "tokenizer.ggml.token_type": list(range(100)),
        **(extra or {}),
    }

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def value(item: Any) -> bytes:
        if isinstance(item, str):
            return struct.pack("<I", 8) + text(item)
        if isinstance(item, float):
            return struct.pack("<If", 6, item)
        if isinstance(item, int):
            return struct.pack("<II", 4, item)
        inner = [text(i) if isinstance(i, str) else struct.pack("<i", i) for i in item]
        kind = 8 if isinstance(item[0], str) else 5
        return struct.pack("<IIQ", 9, kind, len(item)) + b"".join(inner)

    data = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values))
    for name, item in values.items():
        data += text(name) + value(item)
    data += text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 4, 8, 0)
    data += bytes(-len(data) % 32) + bytes(64 * 4 // 32 * 34)
    path.write_bytes(data[: len(data) - cut])
    return path
