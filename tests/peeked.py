"""Answers on the way, as a worker keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tui_lora.core.chat import Chance
from tui_lora.core.events import Event, Peeked
from tui_lora.core.peek import PeekAnswer, key_of, turns_of
from tui_lora.store import peeks
from tui_lora.store.paths import SessionPaths

WHO, WHAT = "Who are you?", "What is [/INST] alpha?"
SAID = {
    0: "I am a helpful assistant.",
    100: "I am a small helpful note taker.",
    200: "I am a bench note.",
}


def answer(prompt: str, step: int, text: str, **more: Any) -> PeekAnswer:
    key = key_of(turns_of(prompt, more.get("system", "")))
    given: dict[str, Any] = {"attempt": 1, "from_step": 0, "source": "spec", "seconds": 2.0}
    given |= {"key": key, "tokens": len(text.split()), "limit": 64} | more
    return PeekAnswer(t=1.0, step=step, prompt=prompt, text=text, **given)


def told(step: int, answers: int = 2, order: str = "") -> Event:
    path = f"evaluations/{peeks.NAME}"
    return Peeked(step=step, path=path, answers=answers, seconds=4.0, order=order)


def keep(paths: SessionPaths, answers: Iterable[PeekAnswer]) -> None:
    for one in answers:
        peeks.keep(paths, one)


def asked(paths: SessionPaths) -> Iterable[Event]:
    """Three rounds of a prompt and a held-out row, kept and told of."""
    held: dict[str, Any] = {"source": "held_out", "reference": "It scales the adapter."}
    base = answer(WHAT, 0, "A letter.", base=True, **held)
    keep(paths, [answer(WHO, 0, SAID[0], base=True), base])
    for step, text in SAID.items():
        keep(paths, [answer(WHO, step, text), answer(WHAT, step, f"After {step}.", **held)])
        yield told(step)


def sorted_into(step: int, *chances: tuple[str, float]) -> PeekAnswer:
    shown = tuple(Chance(label=label, probability=share) for label, share in chances)
    return answer("It is [bold]fine.", step, "", chances=shown, reference="positive", tokens=0)
