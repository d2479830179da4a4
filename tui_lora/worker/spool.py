"""Usable rows on disk, as the examples that they become, and any choice of them in order."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tui_lora.core.formats import Example


class Place(NamedTuple):
    """Where a row stands: `line` from 1 in its file, `row` from 0 over the whole dataset."""

    file: str
    line: int
    row: int


class Found(NamedTuple):
    """A usable row: where it stood, and what it becomes."""

    place: Place
    example: Example


class Spool:
    """Usable rows of one source in a file, one a line; eight bytes of memory each.

    `digests` are the same for rows that become the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._out = path.open("w", encoding="utf-8", errors="surrogatepass")
        self.digests = array("Q")

    def add(self, place: Place, example: Example) -> None:
        line = json.dumps(example, ensure_ascii=False)
        data = line.encode("utf-8", errors="surrogatepass")
        self.digests.frombytes(hashlib.blake2b(data, digest_size=8).digest())
        self._out.write(f"[{json.dumps(place)}, {line}]\n")

    def close(self) -> None:
        self._out.close()

    def __len__(self) -> int:
        return len(self.digests)

    def __iter__(self) -> Iterator[Found]:
        with self._path.open(encoding="utf-8", errors="surrogatepass") as lines:
            for line in lines:
                place, example = json.loads(line)
                yield Found(Place(*place), example)


Times = bytearray
"""How often each row of a spool is fed, from 0 to 100."""


class Chosen:
    """Rows of spools, each as often as it is fed; the same in the same order each time."""

    def __init__(self, parts: Sequence[tuple[Spool, Times]]) -> None:
        self._parts = list(parts)

    def __len__(self) -> int:
        return sum(sum(times) for _, times in self._parts)

    def __iter__(self) -> Iterator[Found]:
        for spool, times in self._parts:
            for already in range(max(times, default=0)):
                for often, found in zip(times, spool, strict=True):
                    if often > already:
                        yield found

    @property
    def fingerprint(self) -> str:
        """sha256 over every row and how often it is fed, in order."""
        digest = hashlib.sha256()
        for spool, times in self._parts:
            digest.update(len(spool).to_bytes(8, "big") + spool.digests.tobytes() + times)
        return digest.hexdigest()
