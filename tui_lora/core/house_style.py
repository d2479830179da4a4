"""The house style of the quickstart dataset: two lines, a fact and what to do about it."""

from __future__ import annotations

import re

_ANSWER = re.compile(r"^Bench note: \S[^\n]*\n+-> \S")


def in_house_style(answer: str) -> bool:
    """Whether an answer opens with `Bench note: …` and goes on with a line `-> …`.

    An answer that was cut at a token limit passes once its second line has begun.
    """
    return _ANSWER.match(answer.strip()) is not None
