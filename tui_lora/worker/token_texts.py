"""What each token adds to a text."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

_TOKENS_BEFORE = 6
"""So many are read along before the one in question; no decoder looks further back."""

_BROKEN = "\ufffd"
_MOST_OF_A_CHARACTER = 8


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """For each token what it adds to the text before it; all of them together are the text.

    Where several tokens make one character, the last of them adds it.
    """
    texts: list[str] = []
    # Behind these many tokens the text was whole.
    whole: deque[int] = deque([0], maxlen=_TOKENS_BEFORE)
    for end in range(1, len(ids) + 1):
        begin, done = whole[0], whole[-1]
        text = _decode(tokenizer, ids[begin:end])
        if text.endswith(_BROKEN) and end < len(ids) and end - done < _MOST_OF_A_CHARACTER:
            texts.append("")
            continue
        before = _decode(tokenizer, ids[begin:done])
        if text.startswith(before):
            texts.append(text[len(before) :])
        else:
            # Bytes that make no character break those next to them.
            texts.append(_decode(tokenizer, ids[done:end]))
        whole.append(end)
    return texts


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Several times as fast as through transformers, which matters for thousands of tokens.
        return str(backend.decode(list(ids), skip_special_tokens=False))
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
