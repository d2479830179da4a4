"""An error that nobody foresaw: the terminal shows where it was, and no key that was at hand."""

from __future__ import annotations

from pathlib import Path

from tests.pty_terminal import Terminal

KEY = "hf_PlantedInTheEnvironment00"
OTHER = "planted-secret-access-key"
CRASH = """
import os
from tui_lora.ui.app import TuiLora

def broken(self):
    environment = dict(os.environ)
    key, other = environment["HF_TOKEN"], environment["AWS_SECRET_ACCESS_KEY"]
    environment = {"0": key, "1": other}
    raise RuntimeError(f"[/INST] \\x1b]0;x\\x07 no answer to {key}")

TuiLora.action_help = broken
from tui_lora.cli import main
main()
"""


def test_a_crashed_screen_shows_no_key(tmp_path: Path) -> None:
    environment = {
        "TUI_LORA_CONFIG": str(tmp_path / "config"), "HF_TOKEN": KEY,
        "AWS_SECRET_ACCESS_KEY": OTHER,
    }  # fmt: skip
    arguments = ["--sessions", str(tmp_path / "sessions")]
    with Terminal(arguments, environment=environment, program=("-c", CRASH)) as terminal:
        terminal.wait_for("Sessions")
        terminal.send("?")
        assert terminal.wait() != 0
        shown = terminal.output()
    assert b"RuntimeError: [/INST]" in shown
    assert b"in broken" in shown
    assert b"tui-lora doctor --report" in shown
    assert KEY.encode() not in shown
    assert OTHER.encode() not in shown
    assert b"\x1b]0;x" not in shown
