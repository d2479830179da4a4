"""Whether a chat template writes down the tools and the calls that a conversation has.

Many templates know neither, and leave them out without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.formats import Example
from tui_lora.core.text import one_line
from tui_lora.worker.feeding import Fed

_THEN = "Choose a model whose template knows tools, or leave them out of the rows."


def called(example: Example) -> list[str]:
    """The names of the tools that the assistant calls in an example."""
    return [
        str(call["function"]["name"])
        for turns in example.values()
        if isinstance(turns, list)
        for turn in turns
        for call in turn.get("tool_calls", ())
    ]


def offered(example: Example) -> list[str]:
    """The names of the tools that an example's conversation may call."""
    return list(_names(json.loads(example["tools"]))) if "tools" in example else []


def lost(tokenizer: Any, example: Example, fed: Sequence[Fed]) -> list[str]:
    """The sentences to say of an example whose tools or calls stand in none of its tokens."""
    text = " ".join(tokenizer.decode(list(one.ids)) for one in fed)
    found = []
    for names, what in ((called(example), "its tool calls"), (offered(example), "its tools")):
        if names and not any(name in text for name in names):
            found.append(f"the chat template does not write {what} ({one_line(names[0])} …)")
    return found


def check_calls(
    tokenizer: Any, examples: Sequence[Example], sequences: Sequence[Sequence[Fed]]
) -> str:
    """What to say where tools are lost; raises UserError where every call in the sample is."""
    calling = [
        (example, fed) for example, fed in zip(examples, sequences, strict=True) if called(example)
    ]
    silent = [
        example
        for example, fed in calling
        if any("tool calls" in sentence for sentence in lost(tokenizer, example, fed))
    ]
    if silent and len(silent) == len(calling):
        raise UserError(
            "the chat template does not write tool calls: "
            f"{one_line(called(silent[0])[0])} stands in no token, so the model would learn to say "
            "nothing in its place.",
            where="model.chat_template",
            then=_THEN,
        )
    without = sum(
        bool(lost(tokenizer, example, fed))
        for example, fed in zip(examples, sequences, strict=True)
    )
    if not without:
        return ""
    return (
        f"in {without:,} of the first {len(examples):,} rows the chat template does not write down "
        "the tools"
    )


def _names(tools: Sequence[Any]) -> Iterator[str]:
    for tool in tools:
        inner = tool.get("function", tool)
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            yield inner["name"]
