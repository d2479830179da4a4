"""Whatever comes from outside is text and nothing else: the real program among enemies.

Every file that it reads was written by an enemy, and every worker that it talks to is one. What
reaches the terminal is read byte by byte: there is no sequence in it that is not Textual's own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.hostile_world import SAID, hostile_world
from tests.hostile import MARKUP, SEQUENCES, hostile
from tests.hub_models import FakeModelHub
from tests.pty_terminal import Terminal
from tests.terminal_stream import foreign
from tui_lora.core.text import clean, escaped, one_line

PROGRAM = str(Path(__file__).with_name("hostile_program.py"))
REPO = str(Path(__file__).parents[2])
ESCAPE = "\x1b"
LETTERS = "abcdefghijklmnopstuvwxyzGLN"
"""No r, which would begin a run."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("hostile")
    return {**hostile_world(home), "PYTHONPATH": REPO, "HF_HUB_OFFLINE": "1", "HOME": str(home)}


def work(world: dict[str, str]) -> Path:
    return Path(world["HOME"]) / "work"


@contextmanager
def screens(world: dict[str, str], columns: int, rows: int) -> Iterator[Terminal]:
    """The program on Sessions; at the end nothing foreign came, and it leaves when told to."""
    with Terminal(
        columns=columns, rows=rows, environment=world, cwd=work(world), program=(PROGRAM,)
    ) as terminal:
        terminal.wait_for("done")
        yield terminal
        press(terminal, [ESCAPE, ESCAPE, ESCAPE, "\x11"])
        assert terminal.wait() == 0, terminal.text()
        shown = terminal.output()
        assert not foreign(shown), foreign(shown).most_common(10)
        assert b"reading failed" not in shown
        assert b"Traceback" not in shown


def press(terminal: Terminal, keys: Iterable[str], quiet_s: float = 0.13) -> None:
    """Each key once the screen stands still: an Escape is one only if nothing follows at once."""
    for key in keys:
        at = terminal.send(key)
        while True:
            last = max(at, terminal.writes[-1].at if terminal.writes else at)
            if time.monotonic() - last > quiet_s or time.monotonic() - at > 2:
                break
            time.sleep(0.01)


def open_session(terminal: Terminal, name: str) -> None:
    press(terminal, ["1", "/"])
    terminal.send(name)
    press(terminal, ["\r"])
    press(terminal, ["\r"], 0.5)


@given(seed=st.integers(0, 10_000))
def test_no_hostile_text_is_left_when_it_is_clean(seed: int) -> None:
    text = hostile(seed, pieces=12, lone=seed % 3 == 0)
    for shown in (clean(text), one_line(text), escaped(text.replace("\n", "").replace("\t", ""))):
        assert not foreign(shown.encode() + b"." * 60)


@pytest.mark.parametrize("sequence", [one for one in SEQUENCES if one not in "\r\r\n"])
def test_what_is_foreign_is_seen(sequence: str) -> None:
    assert foreign(b"before" + sequence.encode() + b"." * 100)


def test_every_screen_among_enemies(world: dict[str, str]) -> None:
    with screens(world, 120, 40) as terminal:
        open_session(terminal, "done")
        terminal.wait_for(SAID)
        press(terminal, ["l", ESCAPE, "7", "\t", "a", "j", ESCAPE, "?", ESCAPE])
        press(terminal, ["2", "j", "\r", "G", ESCAPE, "3", "j", "\r", "\t", "G", ESCAPE])
        press(terminal, ["4", "j", "\r", ESCAPE, "p", ESCAPE, "\x10", ESCAPE])
        press(terminal, ["6"], 0.6)
        terminal.send("hello")
        press(terminal, ["\r"])
        terminal.wait_for("3 tokens")
        # Brackets are text.
        shown = terminal.output().decode(errors="replace")
        assert any(mark in shown for mark in MARKUP if mark.startswith("["))


@pytest.mark.long
@pytest.mark.parametrize(
    ("session", "size"),
    [("classes", (80, 24)), ("big", (120, 40))],
)
def test_every_key_of_every_screen_among_enemies(
    world: dict[str, str], session: str, size: tuple[int, int]
) -> None:
    with screens(world, *size) as terminal:
        open_session(terminal, session)
        for screen in "5123467":
            press(terminal, [ESCAPE, ESCAPE, screen], 0.3)
            for key in ("\r", "j", "\t", *LETTERS, "?", "/", "\x10"):
                press(terminal, [key, ESCAPE])
                assert not foreign(terminal.output()), (screen, key)


@pytest.mark.long
def test_a_hostile_hub(world: dict[str, str]) -> None:
    hub = FakeModelHub()
    for seed in range(20):
        tags = [f"license:{hostile(seed)}", "safetensors", f"base_model:adapter:{hostile(seed)}"]
        config = f'{{"model_type": "{clean(hostile(seed, pieces=2)).encode().hex()}"}}'
        hub.add(
            f"owner/{hostile(seed, pieces=4)}", {"config.json": config.encode()},
            tags=tags, downloads=seed, library_name=hostile(seed),
        )  # fmt: skip
    environment = {**world, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": ""}
    try:
        with screens(environment, 120, 40) as terminal:
            press(terminal, ["2", "h", "owner", "\r"], 0.6)
            press(terminal, ["j", "j", "\r", "f", ESCAPE, "j", "\r", ESCAPE])
            assert any("api/models" in asked for asked in hub.asked)
    finally:
        hub.close()


COMMANDS = [
    "ls", "watch done", "watch done --json", "diff done classes --all", "data rows.jsonl",
    "chat classes --prompt hi --force",
]  # fmt: skip
MORE_COMMANDS = [
    "ls --json", "watch odd", "watch classes", "watch draft", "diff done odd",
    "diff done big --json", "fit big --card 16GiB", "watch big", "train draft --detach",
    "data table.csv", "data documents", "data rows.jsonl --json", "data rows.jsonl --task dpo",
    "data rows.jsonl --model tiny --row 1", "fit done", "fit odd", "fit --history",
    "chat done --prompt hi --force", "chat done --prompt hi --force --json", "queue", "stop done",
    "checkpoint done", "doctor --quick", "doctor --quick --json", "train odd --detach",
    "train --preset mine --detach", "train --preset broken --detach", "train --preset nope",
    "data nowhere.jsonl",
]  # fmt: skip


def in_a_pipe(world: dict[str, str], command: str) -> tuple[bytes, int]:
    done = subprocess.run(
        [sys.executable, PROGRAM, *command.split()], cwd=work(world), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60,
        env={**world, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip
    return done.stdout, done.returncode


def in_a_terminal(world: dict[str, str], command: str) -> tuple[bytes, int]:
    words, here = command.split(), work(world)
    with Terminal(words, environment=world, cwd=here, program=(PROGRAM,)) as terminal:
        code = terminal.wait(60)
        return terminal.output(), code


WAYS = {"a pipe": in_a_pipe, "a terminal": in_a_terminal}
LONG = pytest.mark.long


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "command", [*COMMANDS, *(pytest.param(command, marks=LONG) for command in MORE_COMMANDS)]
)
def test_every_verb_among_enemies(world: dict[str, str], command: str, way: str) -> None:
    shown, code = WAYS[way](world, command)
    assert not foreign(own_colours(shown)), foreign(own_colours(shown)).most_common(10)
    assert shown
    assert code in (0, 1, 2, 3)
    assert b"Traceback" not in shown


def own_colours(shown: bytes) -> bytes:
    """Without the line that says what is being done, which is wiped with blanks."""
    return shown.replace(b"\r", b"\n")
