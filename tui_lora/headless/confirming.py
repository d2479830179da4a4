"""Asks on a terminal whether the command that a run ends with may run; a pipe is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.headless.follow import to_stdout
from tui_lora.store.hooks import SETTING, Unconfirmed, confirm

T = TypeVar("T")


def with_its_command(go: Callable[[], T], way: str = "") -> T:
    """What `go` returns, which starts a run; raises what it raises, and UserError where the answer
    is no. `way` is the command line that takes a --set, where the one that was given does not."""
    try:
        return go()
    except Unconfirmed as error:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise Unconfirmed(error.command, way) from None
        to_stdout(f"When it ends, the run has this run as you ({SETTING}):")
        for line in clean(error.command).splitlines():
            to_stdout(f"    {line}")
        sys.stdout.write("Let it, here and in other runs? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UserError(
                "nothing was started.", then=f"Without it: --set {SETTING}=none", exit_code=130
            ) from None
        confirm(error.command)
        return go()
