"""What pydantic finds wrong with a run spec, in our words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tui_lora.core.errors import Problem


def in_our_words(error: ValidationError, root: type[BaseModel]) -> tuple[Problem, ...]:
    """One problem a field of the spec `root` (a union reports each of its members)."""
    found: dict[str, Problem] = {}
    for item in error.errors(include_url=False):
        path = [str(part) for part in item["loc"]]
        model: Any = root
        known: list[str] = []
        for part in path:
            fields = getattr(model, "model_fields", {})
            if part not in fields:
                break
            known.append(part)
            model = fields[part].annotation
        field = ".".join(known)
        if item["type"] == "extra_forbidden":
            wrong = path[-1]
            field = ".".join([*known, wrong])
            names = list(getattr(model, "model_fields", {}))
            found[field] = Problem(
                "there is no such setting.", field, mend=_nearest(wrong, names, root)
            )
        elif item["type"] == "missing":
            field = ".".join(path)
            found[field] = Problem("is needed and was not given.", field)
        elif field not in found:
            given = item["input"]
            # Not of lists: YAML's aliases can make a small file into an endless one.
            plain = given is None or isinstance(given, str | int | float)
            shown = f" (given: {given!r:.60})" if plain else ""
            message = _message(item["type"], item["msg"], item.get("ctx", {}))
            if item["type"] == "literal_error" and bool in get_args(model):
                message += ", yes or no"
            if isinstance(given, float) and given != given:
                message = "must be a number"
            found[field] = Problem(f"{message}{shown}.", field)
    return tuple(found.values())


_MESSAGES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "bool_type": "must be yes or no",
    "bool_parsing": "must be yes or no",
    "greater_than_equal": "must be {ge:,} or more",
    "greater_than": "must be above {gt:,}",
    "less_than_equal": "must be {le:,} or less",
    "less_than": "must be below {lt:,}",
    "literal_error": "must be {expected}",
    "int_parsing_size": "is too large",
    "model_type": "must hold settings",
}


def _message(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """pydantic's sentence in fewer words, or as it is where we have none."""
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**{key: _plain(value) for key, value in context.items()})
    return message.removeprefix("Input ").removeprefix("Value error, ")


def _plain(value: Any) -> Any:
    """1 for 1.0, as the range is written."""
    return int(value) if isinstance(value, float) and value == int(value) else value


def _nearest(wrong: str, names: list[str], root: type[BaseModel]) -> str:
    """Names the setting that was probably meant, wherever in the spec it lives."""
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]}?"
    everywhere = {
        name: section
        for section, info in root.model_fields.items()
        for name in getattr(info.annotation, "model_fields", {})
    }
    close = difflib.get_close_matches(wrong, everywhere, n=1, cutoff=0.75)
    if close:
        return f"Did you mean {everywhere[close[0]]}.{close[0]}?"
    return f"Known here: {', '.join(names)}." if names else ""
