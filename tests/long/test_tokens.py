"""Keys in the environment of a viewer reach no file and no command line, in good runs and bad."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests import workers
from tui_lora.store import doctor_report, launch, lock, sessions
from tui_lora.store.paths import SessionPaths

pytestmark = [pytest.mark.long, pytest.mark.model]

HEX = "0f1e2d3c4b5a6978" * 2 + "8796a5b4"
PLANTED = {
    "HF_TOKEN": "hf_PlantedInTheEnvironment00",
    "HUGGING_FACE_HUB_TOKEN": "hf_PlantedInTheEnvironment01",
    "WANDB_API_KEY": HEX,
    "AWS_SECRET_ACCESS_KEY": "planted-secret-access-key",
}


def command_lines() -> bytes:
    """Those of every process on this machine."""
    found = b""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found += (folder / "cmdline").read_bytes()
            except OSError:
                continue
    return found


def planted_in(folder: Path) -> list[str]:
    """Files below `folder` that hold any of the keys, in their content or their name."""
    keys = [key.encode() for key in PLANTED.values()]
    return [
        str(path)
        for path in folder.rglob("*")
        if any(key in os.fsencode(path) for key in keys)
        or (path.is_file() and any(key in path.read_bytes() for key in keys))
    ]


def run(paths: SessionPaths) -> None:
    """A real worker, as the viewer starts it, to its end."""
    given = False
    commands = b""
    pid = launch.start_training(paths, devices="cpu")
    deadline = time.monotonic() + 300
    while lock.holder(paths.lock) is not None:
        assert time.monotonic() < deadline
        commands += command_lines()
        with contextlib.suppress(OSError):
            given = given or HEX.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        time.sleep(0.2)
    assert given, "the worker was not given the keys, so this shows nothing"
    assert b"tui_lora.worker" in commands
    for key in PLANTED.values():
        assert key.encode() not in commands


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    homes = {"TUI_LORA_CACHE": "cache", "TUI_LORA_CONFIG": "config", "TUI_LORA_DATA": "data",
             "HF_HOME": "hf", "XDG_CACHE_HOME": "xdg", "TMPDIR": "tmp"}  # fmt: skip
    for name, place in homes.items():
        (tmp_path / place).mkdir()
        monkeypatch.setenv(name, str(tmp_path / place))


def verb(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A verb of the command line, whose workers are looked at as it goes."""
    command = [sys.executable, "-m", "tui_lora.cli", "--sessions", str(root), *arguments]
    said = root.parent / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        commands = b""
        while process.poll() is None:
            commands += command_lines()
            time.sleep(0.1)
    for key in PLANTED.values():
        assert key.encode() not in commands
    return subprocess.CompletedProcess(command, process.returncode, said.read_bytes())


VERBS = {
    "chat": ("chat", "mine", "--prompt", "What is the rank?", "--max-tokens", "4"),
    "export": ("export", "mine", "--to", "merged"),
    "eval": ("eval", "mine", "--metric", "none", "--part", "eval", "--rows", "2"),
    "fetch": ("chat", "nobody/nothing", "--prompt", "x"),
    "data": ("data", "nobody/rows"),
    "report": ("report", "mine"),
}


def test_they_stay_there_in_what_is_done_with_an_adapter(
    tmp_path: Path, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what is written, what is printed, and where it ends badly too: each once with the adapter
    as it is, and once, with its traceback, with one that is cut. The Hub is nobody who listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    root = tmp_path / "sessions"
    paths = sessions.create(root, "mine", workers.tiny_spec(tiny_model, rows))
    run(paths)
    codes: dict[str, list[int]] = {}
    for cut in (False, True):
        if cut:
            weights = paths.adapter / "adapter_model.safetensors"
            weights.write_bytes(weights.read_bytes()[:100])
        for name, arguments in VERBS.items():
            before = ("--debug",) if cut else ()
            more = ("--force",) if name == "export" else ()
            done = verb(root, *before, *arguments, *more)
            codes.setdefault(name, []).append(done.returncode)
            for key in PLANTED.values():
                assert key.encode() not in done.stdout, (name, cut)
            assert planted_in(tmp_path) == [], (name, cut)
    for name in ("chat", "export", "eval"):
        assert codes[name][0] == 0, codes
        assert codes[name][1] != 0, codes
    assert 0 not in codes["fetch"] + codes["data"]


@pytest.mark.parametrize("broken", [False, True])
def test_keys_stay_where_they_are(
    tmp_path: Path, tiny_model: Path, rows: Path, broken: bool
) -> None:
    spec = workers.tiny_spec(tiny_model, rows)
    paths = sessions.create(tmp_path / "sessions", "mine", spec)
    if broken:
        # It ends in an exception, whose traceback is in the log.
        paths.checkpoints.rmdir()
        paths.checkpoints.write_text("in the way")
    run(paths)
    result = sessions.read_result(paths)
    assert result is not None
    assert result.verdict == ("failed" if broken else "done"), paths.log.read_text()[-2000:]
    # Somebody prints a key into the log: the report takes it out.
    with paths.log.open("a") as log:
        log.write(f"wandb: {HEX}\n")
    report = doctor_report.write(tmp_path / "report.txt", [], paths)
    assert "wandb: [removed]" in report.path.read_text()
    found = planted_in(tmp_path)
    assert found == [str(paths.log)], found
