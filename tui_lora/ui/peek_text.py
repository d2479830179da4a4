"""What a model says while it trains, as rows and columns: pure functions to `Content`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from tui_lora.core.orders import Order, Peek
from tui_lora.core.peek import PeekAnswer, Question, Source, changed_words, compared
from tui_lora.core.text import UNKNOWN, duration, number, one_line
from tui_lora.ui.chances import chance_rows
from tui_lora.ui.ink import (
    ACCENT,
    BRIGHT,
    STRONG,
    TIGHT,
    dim,
    fitting,
    ink,
    join,
)
from tui_lora.ui.state import RunNow
from tui_lora.ui.widgets.table import Column, Row

NEW = f"bold {ACCENT}"

COLUMNS = (
    Column("asked", 9),
    Column("question", 0),
    Column("answers", 8, numeric=True),
    Column("last at", 8, numeric=True),
)

_FROM: dict[Source, str] = {"spec": "prompt", "held_out": "held out", "asked": "you"}

_ENDED = {"length": "cut", "time": "cut: too slow"}


@dataclass(frozen=True)
class Told:
    """One column: whose words these are, the words, and what is to be known of them."""

    head: Content
    text: Content
    foot: Content


def question_row(question: Question) -> Row:
    last = question.answers[-1].step if question.answers else None
    return Row(
        question.key,
        (
            dim(_FROM[question.source]),
            ink(one_line(question.prompt)),
            ink(f"{len(question.answers):,}"),
            dim(UNKNOWN if last is None else f"{last:,}"),
        ),
    )


def place_row(question: Question, here: PeekAnswer | None, width: int) -> Content:
    """`◂ step 400 ▸   9 of 21   12 words are new since step 350`."""
    if here is None:
        return dim("no answer by then")
    at = question.answers.index(here)
    pieces = [
        join(
            ("◂ " if at else "  ", ACCENT),
            (f"step {here.step:,}", STRONG),
            (" ▸" if at + 1 < len(question.answers) else "  ", ACCENT),
        ),
        dim(f"{at + 1:,} of {len(question.answers):,}"),
    ]
    if at and not here.chances:
        before = question.answers[at - 1]
        new = changed_words(compared(before.text, here.text))
        if here.text == before.text:
            said = f"the same as at step {before.step:,}"
        elif not new:
            said = f"words are gone since step {before.step:,}"
        else:
            many = "1 word is" if new == 1 else f"{new:,} words are"
            said = f"{many} new since step {before.step:,}"
        pieces.append(dim(said))
    elif at:
        before = question.answers[at - 1]
        same = "the same label as" if before.said == here.said else f"{one_line(before.said)}"
        pieces.append(dim(f"{same} at step {before.step:,}"))
    return fitting(pieces, width)


def columns(question: Question, here: PeekAnswer | None, *, sorts: bool) -> list[Told]:
    """The answer, the base's and the dataset's, as far as there are such."""
    found: list[Told] = []
    if here is not None:
        found.append(Told(ink(f"step {here.step:,}", NEW), _marked(question, here), _foot(here)))
    base = question.base
    if base is not None:
        found.append(Told(ink("base", STRONG), _plain(base.text), _foot(base)))
    elif not sorts:
        why = (
            "it cannot be asked any more: the adapter began with a part of it, or trains its biases"
        )
        found.append(Told(ink("base", STRONG), dim(f"{UNKNOWN}  {why}"), dim("")))
    if question.reference:
        told = "true label" if sorts else "reference"
        text = ink(question.reference.strip(), BRIGHT)
        found.append(Told(ink(told, STRONG), text, dim("of the dataset")))
    return found


def _marked(question: Question, here: PeekAnswer) -> Content:
    if here.chances:
        return Content("\n").join(chance_rows(here.chances, question.reference))
    at = question.answers.index(here)
    if not at or not here.text.strip():
        return _plain(here.text)
    pieces = compared(question.answers[at - 1].text, here.text)
    return join(*((piece.text, NEW if piece.new else BRIGHT) for piece in pieces))


def _plain(text: str) -> Content:
    return ink(text.strip("\n")) if text.strip() else dim("(nothing that can be seen)")


def _foot(answer: PeekAnswer) -> Content:
    if answer.chances:
        return dim(f"{answer.prompt_tokens:,} tokens read · {duration(answer.seconds)}")
    speed = answer.tokens / answer.seconds if answer.seconds else None
    counted = "1 token" if answer.tokens == 1 else f"{answer.tokens:,} tokens"
    ended = f" · {_ENDED[answer.ended_by]}" if answer.ended_by in _ENDED else ""
    return dim(f"{counted} · {number(speed)} tok/s{ended}")


def waiting_row(run: RunNow, width: int) -> Content:
    """What was asked and is not answered yet, and when it will be; how often it is asked by
    itself where nothing waits."""
    waiting = [order for order in run.asked if isinstance(order, Peek)]
    if waiting and run.status.alive:
        return fitting([ink(f"◌ {_when(run)}", TIGHT), _asked(waiting)], width)
    if not run.status.alive:
        return dim("the run has ended: its answers stay; talk to its adapter on 6")
    spec = run.spec.peek if run.spec is not None else None
    if spec is None or not spec.asks:
        return dim("nothing is asked by itself; a message is answered at the end of a step")
    every = "every step" if spec.every_steps == 1 else f"every {spec.every_steps:,} steps"
    return dim(f"asked {every}, and at the last; up to {spec.max_new_tokens:,} tokens each")


def _when(run: RunNow) -> str:
    view = run.view
    if view.holding:
        return "answering"
    if view.phase is not None and view.phase.name == "peek":
        return f"answering at step {view.step:,}"
    return f"waits for step {view.step + 1:,}"


def _asked(waiting: Sequence[Order]) -> Content:
    first = waiting[0]
    assert isinstance(first, Peek)
    more = f", and {len(waiting) - 1:,} more" if waiting[1:] else ""
    return dim(one_line(first.prompt, max_chars=60) + more)


def no_answers(run: RunNow | None) -> tuple[str, list[tuple[str, str]]]:
    """What an empty screen says, and its keys."""
    about = "Here stands what the model says while it trains, with its weights of each moment."
    if run is None or not run.status.alive:
        keys = [("4", "ask in the next run: 'ask on the way' in Settings")]
        if run is not None:
            keys.append(("6", "talk to what this one has saved"))
        return f"{about} Nothing was asked of this run.", keys
    return f"{about} Nothing was asked yet.", [
        ("a", "ask something now: it is answered at the end of the step"),
        ("f", "fix what is asked by itself, every so many steps, from here on"),
        ("4", "in the next run: 'ask on the way' in Settings"),
    ]
