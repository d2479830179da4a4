"""A model's tokenizer, as far as its files tell: whether it is there, and fits the embedding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_lora.core.text import clean
from tui_lora.store.json_file import read_object

FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
)
"""Any one of these holds a vocabulary."""

_READ_WHOLE_BYTES = 4 << 20
_READ_BYTES = 128 << 20
_SPECIALS = ("bos_token", "eos_token", "pad_token")
_SPARE_TOKENS = 8  # behind the embedding: no text makes them, so they harm nobody


@dataclass(frozen=True)
class Vocabulary:
    """`tokens`: those of the vocabulary itself; `added`: ids of those added to it, by text."""

    tokens: int | None = None
    added: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        if self.tokens is None:
            return None
        return max(self.tokens, *(number + 1 for number in self.added.values()), 0)


@dataclass(frozen=True)
class Fit:
    """Whether tokenizer and embedding go together: `problem` completes 'NAME …'."""

    problem: str = ""
    note: str = ""


def is_there(folder: Path) -> bool:
    """Whether the folder holds any tokenizer."""
    return any((folder / name).is_file() for name in FILES)


def vocabulary(folder: Path, settings: Mapping[str, Any]) -> Vocabulary:
    """How many tokens the folder's tokenizer knows; None where its files do not tell cheaply.

    `settings` is its tokenizer_config.json.
    """
    added = _configured(folder, settings)
    for name, read in (
        ("tokenizer.json", _fast),
        ("vocab.json", _vocab_json),
        ("vocab.txt", _vocab_txt),
    ):
        if (folder / name).is_file():
            found = read(folder / name)
            return Vocabulary(found.tokens, {**added, **found.added})
    return Vocabulary(None, added)


def fit(folder: Path, settings: Mapping[str, Any], found: Vocabulary, rows: int | None) -> Fit:
    """Whether every token that a run can meet has a row in an embedding of `rows`."""
    if rows is None:
        return Fit()
    if found.tokens is not None and found.tokens > rows + max(_SPARE_TOKENS, rows // 100):
        return Fit(
            f"has a tokenizer of {found.tokens:,} tokens and an embedding of {rows:,}: they are "
            "not of one model. Copy the tokenizer from where the weights came from."
        )
    behind = {text: number for text, number in found.added.items() if number >= rows}
    if not behind:
        return Fit()
    met = [text for text in _special_texts(folder, settings) if text in behind]
    if met:
        return Fit(
            f"has a special token, {_shown(met[0])}, that its embedding of {rows:,} tokens has no "
            "row for. Copy the tokenizer from where the weights came from."
        )
    some = ", ".join(_shown(text) for text in list(behind)[:3])
    return Fit(note=f"Of its tokens, {len(behind)} cannot be fed to it ({some}).")


def _fast(file: Path) -> Vocabulary:
    """The library's own file. A small one is read whole, of a big one only both ends.

    Reading 30 MB of JSON takes half a second, in which nothing else of the program moves.
    """
    try:
        size = file.stat().st_size
        data = file.read_bytes() if size <= _READ_BYTES else b""
    except OSError:
        return Vocabulary()
    if size > _READ_WHOLE_BYTES:
        return _both_ends(data)
    try:
        whole = json.loads(data)
        model = whole["model"]
        return Vocabulary(_count(model["vocab"]), _added(whole.get("added_tokens")))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Vocabulary()


def _both_ends(data: bytes) -> Vocabulary:
    model = re.search(rb'"model"\s*:\s*\{', data)
    if model is None:
        return Vocabulary()
    added: dict[str, int] = {}
    head = data[: model.start()].decode("utf-8", errors="replace")
    if listed := re.search(r'"added_tokens"\s*:\s*(?=\[)', head):
        try:
            added = _added(json.JSONDecoder().raw_decode(head, listed.end())[0])
        except ValueError:
            added = {}
    # The vocabulary is written in the order of its numbers, and the merges follow it.
    at = model.end()
    while (at := data.find(b'"merges"', at + 1)) >= 0:
        last = re.search(rb":\s*(\d+)\s*\}\s*,\s*$", data[max(0, at - 200) : at])
        if last is not None:
            return Vocabulary(int(last[1]) + 1, added)
    return Vocabulary(None, added)


def _vocab_json(file: Path) -> Vocabulary:
    found = read_object(file)
    return Vocabulary(_count(found) if found else None)


def _vocab_txt(file: Path) -> Vocabulary:
    try:
        return Vocabulary(file.read_bytes().count(b"\n"))
    except OSError:
        return Vocabulary()


def _count(vocab: Any) -> int | None:
    if isinstance(vocab, dict):
        numbers = [number for number in vocab.values() if isinstance(number, int)]
        return max(numbers) + 1 if numbers else None
    return len(vocab) if isinstance(vocab, list) and vocab else None


def _added(listed: Any) -> dict[str, int]:
    found = {}
    for token in listed if isinstance(listed, list) else ():
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            found[str(token.get("content"))] = int(token["id"])
    return found


def _configured(folder: Path, settings: Mapping[str, Any]) -> dict[str, int]:
    """Tokens that were added in the other two places where that is done."""
    listed = (read_object(folder / "added_tokens.json") or {}).items()
    found = {text: number for text, number in listed if isinstance(number, int)}
    decoder = settings.get("added_tokens_decoder")
    for number, token in decoder.items() if isinstance(decoder, dict) else ():
        if isinstance(token, dict) and str(number).isdigit():
            found[str(token.get("content"))] = int(number)
    return found


def _special_texts(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """The tokens that begin and end texts, and fill batches up."""
    texts = []
    for config in (settings, read_object(folder / "special_tokens_map.json") or {}):
        for special in _SPECIALS:
            token = config.get(special)
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str):
                texts.append(text)
    return texts


def _shown(text: str) -> str:
    return clean(text, max_chars=40)
