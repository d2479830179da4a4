"""The Chat screen's keys: single ones beside the composer, control keys inside it."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from tui_lora.ui.blind import LETTERS, TIE

TYPING = "typing"
"""What an action is told that came by a control key; it is offered only while one writes."""


def _key(key: str, action: str, name: str, tip: str, *, shown: bool = True) -> Binding:
    return Binding(key, action, name, shown, id=f"chat.{action}", tooltip=tip)


def _both(key: str, action: str, name: str, tip: str, *, shown: bool = True) -> list[Binding]:
    inside = Binding(
        f"ctrl+{key}",
        f"{action}('{TYPING}')",
        name,
        shown,
        id=f"chat.{action}_typing",
        tooltip=tip,
    )
    return [_key(key, action, name, tip, shown=shown), inside]


def _hidden(key: str, action: str, verb: str, tip: str) -> Binding:
    return Binding(key, action, "", False, id=f"chat.{verb}", tooltip=tip)


def _vote(letter: str) -> Binding:
    small = letter.lower()
    return _hidden(small, f"vote('{letter}')", f"vote_{small}", f"{letter} is the best answer")


# Votes first: while answers are voted on, their letters mean nothing else.
KEYS: list[BindingType] = [
    *(_vote(letter) for letter in LETTERS),
    _hidden("equals_sign", f"vote('{TIE}')", "vote_tie", "no answer is better: a tie"),
    _key("escape", "stop", "stop", "stop the answers at once"),
    _key("escape", "call_off", "call off", "call off the loading; nothing stays in memory"),
    _key("escape", "leave", "back", "out of writing, so that single keys hold; back"),
    *_both("r", "load_again", "load again", "start the chat worker again"),
    _key("enter,i", "write", "write", "write a message"),
    Binding("tab", "switch(1)", "switch", id="chat.switch", tooltip="who answers next"),
    _hidden("right_square_bracket", "switch(1)", "next_voice", "who answers next"),
    _hidden("left_square_bracket", "switch(-1)", "last_voice", "who answers next, the other way"),
    Binding("ctrl+b", "switch(1)", "", False, id="chat.switch_typing", tooltip="who answers next"),
    *_both("s", "together", "all", "everybody answers it, side by side; also the last message"),
    *_both("t", "targets", "who", "more voices: adapters, checkpoints, other models"),
    _key("h", "held_out", "held-out", "the next held-out question"),
    _key("r", "regenerate", "again", "the last message once more, from the next seed"),
    _key("plus", "carry_on", "go on", "carry on a cut answer"),
    _key("e", "edit", "edit", "change an earlier message and send it anew; e: the one before"),
    *_both("n", "new", "new", "a new conversation"),
    *_both("g", "sampling", "sampling", "temperature, tokens, seed, system prompt"),
    _key("B", "blind", "blind", "hide who answers, and vote", shown=False),
    _key("asterisk", "everybody", "all always", "each message goes to all, or to one", shown=False),
    _hidden("v", "mute", "mute", "mute this voice, or let it answer with the others again"),
    _hidden("u", "unload", "unload", "take this voice out, and free what it holds"),
    _hidden("less_than_sign", "strength(-0.1)", "weaker", "this adapter 10% weaker, down to 0"),
    _hidden("greater_than_sign", "strength(0.1)", "stronger", "10% stronger, up to 150%"),
    _key("x", "tokens", "tokens", "the tokens of this answer, and what else was likely"),
    _key("E", "correct", "correct", "say what the answer should have been: a row to train on"),
    _key("k", "keep_answer", "keep", "this answer is good: keep it as a row to train on"),
    _hidden("l", "own_prompt", "own_prompt", "the next prompt of your own"),
    _hidden("P", "keep_prompt", "keep_prompt", "keep the message as a prompt of your own"),
    _hidden("m", "markdown", "markdown", "draw Markdown, or show what was written"),
    _hidden("c", "completion", "completion", "carry a text on, without any template; or chat"),
    _key("p", "path", "by path", "an adapter or model by its path"),
    _key("o", "conversations", "older", "conversations that were kept: reopen, search, export"),
    Binding("pageup", "page(-1)", "", False, id="chat.page_up", tooltip="a page up"),
    Binding("pagedown", "page(1)", "", False, id="chat.page_down", tooltip="a page down"),
]
