"""What an answer is worth beside the dataset's own: each metric with its source.

An answer is the text that a model wrote, without special tokens; a reference is what the row has.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, one_line

Score = Callable[[str, str], float]
"""0 to 1 of an answer and its reference."""


@dataclass(frozen=True)
class Metric:
    """`right`: a row is right (1) or wrong (0), and the figure is a share. `own`: of a function of
    the user's, as `path.py:name`, which the worker loads; the others have a `score`. `limited`: its
    pattern is the user's, so it is given a limit of time."""

    name: str
    label: str
    kind: Literal["right", "score"]
    score: Score | None = None
    needs_reference: bool = True
    limited: bool = False
    own: tuple[str, str] | None = None


# -- GSM8K ----------------------------------------------------------------------------------------

# A dash behind a number or a word is none of its own: 10-15 ends in 15.
_NUMBER = re.compile(r"(?:(?<![\w.)])-)?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
# Bold, as LaTeX, or on the line below: all of it is right behind the mark.
_MARKED = re.compile(rf"####[\s*$\\]*({_NUMBER.pattern})")


def final_number(text: str) -> Decimal | None:
    """The number right behind the first `####` that has one, else the last number of the text; None
    without one.

    Cobbe et al. 2021 (arXiv 2110.14168) end each solution with `#### number`; `extract_answer` of
    their grade-school-math repository takes the first, commas removed, so that it does not matter
    what a model writes that runs on behind its answer. One that was never shown that format is
    given its last number, as lm-evaluation-harness does ("flexible-extract").
    """
    marked = _MARKED.search(text)
    plain = marked[1] if marked else next(reversed(_NUMBER.findall(text)), None)
    try:
        return None if plain is None else Decimal(plain.replace(",", "").replace("$", ""))
    except InvalidOperation:
        return None


def gsm8k(answer: str, reference: str) -> float:
    """1 where the final numbers are equal as numbers (18 and 18.00 are; the authors compare the
    texts). A reference without a number is never met."""
    wanted = final_number(reference)
    return float(wanted is not None and final_number(answer) == wanted)


# -- Questions and answers ------------------------------------------------------------------------

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalized(text: str) -> str:
    """Lower case, without punctuation (ASCII's) and English articles, spaces made one.

    `normalize_answer` of SQuAD's evaluate-v1.1.py (Rajpurkar et al. 2016, arXiv 1606.05250).
    """
    text = "".join(letter for letter in text.lower() if letter not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(answer: str, reference: str) -> float:
    """1 where both are the same once they are normalized as SQuAD does."""
    return float(normalized(answer) == normalized(reference))


def f1(answer: str, reference: str) -> float:
    """The harmonic mean of precision and recall of the words that both have, each as often as both
    have it: `f1_score` of SQuAD's evaluate-v2.0.py. Where one has no word, 1 if neither has."""
    said, wanted = normalized(answer).split(), normalized(reference).split()
    if not said or not wanted:
        return float(said == wanted)
    same = sum((Counter(said) & Counter(wanted)).values())
    return 2 * same / (len(said) + len(wanted)) if same else 0.0


# -- ROUGE-L --------------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W_]+")


def rouge_l(answer: str, reference: str) -> float:
    """The F-measure (beta 1) of the longest common subsequence of words: Lin 2004, "ROUGE: a
    package for automatic evaluation of summaries", section 3.1 (sentence level).

    Words are lower-case runs of letters and digits, unstemmed, as Google's rouge-score has them
    for ASCII text; of other scripts it drops the letters, and here they count.
    """
    said, wanted = _WORD.findall(answer.lower()), _WORD.findall(reference.lower())
    common = longest_common(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence, which need not be in one piece.

    In bit vectors, a step a word: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for at, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << at
    whole = (1 << len(left)) - 1
    open_ = whole
    for word in right:
        here = open_ & places.get(word, 0)
        open_ = ((open_ + here) | (open_ - here)) & whole
    return len(left) - open_.bit_count()


# -- Forms ----------------------------------------------------------------------------------------


def json_validity(keys: Sequence[str] = ()) -> Score:
    """1 where the whole answer is one JSON value by RFC 8259 (no NaN, nothing around it but
    blanks), and an object with all of `keys` where some are asked for."""

    def no_number(name: str) -> float:
        raise ValueError(name)

    def score(answer: str, reference: str) -> float:
        try:
            value = json.loads(answer, parse_constant=no_number)
        except (ValueError, RecursionError):
            return 0.0
        return float(not keys or (isinstance(value, dict) and all(key in value for key in keys)))

    return score


def matches(pattern: re.Pattern[str]) -> Score:
    """1 where the pattern is found somewhere in the answer (Python's `re.search`)."""
    return lambda answer, reference: float(pattern.search(answer) is not None)


# -- By name --------------------------------------------------------------------------------------

_PLAIN = {
    "gsm8k": Metric("gsm8k", "final number", "right", gsm8k),
    "exact_match": Metric("exact_match", "exact match", "right", exact_match),
    "f1": Metric("f1", "F1 of words", "score", f1),
    "rouge_l": Metric("rouge_l", "ROUGE-L", "score", rouge_l),
    "json": Metric("json", "valid JSON", "right", json_validity(), needs_reference=False),
}
FORMS = (*_PLAIN, "json:KEY,KEY", "regex:PATTERN", "FILE.py:FUNCTION")
"""How a metric can be asked for."""

NONE = "none"
"""Asked for as a metric: no answers are written."""


def metric_of(name: str) -> Metric:
    """The metric that is asked for as `name`. Raises UserError; a file is not looked for here."""
    if name in _PLAIN:
        return _PLAIN[name]
    kind, colon, rest = name.partition(":")
    shown = one_line(name, max_chars=60)
    if kind == "json" and colon:
        keys = tuple(key.strip() for key in rest.split(",") if key.strip())
        if keys:
            listed = clean(", ".join(keys))
            score = json_validity(keys)
            return Metric(name, f"JSON with {listed}", "right", score, needs_reference=False)
    if kind == "regex" and rest:
        try:
            pattern = re.compile(rest)
        except (re.error, OverflowError, RecursionError) as error:
            raise UserError(
                f"{shown} holds no regular expression: {error}.", where="--metric"
            ) from None
        label = f"matches {one_line(rest, max_chars=40)}"
        score = matches(pattern)
        return Metric(name, label, "right", score, needs_reference=False, limited=True)
    file, colon, function = name.rpartition(":")
    if file.endswith(".py") and function.isidentifier():
        label = f"{function} (your own code)"
        own = (file, function)
        return Metric(name, label, "score", needs_reference=False, own=own)
    raise UserError(
        f"there is no metric {shown}.", where="--metric", then=f"Known: {', '.join(FORMS)}, {NONE}."
    )


_MOSTLY = 0.8
_SHORT_WORDS = 10


def suited(references: Sequence[str], format: str) -> tuple[tuple[str, ...], str]:
    """The metrics that suit the rows, and why; `format` is how the rows are read."""
    there = [reference for reference in references if reference.strip()]
    if not there:
        return (), "the rows have no answers to compare with"
    marked = sum(final_number(text) is not None and "####" in text for text in there)
    if format == "gsm8k" or marked >= _MOSTLY * len(there):
        return ("gsm8k",), f"{marked:,} of {len(there):,} answers end in #### and a number"
    is_json = json_validity()
    objects = sum(text.lstrip()[:1] in ("{", "[") and is_json(text, "") == 1 for text in there)
    if objects >= _MOSTLY * len(there):
        return ("json", "exact_match"), f"{objects:,} of {len(there):,} answers are JSON"
    words = sorted(len(text.split()) for text in there)[len(there) // 2]
    if words <= _SHORT_WORDS:
        return ("exact_match", "f1"), f"half of the answers have {words} words or fewer"
    return ("rouge_l",), f"half of the answers have more than {_SHORT_WORDS} words"
