"""What the Results screen's threads find out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from tui_lora.store.adapters import ChatTarget
    from tui_lora.store.answer_sheets import AnswerSheet
    from tui_lora.store.heldout import HeldOut
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.results_text import OnDisk


class DiskRead(Message, bubble=False):
    """What the session's folder holds is known."""

    def __init__(self, paths: SessionPaths, disk: OnDisk) -> None:
        self.paths, self.disk = paths, disk
        super().__init__()


class Prepared(Message, bubble=False):
    """The questions and whom to ask are known."""

    def __init__(self, paths: SessionPaths, target: ChatTarget, found: HeldOut) -> None:
        self.paths, self.target, self.found = paths, target, found
        super().__init__()


class Kept(Message, bubble=False):
    """The answers are on disk."""

    def __init__(self, paths: SessionPaths, sheet: AnswerSheet, name: str) -> None:
        self.paths, self.sheet, self.name = paths, sheet, name
        super().__init__()
