"""Text from outside, made safe to show; and numbers as people read them.

Textual hands escape sequences on to the terminal as they come, so whatever we did not write
ourselves (rows, answers, names, logs, exception texts) passes through `clean` where it enters.
"""

from __future__ import annotations

import re

UNKNOWN = "—"

# C0 but tab and newline, DEL, C1 (U+009B is a one-byte CSI), bidirectional controls,
# zero-width marks and lone surrogates. U+2028 and U+2029 break lines, so they become newlines.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_IN_JSON = re.compile(f"[\u2028\u2029]|{_UNSAFE.pattern}")


def clean(text: str, *, max_chars: int | None = None) -> str:
    """`text` without what could steer a terminal; tabs become four spaces, newlines stay."""
    text = text.replace("\r\n", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = _UNSAFE.sub("", text.replace("\t", "    "))
    if max_chars is not None and len(text) > max_chars:
        text = text[: max(0, max_chars - 1)] + "…"
    return text


def one_line(text: str, *, max_chars: int | None = None) -> str:
    """`clean`, with line breaks shown as ⏎."""
    return clean(clean(text).replace("\n", "⏎"), max_chars=max_chars)


def escaped(json_line: str) -> str:
    """A line of JSON that says the same, with what could steer a terminal as `\\uXXXX`."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", json_line)


def shorten_middle(text: str, width: int) -> str:
    """`text` cut in the middle to `width` characters: names differ most at both ends."""
    if len(text) <= width:
        return text
    if width <= 1:
        return text[:width]
    head = width // 2
    return text[:head] + "…" + text[len(text) - (width - 1 - head) :]


def number(value: float | None, digits: int = 3) -> str:
    """Three significant figures with thousands separated; `—` when unknown, NaN as `NaN`."""
    if value is None:
        return UNKNOWN
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if abs(value) < 10 ** (digits - 1):
        # Rounded first: 9.996 is 10.0, not 10.00.
        value = float(f"{value:.{digits - 1}e}")
    size = abs(value)
    if size >= 1e15 or size < 1e-4:
        return f"{value:.{digits - 1}e}"
    if size >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    decimals = digits - 1
    edge = 1.0
    while size < edge and decimals < 12:
        edge /= 10
        decimals += 1
    while size >= 10 and decimals > 0:
        size /= 10
        decimals -= 1
    return f"{value:.{decimals}f}"


def rate(value: float | None) -> str:
    """A learning rate: `2.00e-4`, always with an exponent, so that the column stands still."""
    if value is None:
        return UNKNOWN
    if value != value or value in (float("inf"), float("-inf")):
        return number(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(value: float | None) -> str:
    """A count: exact below ten thousand, then k, M, B with three figures."""
    if value is None:
        return UNKNOWN
    if abs(value) < 10_000:
        return f"{value:,.0f}"
    for edge, unit in ((1e6, "k"), (1e9, "M"), (1e12, "B")):
        if abs(value) < edge:
            return f"{number(value / (edge / 1000))} {unit}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """`41 s`, `6 min 10 s`, `2 h 05 min`; `—` when unknown."""
    if seconds is None or not 0 <= seconds < float("inf"):
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def size(size_bytes: float | None) -> str:
    """Bytes in the decimal units that disks are sold in: `84 MB`."""
    if size_bytes is None:
        return UNKNOWN
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{number(value)} {unit}"
        value /= 1000
    return f"{number(value)} TB"
