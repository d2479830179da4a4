"""Terminals that can do less, or that go away: a readable screen, or a sentence that says why not.

A sentence names the verbs that do without the screens. Nothing spins where nobody reads any more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import streaming_run
from tests.pty_terminal import Terminal
from tests.recorded import done_session

REPO = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
WITHOUT_SCREENS = "Without the screens: tui-lora train, watch, ls, chat"
IGNORES_HANGUPS = (
    "-c",
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    "from tui_lora.cli import main; main()",
)
"""As nohup starts it."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("terminals")
    done_session(home / "sessions")
    return home


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a session that reports two steps a second for as long as the tests take."""
    home = tmp_path_factory.mktemp("streaming")
    paths = streaming_run.make(home / "sessions")
    worker = subprocess.Popen(
        [sys.executable, streaming_run.__file__, str(paths.folder), "300"],
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    yield home
    worker.kill()
    worker.wait()


def folders(home: Path) -> dict[str, str]:
    return {"TUI_LORA_SESSIONS": str(home / "sessions"), "TUI_LORA_CONFIG": str(home / "config")}


@pytest.mark.parametrize(
    ("environment", "size", "why"),
    [
        ({"TERM": "dumb"}, (80, 24), r"\(TERM=dumb\)"),
        ({"TERM": "unknown"}, (80, 24), r"\(TERM=unknown\)"),
        ({"TERM": ""}, (80, 24), r"\(TERM is not set\)"),
        ({}, (40, 10), "40x10 characters; tui-lora needs 60x16 or more"),
        ({}, (20, 5), "20x5 characters; tui-lora needs 60x16 or more"),
    ],
)
def test_what_cannot_be_drawn_on_is_refused_in_a_sentence(
    home: Path, environment: dict[str, str], size: tuple[int, int], why: str
) -> None:
    with Terminal(
        columns=size[0], rows=size[1], environment={**folders(home), **environment}
    ) as terminal:
        assert terminal.wait() == 2
        said = " ".join(terminal.output().decode().split())
    assert re.search(why, said), said
    assert WITHOUT_SCREENS in said
    assert "\x1b" not in said


def test_a_file_in_place_of_the_terminal_is_refused(home: Path) -> None:
    drawn_in = home / "errors.txt"
    into_a_file = (
        "-c",
        f"import os; os.dup2(os.open({str(drawn_in)!r}, os.O_WRONLY | os.O_CREAT), 2)\n"
        "from tui_lora.cli import main; main()",
    )
    with Terminal(environment=folders(home), program=into_a_file) as terminal:
        assert terminal.wait() == 2
    said = drawn_in.read_text()
    assert "standard error, where it is drawn, is not one" in said
    assert WITHOUT_SCREENS in said


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(ASCII, id="no UTF-8"),
        pytest.param({"NO_COLOR": "1"}, id="no colour"),
        pytest.param({"TERM": "vt100", "COLORTERM": ""}, id="vt100", marks=pytest.mark.long),
        pytest.param({"LC_ALL": "C"}, id="C", marks=pytest.mark.long),
    ],
)
def test_less_than_a_modern_terminal_shows_all_the_same(
    home: Path, environment: dict[str, str]
) -> None:
    with Terminal(columns=80, rows=24, environment={**folders(home), **environment}) as terminal:
        terminal.wait_for(r"done +. done +400/400 +1\.12 +1\.22")
        terminal.send("\r")
        terminal.wait_for("step 400/400")
        terminal.send("q")
        assert terminal.wait() == 0
        output = terminal.output()
    if environment is ASCII:
        assert output.isascii()
    colours = re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", output)
    if "NO_COLOR" in environment:
        # Shades of grey: which row is chosen can still be seen.
        assert colours
        assert all(red == green == blue for red, green, blue in colours)
    elif environment.get("TERM") == "vt100":
        assert not colours


@pytest.mark.parametrize("verb", ["ls", "watch done", "diff done done", "stop done"])
def test_the_verbs_do_with_the_least(home: Path, verb: str) -> None:
    environment = {**folders(home), **ASCII, "TERM": "dumb", "NO_COLOR": "1"}
    with Terminal(verb.split(), columns=20, rows=5, environment=environment) as terminal:
        code = terminal.wait(60)
        output = terminal.output()
    assert code in (0, 2)
    assert output.isascii()
    assert b"\x1b" not in output
    assert b"done" in output or b"same" in output


def test_resizes_in_flight(streaming: Path) -> None:
    sizes = [(120, 40), (60, 16), (20, 5), (200, 60), (40, 10), (1, 1), (80, 3), (10, 80)]
    with Terminal(columns=80, rows=24, environment=folders(streaming)) as terminal:
        terminal.wait_for("streaming")
        terminal.send("\r")
        terminal.wait_for(r"training +step")
        for turn in range(3):
            for columns, rows in sizes:
                terminal.resize(columns, rows)
                time.sleep(0.02 * (turn + 1))
        for columns, rows in ((40, 10), (120, 40)):
            terminal.resize(columns, rows)
            if columns < 60:
                terminal.wait_for("Make it 60 columns by 16 rows")
        terminal.wait_for(r"training +step")
        terminal.send("q")
        assert terminal.wait() == 0
        assert b"Traceback" not in terminal.output()


@pytest.mark.parametrize("arguments", [[], ["watch", "streaming"]], ids=["screens", "watch"])
def test_a_dead_terminal_ends_a_viewer_that_ignores_hangups(
    streaming: Path, arguments: list[str]
) -> None:
    with Terminal(arguments, environment=folders(streaming), program=IGNORES_HANGUPS) as terminal:
        terminal.wait_for("streaming|step")
        process = terminal.process()
        used = sum(process.cpu_times()[:2])
        terminal.hang_up()
        assert terminal.wait() != 0
        assert used < 5


@pytest.mark.long
def test_a_connection_that_stalls_costs_nothing(streaming: Path) -> None:
    with Terminal(columns=120, rows=40, environment=folders(streaming)) as terminal:
        terminal.wait_for("streaming")
        terminal.send("\r")
        terminal.wait_for(r"training +step +\d")
        time.sleep(1)
        process = terminal.process()
        memory, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
        terminal.reading.clear()
        for key in "l?l?" * 10:
            terminal.send(key)
            time.sleep(0.05)
        time.sleep(2)
        assert process.memory_info().rss - memory < 24 << 20
        assert sum(process.cpu_times()[:2]) - cpu < 3
        terminal.reading.set()
        terminal.send("\x1b\x1b")
        time.sleep(0.5)
        terminal.send("1")
        terminal.wait_for("Sessions")
        terminal.send("q")
        assert terminal.wait() == 0
