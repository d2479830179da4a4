"""What a terminal would do with a stream of bytes: every sequence that is not Textual's own.

Not a terminal: it draws nothing, and it is as strict as possible. What Textual and we emit was
taken from textual/drivers/linux_driver.py, from its renderer and from our own code.
"""

from __future__ import annotations

import re
from collections import Counter

MARK = "7777"
"""Stands in every hostile sequence whose kind Textual emits as well, such as a colour."""

_CSI = re.compile(r"\x1b\[([0-?]*)([ -/]*)([@-~])")
_STRING = re.compile(r"\x1b([\]PX^_])(.*?)(\x07|\x1b\\|\x9c)", re.DOTALL)

_OWN_CSI = (
    r"[0-9;]*m",  # colours
    r"[0-9;]*H",  # where to draw
    r"\?(?:7|25|1000|1003|1004|1006|1015|1016|1049|2004|2026|2048)[hl]",  # modes
    r"\?20(?:26|48)\$p",  # questions about modes
    r"(?:>[0-9]+|<)u",  # the keyboard's
)
_OWN = re.compile("|".join(f"(?:{one})" for one in _OWN_CSI))
_OWN_STRINGS = re.compile(r"22;[a-z-]*|9;[ -~·…—⏎]*")
"""The shape of the pointer, and what is said when a run ends."""

_PLAIN_CONTROLS = frozenset("\n\r")
_STEERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)


def foreign(output: bytes) -> Counter[str]:
    """Whatever stands in the stream that is neither text nor ours, with how often."""
    found: Counter[str] = Counter()
    try:
        text = output.decode("utf-8")
    except UnicodeDecodeError as error:
        # The last character may be torn where the program was ended.
        if error.start < len(output) - 4:
            found[f"no UTF-8 at byte {error.start}"] += 1
        text = output.decode("utf-8", errors="ignore")
    at = 0
    while at < len(text):
        if text[at] == "\x1b":
            sequence = _CSI.match(text, at) or _STRING.match(text, at)
            if sequence is None:
                # The last sequence may be torn as well.
                if at < len(text) - 40:
                    found[repr(text[at : at + 12])] += 1
                at += 1
                continue
            if not _is_own(sequence):
                found[repr(sequence[0][:60])] += 1
            at = sequence.end()
            continue
        if _STEERS.match(text[at]) and text[at] not in _PLAIN_CONTROLS:
            found[f"U+{ord(text[at]):04X}"] += 1
        at += 1
    return found


def _is_own(sequence: re.Match[str]) -> bool:
    whole = sequence[0]
    if whole.startswith("\x1b["):
        return MARK not in whole and _OWN.fullmatch(whole[2:]) is not None
    return sequence[1] == "]" and _OWN_STRINGS.fullmatch(sequence[2]) is not None
