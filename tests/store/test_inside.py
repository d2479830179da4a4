"""Nothing that came with a session or an adapter leads out of it: no name, no link, no line."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recorded import done_session, finish, make_session
from tui_lora.core.errors import UserError
from tui_lora.core.events import EVENTS, Notice
from tui_lora.core.orders import ORDERS, Stop
from tui_lora.core.status import Status
from tui_lora.store import adapters, doctor_report, inside, launch, queue_file, runs, sessions
from tui_lora.store.adapter_files import check_adapter_files
from tui_lora.store.checkpoints import MANIFEST, checkpoints, damage, seal
from tui_lora.store.journal import MAX_LINE_BYTES, Appender, Tail, append_line
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.inbox import Inbox

OUTSIDE = "somebody else's"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    file = tmp_path / "outside" / "file"
    file.parent.mkdir()
    file.write_text(OUTSIDE)
    return file


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    return done_session(tmp_path / "root", "mine", 20)


def linked(path: Path, target: Path) -> Path:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    return path


def test_a_session_that_is_a_link_out_is_none(tmp_path: Path, paths: SessionPaths) -> None:
    root = paths.folder.parent
    away = tmp_path / "away"
    shutil.copytree(paths.folder, away)
    (root / "linked").symlink_to(away)
    (root / "beside").symlink_to(paths.folder)
    (root / "[link=x]").mkdir()
    shutil.copy(paths.spec, root / "[link=x]" / "run.yaml")
    assert {found.name for found in sessions.listed(root)} == {"mine", "beside"}
    with pytest.raises(UserError, match="link that leads out"):
        sessions.find(root, "linked")
    for name in ("../away", "..", "/etc", "a/b", "mine/../mine", ""):
        with pytest.raises(UserError, match="cannot name a session"):
            sessions.find(root, name)


@pytest.mark.parametrize(
    "name", ["events.jsonl", "worker.log", "checkpoints", "adapter", "adapter/x", "run.yaml"]
)
def test_a_session_with_a_link_out_is_not_started(
    paths: SessionPaths, outside: Path, name: str
) -> None:
    paths.adapter.mkdir(exist_ok=True)
    text = paths.spec.read_text()
    target = outside.parent if name in ("checkpoints", "adapter") else outside
    if name == "run.yaml":
        outside.write_text(text)
    linked(paths.folder / name, target)
    before = outside.read_text()
    with pytest.raises(UserError, match=f"{name} is a link that leads out of mine"):
        launch.start_training(paths)
    assert outside.read_text() == before
    assert [file.name for file in outside.parent.iterdir()] == ["file"]


def test_a_session_of_more_files_than_are_looked_at_is_not_started(
    paths: SessionPaths, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link may be the last of them."""
    monkeypatch.setattr(inside, "AT_MOST", 50)
    for number in range(60):
        (paths.folder / f"a{number}").mkdir()
    linked(paths.log, outside)
    with pytest.raises(UserError, match="mine holds more than 50 files and folders"):
        launch.start_training(paths)
    assert outside.read_text() == OUTSIDE


def test_a_report_shows_nothing_behind_a_link_and_waits_for_no_pipe(
    paths: SessionPaths, outside: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.txt"
    linked(paths.log, outside)
    with pytest.raises(UserError, match=r"worker\.log is a link that leads out of mine"):
        doctor_report.write(report, (), paths)
    assert not report.exists()
    paths.log.unlink()
    os.mkfifo(paths.log)
    doctor_report.write(report, (), paths)
    assert "last lines of worker.log ==\n(not a file)" in report.read_text()


def test_nothing_is_written_through_a_link(paths: SessionPaths, outside: Path) -> None:
    line = EVENTS.encode(Notice(level="info", text="x"))
    for write in (lambda path: append_line(path, line), Appender):
        with pytest.raises(OSError, match="symbolic links"):
            write(linked(paths.orders, outside))
    assert outside.read_text() == OUTSIDE


def test_deleting_a_session_takes_nothing_behind_its_links(
    paths: SessionPaths, outside: Path
) -> None:
    linked(paths.folder / "checkpoints", outside.parent)
    linked(paths.folder / "exports", outside.parent)
    sessions.delete(paths.folder.parent, paths)
    assert outside.read_text() == OUTSIDE
    assert not paths.folder.exists()


def sealed(paths: SessionPaths, step: int = 4) -> Path:
    beside = paths.checkpoints / ".new"
    beside.mkdir()
    (beside / "weights").write_bytes(b"x")
    seal(beside, paths.checkpoints / f"step-{step:06d}", step=step, tokens_seen=1)
    return paths.checkpoints / f"step-{step:06d}"


def test_a_checkpoint_that_is_a_link_is_none(paths: SessionPaths, tmp_path: Path) -> None:
    away = tmp_path / "step-000009"
    shutil.move(sealed(paths, 9), away)
    (paths.checkpoints / "step-000009").symlink_to(away)
    kept = sealed(paths, 4)
    assert [found.folder for found in checkpoints(paths.checkpoints)] == [kept]


@pytest.mark.parametrize("name", ["../../run.yaml", "/etc/hostname", "linked", "deep/../../../x"])
def test_a_manifest_names_nothing_elsewhere(paths: SessionPaths, outside: Path, name: str) -> None:
    folder = sealed(paths)
    linked(folder / "linked", outside)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"size": len(OUTSIDE), "sha256": "0"}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert damage(folder) == "its manifest names a file elsewhere"


def test_an_adapter_with_a_link_out_is_not_loaded(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    linked(folder / "adapter_model.safetensors", outside)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is a link that leads out"):
        check_adapter_files(folder)
    # As huggingface_hub keeps them.
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0f").write_bytes(b"x")
    linked(folder / "adapter_model.safetensors", blobs / "0f")
    assert check_adapter_files(folder) == {}


def test_a_session_s_adapter_with_a_link_out_is_not_talked_to(
    paths: SessionPaths, outside: Path
) -> None:
    paths.adapter.mkdir(exist_ok=True)
    linked(paths.adapter / "adapter_model.safetensors", outside)
    with pytest.raises(UserError, match="leads out of mine"):
        adapters.target(paths.folder.parent, "mine")
    assert adapters.session_targets(paths.folder.parent) == []


def test_the_queue_starts_nothing_elsewhere(tmp_path: Path, paths: SessionPaths) -> None:
    from tui_lora.core.queue import QUEUE, Queued
    from tui_lora.store.queue import start_next

    root = paths.folder.parent
    shutil.copytree(paths.folder, tmp_path / "x")
    for name in ("../x", "/tmp/x", "..", "a" * 300, "\x1b]0;x\x07"):
        line = Queued(id=uuid.uuid4().hex, t=1.0, name=name, card="cpu")
        append_line(queue_file.queue_path(root), QUEUE.encode(line))
    assert start_next(root, "cpu") is None
    assert not (tmp_path / "x" / "worker.json").exists()
    # Each is said to be refused, so that it does not keep others from their turn for ever.
    assert queue_file.read_queue(root).waiting == ()


LINES: dict[str, Callable[[Stop], str]] = {
    "malformed": lambda stop: '{"v": 1, "type": "stop"\n',
    "no order": lambda stop: '{"v": 1, "type": "rm -rf"}\n[]\nnull\n17\n""\n\x00\n',
    "another's": lambda stop: '{"v":1,"type":"stop","id":["x"],"t":"now"}\n',
    "of 50 MB": lambda stop: '{"v":1,"type":"stop","id":"' + "x" * (50 << 20) + '","t":1}\n',
    "brackets": lambda stop: "[" * 500_000 + "\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_absurd_orders_are_passed_over(paths: SessionPaths, line: Callable[[Stop], str]) -> None:
    inbox = Inbox(paths.orders)
    stop = Stop(id="mine", t=1.0)
    with paths.orders.open("a") as file:
        file.write(line(stop))
    for _ in range(60):
        inbox.read()
    assert not inbox.stopping
    append_line(paths.orders, ORDERS.encode(stop))
    for _ in range(3):
        inbox.read()
    assert [order.id for order in inbox.take(Stop)] == ["mine"]


def test_an_order_is_carried_out_once(paths: SessionPaths) -> None:
    inbox = Inbox(paths.orders)
    line = ORDERS.encode(Stop(id="mine", t=1.0))
    for _ in range(3):
        append_line(paths.orders, line)
    assert [order.id for order in inbox.take(Stop)] == ["mine"]
    append_line(paths.orders, line)
    assert inbox.take(Stop) == []
    # What was ordered before there was a worker is nobody's order any more.
    assert Inbox(paths.orders).take(Stop) == []


def test_a_line_of_50_mb_in_the_log_costs_no_memory(paths: SessionPaths) -> None:
    with paths.events.open("a") as file:
        file.write('{"v":1,"type":"evaluated","text":"' + "x" * (50 << 20) + '"}\n')
        file.writelines(
            EVENTS.encode(Notice(seq=n, level="info", text="x" * 200)) for n in range(2000)
        )
    finish(paths, 20)
    assert sessions.summarize(paths).status is Status.DONE
    lines, _ = sessions.first_and_last(paths)
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    tail = Tail(paths.events)
    while tail.read():
        pass
    assert tail.too_long == 1


def test_nobody_waits_for_a_pipe_in_the_place_of_a_log(tmp_path: Path) -> None:
    paths = make_session(tmp_path / "root")
    os.mkfifo(paths.events)
    assert Tail(paths.events).read() == []
    assert sessions.summarize(paths).step is None


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }


def test_sessions_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        paths = make_session(tmp_path / "root")
        append_line(paths.orders, "{}\n")
        Appender(paths.events).close()
        copy = runs.duplicate(paths.folder.parent, paths)
    finally:
        os.umask(before)
    for folder in (paths.folder, copy.folder):
        for name, mode in modes(folder).items():
            assert mode & 0o077 == 0, (folder, name, oct(mode))
    assert stat.S_IMODE(paths.folder.parent.stat().st_mode) == 0o700


@pytest.mark.model
@pytest.mark.long
def test_a_worker_s_files_are_for_their_owner_alone(
    tmp_path: Path, tiny_model: Path, rows: Path
) -> None:
    from tests.workers import tiny_spec
    from tui_lora.core.fields import put
    from tui_lora.store.spec_file import data_to_yaml

    spec = tiny_spec(tiny_model, rows, training__max_steps=2)
    file = tmp_path / "spec.yaml"
    file.write_text(data_to_yaml(put(spec.model_dump(mode="json"), "hardware.devices", "cpu")))
    command = [sys.executable, "-m", "tui_lora.cli", "--sessions", str(tmp_path / "root")]
    done = subprocess.run(
        [*command, "train", str(file), "--name", "mine"], capture_output=True, umask=0, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, mode in modes(tmp_path / "root" / "mine").items():
        assert mode & 0o077 == 0, (name, oct(mode))
