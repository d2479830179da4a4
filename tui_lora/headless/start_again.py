"""Resuming from a command line: what was changed since is printed, and asked where somebody is."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

from tui_lora.core.changed import CHECKPOINTS, EVERYTHING, ChangedSince
from tui_lora.core.errors import UserError
from tui_lora.core.resumable import as_options
from tui_lora.headless.confirming import with_its_command
from tui_lora.headless.follow import to_stdout
from tui_lora.store import runs
from tui_lora.store.paths import SessionPaths


def start_again(
    paths: SessionPaths,
    changes: Mapping[str, Any],
    reason: str,
    on_progress: runs.OnProgress,
    *,
    accept: bool = False,
    anew: bool = False,
) -> None:
    """`runs.resume`; where something is otherwise than when the session was last at work, a
    terminal is asked, and a pipe refused. Raises UserError. `accept`: whatever may be, is; `anew`:
    it begins at its first step where none of its checkpoints is whole."""
    accepted = (*((EVERYTHING,) if accept else ()), *((CHECKPOINTS,) if anew else ()))

    way = f"tui-lora resume {paths.name} {as_options(changes)}".rstrip()

    def go(accepted: Collection[str]) -> None:
        with_its_command(
            lambda: runs.resume(
                paths, changes=changes, reason=reason, accept=accepted, on_progress=on_progress
            ),
            way,
        )

    try:
        go(accepted)
    except ChangedSince as error:
        if not (error.acceptable and sys.stdin.isatty() and sys.stdout.isatty()):
            raise
        _ask(paths.name, error)
        go((*accepted, *error.keys))


def _ask(name: str, found: ChangedSince) -> None:
    """Raises UserError unless the answer is yes."""
    to_stdout(f"Changed since {name} was last at work:")
    for one in found.differences:
        to_stdout(f"  {'!' if one.how == 'ask' else '·'} {one.what}: {one.was} → {one.now}")
        to_stdout(f"      {one.why}")
    sys.stdout.write("Begin anew? [y/N] " if found.anew else "Go on with that? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(f"{name} stays as it is; nothing was started.", exit_code=130)
