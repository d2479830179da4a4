"""JSONL: a row a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tui_lora.core.text import clean
from tui_lora.store.byte_stream import ByteStream

MOST_BYTES = 16 << 20
"""A longer line is no row; it is skipped without being held."""


class Found(NamedTuple):
    """One row of a file: where it begins (bytes, line from 1), and its value or what is wrong."""

    offset: int
    line: int
    value: Any
    problem: str = ""


def line_rows(stream: ByteStream, offset: int = 0, line: int = 1) -> Iterator[Found]:
    """Every row from `offset` on, which is where `line` begins; blank lines are no rows."""
    stream.go_to(offset)
    while True:
        raw = stream.readline(MOST_BYTES + 1)
        if not raw:
            return
        size = len(raw)
        if size > MOST_BYTES and not raw.endswith(b"\n"):
            yield Found(offset, line, None, "is longer than 16 MB")
            size += skip_line(stream)
        elif text := raw.strip():
            value, problem = parse(text)
            yield Found(offset, line, value, problem)
        offset += size
        line += 1


def skip_line(stream: ByteStream) -> int:
    """Pass over the rest of a line; its size in bytes."""
    size = 0
    while True:
        rest = stream.readline(MOST_BYTES)
        size += len(rest)
        if not rest or rest.endswith(b"\n"):
            return size


def parse(raw: bytes) -> tuple[Any, str]:
    """The value of a JSON text, or None and what is wrong with it."""
    try:
        return json.loads(raw.decode("utf-8")), ""
    except UnicodeDecodeError as error:
        return None, not_utf8(error)
    except RecursionError:
        return None, "is nested too deeply"
    except json.JSONDecodeError as error:
        return None, f"is no JSON: {what_is_wrong(error)} at column {error.colno}"
    except ValueError:  # a whole number of thousands of digits
        return None, "is no JSON: a number has too many digits"


def what_is_wrong(error: json.JSONDecodeError) -> str:
    if error.doc.startswith("\x00", error.pos):
        return "a NUL (UTF-16 without its byte order mark?)" if error.pos < 2 else "a NUL"
    return clean(error.msg).removesuffix(" at").removesuffix(" starting")


def not_utf8(error: UnicodeDecodeError) -> str:
    return f"is no UTF-8 text (byte 0x{error.object[error.start]:02x} at {error.start + 1})"
