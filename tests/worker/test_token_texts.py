"""The text of each token, for the ways in which vocabularies write spaces and bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import make_tokenizer
from tui_lora.worker.token_texts import token_texts

pytestmark = pytest.mark.model


def sentencepiece() -> Any:
    """Llama-2's kind: a space is part of the word behind it, what is unknown is bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁a", "s", "t"]
    pieces += ["h", "e", "a", "r", "n", "k", "▁r", "an", "▁ran", "▁rank", "<s>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("▁", "r"), ("a", "n"), ("▁r", "an"), ("▁ran", "k")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>")


TOKENIZERS = {"bytes": make_tokenizer(), "sentencepiece": sentencepiece()}
texts = st.lists(
    st.sampled_from(["rank", " ", "the", "日本", "👩‍🚀", "é", "a ", "\n", "ran", "x", "🚀🚀"]),
    max_size=40,
).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
@settings(deadline=None)
def test_the_texts_of_all_tokens_are_the_text(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer(text)["input_ids"]
    found = token_texts(tokenizer, ids)
    assert len(found) == len(ids)
    assert "".join(found) == tokenizer.decode(ids)
    assert "\ufffd" not in "".join(found)


def test_spaces_stay_with_their_word_and_a_character_comes_whole() -> None:
    ids = TOKENIZERS["sentencepiece"]("a rank 日")["input_ids"]
    found = token_texts(TOKENIZERS["sentencepiece"], ids)
    assert found[:2] == ["a", " rank"]
    assert [text for text in found[2:] if text] == [" ", "日"]
    assert found[-1] == "日"


def test_bytes_that_make_no_character_are_shown_broken() -> None:
    tokenizer = TOKENIZERS["bytes"]
    whole = tokenizer("ab🚀")["input_ids"]
    found = token_texts(tokenizer, whole[:-1])
    assert "".join(found) == "ab\ufffd"
    assert len(found) == len(whole) - 1
