"""The drafts that were: several levels of undo, whoever changed the draft."""

from __future__ import annotations

from tui_lora.ui.state import Draft

MOST_KEPT = 100


class History:
    """Told of every draft that is shown; `undo` gives the one before."""

    def __init__(self) -> None:
        self._past: list[Draft] = []
        self._now: Draft | None = None

    def __bool__(self) -> bool:
        return bool(self._past)

    def saw(self, draft: Draft) -> None:
        if self._now is not None and draft != self._now:
            self._past = [*self._past[1 - MOST_KEPT :], self._now]
        self._now = draft

    def undo(self) -> Draft | None:
        """The draft before this one, which is forgotten; None where there is none."""
        if self._past:
            self._now = self._past.pop()
            return self._now
        return None
