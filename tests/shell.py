"""`tui-lora` as a shell calls it: as a process, or in the test's own, which takes no start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest


def started(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, without a terminal and with nothing to read."""
    return subprocess.run(
        [sys.executable, "-m", "tui_lora.cli", *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def called(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in this process: a start takes a quarter of a second, and this a few milliseconds.

    What it leaves in the environment is taken back.
    """
    from tui_lora.cli import main

    said, complained = StringIO(), StringIO()
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as nothing:
        patch.setattr(sys, "argv", ["tui-lora", *arguments])
        patch.setattr(sys, "stdin", nothing)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            os.environ.update(environment or {})
            with redirect_stdout(said), redirect_stderr(complained):
                main()
        except SystemExit as leaving:
            code = leaving.code
        else:
            code = 0
        finally:
            os.environ.clear()
            os.environ.update(before)
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(
        ["tui-lora", *arguments], code, said.getvalue(), complained.getvalue()
    )
