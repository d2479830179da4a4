"""Votes in the notes of sessions: beside pins, once each, and safe from what others wrote there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import make_session
from tui_lora.core.errors import UserError
from tui_lora.core.votes import Vote
from tui_lora.store.pins import pin, pinned
from tui_lora.store.votes import keep_vote, read_votes


def test_a_vote_is_kept_in_every_session_and_counts_once(tmp_path: Path) -> None:
    one, two = make_session(tmp_path, "one"), make_session(tmp_path, "two")
    pin(one, 200)
    vote = Vote("x", ("one", "two", "base m"), "two")
    keep_vote([one, two, one], vote)
    pin(one, 400)
    assert read_votes([one]) == read_votes([two]) == read_votes([one, two]) == (vote,)
    assert len(two.notes.read_text().splitlines()) == 1
    assert pinned(one) == {200, 400}


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"type": "vote"}',
        '{"type": "vote", "id": 1, "among": ["a", "b"], "won": null}',
        '{"type": "vote", "id": "x", "among": ["a"], "won": null}',
        '{"type": "vote", "id": "x", "among": ["a", 2], "won": null}',
        '{"type": "vote", "id": "x", "among": ["a", "b"], "won": "c"}',
        '{"type": "vote", "id": "x", "among": ["a", "b"], "won": ["a"]}',
        '{"type": "vote", "id": "x", "among": "ab", "won": null}',
    ],
)
def test_what_is_no_vote_counts_for_nothing(tmp_path: Path, line: str) -> None:
    paths = make_session(tmp_path, "one")
    paths.notes.write_text(line + "\n")
    assert read_votes([paths]) == ()


def test_a_vote_that_cannot_be_written_is_told_and_the_other_has_it(tmp_path: Path) -> None:
    one, two = make_session(tmp_path, "one"), make_session(tmp_path, "two")
    one.notes.mkdir()
    with pytest.raises(UserError, match="could not be written"):
        keep_vote([one, two], Vote("x", ("one", "two"), None))
    assert len(read_votes([two])) == 1
