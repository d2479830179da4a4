"""A merged model's folder: weights in shards, its settings, its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.json_file import read_object
from tui_lora.worker.merge_layers import Tensors

SHARD_BYTES = 1_000_000_000
"""Of one file of weights. What is written lies in memory until its file is whole, so this is most
of what merging takes; others' tools take up to 5 GB."""

_INDEX = "model.safetensors.index.json"


class Shards:
    """Writes tensors into files of at most `most` bytes, and their index. Raises OSError."""

    def __init__(self, folder: Path, most: int = SHARD_BYTES) -> None:
        self._folder, self._most = folder, most
        self._held: Tensors = {}
        self._held_bytes = 0
        self._written: list[tuple[Path, list[str]]] = []
        self.size_bytes = 0
        self.names: set[str] = set()

    def add(self, name: str, tensor: torch.Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._held and self._held_bytes + size > self._most:
            self._flush()
        if tensor.untyped_storage().nbytes() != size or not tensor.is_contiguous():
            # A part of a larger one would keep all of that in memory.
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._held[name] = tensor
        self._held_bytes += size
        self.size_bytes += size
        self.names.add(name)

    def close(self) -> int:
        """Write what is left, name the files and list them; how many there are."""
        self._flush()
        of = len(self._written)
        if of == 1:
            self._written[0][0].rename(self._folder / "model.safetensors")
            return 1
        places: dict[str, str] = {}
        for number, (path, names) in enumerate(self._written, start=1):
            final = f"model-{number:05}-of-{of:05}.safetensors"
            path.rename(self._folder / final)
            places.update(dict.fromkeys(names, final))
        index = {"metadata": {"total_size": self.size_bytes}, "weight_map": places}
        write_json(self._folder / _INDEX, index)
        return of

    def _flush(self) -> None:
        if not self._held:
            return
        path = self._folder / f"part-{len(self._written) + 1:05}.safetensors"
        save_file(self._held, path, metadata={"format": "pt"})
        self._written.append((path, list(self._held)))
        self._held, self._held_bytes = {}, 0


def write_settings(
    folder: Path,
    base: Path,
    bare: Any,
    dtype: torch.dtype,
    tokenizer: Any,
    *,
    untied: bool,
    labels: tuple[str, ...],
    ends: frozenset[int],
) -> None:
    """config.json and generation_config.json as the base has them, but for what the merge changed.
    Raises OSError and UserError."""
    config = read_object(base / "config.json")
    if config is None:
        raise UserError(f"{clean(str(base))} has no config.json that can be read.")
    for one in (config, config.get("text_config")):
        if isinstance(one, dict):
            one.pop("torch_dtype", None)
            one["dtype"] = str(dtype).removeprefix("torch.")
            if "vocab_size" in one or one is config:
                one["vocab_size"] = bare.get_input_embeddings().weight.shape[0]
            if untied:
                one["tie_word_embeddings"] = False
    for name in ("quantization_config", "_name_or_path"):
        config.pop(name, None)
    if labels:
        config["architectures"] = [type(bare).__name__]
        config["id2label"] = {str(number): label for number, label in enumerate(labels)}
        config["label2id"] = {label: number for number, label in enumerate(labels)}
        config["pad_token_id"] = tokenizer.pad_token_id
    write_json(folder / "config.json", config)
    if labels:
        return
    generation = read_object(base / "generation_config.json") or {}
    own = generation.get("eos_token_id", config.get("eos_token_id"))
    known = own if isinstance(own, list) else [] if own is None else [own]
    # The template's own end of turn is what an answer must stop at too.
    together = [*known, *sorted(ends - set(known))]
    if together:
        generation["eos_token_id"] = together if len(together) > 1 else together[0]
    if tokenizer.pad_token_id is not None:
        generation["pad_token_id"] = tokenizer.pad_token_id
    write_json(folder / "generation_config.json", generation)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def rounded(tensor: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """`tensor` in `dtype`, once and to the nearest. Raises UserError where numbers are too large
    for it."""
    found = tensor.to(dtype)
    if dtype == torch.float16 and not torch.isfinite(found).all():
        raise UserError(
            f"{clean(name)} holds numbers beyond 65,504, which is where float16 ends.",
            then="Merge it with --dtype bfloat16.",
            exit_code=1,
        )
    return found
