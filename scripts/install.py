"""Make .venv and install into it, saying what happens. Standard library only.

    python3 scripts/install.py            what the demo needs
    python3 scripts/install.py dev        what the tests need too

Does nothing when .venv is as pyproject.toml and constraints.txt want it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"


def main() -> int:
    if sys.version_info < (3, 11):
        print(
            f"Python 3.11 or newer is needed, and this is {sys.version.split()[0]}.\n"
            "  Name another one: make demo PYTHON=python3.12"
        )
        return 2
    extra = "dev" if "dev" in sys.argv[1:] else ""
    wanted = hashlib.sha256(
        (HERE / "pyproject.toml").read_bytes() + (HERE / "constraints.txt").read_bytes()
    ).hexdigest()
    # What is installed for the tests serves the demo too.
    stamps = [VENV / ".installed-dev"] if extra else [VENV / ".installed-dev", VENV / ".installed-"]
    if any(stamp.is_file() and stamp.read_text() == wanted for stamp in stamps):
        return 0
    if not PYTHON.exists():
        say("making .venv")
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        if made.returncode:
            print("  the venv could not be made; on Debian and Ubuntu: apt install python3-venv")
            return 1
    what = f"{HERE}[{extra}]" if extra else str(HERE)
    say("installing (about 90 packages; torch alone is large, the rest takes a minute)")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "-c", str(HERE / "constraints.txt"), "-e", what]
    code = run_pip(command)
    if code == 0:
        (VENV / f".installed-{extra}").write_text(wanted)
        say("installed")
    return code


def run_pip(command: list[str]) -> int:
    """Run pip, a short line a package; its whole output when it fails."""
    began = time.monotonic()
    everything = []
    count = 0
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    for line in process.stdout:
        everything.append(line)
        if line.startswith("Collecting"):
            count += 1
            print(f"  {time.monotonic() - began:4.0f} s  {count:3d}  {line.split()[1]}", flush=True)
        elif line.startswith(("Installing collected", "Building", "  Downloading")):
            words = line.strip().split()
            text = "unpacking" if words[0] == "Installing" else " ".join(words[:1] + words[-2:])
            print(f"  {time.monotonic() - began:4.0f} s       {text}", flush=True)
    if process.wait():
        print("".join(everything[-40:]))
        print("pip failed; its last lines are above. A second try often helps on a bad line.")
    return process.returncode


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
