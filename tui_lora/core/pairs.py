"""Names with numbers, as people type them: `q_proj=32, down_proj=8`."""

from __future__ import annotations

from collections.abc import Mapping


def parse_pairs(text: str) -> dict[str, int | float]:
    """Raises ValueError. The name may be a pattern; the number stands behind the last =."""
    found: dict[str, int | float] = {}
    for piece in text.split(","):
        if not piece.strip():
            continue
        name, _, number = (part.strip() for part in piece.rpartition("="))
        if not name:
            raise ValueError(f"{piece.strip()!r:.60} is no pair; write name=number")
        try:
            found[name] = int(number)
        except ValueError:
            try:
                found[name] = float(number)
            except ValueError:
                raise ValueError(f"{number!r:.20} is no number") from None
    return found


def show_pairs(pairs: Mapping[str, float]) -> str:
    """What `parse_pairs` reads."""
    return ", ".join(f"{name}={number!r}" for name, number in pairs.items())
