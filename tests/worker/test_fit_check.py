"""The fit check: over its pipes as a viewer knows it, and in this process for what it does."""

from __future__ import annotations

import json
import os
import queue
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.task_rows import spec_of
from tests.workers import _CONTEXT, tiny_spec
from tui_lora.core.fit_check import (
    FROM_FIT_CHECK,
    PHASES,
    TO_FIT_CHECK,
    CheckFit,
    FitFailed,
    FitFound,
    FitRanOut,
    FitWorking,
    FromFitCheck,
)
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.core.spec import RunSpec
from tui_lora.store import launch, lock
from tui_lora.store.paths import SessionPaths
from tui_lora.store.pipe import PipeWorker
from tui_lora.worker import passing_session

pytestmark = pytest.mark.model

GIB = 2**30


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, in which nothing may be left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Rows of 1 to 20 words in no order."""
    path = tmp_path / "uneven.jsonl"
    with path.open("w") as file:
        for i in range(20):
            turns = [
                {"role": "user", "content": f"{i}?"},
                {"role": "assistant", "content": "rank " * (1 + 7 * i % 20)},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


class Viewer:
    """Asks a real worker for a check."""

    def __init__(self, spec: RunSpec) -> None:
        self.heard: queue.SimpleQueue[FromFitCheck | tuple[int, str]] = queue.SimpleQueue()
        self.pipe: PipeWorker[Any, Any] = PipeWorker(
            launch.start_pipe_worker("fit_check", devices="cpu"),
            sends=TO_FIT_CHECK,
            hears=FROM_FIT_CHECK,
            on_message=self.heard.put,
            on_end=lambda code, words: self.heard.put((code, words)),
        )
        self.pipe.send(CheckFit(spec=spec.model_dump(mode="json")))

    def found(self) -> tuple[FitFound, int]:
        """All that it says until its end, and the exit code."""
        found = FitFound()
        while not isinstance(message := self.heard.get(timeout=120), tuple):
            found = found.heard(message)
        return found, message[0]


def checked(spec: RunSpec, folder: Path) -> FitFound:
    """A check made in this process."""
    from tui_lora.worker.fit_check import Check

    folder.mkdir(exist_ok=True)
    said: list[FromFitCheck] = []
    said.append(Check(SessionPaths(folder), said.append).make(CheckFit(spec=spec.model_dump())))
    found = FitFound()
    for message in said:
        found = found.heard(message)
    return found


def test_over_its_pipes_every_phase_is_measured_and_nothing_is_left(
    tiny_model: Path, uneven: Path, scratch: Path
) -> None:
    found, code = Viewer(tiny_spec(tiny_model, uneven, training__accumulation=5)).found()
    assert code == 0
    assert [phase.phase for phase in found.phases] == list(PHASES)
    assert found.begun is not None
    assert (found.begun.device, found.on_card) == ("cpu", False)
    assert (found.begun.micro_batches, found.begun.of_micro_batches) == (2, 5)
    assert all(0.1 < (phase.process_gib or 0) < 8 for phase in found.phases)
    assert found.verdict == "fits"
    assert found.checked is not None
    assert found.checked.tokens_per_s is not None
    assert found.checked.step_s == found.phases[2].seconds
    # Both micro-batches of the step; the second row of each is no longer than the first.
    batch, tokens = found.begun.batch, found.checked.tokens_per_s * found.checked.step_s
    assert 2 * batch.longest < round(tokens) <= 2 * batch.rows * batch.longest
    assert list(scratch.iterdir()) == []


def test_the_end_of_input_ends_it_at_once(tiny_model: Path, uneven: Path, scratch: Path) -> None:
    viewer = Viewer(tiny_spec(tiny_model, uneven))
    assert isinstance(viewer.heard.get(timeout=60), FitWorking)
    (folder,) = scratch.iterdir()
    assert lock.holder(SessionPaths(folder).lock) == viewer.pipe.process.pid
    viewer.pipe.close(patience_s=30)
    assert viewer.pipe.process.returncode == 0
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "task",
    [
        *("sft", "dpo"),
        *(pytest.param(task, marks=pytest.mark.long) for task in ("kto", "classification")),
    ],
)
def test_every_batch_is_the_longest(
    tiny_model: Path, tmp_path: Path, uneven: Path, task: str
) -> None:
    from tui_lora.worker import longest_batch

    fed: list[tuple[int, int]] = []
    really = longest_batch.confine

    def confine(trainer: Any) -> Any:
        confined = really(trainer)
        compute = trainer.compute_loss

        def seen(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            fed.append(tuple(inputs["input_ids"].shape))
            return compute(model, inputs, *rest, **named)

        trainer.compute_loss = seen
        return confined

    changes = {"training__max_length": 256, "evaluation__early_stopping": 1}
    if task == "sft":
        spec = tiny_spec(tiny_model, uneven, **changes)
    else:
        spec = spec_of(task, tiny_model, tmp_path, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longest_batch, "confine", confine)
        found = checked(spec, tmp_path / "session")
    assert found.checked is not None, found.ended
    assert found.begun is not None
    batch, held_out = found.begun.batch, found.begun.held_out
    assert held_out is not None
    rows = 4 if task == "dpo" else 2
    shape = (rows, batch.tokens // rows)
    # Two micro-batches of two steps, and the evaluation.
    assert fed[:4] == [shape] * 4
    assert fed[4:] == [(rows, held_out.tokens // rows)]
    if task != "kto":  # whose rows are fed with their neighbours' answers
        assert batch.longest == longest_of(spec, tmp_path / "look")


def longest_of(spec: RunSpec, folder: Path) -> int:
    """The longest row by a trainer that was confined to nothing."""
    from tui_lora.worker.assemble import assemble
    from tui_lora.worker.fit_check import _Telling
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.progress import Progress

    folder.mkdir()
    paths = SessionPaths(folder)
    run = assemble(
        paths,
        spec,
        None,
        reporter=_Telling(lambda _: None),
        inbox=Inbox(paths.orders),
        progress=Progress(),
        stop_here=lambda: None,
    )
    longest = 0
    for row in run.data.train:
        mask = run.trainer.data_collator([row])["attention_mask"]
        longest = max(longest, int(mask.sum(-1).max()))
    return longest


def test_fewer_rows_than_a_micro_batch_has_and_none_held_out(
    tiny_model: Path, tmp_path: Path, uneven: Path
) -> None:
    spec = tiny_spec(
        tiny_model, uneven, dataset__eval_share=0, dataset__max_rows=3, training__micro_batch=8
    )
    found = checked(spec, tmp_path / "session")
    assert found.checked is not None, found.ended
    assert found.begun is not None
    assert (found.begun.batch.rows, found.begun.held_out) == (3, None)
    assert [phase.phase for phase in found.phases] == list(PHASES[:3])
    assert not list((tmp_path / "session").glob("checkpoints/step-*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset__path": "/nowhere/rows.jsonl"}, "/nowhere/rows.jsonl"),
        ({"lora__target_modules": ["w_no"]}, "w_no"),
    ],
)
def test_what_cannot_run_is_refused_in_a_sentence(
    tiny_model: Path, tmp_path: Path, uneven: Path, changes: dict[str, Any], words: str
) -> None:
    found = checked(tiny_spec(tiny_model, uneven, **changes), tmp_path / "session")
    assert isinstance(found.ended, FitFailed)
    assert words in found.ended.message
    assert (found.ended.exit_code, found.phases) == (2, ())


def _with_little_memory(spec: dict[str, Any], folder: str, cache: str, says: Any) -> None:
    """A check in a process that gets no more memory once everything is loaded."""
    os.environ["TUI_LORA_CACHE"] = cache
    from tui_lora.worker.fit_check import Check

    def say(message: FromFitCheck) -> None:
        if "loaded" in FROM_FIT_CHECK.encode(message):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (16 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

    last = Check(SessionPaths(Path(folder)), say).make(CheckFit(spec=spec))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    says.send(FROM_FIT_CHECK.encode(last))


def test_memory_that_runs_out_is_an_answer(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    long = tmp_path / "long.jsonl"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "rank " * 400}]
    long.write_text((json.dumps({"messages": turns}) + "\n") * 130)
    spec = tiny_spec(
        tiny_model, long, training__micro_batch=128, dataset__eval_share=0, training__max_length=512
    )
    hears, says = _CONTEXT.Pipe(duplex=False)
    given = (spec.model_dump(), str(tmp_path / "session"), os.environ["TUI_LORA_CACHE"], says)
    process = _CONTEXT.Process(target=_with_little_memory, args=given, daemon=True)
    process.start()
    assert hears.poll(120)
    last = FROM_FIT_CHECK.decode(hears.recv()).message
    process.join(60)
    assert isinstance(last, FitRanOut), last
    assert last.phase == "first step"
    assert (last.where.device, last.where.phase, last.where.rows) == ("cpu", "forward", 128)
    assert last.where.asked_gib


def test_folders_of_workers_that_were_killed_go(scratch: Path) -> None:
    def folder(name: str, age_s: float) -> SessionPaths:
        place = scratch / f"{passing_session.PREFIX}{name}"
        place.mkdir()
        (place / "worker.lock").touch()
        os.utime(place, (time.time() - age_s,) * 2)
        return SessionPaths(place)

    dead, young = folder("dead", 3600), folder("young", 1)
    theirs = scratch / "of-somebody-else"
    theirs.mkdir()
    made = passing_session.make()
    assert not dead.folder.exists()
    assert young.folder.exists()
    assert theirs.exists()
    passing_session.remove(made)
    assert not made.folder.exists()


def test_on_a_card_the_figures_are_torch_s_and_the_driver_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With torch's card and the driver in their places: there is none here."""
    import torch

    from tui_lora.worker import peaks

    def reading(used_gib: float) -> SensorReading:
        unknown: list[Any] = [None] * 5
        card = CardReading(0, "GPU-abc", "T4", 15.0, used_gib, 15 - used_gib, *unknown, None)
        return SensorReading((card,), MachineReading(16.0, 4.0, None, 2), None)

    now = {
        "memory_allocated": 4 * GIB,
        "memory_reserved": 5 * GIB,
        "max_memory_allocated": 6 * GIB,
        "max_memory_reserved": 7 * GIB,
        "mem_get_info": (9 * GIB, 14.5 * GIB),
        "get_device_name": "Tesla T4",
    }
    for name, value in now.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    reset: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    properties = type("Properties", (), {"uuid": "abc"})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(peaks.Sensors, "read", lambda self: reading(6.5))
    found = peaks.peaks_on("cuda:0", reading(1.25))
    taken = found.take()
    assert (found.name, found.total_gib, found.others_gib) == ("Tesla T4", 15.0, 1.25)
    # 6.5 held now, 1.25 before, 5 of it torch's: the rest is CUDA's own.
    assert found.context_gib == pytest.approx(0.25)
    assert taken == peaks.Peak(allocated=6.0, reserved=7.0, process=7.25, held=4.0)
    assert reset == ["cuda:0"]
    # A driver that tells nothing of this card: torch's own figures stay.
    silent = peaks.peaks_on("cuda:0", SensorReading((), MachineReading(16.0, 4.0, None, 2), None))
    assert silent.take() == peaks.Peak(allocated=6.0, reserved=7.0, process=None, held=4.0)
    assert (silent.total_gib, silent.others_gib) == (14.5, None)
