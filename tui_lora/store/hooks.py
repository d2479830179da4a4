"""The command that a run ends with (`hooks.on_finish`): run only where this user has seen it.

A spec or a session of somebody else's can bring one, and it runs as whoever starts the run. What
was confirmed stands in this user's own settings, word for word, never in a spec or a session.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import config_folder

if TYPE_CHECKING:
    from tui_lora.core.spec import RunSpec

SETTING = "hooks.on_finish"
HOOK_PHASE = "hook"
"""What a worker's events call the time in which it runs."""


class Unconfirmed(UserError):
    """A run would end with a `command` that nobody has confirmed here. `way` is the command line
    that would confirm it, where it is another than the one that was refused."""

    def __init__(self, command: str, way: str = "") -> None:
        self.command = command
        way = f"{way} " if way else ""
        super().__init__(
            f"the run brings a command that runs as you when it ends, and which was not confirmed "
            f"on this machine: {command}",
            where=SETTING,
            then=f"Read it. To let it run, now and in other runs: {way}--set "
            f"{SETTING}={shlex.quote(command)}. To do without: --set {SETTING}=none",
        )


def must_be_confirmed(spec: RunSpec) -> None:
    """Raises Unconfirmed where a run would end with a command that nobody has confirmed."""
    command = spec.hooks.on_finish
    if command is not None and not is_confirmed(command):
        raise Unconfirmed(command)


def is_confirmed(command: str) -> bool:
    return command in _confirmed()


def confirm(command: str) -> None:
    """Let a command run, in whatever run. Raises UserError where that cannot be written down."""
    known = _confirmed()
    if command in known:
        return
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_path(), json.dumps([*known, command], indent=1) + "\n")
    except OSError as error:
        raise UserError(
            f"the answer could not be kept: {error.strerror}.",
            where=clean(str(_path())),
            then="Set TUI_LORA_CONFIG to another folder, or make room there.",
        ) from None


def _path() -> Path:
    return config_folder() / "commands.json"


def _confirmed() -> list[str]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
