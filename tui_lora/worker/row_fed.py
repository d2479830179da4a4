"""A row as the trainer's batches have it, in pieces that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from tui_lora.core.formats import Example
from tui_lora.core.inspect import Piece
from tui_lora.core.inspect import Sequence as Shown
from tui_lora.core.text import clean
from tui_lora.worker.feeding import Fed, Feeder, with_any_label
from tui_lora.worker.refusals import answers_of, ends_of, holds_end, starts_twice
from tui_lora.worker.token_texts import token_texts
from tui_lora.worker.tokenized import shaped
from tui_lora.worker.tool_marks import lost

_MOST_SHOWN = 50_000
_MOST_CUT_SHOWN = 2000
"""Tokens of a row; some rows are books."""


def sequences_of(feeder: Feeder, example: Example) -> tuple[tuple[Shown, ...], list[str]]:
    """What the example becomes, with what is lost behind max length, and what to note about it.

    Raises what the chat template raises.
    """
    if feeder.shape == "text":
        fed, more = _passages(feeder, example)
        notes = _notes(feeder, example, fed, fed)
        if more:
            notes.append(f"a long text: the first {len(fed):,} passages of it are shown")
        return _shown(feeder, fed, fed, more=more), notes
    fed, whole = _fed_and_whole(feeder, with_any_label(example))
    if fed:
        return _shown(feeder, fed, whole), _notes(feeder, example, fed, whole)
    # Dropped: none of it is fed, and this is where it would be cut.
    length = feeder.spec.training.max_length
    fed = [Fed(one.ids[:length], (False,) * len(one.ids[:length])) for one in whole]
    why = (
        "left out of training: nothing that would be learned stands before max length "
        f"({length:,} tokens)"
    )
    return _shown(feeder, fed, whole), [why, *_notes(feeder, example, fed, whole)]


def _fed_and_whole(feeder: Feeder, example: Example) -> tuple[list[Fed], list[Fed]]:
    if feeder.spec.task == "sft":
        # Its trainer cuts in a step of its own, so that nothing is tokenized twice.
        tokens = list(feeder.tokenized(lambda: [example]))
        return feeder.fed(list(feeder.cut(lambda: tokens))), feeder.sequences(tokens)
    return feeder.fed(feeder.rows([example])), feeder.uncut.sequences(feeder.uncut.rows([example]))


def _passages(feeder: Feeder, example: Example) -> tuple[list[Fed], bool]:
    """The passages of a text, and whether there are more than is worth showing."""
    fed: list[Fed] = []
    for passage in shaped(feeder, [example]):
        if sum(len(one.ids) for one in fed) > _MOST_SHOWN:
            return fed, True
        # One by one: packed together they would be in another order.
        fed += feeder.fed(feeder.rows([passage]))
    return fed, False


def label_of(feeder: Feeder, example: Example) -> str:
    """What a classifier or KTO is to learn of the row."""
    if feeder.shape == "judged":
        return "good" if example["label"] else "bad"
    return clean(example["label"]) if feeder.shape == "labelled" else ""


def _shown(
    feeder: Feeder, fed: Sequence[Fed], whole: Sequence[Fed], *, more: bool = False
) -> tuple[Shown, ...]:
    names = _names(feeder, len(fed), more)
    return tuple(
        Shown(
            name=name,
            pieces=tuple(_pieces(feeder.tokenizer, kept, all_of_it)),
            tokens=len(kept.ids),
            trained_tokens=sum(kept.trained),
            cut_tokens=len(all_of_it.ids) - len(kept.ids),
        )
        for name, kept, all_of_it in zip(names, fed, whole, strict=True)
    )


def _names(feeder: Feeder, sequences: int, more: bool) -> list[str]:
    if feeder.shape == "preference":
        return ["chosen", "rejected"]
    if sequences == 1:
        return [""]
    of_all = "" if more else f" of {sequences}"
    return [f"passage {number}{of_all}" for number in range(1, sequences + 1)]


def _pieces(tokenizer: Any, fed: Fed, whole: Fed) -> Iterator[Piece]:
    # A character that the cut goes through is fed broken, and shown so.
    texts = token_texts(tokenizer, fed.ids)
    shown = whole.ids[: len(fed.ids) + _MOST_CUT_SHOWN]
    if len(fed.ids) < len(shown):
        texts += token_texts(tokenizer, shown)[len(fed.ids) :]
    special = {
        *tokenizer.all_special_ids,
        *(number for number, token in tokenizer.added_tokens_decoder.items() if token.special),
    }
    kinds = [(learned, token in special, False) for token, learned in _pairs(fed)]
    kinds += [(False, token in special, True) for token in shown[len(fed.ids) :]]
    for (trained, is_special, cut), run in groupby(
        zip(kinds, texts, strict=True), key=lambda pair: pair[0]
    ):
        yield Piece(
            texts=tuple(clean(text) for _, text in run),
            trained=trained,
            special=is_special,
            cut=cut,
        )


def _notes(feeder: Feeder, example: Example, fed: Sequence[Fed], whole: Sequence[Fed]) -> list[str]:
    """What is wrong with the row that its tokens alone do not say."""
    notes = []
    tokenizer = feeder.tokenizer
    if any(starts_twice(tokenizer, one) for one in fed):
        notes.append(f"starts with {clean(str(tokenizer.bos_token))} twice")
    ends = ends_of(feeder)
    for kept, all_of_it in zip(fed, whole, strict=True) if ends else ():
        if _is_ended(kept, ends):
            continue
        if _is_ended(all_of_it, ends):
            notes.append("its end lies behind max length and is not trained")
        else:
            notes.append("its end is never trained, so the model would not learn to stop")
    if feeder.shape in ("chat", "preference", "judged"):
        notes += lost(tokenizer, example, whole)
        for answer, all_of_it in zip(answers_of(example), whole, strict=True):
            if not holds_end(tokenizer, answer, all_of_it):
                notes.append("the chat template leaves out how its answer ends")
    if feeder.shape == "labelled":
        notes.append("its label is what is learned, from all of its tokens")
    return list(dict.fromkeys(notes))


def _is_ended(fed: Fed, ends: frozenset[int]) -> bool:
    return any(learned and token in ends for token, learned in _pairs(fed))


def _pairs(fed: Fed) -> Iterator[tuple[int, bool]]:
    return zip(fed.ids, fed.trained, strict=True)
