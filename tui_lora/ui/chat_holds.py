"""What this viewer's chat and its evaluation hold of the card, and the question before a training
starts there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tui_lora.core.text import number, one_line
from tui_lora.ui.screens.question import Question

if TYPE_CHECKING:
    from tui_lora.ui.chat_link import ChatLink
    from tui_lora.ui.page import Page


def is_on_card(link: ChatLink) -> bool:
    """Whether the chat takes a part of a card, known or not."""
    state = link.state
    if not state.alive:
        return False
    if state.ready is not None:
        return state.ready.device != "cpu"
    # While it loads, it goes where it was counted.
    return state.fit is not None and state.fit.place == "card"


def held_on_card(link: ChatLink) -> float | None:
    """GiB that the chat was counted to take of a card, else what its worker says; None where it
    takes none of one, and where nobody knows."""
    state = link.state
    if not is_on_card(link):
        return None
    if state.fit is not None and state.fit.forecast is not None and state.fit.place == "card":
        return state.fit.forecast.takes_gib
    return state.memory.reserved_gib if state.memory is not None else None


def before_a_run(page: Page, go: Callable[[], object]) -> None:
    """Do `go`, which starts a training; where the chat or an evaluation holds a part of the card,
    ask first whether it is put away, which it is at once."""
    _before_with_chat(page, lambda: _before_with_evaluation(page, go))


def _before_with_evaluation(page: Page, go: Callable[[], object]) -> None:
    from tui_lora.ui.evaluate_link import evaluate_link_of

    link = evaluate_link_of(page.app)
    now = link.now
    # Until it has said where it went, it goes where it was counted.
    device = now.planned.device if now.planned is not None else ""
    held = now.fit if now.alive and device != "cpu" else None
    if held is None or held.place != "card" or now.paths is None:
        go()
        return

    def answered(yes: bool | None) -> None:
        if yes:
            link.end()
            go()

    name = one_line(now.paths.name, max_chars=40)
    takes = number(held.forecast.takes_gib if held.forecast is not None else None)
    detail = (
        f"The evaluation of {name} takes about {takes} GiB of the card. What it measured is kept, "
        "and the same one goes on from there."
    )
    question = Question("End it, and start?", detail, "end it and start", "start nothing")
    page.app.push_screen(question, answered)


def _before_with_chat(page: Page, go: Callable[[], object]) -> None:
    # What a chat is comes with pydantic; the first frame does without.
    from tui_lora.ui.chat_link import link_of

    link = link_of(page.app)
    if not is_on_card(link) or link.state.target is None:
        go()
        return

    def answered(yes: bool | None) -> None:
        if yes:
            link.close()
            go()

    name = one_line(link.state.target.name, max_chars=40)
    reading = page.bench.sensors
    card = reading.card_of(link.state.target.devices) if reading is not None else None
    free = f", and {number(card.free_gib)} are free" if card is not None else ""
    held = held_on_card(link)
    takes = f"about {number(held)} GiB of the card" if held is not None else "a part of the card"
    detail = (
        f"The chat with {name} takes {takes}{free}. What was said is kept, and r in Chat loads it "
        "again."
    )
    question = Question(
        "Put the chat away, and start?", detail, "put it away and start", "start nothing"
    )
    page.app.push_screen(question, answered)
