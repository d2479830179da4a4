"""Why a start cannot work, found in the rows as they are fed: each with its mend."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.formats import Example
from tui_lora.core.text import clean, one_line
from tui_lora.worker.feeding import Fed, Feeder
from tui_lora.worker.templates import end_of_turn_ids
from tui_lora.worker.tokenized import Counts, refused, shaped
from tui_lora.worker.tool_marks import check_calls

SAMPLE_ROWS = 200
_TAIL_CHARS = 24
_ANOTHER = "Choose another chat template (model.chat_template)."


def ends_of(feeder: Feeder) -> frozenset[int]:
    """The ids one of which must be trained somewhere; none where no turn is learned."""
    if feeder.shape in ("text", "labelled"):
        return frozenset()
    return end_of_turn_ids(feeder.tokenizer)


def check_sample(feeder: Feeder, sample: Sequence[Example]) -> list[str]:
    """Look at the first rows as they are fed, before anything is cut; what is only worth knowing.

    Raises UserError for what no row of a million would mend.
    """
    feeder = feeder if feeder.shape == "text" else feeder.uncut
    bad = refused(feeder, sample)
    if len(bad) == len(sample):
        raise UserError(
            f"the chat template takes none of the first {len(sample):,} rows: {bad[0]}.",
            where="model.chat_template",
            then="Choose another template, or give it rows of the kind that it asks for.",
        )
    good = [example for at, example in enumerate(sample) if at not in bad]
    # Of a text the first passage: it may be a book, and only how it begins is looked at.
    most = 1 if feeder.shape == "text" else None
    sequences = [
        feeder.sequences(feeder.rows(islice(shaped(feeder, [example]), most))) for example in good
    ]
    firsts = [some[0] for some in sequences if some]
    notes = [_starting_twice(feeder, firsts), _ends_trained(feeder, chain(*sequences))]
    if feeder.shape in ("chat", "preference", "judged"):
        # First: where calls vanish, answers do too.
        notes.append(check_calls(feeder.tokenizer, good, sequences))
        notes.append(_answers_whole(feeder, good, sequences))
    return [note for note in notes if note]


def starts_twice(tokenizer: Any, fed: Fed) -> bool:
    start = tokenizer.bos_token_id
    return start is not None and fed.ids[:2] == (start, start)


def answers_of(example: Example) -> list[str]:
    """What the assistant says last, for each sequence that the example becomes."""
    sides = [example[name] for name in ("completion", "chosen", "rejected") if name in example]
    return [turns[-1]["content"] for turns in sides]


def holds_end(tokenizer: Any, answer: str, fed: Fed) -> bool:
    """Whether the answer's end is among what is trained, as far as the tokenizer can write it."""
    tail = answer.strip()[-_TAIL_CHARS:]
    written = _plain(tokenizer.decode(tokenizer(tail, add_special_tokens=False)["input_ids"]))
    trained = [token for token, learned in zip(fed.ids, fed.trained, strict=True) if learned]
    return written in _plain(tokenizer.decode(trained))


def check_counts(feeder: Feeder, counts: Counts) -> None:
    """Raise UserError where the whole dataset leaves nothing to learn, or no end of a turn."""
    length = f"max length ({feeder.spec.training.max_length:,} tokens)"
    if not counts.rows or (not counts.trained and feeder.shape != "labelled"):
        nothing = "no token of any row would be trained"
        if feeder.spec.task == "sft" and not counts.cut:
            raise UserError(
                f"{nothing}: the mask of every row is empty.",
                where="dataset.loss_on",
                then="Set it to completion, or to all.",
            )
        answers = feeder.spec.task == "sft"
        why = f"every answer lies behind {length}" if answers else f"every prompt fills {length}"
        raise UserError(f"{nothing}: {why}.", where="training.max_length", then="Raise it.")
    ends = ends_of(feeder)
    if not ends or counts.ended:
        return
    if counts.could_end:
        raise UserError(
            f"the end of a turn is never trained, since every answer is cut at {length}; the model "
            "would not learn to stop.",
            where="training.max_length",
            then="Raise it.",
        )
    raise _never_ends(feeder)


def _starting_twice(feeder: Feeder, fed: list[Fed]) -> str:
    tokenizer = feeder.tokenizer
    twice = sum(starts_twice(tokenizer, sequence) for sequence in fed)
    if not twice:
        return ""
    start = clean(str(tokenizer.bos_token))
    if 2 * twice < len(fed):
        return f"{twice:,} of the first {len(fed):,} rows start with {start} twice"
    if feeder.shape in ("text", "labelled"):
        raise UserError(
            f"rows start with {start} twice: the tokenizer writes it, and the texts have it too.",
            where="dataset.path",
            then="Take it out of the texts.",
        )
    raise UserError(
        f"rows start with {start} twice, which no model has seen: the chat template writes it, and "
        "it is written again.",
        where="model.chat_template",
        then=f"Take it out of the rows if it stands there. {_ANOTHER}",
    )


def _ends_trained(feeder: Feeder, fed: Iterable[Fed]) -> str:
    ends = ends_of(feeder)
    for sequence in fed:
        for token, learned in zip(sequence.ids, sequence.trained, strict=True):
            if learned and token in ends:
                return ""
    if ends:
        raise _never_ends(feeder)
    return ""


def _never_ends(feeder: Feeder) -> UserError:
    names = [one_line(feeder.tokenizer.decode([token])) for token in sorted(ends_of(feeder))]
    otherwise = "Set it to completion." if feeder.spec.dataset.loss_on == "assistant" else _ANOTHER
    return UserError(
        f"the end of a turn ({' or '.join(names)}) is never trained: the template writes none "
        "behind an answer, so the model would not learn to stop.",
        where="dataset.loss_on"
        if feeder.spec.dataset.loss_on == "assistant"
        else "model.chat_template",
        then=otherwise,
    )


def _answers_whole(feeder: Feeder, examples: list[Example], sequences: list[list[Fed]]) -> str:
    missing = [
        answer
        for example, some in zip(examples, sequences, strict=True)
        for answer, fed in zip(answers_of(example), some, strict=False)
        if not holds_end(feeder.tokenizer, answer, fed)
    ]
    if not missing:
        return ""
    if len(missing) == sum(len(answers_of(example)) for example in examples):
        raise UserError(
            "the chat template leaves out how the answers end: "
            f"“…{one_line(missing[0].strip()[-_TAIL_CHARS:])}” is not among what would be trained.",
            where="model.chat_template",
            then=_ANOTHER,
        )
    return (
        f"in {len(missing):,} of the first {len(examples):,} rows the chat template leaves out how "
        "the answer ends"
    )


def _plain(text: str) -> str:
    """Without what tokenizers are known to change: spaces, capitals, forms of one character."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
