"""A chat worker that writes at a steady pace and has no model: 40 tokens a second, Markdown and
code among them, over the real pipes and in the real protocol.

    python benchmarks/streaming_chat.py

The terminal benchmark of the chat starts it in the worker's place, so that what is measured is the
screen and not the model.
"""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tui_lora.core.chat import (
    FROM_CHAT,
    TO_CHAT,
    AdapterLoaded,
    AnswerEnded,
    AnswerGrew,
    Ask,
    Cancel,
    FromChat,
    LoadAdapter,
    LoadModel,
    MemoryHeld,
    Ready,
)

TOKENS_A_SECOND = 40
EVERY_S = 0.05
TEXT = """The **rank** of a matrix is the number of its rows, or of its columns, that are linearly
independent: none of them can be put together out of the others.

- A matrix of full rank loses nothing.
- One of low rank says the same thing several times.

```python
import numpy
rank = numpy.linalg.matrix_rank(matrix)
print(f"of {matrix.shape} the rank is {rank}")
```

An adapter of rank 16 adds the product of two thin matrices to a weight; it can turn the weight in
16 directions and no more, which is enough for most of what a fine-tune teaches.

"""


def start(target: object) -> subprocess.Popen[bytes]:
    """In the place of `store.launch.start_chat`."""
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def say(message: FromChat) -> None:
    sys.stdout.write(FROM_CHAT.encode(message))
    sys.stdout.flush()


def answer(asked: Ask, cancelled: set[str]) -> None:
    words = itertools.cycle(TEXT.replace("\n", " \n").split(" "))
    began, tokens, whole = time.monotonic(), 0, ""
    # Until it is stopped, however few tokens were asked for.
    while asked.id not in cancelled:
        time.sleep(EVERY_S)
        due = int((time.monotonic() - began) * TOKENS_A_SECOND) - tokens
        text = "".join(f"{next(words)} " for _ in range(due))
        tokens, whole = tokens + due, whole + text
        say(AnswerGrew(id=asked.id, text=text, tokens=tokens))
    seconds = time.monotonic() - began
    say(
        AnswerEnded(
            id=asked.id,
            name=asked.name,
            text=whole,
            tokens=tokens,
            prompt_tokens=20,
            first_token_s=EVERY_S,
            seconds=seconds,
            ended_by="cancel",
        )
    )


def main() -> None:
    import queue

    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    cancelled: set[str] = set()

    def listen() -> None:
        for line in sys.stdin:
            message = TO_CHAT.decode(line).message
            if isinstance(message, Cancel):
                cancelled.add(message.id)
            else:
                inbox.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    say(Ready(model="steady", device="cuda:0", dtype="bfloat16", context_tokens=8192, seconds=0.1))
    while True:
        match inbox.get():
            case LoadAdapter() as asked:
                say(AdapterLoaded(name=asked.name, path=asked.path, seconds=0.1, gib=0.1))
            case LoadModel() as asked:
                say(AdapterLoaded(name=asked.name, path=asked.path, seconds=0.1, whole=True))
            case Ask() as asked:
                answer(asked, cancelled)
        say(MemoryHeld(device="cuda:0", allocated_gib=4.0, reserved_gib=4.5))


if __name__ == "__main__":
    main()
