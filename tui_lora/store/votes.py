"""Votes on answers: notes of viewers in notes.jsonl, in each session whose adapter took part."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from tui_lora.core.errors import UserError
from tui_lora.core.votes import Vote
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.paths import SessionPaths

AT_MOST = 100
"""Voices in one vote; a note that names more is not ours."""


def keep_vote(sessions: Iterable[SessionPaths], vote: Vote) -> None:
    """Append a vote to the notes of each session, once each. Raises UserError where it could not be
    written; the others have it then."""
    note = {
        "v": 1,
        "t": round(time.time(), 3),
        "type": "vote",
        "id": vote.id,
        "among": list(vote.among),
        "won": vote.won,
    }
    failed: UserError | None = None
    for paths in dict.fromkeys(sessions):
        try:
            append_line(paths.notes, json.dumps(note) + "\n")
        except OSError as error:
            failed = UserError(
                f"the vote could not be written: {error.strerror}.", where=str(paths.notes)
            )
    if failed is not None:
        raise failed


def read_votes(sessions: Iterable[SessionPaths]) -> tuple[Vote, ...]:
    """The votes in some sessions' notes, each once; what cannot be read counts for nothing."""
    found: dict[str, Vote] = {}
    for paths in dict.fromkeys(sessions):
        tail = Tail(paths.notes)
        while lines := tail.read():
            for line in lines:
                if (vote := _vote(line)) is not None:
                    found[vote.id] = vote
    return tuple(found.values())


def _vote(line: bytes) -> Vote | None:
    try:
        note = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(note, dict) or note.get("type") != "vote":
        return None
    id, among, won = note.get("id"), note.get("among"), note.get("won")
    if not isinstance(id, str) or not isinstance(among, list) or not 2 <= len(among) <= AT_MOST:
        return None
    keys = tuple(key for key in among if isinstance(key, str))
    if len(keys) != len(among) or not (won is None or won in keys):
        return None
    return Vote(id, keys, won)
