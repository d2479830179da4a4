"""A chat worker without a model: a real process on real pipes that knows a few answers.

What it answers depends on the last turn: `slow` goes on until it is cancelled, `die` ends it,
`hostile` answers with markup, `many N` writes N words, `refused` is not answered, nor is `no
memory for NAME` by who is in the folder of that name; `told` repeats all turns that it was given; a
file of the folder that stands in the environment under the name of a message is its answer. The
base shouts, an adapter whispers, at another strength it says so. What is begun is carried on with
`and so on`; where temperature is not 0 the seed is told. A classifier gives the labels that its
folder names, the likelier the more often the text has them. Files in that folder gate it too: with
`wait` there, loading waits until it is gone; `context` says how many turns are the most.
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
    AdapterUnloaded,
    Alternative,
    AnswerEnded,
    AnswerGrew,
    Ask,
    Cancel,
    Chance,
    ChatFailed,
    LoadAdapter,
    Loading,
    LoadModel,
    LookAtTokens,
    MemoryHeld,
    Predict,
    Predicted,
    Ready,
    TokenShown,
    TokensShown,
    UnloadAdapter,
)
from tui_lora.store.adapter_labels import read_labels
from tui_lora.store.adapters import ChatTarget

GATES = "FAKE_CHAT_GATES"
HOSTILE = "[/INST] [@click=app.quit]x[/] [bold"
REFUSED = "memory ran out."


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
    held: dict[str, float] = {}

    def told() -> None:
        total = 0.5 + sum(held.values())
        say(MemoryHeld(device="cpu", allocated_gib=total))

    told()
    while True:
        message = inbox.get()
        if isinstance(message, LoadAdapter | LoadModel):
            whole = isinstance(message, LoadModel)
            if "bad" in message.path:
                why = "the adapter bad cannot be used: another base."
                say(ChatFailed(message=why, name=message.name))
                continue
            labels = read_labels(Path(classifier)) if classifier == message.path else ()
            held[message.name] = 0.25 if whole else 0.01
            say(
                AdapterLoaded(
                    name=message.name,
                    path=message.path,
                    seconds=0.1,
                    labels=labels,
                    gib=held[message.name],
                    whole=whole,
                )
            )
            told()
        elif isinstance(message, UnloadAdapter):
            held.pop(message.name, None)
            say(AdapterUnloaded(name=message.name))
            told()
        elif isinstance(message, Predict):
            if message.text == "refused":
                say(ChatFailed(id=message.id, message=REFUSED))
            else:
                say(predicted(message, read_labels(Path(classifier))))
        elif isinstance(message, LookAtTokens):
            say(tokens_shown(message))
        elif isinstance(message, Ask):
            answer(message, cancelled, say, gates)


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


def tokens_shown(asked: LookAtTokens) -> TokensShown | ChatFailed:
    """Words are its tokens: the more letters, the less likely."""
    if "unseen" in asked.text:
        return ChatFailed(id=asked.id, message="nobody can say.")
    tokens = [TokenShown(id=1, text="<|user|>", special=True)]
    tokens += [TokenShown(id=2, text=f" {word}") for word in asked.turns[-1].content.split()]
    for word in asked.text.split():
        sure = 1 / len(word)
        other = Alternative(id=4, text=" other", probability=1 - sure)
        own = Alternative(id=3, text=f" {word}", probability=sure)
        both = sorted((own, other), key=lambda one: -one.probability)
        tokens.append(
            TokenShown(id=3, text=f" {word}", part="answer", probability=sure, others=tuple(both))
        )
    return TokensShown(id=asked.id, tokens=tuple(tokens))


def answer(asked: Ask, cancelled: set[str], say, gates: Path) -> None:  # type: ignore[no-untyped-def]
    question = asked.turns[-1].content
    if question == "die":
        sys.stderr.write("the card fell off the bus\n")
        sys.stderr.flush()
        os._exit(3)
    most = gates / "context"
    if most.is_file() and len(asked.turns) > int(most.read_text()):
        full = f"the conversation has {len(asked.turns)} turns, and the context is full."
        say(ChatFailed(id=asked.id, message=full, overrun=True))
        return
    if question == "refused":
        say(ChatFailed(id=asked.id, message=REFUSED))
        return
    if question == f"no memory for {Path(asked.name).name}":
        say(ChatFailed(id=asked.id, message="memory ran out."))
        return
    text = question.upper() if asked.name == BASE else f"({question.lower()}), {len(asked.turns)}"
    if question.startswith("hostile"):
        text = HOSTILE
    elif (gates / question).is_file():
        text = (gates / question).read_text()
    elif question.startswith("told"):
        text = " | ".join(f"{turn.role}: {turn.content}" for turn in asked.turns)
    elif question.startswith("many "):
        text = "word " * int(question.split()[1])
    if asked.strength != 1:
        text += f" at {asked.strength:.0%}"
    if asked.sampling.temperature:
        text += f" from {asked.sampling.seed}"
    if asked.plain:
        text = f" ... and plain, {len(asked.turns)}"
    if asked.begun:
        text = " and so on"
    ended_by, tokens = "end", 0
    if question == "long" and not asked.begun:
        ended_by = "length"
    if question == "stop here":
        ended_by = "stop"
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
            context_left=2000 - tokens,
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
