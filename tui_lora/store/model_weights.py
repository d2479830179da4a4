"""The weights that a model's folder should hold: their headers, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.text import clean
from tui_lora.store.json_file import read_object
from tui_lora.store.weights import BadWeights, WeightFile, read_safetensors

_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "backbone.embeddings.weight",
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_OTHER_SENSES = ("vision", "visual", "audio", "patch")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Weights:
    """Headers. `missing` are files that are not there, `problem` all else that is wrong. `layers`:
    how many there are by the highest number; None where none has one."""

    files: list[WeightFile]
    problem: str = ""
    missing: str = ""
    embedding_rows: int | None = None
    layers: int | None = None


def shard_files(folder: Path) -> list[Path]:
    """The safetensors that a folder's model is in, by its index; they may not be there."""
    whole = folder / "model.safetensors"
    if whole.is_file() or whole.is_symlink():
        return [whole]
    index = read_object(folder / "model.safetensors.index.json") or {}
    mapped = index.get("weight_map")
    names = {str(name) for name in mapped.values()} if isinstance(mapped, dict) else set()
    return [folder / name for name in sorted(names)]


def read_weights(folder: Path, names: list[str]) -> Weights:
    """The headers of a folder's safetensors, and what is wrong with them, if anything."""
    shards = [path.name for path in shard_files(folder)]
    if not shards:
        return no_safetensors(names)
    gone = [name for name in shards if not (folder / name).is_file()]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        many = f"its index names {len(shards)} files of weights. Copy them all together."
        return Weights([], missing=f"lacks {clean(gone[0])}{more}: {many}")
    files = []
    for name in shards:
        try:
            files.append(read_safetensors(folder / name))
        except BadWeights as error:
            again = "Fetch it again, or copy it from where it came from."
            return Weights(files, f"is broken: {clean(name)} {error}. {again}")
    return Weights(files, embedding_rows=_embedding_rows(files), layers=_layers(files))


def no_safetensors(names: list[str]) -> Weights:
    if any(name.endswith(PICKLES) for name in names):
        return Weights(
            [],
            "has its weights as pickles only (.bin, .pt), which can run code when they are opened "
            "and are never read here. Choose a version of it with safetensors.",
        )
    if any(name.startswith("consolidated") for name in names):
        return Weights(
            [],
            "has its weights in a format of their own (consolidated), which transformers does not "
            "read. Choose the version of it for transformers.",
        )
    if any("-of-" in name and name.endswith(".safetensors") for name in names):
        return Weights(
            [],
            missing="has shards of weights, and no model.safetensors.index.json that says what "
            "is in them.",
        )
    return Weights([], missing="has no weights: no model.safetensors and no index of shards.")


def _embedding_rows(files: list[WeightFile]) -> int | None:
    for file in files:
        for name, shape in file.shapes.items():
            ours = name.endswith(_EMBEDDINGS) and not any(s in name for s in _OTHER_SENSES)
            if ours and len(shape) == 2:
                return shape[0]
    return None


def _layers(files: list[WeightFile]) -> int | None:
    numbers = (
        int(found[1])
        for file in files
        for name in file.shapes
        if not any(s in name for s in _OTHER_SENSES) and (found := _LAYER.search(name))
    )
    return max(numbers, default=-1) + 1 or None
