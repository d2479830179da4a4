"""A chat worker without a model: a real process on real pipes that knows a few answers.

What it answers depends on the last turn: `slow` goes on until it is cancelled, `die` ends it,
`hostile` answers with markup. The base shouts, an adapter whispers. A classifier gives the labels
that its folder names, the likelier the more often the text has them. Files in the folder that
stands in the environment gate it: with `wait` there, loading waits until it is gone.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from tui_lora.core.chat import (
    BASE,
    FROM_CHAT,
    TO_CHAT,
    AdapterLoaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    Cancel,
    Chance,
    ChatFailed,
    LoadAdapter,
    Loading,
    Predict,
    Predicted,
    Ready,
)
from tui_lora.store.adapter_labels import read_labels
from tui_lora.store.adapters import ChatTarget

GATES = "FAKE_CHAT_GATES"
HOSTILE = "[/INST] [@click=app.quit]x[/] [bold"


def start_fake_chat(target: ChatTarget) -> subprocess.Popen[bytes]:
    """Stands in for `store.launch.start_chat`."""
    classifier = [str(target.adapter)] if target.classifier else []
    return subprocess.Popen(
        [sys.executable, __file__, target.model.id, *classifier],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def main(model: str, classifier: str = "") -> None:
    gates = Path(os.environ.get(GATES, "/nonexistent"))
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    cancelled: set[str] = set()

    def say(message: object) -> None:
        sys.stdout.write(FROM_CHAT.encode(message))  # type: ignore[arg-type]
        sys.stdout.flush()

    def listen() -> None:
        for line in sys.stdin:
            message = TO_CHAT.decode(line).message
            if isinstance(message, Cancel):
                cancelled.add(message.id)
            else:
                inbox.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    say(Loading(label="loading the weights", expect_s=40.0))
    while (gates / "wait").exists():
        time.sleep(0.01)
    if "broken" in model:
        say(ChatFailed(message=f"the model {model} cannot be loaded: no.", fatal=True))
        os._exit(1)
    say(Ready(model=model, device="cpu", dtype="float32", seconds=0.1))
    while True:
        message = inbox.get()
        if isinstance(message, LoadAdapter):
            if "bad" in message.path:
                say(ChatFailed(message="the adapter bad cannot be used: another base."))
            else:
                labels = read_labels(Path(classifier)) if classifier == message.path else ()
                say(AdapterLoaded(name=message.name, path=message.path, seconds=0.1, labels=labels))
        elif isinstance(message, Predict):
            say(predicted(message, read_labels(Path(classifier))))
        elif isinstance(message, Ask):
            answer(message, cancelled, say)


def predicted(asked: Predict, labels: tuple[str, ...]) -> Predicted:
    votes = [1 + 9 * asked.text.count(label) for label in labels]
    chances = [
        Chance(label=label, probability=vote / sum(votes))
        for label, vote in zip(labels, votes, strict=True)
    ]
    return Predicted(
        id=asked.id,
        name=asked.name,
        chances=tuple(sorted(chances, key=lambda chance: -chance.probability)),
        prompt_tokens=len(asked.text.split()),
        seconds=0.02,
    )


def answer(asked: Ask, cancelled: set[str], say) -> None:  # type: ignore[no-untyped-def]
    question = asked.turns[-1].content
    if question == "die":
        sys.stderr.write("the card fell off the bus\n")
        sys.stderr.flush()
        os._exit(3)
    text = question.upper() if asked.name == BASE else f"({question.lower()}), {len(asked.turns)}"
    if question.startswith("hostile"):
        text = HOSTILE
    ended_by, tokens = "end", 0
    if asked.id in cancelled:
        ended_by, text = "cancel", ""
    elif question == "slow":
        text, ended_by = "", "cancel"
        while asked.id not in cancelled:
            tokens += 1
            text += f"word{tokens} "
            say(AnswerGrew(id=asked.id, text=f"word{tokens} ", tokens=tokens))
            time.sleep(0.01)
    else:
        tokens = len(text.split())
        say(AnswerGrew(id=asked.id, text=text, tokens=tokens))
    say(
        AnswerEnded(
            id=asked.id,
            name=asked.name,
            text=text,
            tokens=tokens,
            prompt_tokens=len(asked.turns),
            first_token_s=0.1,
            seconds=0.5,
            ended_by=ended_by,  # type: ignore[arg-type]
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
