"""The tokens of an answer, as they were written, with what else the model thought likely."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tui_lora.core.chat import Alternative, FromChat, LookAtTokens, TokenShown, TokensShown
from tui_lora.core.text import clean
from tui_lora.worker.switching import check_strength
from tui_lora.worker.voices import Voice, begun_of, prompt_of

if TYPE_CHECKING:
    from tui_lora.worker.room import Room

MOST_SHOWN = 2048
OTHERS = 5
_LOGITS_AT_ONCE = 2**23
"""Numbers: 32 MiB of logits at a time, whatever the vocabulary."""

_Chance = tuple[float, list[tuple[int, float]]]
"""The probability of a token, and the likeliest tokens in its place with theirs."""


def tokens_shown(room: Room, asked: LookAtTokens) -> FromChat:
    """The last `MOST_SHOWN` tokens of what was asked for. Raises UserError."""
    written = room.answers.get(asked.answer_id)
    name = asked.name if written is None else written.name
    strength = asked.strength if written is None else written.strength
    voice = room.the_speaker(name)
    check_strength(strength, voice.fixed)
    if written is not None:
        prompt, answer = list(written.prompt), list(written.ids)
    else:
        prompt, answer = _made_anew(voice, asked)
    ids = [*prompt, *answer]
    left_out = max(0, len(ids) - MOST_SHOWN)
    first = max(len(prompt), left_out)
    with room.speaking(voice, strength) as model:
        chances = dict(zip(range(first, len(ids)), _chances(model, ids, first), strict=True))
    special = set(voice.tokenizer.all_special_ids)
    return TokensShown(
        id=asked.id,
        tokens=tuple(
            _shown(voice.tokenizer, ids[at], special, at >= len(prompt), chances.get(at))
            for at in range(left_out, len(ids))
        ),
        again=written is None,
        left_out=left_out,
    )


def _made_anew(voice: Voice, asked: LookAtTokens) -> tuple[list[int], list[int]]:
    prompt = prompt_of(voice, asked.turns, plain=asked.plain)
    if not asked.text:
        return prompt, []
    whole = begun_of(voice, asked.turns, asked.text, plain=asked.plain)
    cut = len(prompt) if whole[: len(prompt)] == prompt else 0
    # Where both became one token: the first that is not the prompt's.
    while cut < min(len(prompt), len(whole)) and whole[cut] == prompt[cut]:
        cut += 1
    return whole[:cut], whole[cut:]


def _chances(model: Any, ids: Sequence[int], first: int) -> Iterator[_Chance]:
    """For each token from `first` on how likely it was, at temperature 1.

    One pass over the tokens: what stands before `first` is read without logits, and then a chunk at
    a time on the cache, so that logits of a chunk alone are held.
    """
    import torch

    if first >= len(ids):
        return
    first = max(1, first)
    device = next(model.parameters()).device
    fed = torch.tensor([list(ids[:-1])], device=device)
    step = max(1, _LOGITS_AT_ONCE // int(model.config.get_text_config().vocab_size))
    # The logits behind token n are those of token n + 1.
    edges = [0, *range(first, fed.shape[1], step), fed.shape[1]]
    # A model that keeps a state instead of keys and values is read at once.
    if getattr(model, "_is_stateful", False):
        edges = [0, fed.shape[1]]
    cache: Any = None
    for begin, end in itertools.pairwise(edges):
        keep = end - max(begin, first - 1)
        with torch.inference_mode():
            out = model(
                input_ids=fed[:, begin:end],
                attention_mask=torch.ones_like(fed[:, :end]),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=keep,
            )
            cache = out.past_key_values
            likely = out.logits[0, -keep:].float().softmax(-1)
            best, places = likely.topk(min(OTHERS, likely.shape[-1]))
            at = torch.tensor(ids[end - keep + 1 : end + 1], device=device)
            own = likely.gather(1, at[:, None])[:, 0]
        for mine, values, numbers in zip(own.tolist(), best.tolist(), places.tolist(), strict=True):
            yield mine, list(zip(numbers, values, strict=True))


def _shown(
    tokenizer: Any, id: int, special: set[int], in_answer: bool, chance: _Chance | None
) -> TokenShown:
    return TokenShown(
        id=id,
        text=_text(tokenizer, id, special),
        special=id in special,
        part="answer" if in_answer else "prompt",
        probability=None if chance is None else chance[0],
        others=tuple(
            Alternative(id=other, text=_text(tokenizer, other, special), probability=value)
            for other, value in (chance[1] if chance is not None else [])
        ),
    )


def _text(tokenizer: Any, id: int, special: set[int]) -> str:
    """A special token by its name; a part of a character as the vocabulary writes it."""
    text = str(tokenizer.decode([id], skip_special_tokens=False))
    if id in special or not text.strip("\ufffd"):
        token = tokenizer.convert_ids_to_tokens(id)
        text = str(token) if token is not None else f"<{id}>"
    return clean(text)
