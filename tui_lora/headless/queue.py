"""The verbs about the queue. Each returns an exit code."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.queue import card_words, place_words
from tui_lora.core.text import clean
from tui_lora.headless.confirming import with_its_command
from tui_lora.headless.follow import to_stdout
from tui_lora.store import queue, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import read_queue
from tui_lora.store.queue_now import busy_with, not_started, turns

MOVES = {"first": -1_000_000, "last": 1_000_000, "up": -1, "down": 1}


def show(root: Path, *, as_json: bool) -> int:
    """Who waits for which card, what runs there, and what could not be started."""
    now, waits = read_queue(root), turns(root)
    running = {card: busy_with(root, card) for card in now.cards()}
    failed = not_started(root)
    if as_json:
        to_stdout(
            json.dumps(
                {
                    "waiting": [
                        {
                            "name": entry.name,
                            "card": entry.card,
                            "place": waits[entry.name].place,
                            "since": entry.since,
                            "running": running[entry.card],
                            "stalled": waits[entry.name].stalled,
                        }
                        for entry in now.waiting
                        if entry.name in waits
                    ],
                    "refused": [{"name": n, "why": why} for n, why in failed.items()],
                },
                indent=1,
            )
        )
        return 0
    if not now.waiting:
        to_stdout("nobody waits. Let a session wait: tui-lora queue add SESSION")
    for card in now.cards():
        runs = running[card]
        to_stdout(f"{card_words(card)}: {f'{runs} runs' if runs else 'nothing runs'}")
        width = max(len(entry.name) for entry in now.line(card))
        for place, entry in enumerate(now.line(card), 1):
            since = time.strftime("%d %b %H:%M", time.localtime(entry.since))
            to_stdout(f"  {place_words(place):>4}  {clean(entry.name):<{width}}  since {since}")
        if any(turn.stalled for turn in waits.values() if turn.card == card):
            first = clean(now.line(card)[0].name)
            to_stdout(f"  {first} waits, and nothing runs. Start it: tui-lora queue start")
    for name, why in failed.items():
        to_stdout(f"{clean(name)} could not start: {clean(why)}")
    return 0


def add(root: Path, names: list[str]) -> int:
    """Let sessions wait, in this order; all are looked up before the first is put in."""
    found = [sessions.find(root, name) for name in names]
    for paths in found:
        put_in(root, paths)
    return 0


def put_in(root: Path, paths: SessionPaths) -> None:
    """Let a session wait; where it ends with a command that is new here, a terminal is asked."""
    way = f"tui-lora train {paths.name} --queue"
    to_stdout(with_its_command(lambda: queue.put_in(root, paths), way))


def remove(root: Path, name: str) -> int:
    queue.take_out(root, name)
    to_stdout(f"{name} waits no more.")
    return 0


def move(root: Path, name: str, where: list[str]) -> int:
    """`where`: exactly one of `MOVES`."""
    if len(where) != 1:
        raise UserError("say where to, with one of --first, --last, --up and --down.")
    place = queue.move(root, name, MOVES[where[0]])
    to_stdout(f"{name} is {'next' if place == 1 else place_words(place)}.")
    return 0


def start(root: Path) -> int:
    """Start whoever is next where nothing runs. Returns 1 where somebody could not be started and
    nobody was."""
    before = read_queue(root)
    if not before.waiting:
        to_stdout("nobody waits.")
        return 0
    started = queue.start_all(root)
    after = read_queue(root)
    refused = {name: why for name, why in after.refused.items() if before.entry(name) is not None}
    for name, why in refused.items():
        to_stdout(f"{clean(name)} could not start: {clean(why)}")
    for name in started:
        to_stdout(f"{name} has started.")
    if not started and not refused:
        for card in before.cards():
            to_stdout(f"{busy_with(root, card)} runs on {card_words(card)}.")
    return 1 if refused and not started else 0
