"""Conversations in a plain terminal or a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tui_lora.core.chat import BASE, AnswerEnded, Turn
from tui_lora.core.errors import ContextOverrun, UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.text import clean, duration, number, one_line
from tui_lora.headless.chat_targets import Storage, targets_of, with_room
from tui_lora.headless.conversation import Conversation
from tui_lora.headless.follow import to_stderr, to_stdout
from tui_lora.headless.prompt_file import Prompt, read_prompts
from tui_lora.store.adapters import ChatTarget

SHOWN_CHANCES = 10
_ENDS = {"length": "  (cut at the limit)", "cancel": "  (stopped)"}


@dataclass(frozen=True)
class Manner:
    """How answers are asked for and told."""

    sampling: Sampling = field(default_factory=Sampling)
    strength: float = 1.0
    plain: bool = False
    as_json: bool = False


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
    is loaded, unless `force`; 1 where some of many prompts could not be answered.
    """
    how = manner or Manner()
    prompts = _prompts(prompt, prompt_file, system)
    targets = targets_of(root, texts, storage or Storage())
    if targets[0].classifier:
        _check_labelled(targets[0], prompts, prompt_file, system, how)
    targets = with_room(root, targets, force=force)
    with Conversation(targets, lambda label: to_stderr(f"{label} …"), to_stderr) as conversation:
        if prompts is not None:
            return _Answering(conversation, targets, how).all(prompts)
        what = "text" if targets[0].classifier else "message"
        typed = sys.stdin.isatty()
        lines = _lines(f"Write a {what} and press Enter" if typed else "")
        return _Talking(conversation, targets, how, system, typed).all(lines)


def _prompts(
    prompt: str | None, prompt_file: str | None, system: str | None
) -> list[Prompt] | None:
    """None: they come from standard input. Raises UserError."""
    if prompt is not None and prompt_file is not None:
        raise UserError("--prompt and --prompt-file are two ways to ask: give one.")
    if prompt_file is not None:
        return read_prompts(prompt_file, system)
    if prompt is None:
        return None
    if not prompt.strip():
        raise UserError("there is no question to answer.", where="--prompt")
    opening = (Turn(role="system", content=system),) if system else ()
    return [Prompt(0, (*opening, Turn(role="user", content=prompt)))]


def _check_labelled(
    one: ChatTarget,
    prompts: Sequence[Prompt] | None,
    prompt_file: str | None,
    system: str | None,
    how: Manner,
) -> None:
    """Raise UserError for what only an answer has: a classifier reads a text and no more."""
    given = {
        "--system": bool(system),
        "--plain": how.plain,
        "--strength": how.strength != 1,
        "--temperature and what else draws words": how.sampling != Sampling(),
    }
    without_use = [flag for flag, is_given in given.items() if is_given]
    if without_use:
        raise UserError(
            f"{one.name} gives labels instead of answers, and has no use for "
            f"{', '.join(without_use)}.",
            then="Leave that out.",
        )
    longer = next((prompt for prompt in prompts or () if len(prompt.turns) > 1), None)
    if longer is not None:
        raise UserError(
            f"{one.name} gives labels and reads one text; here stand a system prompt or several "
            "messages.",
            where=f"{prompt_file}:{longer.line}",
        )


def _lines(invitation: str) -> Iterator[Prompt]:
    """Every line of standard input that says something, until its end. Whoever types is invited on
    stderr: what is printed may go into a file."""
    if invitation:
        to_stderr(f"{invitation}; Ctrl-C stops an answer, Ctrl-D ends.")
    number = 0
    while True:
        if invitation:
            sys.stderr.write("\nyou  ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        number += 1
        if line.strip():
            yield Prompt(number, (Turn(role="user", content=line.strip()),))


@dataclass
class _Answering:
    """Puts prompts to targets, each by itself, and tells what came of it."""

    conversation: Conversation
    targets: Sequence[ChatTarget]
    how: Manner

    def all(self, prompts: Iterable[Prompt]) -> int:
        """0, or 1 where some could not be answered: one of many does not keep the others from being
        asked. Raises UserError where the only one cannot be answered, or nobody answers any
        more."""
        failed = 0
        for prompt in prompts:
            if self._numbered(prompt) and not self.how.as_json:
                to_stdout(f"\n{prompt.line}  {one_line(prompt.turns[-1].content, max_chars=200)}")
            for one in self.targets:
                try:
                    self._ask(one, prompt)
                except UserError as error:
                    if not prompt.line or not self.conversation.alive:
                        raise
                    failed += 1
                    self._tell_failed(one, prompt, error)
        return 1 if failed else 0

    def _numbered(self, prompt: Prompt) -> bool:
        """Whether the reader is to be told which prompt an answer belongs to."""
        return prompt.line > 0

    def _tell_failed(self, one: ChatTarget, prompt: Prompt, error: UserError) -> None:
        if self.how.as_json:
            to_stdout(json.dumps(_asked(one, prompt) | {"error": clean(str(error))}))
        else:
            to_stderr(f"line {prompt.line}: {error}" if self._numbered(prompt) else str(error))

    def _ask(self, one: ChatTarget, prompt: Prompt) -> None:
        if one.classifier:
            self._label(one, prompt)
        else:
            self._name(one)
            self._answer(one, prompt, prompt.turns)

    def _name(self, one: ChatTarget) -> None:
        if not self.how.as_json:
            to_stdout(f"\n{one.name}")

    def _answer(
        self, one: ChatTarget, prompt: Prompt, turns: Sequence[Turn], *, anew: bool = False
    ) -> AnswerEnded:
        how = self.how
        named = one.adapter is not None or one.whole is not None
        answer = self.conversation.ask(
            turns,
            name=one.name if named else BASE,
            sampling=how.sampling,
            strength=how.strength if one.adapter is not None else 1.0,
            plain=how.plain,
            on_text=(lambda piece: None) if how.as_json else _stream,
        )
        if how.as_json:
            told = answer.model_dump(exclude={"id", "name"})
            begins = {"new_conversation": True} if anew else {}
            to_stdout(json.dumps({**_asked(one, prompt), **begins, **told}))
            return answer
        speed = answer.tokens / answer.seconds if answer.seconds > 0 else None
        to_stdout(
            f"\n  {answer.tokens} tokens · {duration(answer.seconds)} · {number(speed)} tok/s"
            f"{_ENDS.get(answer.ended_by, '')}"
        )
        return answer

    def _label(self, one: ChatTarget, prompt: Prompt) -> None:
        """The likeliest label first; as JSON all of them."""
        found = self.conversation.predict(prompt.turns[-1].content, name=one.name)
        if self.how.as_json:
            told = found.model_dump(exclude={"id", "name"})
            label = {"label": found.chances[0].label}
            to_stdout(json.dumps({**_asked(one, prompt), **label, **told}))
            return
        shown = found.chances[:SHOWN_CHANCES]
        width = max(len(one_line(chance.label)) for chance in shown)
        for chance in shown:
            to_stdout(f"{one_line(chance.label):<{width}}  {100 * chance.probability:5.1f}%")
        if len(found.chances) > len(shown):
            to_stdout(f"(the likeliest of {len(found.chances):,} labels; --json prints all)")


@dataclass
class _Talking(_Answering):
    """Lines that belong together: each target is told what was said before, with its own answers.
    `typed`: by somebody who sees what was asked."""

    system: str | None
    typed: bool
    _said: dict[str, list[Turn]] = field(default_factory=dict)

    def _numbered(self, prompt: Prompt) -> bool:
        return not self.typed

    def _ask(self, one: ChatTarget, prompt: Prompt) -> None:
        if one.classifier:
            self._label(one, prompt)
            return
        self._name(one)
        # A text that is carried on stands alone, as on the Chat screen.
        said = [] if self.how.plain else self._said.get(one.name, [])
        try:
            answer = self._answer(one, prompt, self._turns(said, prompt))
        except ContextOverrun as error:
            if not said:
                raise
            why = error.what.splitlines()[0]
            to_stderr(f"{one.name}: {why} A new one begins with this message.")
            said = self._said[one.name] = []
            answer = self._answer(one, prompt, self._turns(said, prompt), anew=True)
        reply = Turn(role="assistant", content=answer.text)
        self._said[one.name] = [*said, *prompt.turns, reply]

    def _turns(self, said: Sequence[Turn], prompt: Prompt) -> list[Turn]:
        opening = [Turn(role="system", content=self.system)] if self.system else []
        return [*opening, *said, *prompt.turns]


def _asked(one: ChatTarget, prompt: Prompt) -> dict[str, object]:
    told: dict[str, object] = {"name": one.name}
    if prompt.line:
        told |= {"line": prompt.line, "prompt": prompt.turns[-1].content}
    return told


def _stream(piece: str) -> None:
    sys.stdout.write(clean(piece))
    sys.stdout.flush()
