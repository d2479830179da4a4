"""Conversations, kept as they go: `chats/<start>.jsonl`, a line a message; in the folder of the
first session that takes part, else in the user's own. `store/kept_chats.py` reads them."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tui_lora.store.journal import append_line

VERSION = 1


class ChatFile:
    """The file of one conversation, made with its first message.

    Lines are written in a thread, so that a slow disk stops nobody from typing; `failed` is told
    from there, once, when one cannot be written.
    """

    def __init__(
        self, folder: Path, failed: Callable[[OSError], object], path: Path | None = None
    ) -> None:
        """`path` names one that was kept before and goes on."""
        self.path = path
        self._folder = folder
        self._failed = failed
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, **message: Any) -> None:
        """Append one message; `role` and `content` and whatever else is known of it."""
        self._waiting.put({"v": VERSION, "t": round(time.time(), 3), **message})
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="chat-file", daemon=True)
            self._thread.start()

    def close(self, patience_s: float = 2.0) -> None:
        """Wait until what was added is on disk."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(patience_s)
            self._thread = None

    def _write(self) -> None:
        told = False
        while (message := self._waiting.get()) is not None:
            try:
                if self.path is None:
                    self.path = _new_file(self._folder)
                append_line(self.path, json.dumps(message, ensure_ascii=False) + "\n")
            except OSError as error:
                if not told:
                    told = True
                    self._failed(error)


def _new_file(folder: Path) -> Path:
    """A new empty file named after this second; another viewer's of the same second stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    start = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        path = folder / (f"{start}.jsonl" if number == 1 else f"{start}-{number}.jsonl")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            number += 1
            continue
        return path
