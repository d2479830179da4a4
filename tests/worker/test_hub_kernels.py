"""The package `kernels` is installed, and nobody asked for native code of the Hub: none is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

FAKE = """
import pathlib
seen = pathlib.Path(__file__).parent.parent / "asked"
seen.write_text("imported\\n")

def get_kernel(name, **how):
    seen.write_text(seen.read_text() + name + "\\n")
    raise OSError("no net")

def __getattr__(name):
    return type(name, (), {})
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder to import from in which the package stands, with the version that is looked for."""
    place = tmp_path / "site"
    (place / "kernels").mkdir(parents=True)
    (place / "kernels" / "__init__.py").write_text(FAKE)
    (place / "kernels-0.18.2.dist-info").mkdir()
    (place / "kernels-0.18.2.dist-info" / "METADATA").write_text("Name: kernels\nVersion: 0.18.2\n")
    return place


def asked(installed: Path, program: str) -> list[str]:
    """What the package was asked for by a program."""
    env = {**os.environ, "PYTHONPATH": f"{installed}:{Path.cwd()}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = installed / "asked"
    return seen.read_text().splitlines() if seen.exists() else []


BEGIN = """
import sys
sys.argv = ["worker"]
from tui_lora.worker import __main__, hub_kernels
assert __main__.main(["facts"]) == 0
"""
IMPORTS = """
import transformers.integrations.hub_kernels as hub
import bitsandbytes
"""


def test_a_worker_imports_nothing_of_it(installed: Path) -> None:
    program = (
        f"{BEGIN}{IMPORTS}assert not hub.is_kernels_available(); assert hub_kernels.is_there()"
    )
    assert asked(installed, program) == []


def test_a_run_that_asks_gets_it_and_bitsandbytes_does_not(installed: Path) -> None:
    begin = "from tui_lora.worker import hub_kernels; hub_kernels.keep_out(); hub_kernels.let_in()"
    found = asked(installed, f"{begin}{IMPORTS}assert hub.is_kernels_available()")
    assert found == ["imported"]
