"""Have the fetch worker bring a model or an adapter of the Hub here, and wait for it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.fetch import (
    FROM_FETCH,
    TO_FETCH,
    Fetched,
    FetchFailed,
    FromFetch,
    ToFetch,
)
from tui_lora.core.text import clean, one_line
from tui_lora.store.hub_snapshots import snapshot_at
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.pipe import PipeWorker

ADAPTER = "--adapter"
"""What the fetch worker is told where nothing but an adapter is to come."""

_LOOK_UP_S = 0.2

Hear = Callable[[FromFetch], None]
LookUp = Callable[[], None]
"""Asked a few times a second; what it raises calls the fetching off."""


def bring(
    hub_id: str,
    revision: str | None,
    hear: Hear,
    look_up: LookUp = lambda: None,
    *,
    adapter: bool = False,
) -> Path:
    """Fetch a model or adapter; returns its folder in the Hub's cache.

    `hear` is told how it goes. Raises UserError, and what `look_up` raises; what came is kept.
    """
    said: queue.SimpleQueue[FromFetch | None] = queue.SimpleQueue()
    last_words: list[str] = []

    def ended(code: int, stderr: str) -> None:
        last_words.append(one_line(stderr, max_chars=200))
        said.put(None)

    arguments = [*([ADAPTER] if adapter else []), hub_id, *([revision] if revision else [])]
    worker: PipeWorker[ToFetch, FromFetch] = PipeWorker(
        start_pipe_worker("fetch", *arguments, devices="cpu"),
        sends=TO_FETCH,
        hears=FROM_FETCH,
        on_message=said.put,
        on_end=ended,
    )
    try:
        while True:
            look_up()
            try:
                message = said.get(timeout=_LOOK_UP_S)
            except queue.Empty:
                continue
            if message is None:
                raise UserError(f"the fetch worker ended. {last_words[0]}".strip(), exit_code=1)
            if isinstance(message, FetchFailed):
                raise UserError(message.message, then=message.then, exit_code=1)
            if isinstance(message, Fetched):
                break
            hear(message)
    finally:
        worker.close()
    found = snapshot_at(hub_id, revision)
    if found is None:
        raise UserError(f"{clean(hub_id)} is gone from the cache again.", exit_code=1)
    return found
