"""The formats of datasets: recognized by looking, and what each row of one becomes.

An example is what trl takes, by its keys: `prompt` and `completion` (lists of turns, `tools` as
JSON where there are some), `text`, `prompt` with `chosen` and `rejected`, `prompt` and
`completion` with a yes or no as `label`, or `text` with a class as `label`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tui_lora.core.columns import fill, is_template, show_columns, template_columns
from tui_lora.core.rows import (
    NOTHING_TO_LEARN,
    BadRow,
    Turn,
    label_of,
    split_last,
    text_of,
    tools_of,
    turns_of,
    verdict_of,
)
from tui_lora.core.text import clean

Task = Literal["sft", "classification", "dpo", "kto"]
Shape = Literal["chat", "text", "preference", "judged", "labelled"]
Example = dict[str, Any]
FormatName = Literal[
    "messages",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "pairs",
    "gsm8k",
    "guanaco",
    "text",
    "preference",
    "kto",
    "classification",
]

_HUMAN = re.compile(r"\s*###\s*(Human|Assistant)\s*:", re.IGNORECASE)
_HH = re.compile(r"\s*\n\n(Human|Assistant): ?")
_NAMES_OF_TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog")
_NAMES_OF_TEXT = ("text", "content", "body", "document", "passage", "markdown")
_NAMES_OF_CLASSIFIED = (
    "text",
    "sentence",
    "review",
    "tweet",
    "comment",
    "content",
    "title",
    "question",
    "utterance",
    "query",
)
_NAMES_OF_LABEL = ("label", "labels", "sentiment", "intent")
_NAMES_THAT_MAY_BE_LABEL = ("category", "class", "topic", "target", "genre", "type")
"""Many texts have such a column beside them; it is a label only where one is looked for."""
_TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
)
_PAIRS = (
    ("question", "answer"),
    ("instruction", "response"),
    ("instruction", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("problem", "solution"),
    ("question", "response"),
    ("input", "output"),
    ("inputs", "targets"),
    ("source", "target"),
    ("user", "assistant"),
)


@dataclass(frozen=True)
class Format:
    """`needs` are the parts that a row must have, `tasks` what it can teach, the usual one first.

    `columns` finds the columns that play the parts in a row, or None where the row is of another
    format.
    """

    name: FormatName
    title: str
    sign: str
    needs: tuple[str, ...]
    tasks: tuple[Task, ...]
    columns: Callable[[Mapping[str, Any]], Mapping[str, str] | None]


@dataclass(frozen=True)
class Reading:
    """How the rows of a dataset are read: decided once, from its first rows and the settings."""

    format: FormatName
    columns: Mapping[str, str]
    reason: str
    system: str | None = None
    task: Task = "sft"
    shown: str = field(default="", compare=False)

    @property
    def shape(self) -> Shape:
        return shape_of(self.format, self.task)


def shape_of(format: FormatName, task: Task) -> Shape:
    """What examples of a format look like when they teach `task`."""
    if task == "classification":
        return "labelled"
    if format == "preference" and task in ("dpo", "kto"):
        return "preference"
    if task == "kto":
        return "judged"
    return "text" if format == "text" else "chat"


def _turns_in(row: Mapping[str, Any], key: str) -> str | None:
    """The column among the usual names of conversations whose turns have `key`."""
    for name in _NAMES_OF_TURNS:
        value = row.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            first = value[0]
            if isinstance(first, Mapping) and key in first:
                return name
    return None


def _messages(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    name = _turns_in(row, "role") or ("messages" if "messages" in row else None)
    if name is None or "chosen" in row or _turns_in(row, "from"):
        return None
    return _with_own(row, {"messages": name}, "system", "tools")


def _sharegpt(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    name = _turns_in(row, "from")
    return None if name is None else _with_own(row, {"messages": name}, "system", "tools")


def _alpaca(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "instruction" not in row or "output" not in row:
        return None
    columns = {"prompt": "instruction", "input": "input", "completion": "output"}
    if "input" not in row:
        del columns["input"]
    return _with_own(row, columns, "system")


def _prompt_completion(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "prompt" not in row or "completion" not in row:
        return None
    return _with_own(row, {"prompt": "prompt", "completion": "completion"}, "system", "tools")


def _pairs(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    for prompt, completion in _PAIRS:
        if isinstance(row.get(prompt), str) and isinstance(row.get(completion), str):
            return _with_own(row, {"prompt": prompt, "completion": completion}, "system")
    return None


def _gsm8k(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    answer = row.get("answer")
    if isinstance(row.get("question"), str) and isinstance(answer, str) and "\n####" in answer:
        return {"prompt": "question", "completion": "answer"}
    return None


def _guanaco(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    text = row.get("text")
    if isinstance(text, str) and len({m.lower() for m in _HUMAN.findall(text)}) == 2:
        return {"text": "text"}
    return None


def _preference(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "chosen" not in row or "rejected" not in row:
        return None
    columns = {"chosen": "chosen", "rejected": "rejected"}
    prompt = next((name for name in ("prompt", "question", "instruction") if name in row), None)
    return _with_own(row, {"prompt": prompt, **columns} if prompt else columns, "system")


def _kto(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    if "prompt" not in row or "completion" not in row or "label" not in row:
        return None
    return {"prompt": "prompt", "completion": "completion", "label": "label"}


def _classification(
    row: Mapping[str, Any], labels: Sequence[str] = _NAMES_OF_LABEL
) -> Mapping[str, str] | None:
    label = next((name for name in labels if _is_label(row.get(name))), None)
    if label is None:
        return None
    for first, second in _TEXT_PAIRS:
        if isinstance(row.get(first), str) and isinstance(row.get(second), str):
            return {"text": first, "text_pair": second, "label": label}
    text = next((name for name in _NAMES_OF_CLASSIFIED if isinstance(row.get(name), str)), None)
    return None if text is None else {"text": text, "label": label}


def _is_label(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 80)


def _text(row: Mapping[str, Any]) -> Mapping[str, str] | None:
    name = next((name for name in _NAMES_OF_TEXT if isinstance(row.get(name), str)), None)
    if name is None:
        texts = [key for key, value in row.items() if isinstance(value, str)]
        # A name with a brace in it would be taken for a template.
        alone = len(texts) == 1 and len(row) == 1 and not is_template(texts[0])
        name = texts[0] if alone else None
    return None if name is None else {"text": name}


def _with_own(row: Mapping[str, Any], columns: dict[str, str], *parts: str) -> dict[str, str]:
    """`columns` with the parts that have a column of their own name."""
    return columns | {part: part for part in parts if row.get(part)}


FORMATS: tuple[Format, ...] = (
    Format("sharegpt", "ShareGPT", "turns of from and value", ("messages",), ("sft",), _sharegpt),
    Format("messages", "messages", "turns of role and content", ("messages",), ("sft",), _messages),
    Format(
        "preference",
        "preference pairs",
        "chosen and rejected answers",
        ("chosen", "rejected"),
        ("dpo", "kto", "sft"),
        _preference,
    ),
    Format(
        "kto",
        "judged answers",
        "prompt, completion and a label",
        ("prompt", "completion", "label"),
        ("kto",),
        _kto,
    ),
    Format(
        "prompt_completion",
        "prompt and completion",
        "prompt and completion fields",
        ("prompt", "completion"),
        ("sft",),
        _prompt_completion,
    ),
    Format(
        "alpaca",
        "Alpaca",
        "instruction and output fields",
        ("prompt", "completion"),
        ("sft",),
        _alpaca,
    ),
    Format(
        "gsm8k",
        "GSM8K",
        "a question, and an answer that ends in #### and a number",
        ("prompt", "completion"),
        ("sft",),
        _gsm8k,
    ),
    Format(
        "pairs",
        "pairs of columns",
        "two columns that ask and answer",
        ("prompt", "completion"),
        ("sft",),
        _pairs,
    ),
    Format(
        "classification",
        "classification",
        "a text and a label",
        ("text", "label"),
        ("classification",),
        _classification,
    ),
    Format(
        "guanaco",
        "Guanaco",
        "a text of ### Human: and ### Assistant:",
        ("text",),
        ("sft",),
        _guanaco,
    ),
    Format("text", "plain text", "a text and nothing that answers it", ("text",), ("sft",), _text),
)
"""In the order in which they are looked for: what says more comes first."""

FORMAT_NAMES: tuple[FormatName, ...] = tuple(format.name for format in FORMATS)
_BY_NAME = {format.name: format for format in FORMATS}


def format_of(name: str) -> Format:
    """The format called `name`; raises KeyError."""
    return _BY_NAME[name]  # type: ignore[index]


def usual_task(name: str) -> Task:
    return format_of(name).tasks[0]


def decide(
    rows: Sequence[Any],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    system: str | None = None,
    task: Task = "sft",
) -> tuple[Reading | None, str]:
    """How rows like `rows` (the first of a dataset) are read and why; or None and what was found.

    Columns that the user gives win over those found.
    """
    given = dict(columns or {})
    objects = [row for row in rows if isinstance(row, Mapping)]
    if not objects:
        return None, "no row is an object with named fields"
    found: tuple[Format, Mapping[str, str], str] | None
    if format != "auto":
        named = format_of(format)
        own = next((c for row in objects if (c := named.columns(row))), None) or {}
        found = named, own, "as you said"
    elif given and (by_parts := _by_parts(given, objects)) is not None:
        found = by_parts, {}, f"your columns: {show_columns(given)}"
    else:
        found = _most(objects, len(rows), task)
    if found is None:
        names = dict.fromkeys(clean(str(key), max_chars=40) for row in objects for key in row)
        listed = ", ".join(sorted(names)[:8]) or "(none)"
        return None, (
            f"the rows have the columns {listed}, which is no format known by looking; say which "
            "play which part with dataset.columns, such as prompt=question, completion=answer"
        )
    which, own, reason = found
    effective = {**own, **given}
    missing = [part for part in which.needs if part not in effective]
    if missing:
        return None, (
            f"{which.title} needs {' and '.join(missing)}, and no column plays "
            f"{'it' if len(missing) == 1 else 'them'}; name one with dataset.columns"
        )
    if task not in which.tasks:
        usual = which.tasks[0]
        return None, (
            f"the rows are {which.title} ({which.sign}), which cannot teach {task}; "
            f"set task to {usual}"
        )
    return Reading(which.name, effective, reason, system or None, task, which.title), reason


def _by_parts(given: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Format | None:
    """The format whose parts the user named; the one that needs most of them."""
    wanted: dict[frozenset[str], FormatName] = {
        frozenset(("prompt", "completion", "label")): "kto",
        frozenset(("chosen", "rejected")): "preference",
        frozenset(("prompt", "completion")): "pairs",
        frozenset(("text", "label")): "classification",
        frozenset(("messages",)): "messages",
        frozenset(("text",)): "text",
    }
    for parts, name in wanted.items():
        if parts <= given.keys():
            return format_of(name)
    return None


def _most(
    rows: Sequence[Mapping[str, Any]], seen: int, task: Task
) -> tuple[Format, Mapping[str, str], str] | None:
    """The format that most rows have; of equals the one that says more. Those that can teach the
    task come before others, so that a text with a label can be learned as text too."""
    votes: Counter[FormatName] = Counter()
    columns: dict[FormatName, Mapping[str, str]] = {}
    for row in rows:
        fits = [(f, found) for f in FORMATS if (found := f.columns(row)) is not None]
        able = [pair for pair in fits if task in pair[0].tasks] if task != "sft" else []
        if task == "classification" and not able:
            may_be = _classification(row, _NAMES_THAT_MAY_BE_LABEL)
            able = [(format_of("classification"), may_be)] if may_be is not None else []
        for which, found in (able or fits)[:1]:
            votes[which.name] += 1
            columns.setdefault(which.name, found)
    if not votes:
        return None
    name = max(votes, key=lambda n: (votes[n], -FORMAT_NAMES.index(n)))
    which = format_of(name)
    return which, columns[name], f"{votes[name]} of the first {seen} rows have {which.sign}"


def example(row: Any, reading: Reading) -> Example:
    """What `row` becomes; raises BadRow, which says why it cannot be learned from and where."""
    if not isinstance(row, Mapping):
        raise BadRow("is not an object with named fields")
    if reading.task == "classification":
        return _labelled(row, reading)
    if reading.format == "preference":
        return _pair(row, reading)
    if reading.format == "kto":
        prompt = _prompt(row, reading)
        completion = _answer(row, reading, "completion")
        judged = verdict_of(_cell(row, reading, "label"), _where(reading, "label"))
        return {"prompt": prompt, "completion": completion, "label": judged}
    if reading.format == "text":
        return {"text": text_of(_cell(row, reading, "text"), _where(reading, "text"))}
    return _chat(row, reading)


def _chat(row: Mapping[str, Any], reading: Reading) -> Example:
    if reading.format in ("messages", "sharegpt"):
        at = _where(reading, "messages")
        turns = turns_of(_cell(row, reading, "messages"), at)
        prompt, completion = split_last(turns, at)
        prompt = _with_system(prompt, row, reading)
    elif reading.format == "guanaco":
        at = _where(reading, "text")
        text = text_of(_cell(row, reading, "text"), at)
        prompt, completion = split_last(_marked_turns(text, _HUMAN, at), at)
        prompt = _with_system(prompt, row, reading)
    else:
        prompt = _prompt(row, reading)
        completion = _answer(row, reading, "completion")
    found: Example = {"prompt": prompt, "completion": completion}
    if "tools" in reading.columns:
        tools = tools_of(_cell(row, reading, "tools"), _where(reading, "tools"))
        if tools is not None:
            found["tools"] = tools
    return found


def _prompt(row: Mapping[str, Any], reading: Reading) -> list[Turn]:
    at = _where(reading, "prompt")
    value = _cell(row, reading, "prompt")
    if isinstance(value, Sequence) and not isinstance(value, str):
        turns = turns_of(value, at)
        if turns[-1]["role"] == "assistant":
            raise BadRow(
                "ends with an assistant turn, so the answer has nothing to answer",
                at,
                NOTHING_TO_LEARN,
            )
        return _with_system(turns, row, reading)
    text = text_of(value, at)
    if "input" in reading.columns:
        more = _cell(row, reading, "input")
        if isinstance(more, str) and more.strip():
            text = f"{text}\n\n{text_of(more, _where(reading, 'input'))}"
    return _with_system([Turn(role="user", content=text)], row, reading)


def _answer(row: Mapping[str, Any], reading: Reading, part: str) -> list[Turn]:
    at, value = _where(reading, part), _cell(row, reading, part)
    if isinstance(value, Sequence) and not isinstance(value, str):
        turns = turns_of(value, at)
        if turns[-1]["role"] != "assistant":
            raise BadRow("does not end with the assistant's turn", at, NOTHING_TO_LEARN)
        return turns
    return [Turn(role="assistant", content=text_of(value, at))]


def _with_system(turns: list[Turn], row: Mapping[str, Any], reading: Reading) -> list[Turn]:
    if turns[0]["role"] == "system":
        return turns
    said = _cell(row, reading, "system") if "system" in reading.columns else None
    if not (isinstance(said, str) and said.strip()):
        said = reading.system
    return [Turn(role="system", content=text_of(said, "system")), *turns] if said else turns


def _pair(row: Mapping[str, Any], reading: Reading) -> Example:
    chosen, rejected = (_side(row, reading, part) for part in ("chosen", "rejected"))
    asked = _prompt(row, reading) if "prompt" in reading.columns else []
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    # Some datasets repeat the prompt in both answers; what both share is the prompt then.
    if shared:
        prompt = _with_system(chosen[:shared], row, reading)
        if asked and asked[0]["role"] == "system" != prompt[0]["role"]:
            prompt = [asked[0], *prompt]
    else:
        prompt = asked
    if not prompt:
        raise BadRow("chosen and rejected share no beginning, and there is no prompt", "prompt")
    chosen, rejected = chosen[shared:], rejected[shared:]
    for part, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[0]["role"] != "assistant" or turns[-1]["role"] != "assistant":
            raise BadRow("is not an answer: its turns are not the assistant's", part)
    if chosen == rejected:
        raise BadRow(
            "is the same as the chosen answer", _where(reading, "rejected"), NOTHING_TO_LEARN
        )
    if reading.task == "sft":
        return {"prompt": prompt, "completion": chosen}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _side(row: Mapping[str, Any], reading: Reading, part: str) -> list[Turn]:
    """One side of a pair as turns: Anthropic's text of Human: and Assistant: is several."""
    at, value = _where(reading, part), _cell(row, reading, part)
    if isinstance(value, str) and "prompt" not in reading.columns and _HH.match(value):
        return _marked_turns(text_of(value, at), _HH, at)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return turns_of(value, at)
    return [Turn(role="assistant", content=text_of(value, at))]


def _marked_turns(text: str, mark: re.Pattern[str], at: str) -> list[Turn]:
    """Turns of a text in which each begins with who speaks."""
    parts = mark.split(text)
    if len(parts) < 3:
        raise BadRow("has no turns marked in it", at)
    if parts[0].strip():
        raise BadRow("begins with text that is nobody's turn", at)
    turns = [
        {"from": "human" if who.lower() == "human" else "gpt", "value": said.strip()}
        for who, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return turns_of(turns, at)


def _labelled(row: Mapping[str, Any], reading: Reading) -> Example:
    text = text_of(_cell(row, reading, "text"), _where(reading, "text"))
    if "text_pair" in reading.columns:
        # A causal model has no token between two texts, so the columns' names tell them apart.
        second = text_of(_cell(row, reading, "text_pair"), _where(reading, "text_pair"))
        names = (reading.columns["text"], reading.columns["text_pair"])
        if any(is_template(name) for name in names):
            names = ("text 1", "text 2")
        text = f"{names[0]}: {text}\n{names[1]}: {second}"
    return {"text": text, "label": label_of(_cell(row, reading, "label"), _where(reading, "label"))}


def _cell(row: Mapping[str, Any], reading: Reading, part: str) -> Any:
    """What stands in the column that plays `part`, or the user's template filled."""
    column = reading.columns[part]
    if not is_template(column):
        return row.get(column)
    try:
        return fill(column, row)
    except KeyError as error:
        there = ", ".join(template_columns(column))
        raise BadRow(
            f"has no column {error} for the template over {there}", part, "missing column"
        ) from None


def _where(reading: Reading, part: str) -> str:
    """The column's name for an error; the part's where a template fills it."""
    column = reading.columns.get(part, part)
    return part if is_template(column) else column
