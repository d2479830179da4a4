"""Conversations that were kept, of every session and of none: listed, searched, read, deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.kept_chat import KeptChat, kept_chat
from tui_lora.core.text import clean
from tui_lora.store import sessions
from tui_lora.store.journal import Tail
from tui_lora.store.paths import user_chats

SNIPPET_CHARS = 160
_FIRST_CHARS = 300

GoOn = Callable[[], bool]


@dataclass(frozen=True)
class Head:
    """What a list shows of a conversation. `session` is empty for those of no session; `turns`
    counts messages that still stand, `bad` lines that could not be read; `stamp` is another one as
    soon as something is added."""

    path: Path
    session: str
    stamp: tuple[int, int]
    first: str = ""
    labels: tuple[str, ...] = ()
    model: str = ""
    turns: int = 0
    touched: float | None = None
    bad: int = 0


def heads(
    root: Path, known: Mapping[Path, Head] | None = None, go_on: GoOn = lambda: True
) -> list[Head]:
    """Every conversation of the sessions in `root` and of the user, the last touched first.

    One that is `known` and has not changed since is not read again.
    """
    found: list[Head] = []
    for path, session, stamp in _files(root):
        if not go_on():
            break
        before = (known or {}).get(path)
        fresh = before if before is not None and before.stamp == stamp else None
        found.append(fresh or _head(path, session, stamp))
    return sorted(found, key=lambda head: (-(head.touched or 0), head.path.name))


def _files(root: Path) -> Iterator[tuple[Path, str, tuple[int, int]]]:
    folders = [(paths.chats, paths.name) for paths in sessions.listed(root)]
    for folder, session in [*folders, (user_chats(), "")]:
        # Through a link that came with a session we could be led anywhere.
        if folder.is_symlink():
            continue
        try:
            inside = list(folder.glob("*.jsonl"))
        except OSError:
            continue
        for path in inside:
            try:
                state = path.lstat()
            except OSError:
                continue
            if not path.is_symlink():
                yield path, session, (state.st_size, state.st_mtime_ns)


def _head(path: Path, session: str, stamp: tuple[int, int]) -> Head:
    chat = read_chat(path)
    return Head(
        path,
        session,
        stamp,
        chat.first[:_FIRST_CHARS],
        tuple(chat.labels.values()),
        chat.base.model if chat.base is not None else "",
        len(chat.transcript.exchanges),
        chat.touched or stamp[1] / 1e9,
        chat.bad,
    )


def read_chat(path: Path) -> KeptChat:
    """A conversation as it stands; what cannot be read of it is counted in `bad`, a torn last line
    too."""
    lines, too_long, torn = _lines(path)
    chat = kept_chat(lines)
    chat.bad += too_long + torn
    return chat


def _lines(path: Path) -> tuple[list[bytes], int, int]:
    """Whole lines, and how many were too long or torn."""
    tail, lines = Tail(path), []
    while more := tail.read():
        lines += more
    try:
        torn = path.stat().st_size > tail.offset
    except OSError:
        torn = False
    return lines, tail.too_long, int(torn)


def search(found: Sequence[Head], text: str, go_on: GoOn = lambda: True) -> Iterator[Head]:
    """Those of `found` in which every word of `text` stands, in whatever case: in messages and
    what a dataset has before them, answers, references, system prompts, names of voices or of the
    session."""
    words = text.casefold().split()
    for head in found:
        if not go_on():
            return
        if all(word in _about(head) for word in words) or _holds(head.path, words):
            yield head


def _about(head: Head) -> str:
    return " ".join([head.session, *head.labels, head.model, head.first]).casefold()


def _holds(path: Path, words: Sequence[str]) -> bool:
    lines, _, _ = _lines(path)
    raw = b"\n".join(lines).decode("utf-8", errors="replace").casefold()
    # Most do not have it anywhere, and need not be understood for that.
    if not all(json.dumps(word, ensure_ascii=False)[1:-1] in raw for word in words):
        return False
    text = "\n".join(_texts(kept_chat(lines), str(path.parent.parent.name))).casefold()
    return all(word in text for word in words)


def _texts(chat: KeptChat, session: str = "") -> Iterator[str]:
    yield session
    yield from (exchange.sampling.system for exchange in chat.transcript.exchanges)
    yield from chat.labels.values()
    for exchange in chat.transcript.exchanges:
        yield from (turn.content for turn in exchange.opening or ())
        yield exchange.question
        for answer in exchange.answers:
            yield answer.text
            yield answer.system
        yield exchange.reference


def snippet(chat: KeptChat, text: str) -> str:
    """Where the first of the words stands, with what is around it; empty where nowhere."""
    words = text.casefold().split()
    for said in _texts(chat):
        at = min((f for f in (said.casefold().find(word) for word in words) if f >= 0), default=-1)
        if at >= 0:
            start = max(0, at - SNIPPET_CHARS // 3)
            cut = said[start : start + SNIPPET_CHARS]
            return ("…" if start else "") + cut
    return ""


def delete(head: Head) -> None:
    """Delete a conversation for good. Raises UserError, and where it has grown since it was
    listed: somebody talks there."""
    shown = clean(str(head.path))
    try:
        state = head.path.lstat()
        if (state.st_size, state.st_mtime_ns) != head.stamp:
            raise UserError("it has changed since it was listed, so it stays.", where=shown)
        head.path.unlink()
    except OSError as error:
        raise UserError(f"it could not be deleted: {error.strerror}.", where=shown) from None
    if head.path.exists():
        raise UserError("it is still there.", where=shown)
