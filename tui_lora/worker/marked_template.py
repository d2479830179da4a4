"""A chat template that marks the assistant's words, made from what the tokenizer's own writes.

Turns with words of their own in them are written down by the own template, and what stands
between those words is put into a template anew, with generation markers around the assistant's.
It is taken only if it writes the same tokens as the own one, turn for turn; where it cannot know
that it does (tools, thoughts), it refuses to write at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from tui_lora.core.errors import UserError

Turns = Sequence[dict[str, str]]
Write = Callable[[Turns, bool], str | None]
"""Turns, and whether an answer is to follow, as text; None where the template refuses them."""

_ASKED, _SAID, _ASKED_MORE, _SAID_MORE, _RULED = (
    "First, a question?",
    "So then: an answer.",
    "Next, another question?",
    "Well: another answer.",
    "Rules to go by.",
)
_TRIMS = ("", ".strip()", ".lstrip()", ".rstrip()")
_THOUGHT = "<think>\nhm\n</think>\n\n"
_STRFTIME = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")

_SLOT = re.compile(r"<<(\w+)>>")
_SKELETON = """\
{%- if tools -%}
{{ raise_exception("tools are not written as the tokenizer's own template writes them") }}
{%- endif -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set turns = messages[1:] -%}
<<system>>
{%- else -%}
{%- set turns = messages -%}
{{- <<begin>> -}}
{%- endif -%}
{%- for message in turns -%}
{%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] or message['tool_calls'] -%}
{{ raise_exception('user and assistant have to take turns, and tools are not known') }}
{%- endif -%}
{%- if message['role'] == 'user' -%}
{%- if loop.first and messages[0]['role'] == 'system' -%}{{ <<ruled>> }}
{%- elif loop.first -%}{{ <<first>> }}
{%- else -%}{{ <<user>> }}
{%- endif -%}
{%- if not loop.last -%}{{ <<given>> }}
{%- elif add_generation_prompt -%}{{ <<ask>> }}
{%- endif -%}
{%- else -%}
<<thoughts>>
{%- if loop.last -%}
{%- generation -%}{{ <<last>> }}{%- endgeneration -%}
{{- <<close>> -}}
{%- else -%}
{%- generation -%}{{ <<inner>> }}{%- endgeneration -%}
{{- <<between>> -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
"""
_REFUSE_SYSTEM = "{{ raise_exception('the own template has no place for this system turn') }}"
_REFUSE_THOUGHTS = """\
{%- if '</think>' in message['content'] -%}
{{ raise_exception('thoughts are not written as the own template writes them') }}
{%- endif -%}"""


@dataclass(frozen=True)
class Pieces:
    """What the own template puts around the words of turns.

    `begin` and `system` (before and after a system turn's words; None: it takes none) open a
    conversation up to the first question; `ask` is what invites an answer, `answer` what really
    stands before one, `between` stands between an answer and the next question, `close` after the
    last answer. `trims` say what is done to white space around words: those of the first question
    (`first`; `ruled` behind a system turn), of later ones (`user`), of `assistant` and `system`.
    `thinks`: thoughts in an answer are left as they are.
    """

    begin: str
    system: tuple[str, str] | None
    ask: str
    answer: str
    between: str
    close: str
    trims: dict[str, str]
    thinks: bool


def marked_template(tokenizer: Any, ends: frozenset[int]) -> str:
    """The template; `ends` are the tokens that end a turn. Raises UserError."""

    def write(turns: Turns, invite: bool) -> str | None:
        try:
            text = tokenizer.apply_chat_template(
                list(turns), add_generation_prompt=invite, tokenize=False
            )
        except (TemplateError, TypeError, ValueError):
            return None
        return str(text)

    pieces = _learn(write)
    if pieces is not None:
        made = _make(pieces, tokenizer.convert_ids_to_tokens(sorted(ends)), _dates(tokenizer))
        if all(_same(tokenizer, made, turns, invite) for turns, invite in _probes(pieces)):
            return made
    raise UserError(
        "this chat template does not say which words are the assistant's, and it is none of those "
        "for which that is known.",
        where="dataset.loss_on",
        then="Set dataset.loss_on to completion, which needs no marks, or choose one of our "
        "templates with model.chat_template.",
    )


def _turns(*said: str) -> list[dict[str, str]]:
    """Turns that say this, user and assistant in turn; one that is `_RULED` is the system's."""
    roles = {_RULED: "system"}
    turns: list[dict[str, str]] = []
    for words in said:
        before = turns[-1]["role"] if turns else ""
        role = roles.get(words, "assistant" if before == "user" else "user")
        turns.append({"role": role, "content": words})
    return turns


def _between(text: str | None, *said: str) -> list[str] | None:
    """What stands before, between and after what was said; None unless it stands in order, once."""
    if text is None or any(text.count(words) != 1 for words in said):
        return None
    found = []
    for words in said:
        before, there, text = text.partition(words)
        if not there:
            return None
        found.append(before)
    return [*found, text]


def _learn(write: Write) -> Pieces | None:
    """None for a template that writes a turn otherwise according to what stands around it."""
    four = (_ASKED, _SAID, _ASKED_MORE, _SAID_MORE)
    whole = _between(write(_turns(*four), False), *four)
    invited = _between(write(_turns(_ASKED), True), _ASKED)
    if whole is None or invited is None:
        return None
    begin, answer, between, _, close = whole
    ruled = _between(write(_turns(_RULED, *four), False), _RULED, *four)
    # Llama 2 puts the rules and the first question together before it trims them.
    trims = {
        "first": _trim(write, four, 0),
        "user": _trim(write, four, 2),
        "assistant": _trim(write, four, 1),
    }
    if ruled is not None:
        trims["system"] = _trim(write, (_RULED, *four), 0)
        trims["ruled"] = _trim(write, (_RULED, *four), 1)
    thoughtful = write(_turns(_ASKED, _THOUGHT + _SAID, _ASKED_MORE, _THOUGHT + _SAID_MORE), False)
    return Pieces(
        begin=begin,
        system=None if ruled is None else (ruled[0], ruled[1]),
        ask=invited[1],
        answer=answer,
        between=between,
        close=close,
        trims=trims,
        thinks=bool(thoughtful) and str(thoughtful).count(_THOUGHT) == 2,
    )


def _trim(write: Write, said: tuple[str, ...], at: int) -> str:
    """What the template does to white space around words, as a call in Jinja."""
    words = said[at]
    spaced = [*said]
    spaced[at] = f" {words} "
    turns = [{**turn, "content": text} for turn, text in zip(_turns(*said), spaced, strict=True)]
    bare, text = write(_turns(*said), False), write(turns, False)
    for trim, kept in zip(_TRIMS, (f" {words} ", words, f"{words} ", f" {words}"), strict=True):
        if bare is not None and text == bare.replace(words, kept):
            return trim
    return ""


def _dates(tokenizer: Any) -> dict[str, str]:
    """What the own template writes for today, and the call that wrote it."""
    own = tokenizer.get_chat_template()
    return {
        tokenizer.apply_chat_template(
            [{"role": "user", "content": ""}], chat_template=f"{{{{ {call[0]} }}}}", tokenize=False
        ): call[0]
        for call in _STRFTIME.finditer(own)
    }


def _make(pieces: Pieces, ends: Sequence[str], dates: dict[str, str]) -> str:
    def text(words: str) -> str:
        """An expression that writes `words`; today's date stays one that is looked up."""
        for date, call in dates.items():
            if date and date in words:
                before, _, after = words.partition(date)
                return f"{text(before)} + {call} + {text(after)}"
        return json.dumps(words, ensure_ascii=False)

    # What an answer is invited with is given; all that follows it has to be learned.
    given = pieces.answer[: _shared(pieces.ask, pieces.answer)]
    end = _up_to_end(pieces.close, ends)
    inner = end if pieces.between.startswith(end) else ""
    content = {who: f"message['content']{trim}" for who, trim in pieces.trims.items()}
    answer = f"{text(pieces.answer[len(given) :])} + {content['assistant']}"
    system = _REFUSE_SYSTEM
    if pieces.system is not None:
        before, after = map(text, pieces.system)
        rules = f"messages[0]['content']{pieces.trims['system']}"
        system = f"{{{{- {before} + {rules} + {after} -}}}}"
    slots = {
        "system": system,
        "begin": text(pieces.begin),
        "ruled": content.get("ruled", content["user"]),
        "first": content["first"],
        "user": content["user"],
        "given": text(given),
        "ask": text(pieces.ask),
        "thoughts": "" if pieces.thinks else _REFUSE_THOUGHTS,
        "last": f"{answer} + {text(end)}",
        "close": text(pieces.close[len(end) :]),
        "inner": f"{answer} + {text(inner)}",
        "between": text(pieces.between[len(inner) :]),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _SKELETON)


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _up_to_end(close: str, ends: Sequence[str]) -> str:
    """`close` up to and with the first mark that ends a turn; nothing where it has none."""
    found = [close.index(end) + len(end) for end in ends if end and end in close]
    return close[: min(found)] if found else ""


def _probes(pieces: Pieces) -> Iterator[tuple[list[dict[str, str]], bool]]:
    """Conversations to compare by, and whether an answer is to follow."""
    odd = (
        " spaced ",
        "a\n\nb\n",
        "[INST] <|user|> {{ x }} {% y %}",
        "  \n.",
        '{"name": "f"}',
        "Grüße, 日本語 🙂",
        "0",
    )
    heads = [[]] if pieces.system is None else [[], [_RULED]]
    for head in heads:
        for length in range(1, 7):
            said = [f"Words {number}" for number in range(length)]
            yield _turns(*head, *said), length % 2 == 1
        for shift in range(len(odd)):
            said = [*odd[shift:], *odd[:shift]]
            yield _turns(*head, *said[:4]), False
            yield _turns(*head, *said[:3]), True
    if pieces.system is not None:
        yield [{"role": "system", "content": " so\n"}, *_turns(*odd[:2])], False


def _same(tokenizer: Any, made: str, turns: list[dict[str, str]], invite: bool) -> bool:
    """Whether both templates write these turns, and with the same tokens."""
    written = []
    for template in (None, made):
        try:
            written.append(
                tokenizer.apply_chat_template(
                    turns, chat_template=template, add_generation_prompt=invite, return_dict=True
                )["input_ids"]
            )
        except (TemplateError, TypeError, ValueError):
            written.append(None)
    return written[0] is not None and written[0] == written[1]
