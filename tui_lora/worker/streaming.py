"""An answer on its way to the viewer while it is written, and how it is ended before its end."""

from __future__ import annotations

import threading
import time
from typing import Any

from tui_lora.core.chat import AnswerGrew, FromChat, ToChat
from tui_lora.core.text import clean
from tui_lora.worker.stdio import Stdio

GREW_EVERY_S = 0.05
"""A message a token would repaint the viewer's screen as often."""


def stream_to(pipes: Stdio[FromChat, ToChat], tokenizer: Any, id: str) -> Any:
    """A streamer for generate() that reports what was written, at most every 50 ms."""
    from transformers import TextStreamer

    class Stream(TextStreamer):
        def __init__(self) -> None:
            super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
            self.text = ""
            self.tokens = 0
            self.first: float | None = None
            self._waiting = ""
            self._last = float("-inf")

        def put(self, value: Any) -> None:
            if not self.next_tokens_are_prompt:
                self.tokens += int(value.numel())
                if self.first is None:
                    self.first = time.monotonic()
            super().put(value)

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            # Cleaning looks at single characters, so pieces may be cleaned one by one.
            self._waiting += clean(text)
            if time.monotonic() - self._last >= GREW_EVERY_S:
                self.flush()

        def flush(self) -> None:
            if self._waiting:
                pipes.say(AnswerGrew(id=id, text=self._waiting, tokens=self.tokens))
                self.text += self._waiting
                self._waiting = ""
                self._last = time.monotonic()

    return Stream()


def stop_when(cancelled: threading.Event) -> Any:
    """What ends generate() once the answer is cancelled."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Cancelled(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full(
                (input_ids.shape[0],), cancelled.is_set(), dtype=torch.bool, device=input_ids.device
            )

    return StoppingCriteriaList([Cancelled()])
