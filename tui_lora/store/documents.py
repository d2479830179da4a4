"""Text and Markdown: a document a file, the long ones in parts, so that none is held whole."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from tui_lora.store.byte_stream import ByteStream
from tui_lora.store.line_rows import Found

PART_CHARS = 32_000
_BLOCK = 1 << 16
_NOT_DECODED = re.compile("[\udc80-\udcff]")


def document_rows(
    stream: ByteStream, name: str, offset: int = 0, line: int = 1, before: int = 0
) -> Iterator[Found]:
    """`{"text", "file"}`; of a long document its parts in order, each `{"part", "last"}` besides.

    Parts are whole paragraphs up to about `PART_CHARS` characters; put together they are the
    document. From `offset` on, with `before` parts before it. An empty document has a problem.
    """
    stream.go_to(offset)
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    text, ended, part = "", False, before
    while not ended or text or part == 0:
        while not ended and len(text) <= 2 * PART_CHARS:
            block = stream.read(_BLOCK)
            ended = not block
            text += decode(block, final=ended)
        end = len(text) if ended and len(text) <= PART_CHARS else _break_in(text)
        if ended and not text[end:].strip():
            end = len(text)
        piece, text = text[:end], text[end:]
        last = ended and not text
        part += 1
        yield _found(
            piece, name, offset, line, {} if last and part == 1 else {"part": part, "last": last}
        )
        offset += len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogateescape"))
        line += piece.count("\n")


def _found(text: str, name: str, offset: int, line: int, place: dict[str, object]) -> Found:
    bad = _NOT_DECODED.search(text)
    if bad is not None:
        at = line + text.count("\n", 0, bad.start())
        byte = ord(bad[0]) - 0xDC00
        return Found(offset, at, None, f"is no UTF-8 text (byte 0x{byte:02x})")
    if not text.strip():
        return Found(offset, line, None, "is empty")
    return Found(offset, line, {"text": text.replace("\r\n", "\n"), "file": name, **place})


def _break_in(text: str) -> int:
    """Where to end a part: behind the last paragraph, else line, else word that fits."""
    for sign in ("\n\n", "\n\r\n", "\n", " "):
        at = text.rfind(sign, 0, PART_CHARS)
        if at > 0:
            return at + len(sign)
    return PART_CHARS
