"""`tui-lora chat` beside a training, on a card of the real NVML bindings and a stub of the driver's
library: refused with the figures before any process is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import write_model
from tests.ui.test_chat_room import HOLD, SEVEN_B
from tui_lora.core.events import EVENTS, AttemptStarted, ModelLoaded, StepDone
from tui_lora.core.spec import parse_spec
from tui_lora.store import sessions

STUB = Path(__file__).parents[1] / "store" / "nvml_stub.c"
CLI = """
import subprocess, sys
class NoProcess(subprocess.Popen):
    def __init__(self, *arguments, **named):
        raise SystemExit("a process was started")
    def __del__(self):
        pass
subprocess.Popen = NoProcess
from tui_lora.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.fail("these tests build a stub of NVML: install a C compiler that answers to `cc`")
    folder = tmp_path_factory.mktemp("nvml")
    library = str(folder / "libnvidia-ml.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(STUB)], check=True)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A session with an adapter on a model of 7 B, and one that trains on the card and may need
    0.8 GiB more."""
    root = tmp_path / "sessions"
    root.mkdir()
    folder = write_model(tmp_path / "llama", **SEVEN_B)
    (folder / "model.safetensors").unlink()
    tuned = sessions.create(root, "tuned", parse_spec({"model": str(folder), "dataset": "d"}))
    tuned.adapter.mkdir()
    (tuned.adapter / "adapter_model.safetensors").write_bytes(b"x")
    run = sessions.create(root, "gsm8k-run", parse_spec({"model": "m", "dataset": "d"}))
    said = [
        AttemptStarted(attempt=1, pid=4242),
        ModelLoaded(seconds=3, device="cuda:0", memory_bytes=2**30),
        StepDone(step=9, epoch=0.1, reserved_gib=3.2, peak_reserved_gib=4.0),
    ]
    run.events.write_text("".join(EVENTS.encode(event) for event in said))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield root
        process.kill()


def chat(root: Path, driver: Path, gib: int, *flags: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(driver),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TUI_LORA_STUB": "one",
        "TUI_LORA_STUB_GIB": str(gib),
        "TUI_LORA_STUB_USED_GIB": "4",
    }
    command = ["--sessions", str(root), "chat", "tuned", "--prompt", "hello", *flags]
    return subprocess.run(
        [sys.executable, "-c", CLI, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_refused_with_figures_and_flags(root: Path, driver: Path) -> None:
    done = chat(root, driver, 16)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, said
    assert "of which gsm8k-run may still need 0.800 at its peak." in said
    assert "Nothing was loaded." in said
    assert "in 4 bits: --quantization nf4" in said
    assert "load it all the same: --force" in said
    assert "a process was started" not in said


@pytest.mark.parametrize("flags", [(), ("--force",), ("--quantization", "nf4")])
def test_what_fits_or_is_forced_is_started(
    root: Path, driver: Path, flags: tuple[str, ...]
) -> None:
    done = chat(root, driver, 16 if flags else 40, *flags)
    assert "a process was started" in done.stderr


def test_flags_that_make_no_sense(root: Path, driver: Path) -> None:
    done = chat(root, driver, 16, "--quantization", "five")
    assert done.returncode == 2
    assert "quantization.scheme" in done.stderr
