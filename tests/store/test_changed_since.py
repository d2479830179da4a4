"""What is otherwise than when a session was last at work, with real files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recorded import write
from tests.stopped import edit, resolve, stopped_session
from tui_lora.core.changed import CHECKPOINTS, EVERYTHING, ROWS, ChangedSince
from tui_lora.core.events import AttemptStarted, ChangesRefused, SpecChanged
from tui_lora.core.queue import Queued
from tui_lora.core.sensors import MachineReading, SensorReading
from tui_lora.core.status import Status
from tui_lora.store import file_marks, launch, queue, runs, sessions
from tui_lora.store.changed_since import changed_since, goes_on, to_write_down, with_settings
from tui_lora.store.file_marks import digest_of
from tui_lora.store.paths import SessionPaths
from tui_lora.store.queue_file import read_queue, say
from tui_lora.store.resolved import read_resolved
from tui_lora.store.versions import versions


@pytest.fixture
def run(tmp_path: Path) -> SessionPaths:
    return stopped_session(tmp_path, hardware__devices="cpu")


def found(paths: SessionPaths, **changes: Any) -> dict[str, str]:
    asked = {name.replace("__", "."): value for name, value in changes.items()}
    return {one.what: one.how for one in changed_since(paths, asked)}


def test_nothing_is_otherwise(run: SessionPaths) -> None:
    assert changed_since(run) == ()


def grown(root: Path) -> None:
    with (root / "rows.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')


def rewritten(root: Path) -> None:
    rows = root / "rows.jsonl"
    rows.write_text(rows.read_text().replace("row 7", "row 8"))
    os.utime(rows, ns=(1, 1))


def copied(root: Path) -> None:
    for file in (root / "rows.jsonl", *(root / "base").iterdir()):
        os.utime(file, ns=(1, 1))


def trained_on(root: Path) -> None:
    weights = root / "base/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(1, 1))


def other_template(root: Path) -> None:
    (root / "base/tokenizer_config.json").write_text('{"chat_template": "{{ messages[0] }}"}')


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        (grown, {"dataset.path": "ask"}),
        (rewritten, {"dataset.path": "ask"}),
        (copied, {}),
        (trained_on, {"model.id": "refuse"}),
        (other_template, {"model.id": "ask"}),
        # What is no dataset any more, preflight says.
        (lambda root: (root / "rows.jsonl").unlink(), {}),
    ],
)
def test_files(
    run: SessionPaths, change: Callable[[Path], None], differences: dict[str, str]
) -> None:
    change(run.folder.parent)
    assert found(run) == differences


def test_a_session_moved_to_other_paths_is_the_same(run: SessionPaths, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy(tmp_path / "rows.jsonl", there / "renamed.jsonl")
    shutil.copytree(tmp_path / "base", there / "base")
    edit(run, "dataset.path", str(there / "renamed.jsonl"))
    edit(run, "model.id", str(there / "base"))
    assert changed_since(run) == ()
    grown(tmp_path)
    assert changed_since(run) == ()
    (there / "renamed.jsonl").write_text('{"text": "other"}\n')
    assert found(run) == {"dataset.path": "refuse"}


def test_a_folder_of_rows(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.jsonl").write_text('{"text": "x"}\n')
    run = stopped_session(tmp_path, dataset__path=str(folder))
    assert found(run) == {}
    (folder / "c.jsonl").write_text('{"text": "y"}\n')
    (one,) = changed_since(run)
    assert (one.was, one.now.split(",")[0]) == ("2 files, 28 B", "3 files")
    assert one.why.startswith("c.jsonl is new")


def test_settings_edited_by_hand(run: SessionPaths) -> None:
    edit(run, "lora.r", 3)
    edit(run, "training.epochs", 9)
    assert found(run) == {"lora.r": "refuse", "training.epochs": "ask"}
    # Put back, by hand or on the command line.
    assert found(run, lora__r=16) == {"training.epochs": "ask"}


def test_what_was_asked_for_is_no_edit(run: SessionPaths) -> None:
    write(run, iter([SpecChanged(changes={"training.micro_batch": 1}, reason="memory")]))
    assert found(run) == {}
    assert found(run, training__epochs=9, training__max_length=64) == {}


def test_an_old_or_damaged_resolved_yaml_compares_nothing(run: SessionPaths) -> None:
    resolve(run, spec={"lora": "x"}, base_files=[{"a": 1}, 7], dataset_files=3, versions=[1])
    edit(run, "lora.r", 3)
    assert changed_since(run) == ()
    run.resolved.unlink()
    assert changed_since(run) == ()


def test_other_libraries(run: SessionPaths) -> None:
    resolve(run, versions={**versions(), "torch": "1.2.3", "python": "3.9.1"})
    assert found(run) == {"torch": "ask", "python": "note"}


def test_the_card_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped_session(tmp_path)
    resolve(run, device="NVIDIA T4")
    machine = MachineReading(16.0, 1.0, None, 2)

    def with_nvml(problem: str | None) -> dict[str, str]:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        reading = SensorReading((), machine, problem)
        return {one.what: one.how for one in changed_since(run, read=lambda: reading)}

    assert with_nvml(None) == {"device": "ask"}
    assert with_nvml("NVML does not answer.") == {}
    assert found(run, hardware__devices="cpu") == {"device": "note"}


def test_what_the_worker_refused_is_asked_until_the_rows_are_put_back(run: SessionPaths) -> None:
    resolve(run, dataset_files={})
    write(run, iter([AttemptStarted(attempt=2, pid=1), ChangesRefused(what=(ROWS,))]), start=9e9)
    assert found(run) == {ROWS: "ask"}
    write(run, iter([AttemptStarted(attempt=3, pid=1)]), start=9e9)
    assert found(run) == {}
    write(run, iter([ChangesRefused(what=(ROWS,))]), start=1.0)
    assert found(run) == {}


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_marks, "WHOLE_BYTES", 1 << 20)
    file = tmp_path / "large.bin"
    data = bytearray(31 << 20)
    file.write_bytes(data)
    before = digest_of(file)
    assert before.startswith("samples:")
    for at in (0, 16 << 20, len(data) - 1):
        data[at] = 1
        file.write_bytes(data)
        assert digest_of(file) != before
        data[at] = 0
    assert digest_of(tmp_path / "none") == ""


def test_a_hub_model_is_marked_at_its_commit(run: SessionPaths) -> None:
    """None here: nothing is marked, and nothing is fetched for it."""
    spec = edit(run, "model.id", "org/name")
    assert to_write_down(spec, "0" * 40, None)["base_files"] == []


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the workers were told to accept."""
    told: list[tuple[str, ...]] = []

    def start(*_: Any, accept: tuple[str, ...], **__: Any) -> int:
        told.append(tuple(accept))
        return 1

    monkeypatch.setattr(launch, "start_training", start)
    return told


def test_a_resume_asks_first(run: SessionPaths, started: list[tuple[str, ...]]) -> None:
    runs.resume(run)
    grown(run.folder.parent)
    with pytest.raises(ChangedSince) as asked:
        runs.resume(run)
    assert started == [()]
    assert "tui-lora resume run --accept-changes" in asked.value.then
    runs.resume(run, accept=asked.value.keys)
    assert started[1:] == [("dataset.path", ROWS)]


def test_what_a_checkpoint_does_not_survive_nobody_can_accept(
    run: SessionPaths, started: list[tuple[str, ...]]
) -> None:
    edit(run, "lora.r", 3)
    with pytest.raises(ChangedSince, match=r"lora\.r: 16 → 3") as refused:
        runs.resume(run, accept=(EVERYTHING,))
    assert "tui-lora train run --name NEW" in refused.value.then
    # Nor by asking for what was edited already; back it may be put.
    with pytest.raises(Exception, match="weights of another adapter"):
        runs.resume(run, changes={"lora.r": 3})
    assert not started
    runs.resume(run, changes={"lora.r": 16})
    assert started == [()]


def test_without_a_checkpoint_nothing_is_asked(
    run: SessionPaths, started: list[tuple[str, ...]]
) -> None:
    shutil.rmtree(run.checkpoints)
    edit(run, "lora.r", 3)
    grown(run.folder.parent)
    runs.resume(run)
    assert started == [()]


def test_in_the_queue_it_is_refused_with_the_way(
    run: SessionPaths, started: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run.folder.parent
    grown(root)
    with pytest.raises(ChangedSince):
        queue.put_in(root, run)
    say(root, Queued, "run", card="cpu")
    assert queue.start_next(root, "cpu") is None
    assert "--accept-changes" in read_queue(root).refused["run"]
    assert sessions.status_of(run) is Status.STOPPED
    assert not started


def test_a_branch_with_other_settings_is_as_it_was_made(run: SessionPaths) -> None:
    spec = edit(run, "training.epochs", 9)
    resolve(run, dataset_sha256="0")
    assert found(run) == {"training.epochs": "ask"}
    run.resolved.write_text(yaml.safe_dump(with_settings(read_resolved(run), spec)))
    assert found(run) == {}
    assert read_resolved(run)["dataset_sha256"] == "0"
    longer = edit(run, "training.max_length", 64)
    assert "dataset_sha256" not in with_settings(read_resolved(run), longer)


def test_damaged_checkpoints_are_no_reason_to_begin_anew(run: SessionPaths) -> None:
    assert goes_on(run)
    weights = run.checkpoints / "step-000200" / "weights"
    weights.write_bytes(b"")
    with pytest.raises(ChangedSince, match="step-000200: weights has 0 of 1 bytes") as caught:
        goes_on(run, [EVERYTHING])
    assert caught.value.anew
    assert caught.value.acceptable
    assert caught.value.keys == (CHECKPOINTS,)
    assert not goes_on(run, [CHECKPOINTS])
    # Without a manifest it is damaged as well; what holds nothing never was one.
    (run.checkpoints / "step-000200" / "manifest.json").unlink()
    with pytest.raises(ChangedSince, match="never finished"):
        runs.check(run)
    weights.unlink()
    assert not goes_on(run)
