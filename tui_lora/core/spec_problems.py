"""What pydantic finds wrong with a run spec, in our words."""

from __future__ import annotations

import difflib
from typing import Any

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
            message = item["msg"].removeprefix("Input ").removeprefix("Value error, ")
            if isinstance(given, float) and given != given:
                message = "must be a number"
            found[field] = Problem(f"{message}{shown}.", field)
    return tuple(found.values())


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
