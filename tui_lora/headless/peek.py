"""What a run's model says while it trains: the answers that are kept, or one to a message now."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tui_lora.core.control_words import ago
from tui_lora.core.errors import UserError
from tui_lora.core.events import OrderAnswered
from tui_lora.core.orders import Order, Peek
from tui_lora.core.peek import PeekAnswer, Question, questions
from tui_lora.core.text import clean, duration, number
from tui_lora.core.view import RunView
from tui_lora.headless.follow import to_stderr, to_stdout
from tui_lora.store import lock, peeks, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.ladder import patience
from tui_lora.store.paths import SessionPaths

POLL_S = 0.1
_INDENT = "    "


def peek(root: Path, name: str, *, prompt: str | None, system: str, as_json: bool) -> int:
    """Print what was answered on the way; with a `prompt`, ask it now and wait for the answer."""
    paths = sessions.find(root, name)
    if prompt is not None:
        return _ask(paths, prompt, system, as_json)
    found = questions(peeks.read(paths))
    if as_json:
        to_stdout(json.dumps([_as_json(question) for question in found], indent=1))
    elif not found:
        to_stdout(_nothing(paths))
    for question in () if as_json else found:
        for line in _rows(question):
            to_stdout(line)
    return 0


def _ask(paths: SessionPaths, prompt: str, system: str, as_json: bool) -> int:
    name = paths.name
    if not prompt.strip():
        raise UserError("there is no question to answer.", where="--prompt")
    if lock.holder(paths.lock) is None:
        raise UserError(
            f"{name} is not running, so nobody answers with the weights of this moment.",
            then=f"Talk to what it has saved: tui-lora chat {name}",
        )
    here = paths.events.stat().st_size if paths.events.exists() else 0
    lines, _ = sessions.first_and_last(paths)
    view, tail = sessions.fold(lines, RunView()), Tail(paths.events, here)
    order = sessions.give(paths, Peek, prompt=prompt, system=system)
    if not view.holding:
        to_stderr(f"{name}: asked; it is answered at the end of the step.")
    try:
        answered = _wait(paths, order, view, tail)
    except KeyboardInterrupt:
        to_stderr(
            f"\nno longer waiting; it is answered all the same. Read it: tui-lora peek {name}"
        )
        return 0
    if not answered.ok:
        raise UserError(f"{name}: {clean(answered.message)}.", exit_code=1)
    mine, base = peeks.answer_to(paths, order.id)
    if mine is None:
        raise UserError(f"{name} answered, and the answer is not there.", where=str(paths.folder))
    if as_json:
        question = Question(mine.key, mine.source, mine.prompt, mine.system, mine.reference, base)
        to_stdout(json.dumps(_as_json(question) | {"answers": [_answer_json(mine)]}, indent=1))
        return 0
    for line in (*_told(f"step {mine.step:,}", mine), *(_told("base", base) if base else ())):
        to_stdout(line)
    return 0


def _wait(paths: SessionPaths, order: Order, view: RunView, tail: Tail) -> OrderAnswered:
    told = False
    while True:
        # Looked at first: what a worker that is gone now wrote last is read below.
        alive = lock.holder(paths.lock) is not None
        sessions.fold(tail.read(), view)
        if (answer := view.answers.get(order.id)) is not None:
            return answer
        if not alive:
            raise UserError(f"{paths.name} ended before it answered.", exit_code=1)
        waits = patience(view)
        if not told and time.time() > order.t + waits.seconds:
            told = True
            when = ago(order.t, time.time())
            to_stderr(f"{paths.name}: no answer yet, asked {when} ({clean(waits.why)}).")
        time.sleep(POLL_S)


def _nothing(paths: SessionPaths) -> str:
    said = f"{paths.name}: nothing was asked of it on the way."
    if lock.holder(paths.lock) is not None:
        return f'{said} Ask now: tui-lora peek {paths.name} --prompt "What is LoRA?"'
    return f'{said} In the next run: --set "peek.prompts=What is LoRA?"'


def _rows(question: Question) -> list[str]:
    rows = [f"{_FROM[question.source]}: {question.prompt}"]
    if question.reference:
        rows += ["  reference", *_indented(question.reference)]
    if question.base is not None:
        rows += _told("  base", question.base)
    for answer in question.answers:
        rows += _told(f"  step {answer.step:,}", answer)
    return [*rows, ""]


_FROM = {"spec": "prompt", "held_out": "held out", "asked": "asked"}


def _told(head: str, answer: PeekAnswer) -> list[str]:
    if answer.chances:
        shown = (f"{one.label} {100 * one.probability:.1f}%" for one in answer.chances[:3])
        return [f"{head}   {'   '.join(shown)}"]
    speed = number(answer.tokens / answer.seconds) if answer.seconds else number(None)
    taken = f"{answer.tokens:,} tokens, {duration(answer.seconds)}, {speed} tok/s"
    cut = {"length": ", cut at the limit", "time": ", cut: it took too long"}
    return [f"{head}   ({taken}{cut.get(answer.ended_by, '')})", *_indented(answer.text)]


def _indented(text: str) -> list[str]:
    lines = text.strip("\n").splitlines() if text.strip() else ["(nothing that can be seen)"]
    return [_INDENT + line for line in lines]


def _as_json(question: Question) -> dict[str, Any]:
    base = question.base
    return {
        "prompt": question.prompt,
        "system": question.system or None,
        "from": question.source,
        "reference": question.reference or None,
        "base": None if base is None else _answer_json(base),
        "answers": [_answer_json(one) for one in question.answers],
    }


def _answer_json(answer: PeekAnswer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "step": answer.step,
        "text": answer.said,
        "tokens": answer.tokens,
        "seconds": answer.seconds,
        "ended_by": answer.ended_by,
    }
    if answer.chances:
        found["chances"] = {one.label: one.probability for one in answer.chances}
    return found
