"""Judged answers for KTO: each by itself, and in an order that was drawn once.

trl trains them in the order in which they stand, since its KL term sets each prompt beside the
answer of its neighbour. In a file's own order good and bad answers could come in long runs, and
the two sides of a pair would be each other's neighbours.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from tui_lora.core.formats import Example
from tui_lora.worker.spool import Chosen, Found, Place


class Judged:
    """The answers in `chosen`, shuffled by `seed`; the same in the same order each time.

    They are kept in `path`, at eight bytes of memory each.
    """

    def __init__(self, chosen: Iterable[Found], path: Path, seed: int) -> None:
        self._path = path
        self._starts = array("Q")
        with path.open("wb") as out:
            for found in chosen:
                for example in answers_in(found.example):
                    self._starts.append(out.tell())
                    line = json.dumps([found.place, example], ensure_ascii=False) + "\n"
                    out.write(line.encode("utf-8", errors="surrogatepass"))
        random.Random(seed).shuffle(self._starts)  # noqa: S311 (a draw, no secret)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Found]:
        with self._path.open("rb") as lines:
            for start in self._starts:
                lines.seek(start)
                place, example = json.loads(lines.readline().decode("utf-8", "surrogatepass"))
                yield Found(Place(*place), example)


Rows = Chosen | Judged
"""What a trainer is fed: as it stands in its files, or judged answers as drawn."""


def answers_in(example: Example) -> list[Example]:
    """A judged answer, or both sides of a pair as such."""
    if "chosen" not in example:
        return [example]
    prompt = example["prompt"]
    return [
        {"prompt": prompt, "completion": example[side], "label": side == "chosen"}
        for side in ("chosen", "rejected")
    ]
