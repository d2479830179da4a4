"""Votes on answers whose givers were not known, and how often each of them won."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Vote:
    """Among whom was chosen, each by its key, and who won; None: nobody was better.

    A key names a voice wherever it is met again: a session with its step, a base by its model, a
    folder by its path, and how strong the adapter was where it was not as trained.
    """

    id: str
    among: tuple[str, ...]
    won: str | None = None


@dataclass(frozen=True)
class Score:
    """In how many votes somebody won, tied and lost."""

    won: int = 0
    tied: int = 0
    lost: int = 0

    @property
    def votes(self) -> int:
        return self.won + self.tied + self.lost

    def after(self, vote: Vote, key: str) -> Score:
        """With one more vote, in which `key` took part."""
        if vote.won is None:
            return Score(self.won, self.tied + 1, self.lost)
        if vote.won == key:
            return Score(self.won + 1, self.tied, self.lost)
        return Score(self.won, self.tied, self.lost + 1)


def scores(votes: Iterable[Vote]) -> dict[str, Score]:
    """The score of everybody who took part in a vote; one that is met twice counts once."""
    found: dict[str, Score] = {}
    for vote in {vote.id: vote for vote in votes}.values():
        for key in dict.fromkeys(vote.among):
            found[key] = found.get(key, Score()).after(vote, key)
    return found
