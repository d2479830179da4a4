"""The chat worker: one base in memory, any adapters beside it, answers streamed over pipes, or
the labels of texts.

Reads in a thread of its own, so that a cancel is heard while an answer is written and the end of
input ends the process whatever it is doing. All that touches the model happens in the main thread,
one message after the other.
"""

from __future__ import annotations

import argparse
import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.chat import (
    FROM_CHAT,
    TO_CHAT,
    Ask,
    Cancel,
    ChatFailed,
    FromChat,
    LoadAdapter,
    Loading,
    LoadModel,
    LookAtTokens,
    Predict,
    ToChat,
    UnloadAdapter,
)
from tui_lora.core.errors import UserError
from tui_lora.core.fetch import FetchPaused, FetchPlanned, FetchProgressed, FromFetch
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean, one_line, size
from tui_lora.store.bring import bring
from tui_lora.worker.bringing import missing_model
from tui_lora.worker.room import Room, out_of_memory
from tui_lora.worker.stdio import Stdio


def main(arguments: list[str]) -> int:
    """Serve until the end of input; 1 when the base cannot be loaded."""
    began = time.monotonic()
    asked = _parse(arguments)
    pipes: Stdio[FromChat, ToChat] = Stdio(says=FROM_CHAT, hears=TO_CHAT)
    inbox = _Inbox()
    pipes.listen(inbox.take)
    try:
        pipes.say(Loading(label="starting torch"))
        room = _load(asked, pipes)
    except UserError as error:
        pipes.say(ChatFailed(message=clean(str(error)), fatal=True))
        return _leave(1)
    except Exception as error:  # noqa: BLE001 a viewer needs a sentence, whatever it was
        pipes.say(ChatFailed(message=_why_not_loaded(asked.model, error), fatal=True))
        return _leave(1)
    pipes.say(room.ready(asked.model, time.monotonic() - began))
    pipes.say(room.memory())
    while True:
        message = inbox.messages.get()
        for said in _done(room, inbox, message):
            pipes.say(said)


def _done(room: Room, inbox: _Inbox, message: ToChat) -> Iterator[FromChat]:
    """Do what a message asks for; what came of it."""
    match message:
        case LoadAdapter():
            yield room.load_adapter(message)
        case LoadModel():
            yield room.load_model(message)
        case UnloadAdapter():
            yield room.unload(message)
        case Ask():
            yield room.answer(message, inbox.cancelled(message.id))
            inbox.forget(message.id)
        case Predict():
            yield room.predict(message)
        case LookAtTokens():
            yield room.look(message)
    yield room.memory()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tui_lora.worker chat")
    parser.add_argument("model", help="a folder, a GGUF file or a Hub id")
    parser.add_argument("--revision")
    parser.add_argument(
        "--trust-remote-code", metavar="FINGERPRINT", help="of the model's own code, which may run"
    )
    parser.add_argument("--devices", default="auto")
    parser.add_argument(
        "--quantization",
        type=QuantizationSpec.model_validate_json,
        default=QuantizationSpec(),
        metavar="JSON",
        help="all of it as the run spec has it, so that what is talked to is what was trained",
    )
    parser.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16")
    )
    parser.add_argument(
        "--classifier",
        metavar="FOLDER",
        help="load the model as a classifier with the labels of this adapter",
    )
    parser.add_argument(
        "--most-tokens", type=int, help="a conversation with its answer is held to so many"
    )
    parser.add_argument(
        "--most-gib", type=float, help="torch takes no more of the card, whatever it needs"
    )
    return parser.parse_args(arguments)


def _load(asked: argparse.Namespace, pipes: Stdio[FromChat, ToChat]) -> Room:
    model = ModelSpec(
        id=asked.model,
        revision=asked.revision,
        dtype=asked.dtype,
        trust_remote_code=asked.trust_remote_code,
    )
    if missing_model(model):
        _fetch(model, pipes)
        pipes.say(Loading(label="starting torch"))

    # Takes seconds; the viewer has been told by now.
    import logging

    import transformers

    from tui_lora.worker.chat_bounds import hold_to
    from tui_lora.worker.classifier_room import ClassifierRoom
    from tui_lora.worker.labelling import labels_in
    from tui_lora.worker.model import load_model

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # It warns of a cast at each multiplication, so some hundred times a token.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    labels = labels_in(Path(asked.classifier).expanduser()) if asked.classifier else ()
    hold_to(asked.most_gib)
    loaded = load_model(
        model,
        asked.quantization,
        devices=asked.devices,
        on_phase=lambda label, expect_s: pipes.say(Loading(label=clean(label), expect_s=expect_s)),
        labels=labels,
    )
    kind = ClassifierRoom if labels else Room
    return kind(
        loaded,
        pipes,
        labels=labels,
        most_tokens=asked.most_tokens,
        spec=model,
        quantization=asked.quantization,
    )


def _fetch(model: ModelSpec, pipes: Stdio[FromChat, ToChat]) -> None:
    """Bring the base here, saying now and then how far that is. Raises UserError."""
    label, total, said = f"fetching {clean(model.id)}", 0, ""

    def hear(message: FromFetch) -> None:
        nonlocal total, said
        words = said
        if isinstance(message, FetchPlanned):
            total = message.total_bytes
        elif isinstance(message, FetchProgressed) and total:
            percent = 100 * message.done_bytes // total
            # A viewer may print each on a line of its own.
            words = f"{label}, {percent - percent % 5}% of {size(total)}"
        elif isinstance(message, FetchPaused):
            words = f"{label}: {message.why}, trying again"
        if words != said:
            said = words
            pipes.say(Loading(label=words))

    pipes.say(Loading(label=label))
    bring(model.id, model.revision, hear)


def _leave(code: int) -> int:
    """Exit without waiting for the reading thread or for torch to tidy up."""
    os._exit(code)


class _Inbox:
    """Messages in the order they came; cancels overtake them."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[ToChat] = queue.SimpleQueue()
        self._cancelled: dict[str, threading.Event] = {}

    def take(self, message: ToChat) -> None:
        if isinstance(message, Cancel):
            if message.id in self._cancelled:
                self._cancelled[message.id].set()
            return
        if isinstance(message, Ask):
            self._cancelled.setdefault(message.id, threading.Event())
        self.messages.put(message)

    def cancelled(self, id: str) -> threading.Event:
        return self._cancelled[id]

    def forget(self, id: str) -> None:
        self._cancelled.pop(id, None)


def _why_not_loaded(model: str, error: Exception) -> str:
    why = out_of_memory(error) or one_line(str(error), max_chars=300).rstrip(".")
    return f"the model {clean(model)} cannot be loaded: {why or type(error).__name__}."
