"""Held-out questions go round, and are known again by their texts."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.chat import Turn
from tui_lora.store.heldout import HeldOut, Question
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.held_out_deck import Deck, HeldOutRead


def read(name: str, *texts: str) -> HeldOutRead:
    asked = (Question(text, (Turn(role="user", content=text),), name) for text in texts)
    return HeldOutRead(SessionPaths(Path(name)), HeldOut(tuple(asked), f"rows of {name}"))


def test_what_was_drawn_of_another_session_is_no_row() -> None:
    deck = Deck()
    deck.take(read("first", "Why?", "How?"))
    assert [deck.next() for _ in range(3)] == ["Why?", "How?", "Why?"]
    found = deck.found(" Why? ")
    assert found is not None
    assert found.reference == "first"
    deck.take(read("second", "Who?", "How?"))
    assert deck.next() == "Who?"
    assert deck.found("Why?") is None
    assert deck.found("How?") is None
