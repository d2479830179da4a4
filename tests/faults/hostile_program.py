"""The real program, whose workers on pipes answer with hostile texts and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[2]


def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
    """Stands in for `store.launch.start_pipe_worker`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.hostile_worker", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPO,
        start_new_session=True,
    )


if __name__ == "__main__":
    from tui_lora.store import launch

    launch.start_pipe_worker = start
    from tui_lora.cli import main

    main()
