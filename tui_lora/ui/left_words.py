"""What is to be said in the shell once the viewer was left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from textual.app import App

_WORDS: WeakKeyDictionary[App[Any], list[str]] = WeakKeyDictionary()


def add(app: App[Any], words: str) -> None:
    _WORDS.setdefault(app, []).append(words)


def words_of(app: App[Any]) -> list[str]:
    return _WORDS.get(app, [])
