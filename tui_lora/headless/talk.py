"""Conversations in a plain terminal or a pipe."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tui_lora.core.chat import BASE, AnswerEnded, Turn
from tui_lora.core.errors import UserError
from tui_lora.core.fetch import FetchPaused, FetchPlanned, FromFetch
from tui_lora.core.sampling import Sampling
from tui_lora.core.text import clean, duration, number, one_line, size
from tui_lora.headless.conversation import Conversation, together
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.prompt_file import Prompt, read_prompts
from tui_lora.store.adapters import ChatTarget, stored_as, target
from tui_lora.store.chat_room import ChatRoom, held_to, look_for_room

SHOWN_CHANCES = 10
VERDICTS = {
    "tight": "tight",
    "unknown": "whether it fits is not known",
    "does_not_fit": "loaded all the same",
}
_ENDS = {"length": "  (cut at the limit)", "cancel": "  (stopped)"}


@dataclass(frozen=True)
class Manner:
    """How answers are asked for and told."""

    sampling: Sampling = field(default_factory=Sampling)
    strength: float = 1.0
    plain: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class Storage:
    """Where and how the base is loaded, in place of what the run says; `base` in place of the one
    that an adapter names."""

    devices: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    base: str | None = None


def chat(
    root: Path,
    texts: list[str],
    *,
    prompt: str | None = None,
    prompt_file: str | None = None,
    system: str | None = None,
    manner: Manner | None = None,
    storage: Storage | None = None,
    force: bool = False,
) -> int:
    """Answer `prompt` once, or each of a file, or every line of standard input until its end.

    A classifier says which label it has. Raises UserError where it would not fit, before anything
    is loaded, unless `force`; 1 where prompts of a file could not be answered.
    """
    how, stored = manner or Manner(), storage or Storage()
    if prompt is not None and prompt_file is not None:
        raise UserError("--prompt and --prompt-file are two ways to ask: give one.")
    prompts = _prompts(prompt, prompt_file, system)
    targets = _with_room(root, _targets(root, texts, stored), force=force)
    with Conversation(targets, lambda label: _say(f"{label} …"), _say) as conversation:
        if targets[0].classifier:
            return _predict_all(conversation, targets[0], prompts, how.as_json)
        if prompts is not None:
            return _answer_all(conversation, targets, prompts, how)
        opening = [Turn(role="system", content=system)] if system else []
        histories: dict[str, list[Turn]] = {one.name: list(opening) for one in targets}
        for line in _lines("Write a message and press Enter"):
            for one in targets:
                history = histories[one.name]
                history.append(Turn(role="user", content=line))
                answer = _answer(conversation, one, history, how)
                history.append(Turn(role="assistant", content=answer.text))
    return 0


def _prompts(
    prompt: str | None, prompt_file: str | None, system: str | None
) -> list[Prompt] | None:
    """None: they come from standard input."""
    if prompt_file is not None:
        return read_prompts(prompt_file, system)
    if prompt is None:
        return None
    opening = (Turn(role="system", content=system),) if system else ()
    return [Prompt(0, (*opening, Turn(role="user", content=prompt)))]


def _targets(root: Path, texts: list[str], stored: Storage) -> list[ChatTarget]:
    named = {
        text: stored_as(
            target(root, text, base=stored.base, hear=_fetching(text)),
            devices=stored.devices,
            quantization=stored.quantization,
            dtype=stored.dtype,
        )
        for text in texts
        if text != BASE
    }
    if not named:
        raise UserError("base alone says nothing: name a session, an adapter or a model with it.")
    first = next((one for one in named.values() if one.adapter is not None), None)
    base = _base_of(first or next(iter(named.values())))
    return together(_told_apart([named.get(text, base) for text in texts], texts))


def _fetching(text: str) -> Callable[[FromFetch], None]:
    """Says on stderr that an adapter of the Hub is being fetched."""
    name = clean(text)

    def hear(message: FromFetch) -> None:
        if isinstance(message, FetchPlanned):
            _say(f"fetching the adapter {name}, {size(message.total_bytes)} …")
        elif isinstance(message, FetchPaused):
            _say(f"fetching the adapter {name}: {message.why}, trying again")

    return hear


def _say(words: str) -> None:
    sys.stderr.write(f"{clean(words)}\n")
    sys.stderr.flush()


def _with_room(root: Path, targets: Sequence[ChatTarget], *, force: bool) -> list[ChatTarget]:
    """The targets, held to what was counted where something trains beside them. Raises UserError
    where they do not fit, or nobody knows whether they do and a training could come to harm."""
    room = look_for_room(root, targets)
    fit = room.fit
    refused = fit.verdict == "does_not_fit" or (fit.verdict == "unknown" and fit.beside)
    if refused and not force:
        raise UserError(fit.sentence, then=_instead(room))
    if fit.verdict != "fits":
        _say(f"{VERDICTS[fit.verdict]}: {fit.sentence}")
    # By force too: what is short of memory then is the chat, and not a training.
    return [held_to(one, fit) for one in targets]


def _instead(room: ChatRoom) -> str:
    flags = {"cpu": "on the CPU, slowly: --devices cpu", "nf4": "in 4 bits: --quantization nf4"}
    ways = []
    for way in room.ways:
        takes = way.fit.forecast.takes_gib if way.fit.forecast is not None else None
        free = f"{number(takes)} of {number(way.fit.room_gib)} GiB"
        ways.append(f"{flags[way.kind]} ({free})")
    if room.fit.beside:
        ways.append(f"wait until {room.beside} has ended")
    ways.append("load it all the same: --force")
    return f"Nothing was loaded. You can: {'; '.join(ways)}."


def _lines(invitation: str) -> Iterator[str]:
    """Every line of standard input that says something, until its end."""
    interactive = sys.stdin.isatty()
    if interactive:
        to_stdout(f"{invitation}; Ctrl-C stops an answer, Ctrl-D ends.")
    while True:
        if interactive:
            sys.stdout.write("\nyou  ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _predict_all(
    conversation: Conversation, one: ChatTarget, prompts: list[Prompt] | None, as_json: bool
) -> int:
    given = [prompt.turns[-1].content for prompt in prompts] if prompts is not None else None
    for text in given if given is not None else _lines("Write a text and press Enter"):
        _predict(conversation, one, text, as_json)
    return 0


def _predict(conversation: Conversation, one: ChatTarget, text: str, as_json: bool) -> None:
    """The likeliest label first; as JSON all of them."""
    found = conversation.predict(text, name=one.name)
    if as_json:
        told = found.model_dump(exclude={"id", "name"})
        to_stdout(json.dumps({"name": one.name, "label": found.chances[0].label, **told}))
        return
    shown = found.chances[:SHOWN_CHANCES]
    width = max(len(one_line(chance.label)) for chance in shown)
    for chance in shown:
        to_stdout(f"{one_line(chance.label):<{width}}  {100 * chance.probability:5.1f}%")
    if len(found.chances) > len(shown):
        to_stdout(f"(the likeliest of {len(found.chances):,} labels; --json prints all)")


def _told_apart(targets: list[ChatTarget], texts: list[str]) -> list[ChatTarget]:
    """Two folders called adapter are two voices: what shares a name goes by what was typed."""
    names = Counter(target.name for target in targets if _is_voice(target))
    names[BASE] += 1
    return [
        replace(target, name=clean(str(Path(text))))
        if _is_voice(target) and names[target.name] > 1
        else target
        for target, text in zip(targets, texts, strict=True)
    ]


def _is_voice(one: ChatTarget) -> bool:
    return one.adapter is not None or one.name != BASE


def _base_of(other: ChatTarget) -> ChatTarget:
    return ChatTarget(BASE, other.model, other.quantization, other.devices)


def _answer_all(
    conversation: Conversation, targets: list[ChatTarget], prompts: list[Prompt], how: Manner
) -> int:
    """Each prompt by every target. One of a file that cannot be answered does not keep the others
    from being asked."""
    failed = 0
    for prompt in prompts:
        if prompt.line and not how.as_json:
            to_stdout(f"\n{prompt.line}  {one_line(prompt.turns[-1].content, max_chars=200)}")
        for one in targets:
            try:
                _answer(conversation, one, prompt.turns, how, prompt)
            except UserError as error:
                if not prompt.line or not conversation.alive:
                    raise
                failed += 1
                if how.as_json:
                    to_stdout(json.dumps(_asked(one, prompt) | {"error": clean(str(error))}))
                else:
                    _say(f"line {prompt.line}: {error}")
    return 1 if failed else 0


def _asked(one: ChatTarget, prompt: Prompt | None) -> dict[str, object]:
    told: dict[str, object] = {"name": one.name}
    if prompt is not None and prompt.line:
        told |= {"line": prompt.line, "prompt": prompt.turns[-1].content}
    return told


def _answer(
    conversation: Conversation,
    one: ChatTarget,
    turns: Sequence[Turn],
    how: Manner,
    prompt: Prompt | None = None,
) -> AnswerEnded:
    named = one.adapter is not None or one.whole is not None
    if not how.as_json:
        to_stdout(f"\n{one.name}")
    answer = conversation.ask(
        turns,
        name=one.name if named else BASE,
        sampling=how.sampling,
        strength=how.strength if one.adapter is not None else 1.0,
        plain=how.plain,
        on_text=(lambda piece: None) if how.as_json else _stream,
    )
    if how.as_json:
        told = answer.model_dump(exclude={"id", "name"})
        to_stdout(json.dumps({**_asked(one, prompt), **told}))
        return answer
    speed = answer.tokens / answer.seconds if answer.seconds > 0 else None
    to_stdout(
        f"\n  {answer.tokens} tokens · {duration(answer.seconds)} · {number(speed)} tok/s"
        f"{_ENDS.get(answer.ended_by, '')}"
    )
    return answer


def _stream(piece: str) -> None:
    sys.stdout.write(clean(piece))
    sys.stdout.flush()
