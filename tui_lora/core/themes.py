"""A theme: a dozen colours with a meaning each, read from a TOML file's data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

ROLES: dict[str, str] = {
    "background": "behind everything",
    "panel": "behind a question or a list that lies on top",
    "cursor": "behind the row that has the cursor",
    "foreground": "values",
    "dim": "labels, units, keys' names",
    "faint": "rules and the empty part of bars",
    "accent": "what has the focus or is alive",
    "good": "finished, fits",
    "tight": "needs attention",
    "wrong": "failed",
    "chart-loss": "the training loss's curve",
    "chart-eval": "the held-out loss's curve",
}

DARK: dict[str, str] = {
    "background": "#14161a",
    "panel": "#1d2127",
    "cursor": "#2a2f38",
    "foreground": "#e8e6e1",
    "dim": "#8f949e",
    "faint": "#3a404a",
    "accent": "#ff9e4f",
    "good": "#8ccf7e",
    "tight": "#f2c55c",
    "wrong": "#ff6b68",
    "chart-loss": "#ff9e4f",
    "chart-eval": "#6cb6ff",
}
LIGHT: dict[str, str] = {
    "background": "#faf8f3",
    "panel": "#efece4",
    "cursor": "#e3ded2",
    "foreground": "#1f2328",
    "dim": "#666a70",
    "faint": "#d3cec2",
    "accent": "#b3470b",
    "good": "#2f7a33",
    "tight": "#8a5a00",
    "wrong": "#c0231d",
    "chart-loss": "#b3470b",
    "chart-eval": "#1d62b5",
}


@dataclass(frozen=True)
class ThemeSpec:
    """`colours` has one `#rrggbb` or `#rgb` for every name in `ROLES`."""

    name: str
    about: str
    dark: bool
    colours: Mapping[str, str]

    def __getitem__(self, role: str) -> str:
        return self.colours[role]


def parse_theme(data: Mapping[str, Any]) -> tuple[ThemeSpec | None, tuple[str, ...]]:
    """The theme in a TOML file's data, or None and every problem with it as a sentence.

    A colour that is not given is taken from our own dark or light one.
    """
    known = ("name", "about", "dark", "colours")
    problems = [
        f"there is no key {key!r:.40}; known: {', '.join(known)}."
        for key in data
        if key not in known
    ]
    name = data.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.append("name must be 1 to 32 lower-case letters, digits and dashes.")
    about = data.get("about", "")
    if not isinstance(about, str):
        problems.append("about must be a text.")
    dark = data.get("dark", True)
    if not isinstance(dark, bool):
        problems.append("dark must be true or false.")
    given = data.get("colours", {})
    if not isinstance(given, Mapping):
        problems.append(
            "colours must be a table: [colours], then lines such as accent = '#ff9e4f'."
        )
        given = {}
    for role, colour in given.items():
        if role not in ROLES:
            close = difflib.get_close_matches(str(role), ROLES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(ROLES)}."
            problems.append(f"there is no colour {role!r:.40}; {hint}")
        elif not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
            problems.append(f"{role} must be a colour such as '#ff9e4f' (given: {colour!r:.40}).")
    if problems:
        return None, tuple(problems)
    base = DARK if dark else LIGHT
    return ThemeSpec(str(name), str(about), bool(dark), {**base, **given}), ()


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two `#rrggbb` or `#rgb` colours, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
