"""Every file of a session missing, empty, cut, and filled with rubbish, one by one: whoever looks
at it says so in words, and nothing that was whole is lost."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recorded import ending, finish, make_session, opening, steps, write
from tests.ui.conftest import picture, until
from tui_lora.cli import main
from tui_lora.core.errors import UserError
from tui_lora.core.orders import ORDERS, Stop
from tui_lora.core.status import Status
from tui_lora.store import launch, runs, sessions
from tui_lora.store.checkpoints import newest_whole, seal
from tui_lora.store.journal import append_line
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SessionChosen

RUBBISH = b'\x00\xff\x1b]0;owned\x07[/INST] [@click=app.quit]x[/] \x9b31m{"a": [' + bytes(
    range(256)
)


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: max(1, len(data) // 2)])


def rubbish(path: Path) -> None:
    path.write_bytes(RUBBISH)


def of_another_kind(path: Path) -> None:
    """What can be read, and is not what it should be."""
    path.write_text('[1, {"step": "x", "files": 3, "type": [], "attempt": null}]\n')


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: tuple[Callable[[Path], None], ...] = (
    missing, empty, cut, rubbish, of_another_kind, a_folder,
)  # fmt: skip
OF_A_CHECKPOINT = (
    "manifest.json", "adapter_model.safetensors", "adapter_config.json", "optimizer.pt",
    "scheduler.pt", "rng_state.pth", "trainer_state.json", "tokenizer.json",
)  # fmt: skip
OF_AN_ADAPTER = (
    "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip
FILES = (
    "run.yaml", "resolved.yaml", "events.jsonl", "orders.jsonl", "result.json", "worker.json",
    "worker.log", "worker.lock", "notes.jsonl", "left-out.jsonl",
    *(f"checkpoints/step-000200/{name}" for name in OF_A_CHECKPOINT),
    *(f"adapter/{name}" for name in OF_AN_ADAPTER),
)  # fmt: skip
CASES = [(name, damage) for name in FILES for damage in DAMAGE]


def checkpoint(paths: SessionPaths, step: int) -> None:
    beside = paths.checkpoints / ".new"
    beside.mkdir()
    for name in OF_A_CHECKPOINT[1:]:
        (beside / name).write_text(json.dumps({"what": name, "step": step}))
    seal(beside, paths.checkpoints / f"step-{step:06d}", step=step, tokens_seen=step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SessionPaths:
    """A session with every file that a session can have; it was stopped at step 250 of 400."""
    paths = make_session(tmp_path_factory.mktemp("whole"))
    write(paths, opening(400), steps(1, 250, 400), ending(250, "stopped"))
    finish(paths, 250, "stopped", "as you asked")
    checkpoint(paths, 100)
    checkpoint(paths, 200)
    append_line(paths.orders, ORDERS.encode(Stop(id="a", t=1.0)))
    paths.adapter.mkdir()
    for name in OF_AN_ADAPTER:
        (paths.adapter / name).write_text(json.dumps({"what": name}))
    paths.resolved.write_text("decided:\n- {setting: training.packing, value: 'false'}\n")
    paths.worker.write_text(json.dumps({"pid": 1, "started": 1.0, "boot_id": "x"}))
    paths.log.write_text("importing\n")
    paths.lock.write_text("")
    (paths.folder / "notes.jsonl").write_text('{"v":1,"type":"pinned","step":100}\n')
    (paths.folder / "left-out.jsonl").write_text('{"row": 3}\n')
    assert {name for name in FILES if not (paths.folder / name).is_file()} == set()
    return paths


@pytest.fixture(scope="module")
def damaged(whole: SessionPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a session for each case, and one that is whole."""
    root = tmp_path_factory.mktemp("damaged")
    for number, (name, damage) in enumerate(CASES):
        folder = root / f"case-{number:03d}"
        shutil.copytree(whole.folder, folder)
        damage(folder / name)
    shutil.copytree(whole.folder, root / "whole")
    return root


def hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def nothing_changes(damaged: Path) -> Iterator[None]:
    before = hashes(damaged)
    yield
    assert hashes(damaged) == before


def run(capsys: pytest.CaptureFixture[str], root: Path, *arguments: str) -> tuple[int, str]:
    """A command in this process; its exit code and all that it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tui-lora", "--sessions", str(root), *arguments])
        with pytest.raises(SystemExit) as left:
            main()
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out + err


def no_traceback(text: str) -> None:
    assert "Traceback" not in text
    assert "--debug" not in text, "an exception that nobody foresaw"
    for sign in ("\x1b", "\x9b", "\x07", "\x00"):
        assert sign not in text


@pytest.mark.usefixtures("nothing_changes")
def test_all_are_listed_but_those_without_a_spec(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, damaged, "ls", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(text)}
    assert rows["whole"]["status"] == "stopped"
    code, text = run(capsys, damaged, "ls")
    assert code == 0
    no_traceback(text)
    for number, (name, damage) in enumerate(CASES):
        row = rows.get(f"case-{number:03d}")
        if name == "run.yaml":
            # Without one it is no session.
            assert (row is None) == (damage in (missing, a_folder))
            assert row is None or row["problem"], damage
            continue
        assert row is not None, (name, damage)
        assert row["problem"] is None
        # The log and the last word stand in for each other.
        assert row["status"] == "stopped" or name == "result.json", (name, damage)
        if name == "result.json":
            assert row["status"] in ("interrupted", "stopped")
        if name != "events.jsonl":
            assert row["step"] == 250


@pytest.mark.usefixtures("nothing_changes")
def test_each_is_watched_in_words(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (name, damage) in enumerate(CASES):
        code, text = run(capsys, damaged, "watch", f"case-{number:03d}")
        no_traceback(text)
        gone = name == "run.yaml" and damage in (missing, a_folder)
        assert code == (2 if gone else 1 if name == "result.json" else 0), (name, damage, text)
        if gone:
            assert "there is no session" in text
        elif name not in ("events.jsonl", "result.json"):
            assert "step 250 of 400" in text
            assert "stopped" in text


@pytest.mark.usefixtures("nothing_changes")
def test_a_resume_is_refused_or_starts_a_worker(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained here: what the worker makes of a checkpoint stands below."""
    monkeypatch.setattr(launch, "start_training", lambda paths, **named: 4242)
    monkeypatch.setattr(runs, "preflight", lambda *_, **__: [])
    for number, (name, damage) in enumerate(CASES):
        paths = SessionPaths(damaged / f"case-{number:03d}")
        if name == "run.yaml" and damage is not cut:
            with pytest.raises(UserError) as refused:
                runs.resume(paths)
            no_traceback(str(refused.value))
        elif name != "run.yaml":
            assert runs.resume(paths) == 4242, (name, damage)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", OF_A_CHECKPOINT)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    whole: SessionPaths, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole.checkpoints, folder)
    damage(folder / "step-000200" / name)
    # And a newer one that never became anything.
    (folder / "step-000300").mkdir()
    before = hashes(folder)
    found, passed = newest_whole(folder)
    assert found is not None
    assert found.step == 100
    assert len(passed) == 2
    assert any(reason.startswith("step-000200: ") for reason in passed)
    assert any(reason.startswith("step-000300: ") for reason in passed)
    assert hashes(folder) == before


def test_a_log_of_rubbish_is_passed_over_and_counted(whole: SessionPaths, tmp_path: Path) -> None:
    paths = SessionPaths(tmp_path / "run")
    shutil.copytree(whole.folder, paths.folder)
    lines = paths.events.read_bytes().splitlines(keepends=True)
    noise = [RUBBISH + b"\n", b'{"v":1,"type":"step_done","step":"x"}\n', b"x" * 50_000_000 + b"\n"]
    paths.events.write_bytes(b"".join([*lines[:20], *noise, *lines[20:], b'{"torn":']))
    from tui_lora.core.view import RunView
    from tui_lora.store.journal import Tail

    tail, view = Tail(paths.events), RunView()
    while found := tail.read():
        sessions.fold(found, view)
    assert view.step == 250
    assert view.unreadable >= 2
    assert tail.too_long == 1
    assert sessions.status_of(paths) is Status.STOPPED
    assert sessions.summarize(paths).step == 250


@pytest.mark.screens
@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=[] if way is rubbish else pytest.mark.long) for way in DAMAGE],
)
async def test_each_is_opened_on_the_screens(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path))
    monkeypatch.setattr(launch, "start_pipe_worker", no_worker)
    app = TuiLora(damaged)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "case-" in "\n".join(picture(app)), 30)
        for number, (name, damage) in enumerate(CASES):
            if damage is not way:
                continue
            paths = SessionPaths(damaged / f"case-{number:03d}")
            app.post_message(SessionChosen(paths))
            await until(
                pilot,
                lambda paths=paths: app.run_now is not None and app.run_now.paths == paths,
                30,
            )
            for key in "57":
                await pilot.press(key)
                await pilot.pause()
                shown = "\n".join(picture(app))
                assert "\x1b" not in shown, (name, damage)
                assert paths.name in shown, (name, damage, shown)
            if name == "run.yaml":
                await pilot.press("5")
                await until(pilot, lambda: "run.yaml" in "\n".join(picture(app)), 30)


def no_worker(kind: str, *arguments: str, devices: str = "auto") -> launch.Process:
    raise OSError(f"no {kind} worker in this test")
