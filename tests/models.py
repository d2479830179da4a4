"""Model folders of a few bytes: a config and a safetensors header, for tests that load nothing."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "vocab_size": 32,
    "max_position_embeddings": 2048,
    "dtype": "bfloat16",
}


def write_model(folder: Path, *, template: bool = True, **config: Any) -> Path:
    """A model as the catalog sees it: 256 parameters in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **config}))
    tokenizer = {"chat_template": "{{ messages }}"} if template else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    vocab = {f"t{number}": number for number in range(32)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    tensor = {"dtype": "BF16", "shape": [32, 8], "data_offsets": [0, 512]}
    header = json.dumps({"model.embed_tokens.weight": tensor}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(512)
    (folder / "model.safetensors").write_bytes(weights)
    return folder
