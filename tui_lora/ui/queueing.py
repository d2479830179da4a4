"""The queue as the screens see it: what is asked of it in threads, and its words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.core.text import one_line
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.messages import Said

if TYPE_CHECKING:
    from tui_lora.store.sessions import Summary
    from tui_lora.ui.page import Page
    from tui_lora.ui.state import Draft

_ONE_BY_ONE = threading.Lock()
"""A key that is pressed twice moves a session by two."""


class CardLooked(Message):
    """What runs on the card that the draft wants; empty: nothing does."""

    def __init__(self, runs: str) -> None:
        self.runs = runs
        super().__init__()


def card_looked(draft: Draft, root: Path) -> CardLooked:
    """Look what runs on the card that a draft wants."""
    import os

    from tui_lora.core import fields
    from tui_lora.core.queue import card_of
    from tui_lora.store.queue_now import busy_with

    try:
        devices = str(fields.get(draft.data, "hardware.devices"))
    except UserError:
        return CardLooked("")
    card = card_of(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return CardLooked(busy_with(root, card) or "")


def put_in(page: Page, paths: SessionPaths) -> None:
    """Let a session wait for its turn."""

    def ask() -> str:
        from tui_lora.store import queue

        return queue.put_in(page.bench.root, paths)

    _ask(page, ask)


def take_out(page: Page, name: str) -> None:
    """Let a session wait no more."""

    def ask() -> str:
        from tui_lora.store import queue

        queue.take_out(page.bench.root, name)
        return f"{name} waits no more."

    _ask(page, ask)


def move(page: Page, name: str, by: int) -> None:
    """Move a session that waits `by` places towards the end of its line."""

    def ask() -> str:
        from tui_lora.core.queue import place_words
        from tui_lora.store import queue

        place = queue.move(page.bench.root, name, by)
        return f"{name} is {'next' if place == 1 else place_words(place)}."

    _ask(page, ask)


def start(page: Page) -> None:
    """Start whoever is next on each card on which nothing runs."""

    def ask() -> str:
        from tui_lora.store import queue
        from tui_lora.store.queue_file import read_queue

        before = read_queue(page.bench.root)
        started = queue.start_all(page.bench.root)
        refused = read_queue(page.bench.root).refused
        said = [f"{name} has started." for name in started]
        said += [
            f"{name} could not start: {why}"
            for name, why in refused.items()
            if before.entry(name) is not None
        ]
        return " ".join(said) or "something runs on each of their cards; they start after it."

    _ask(page, ask)


def in_order(found: tuple[Summary, ...]) -> tuple[Summary, ...]:
    """Those that run, the last begun first, which stays as it is while all of them write; under
    them those that wait, in their order; then the others as they came."""
    waiting = sorted(
        (summary for summary in found if summary.turn is not None),
        key=lambda summary: (summary.turn.card, summary.turn.place) if summary.turn else ("", 0),
    )
    others = [summary for summary in found if summary.turn is None]
    running = [summary for summary in others if summary.status.alive]
    running.sort(key=lambda summary: (-(summary.created or 0.0), summary.name))
    ended = [summary for summary in others if not summary.status.alive]
    return (*running, *waiting, *ended)


def stall_words(found: tuple[Summary, ...]) -> str:
    """That somebody waits though nothing runs, and which key ends it; empty where all is well."""
    stalled = [s.name for s in found if s.turn is not None and s.turn.stalled and s.turn.place == 1]
    if not stalled:
        return ""
    who = f"{stalled[0]} waits" if len(stalled) == 1 else f"{' and '.join(stalled)} wait"
    return f"{who}, and nothing runs: g starts {'it' if len(stalled) == 1 else 'them'}"


def _ask(page: Page, ask: Callable[[], str]) -> None:
    page.run_worker(partial(_asked, page, ask), thread=True, exit_on_error=False, group="queue")


def _asked(page: Page, ask: Callable[[], str]) -> None:
    from tui_lora.store.hooks import Unconfirmed
    from tui_lora.ui.hook_question import before_its_command

    try:
        with _ONE_BY_ONE:
            said = ask()
    except Unconfirmed as found:
        again = partial(_ask, page, ask)
        page.app.call_from_thread(before_its_command, page, found.command, again)
        return
    page.post_message(Said(one_line(said, max_chars=300), "good"))
    page.app.call_from_thread(_look_again, page)


def _look_again(page: Page) -> None:
    """Asked anew, the feed lists the sessions at once."""
    if page.bench.listing:
        page.bench.listing = False
        page.bench.listing = True
