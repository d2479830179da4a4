"""Fetching a model from a Hub on this machine that breaks, refuses and dawdles."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from tests.hub_models import FakeModel, FakeModelHub, pointed_at
from tui_lora.core.fetch import (
    FROM_FETCH,
    TO_FETCH,
    Fetched,
    FetchFailed,
    FetchPaused,
    FetchPlanned,
    FetchProgressed,
    FromFetch,
    ToFetch,
)
from tui_lora.store import fetching, launch
from tui_lora.store.catalog import check_model, describe
from tui_lora.store.fetching import ANOTHER, partial_file, plan
from tui_lora.store.hub_client import library
from tui_lora.store.pipe import PipeWorker
from tui_lora.worker.fetch import TRIES, fetch

NAME, WEIGHTS = "owner/tiny", "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelHub]:
    fake = FakeModelHub()
    pointed_at(fake, tmp_path, monkeypatch)
    yield fake
    fake.close()


@pytest.fixture
def model(hub: FakeModelHub, tmp_path: Path) -> FakeModel:
    return hub.add_tiny(NAME, tmp_path, more=400_000)


def fetched(waits: list[float] | None = None, revision: str | None = None) -> list[FromFetch]:
    """Everything that is said while the model is fetched, without the waiting."""
    said: list[FromFetch] = []
    fetch(NAME, revision, said.append, (waits if waits is not None else []).append)
    for message in said:
        assert FROM_FETCH.decode(FROM_FETCH.encode(message)).message == message
    return said


def failure(said: list[FromFetch]) -> FetchFailed:
    assert isinstance(said[-1], FetchFailed)
    assert "hf_secret" not in repr(said)
    return said[-1]


def is_right(model: FakeModel) -> bool:
    """Whether huggingface_hub itself, asking nobody, finds every byte."""
    place = Path(snapshot_download(NAME, local_files_only=True, cache_dir=plan_folder()))
    return all((place / name).read_bytes() == data for name, data in model.files.items())


def plan_folder() -> Path:
    return fetching.hub_cache_folder()


def blob() -> Path:
    _, wanted = plan(NAME)
    return wanted.folder / "blobs" / wanted.files[-1].blob


def test_a_model_comes_whole(hub: FakeModelHub, model: FakeModel) -> None:
    said = fetched()
    total = sum(len(data) for data in model.files.values())
    assert said[0] == FetchPlanned(files=4, total_bytes=total, here_bytes=0)
    assert FetchProgressed(done_bytes=total) in said
    assert isinstance(said[-1], Fetched)
    assert is_right(model)
    assert check_model(NAME).kind == "hub"
    before = hub.sent.total()
    assert isinstance(fetched()[-1], Fetched)
    assert hub.sent.total() == before


def test_a_broken_line_goes_on_where_it_broke(hub: FakeModelHub, model: FakeModel) -> None:
    hub.breaks[WEIGHTS] = [100_000, 250_000]
    hub.fails["config.json"] = [503]
    waits: list[float] = []
    said = fetched(waits)
    whys = [message.why for message in said if isinstance(message, FetchPaused)]
    assert set(whys) == {"the line broke", "the Hub answers 503"}
    assert waits
    assert is_right(model)
    assert hub.sent[WEIGHTS] == len(model.files[WEIGHTS])


def test_a_server_that_cannot_go_on_in_the_middle(hub: FakeModelHub, model: FakeModel) -> None:
    hub.breaks[WEIGHTS] = [100_000]
    hub.ranges = False
    said = fetched()
    total = sum(len(data) for data in model.files.values())
    assert [m.done_bytes for m in said if isinstance(m, FetchProgressed)][-1] == total
    assert is_right(model)


def test_a_line_that_stays_broken_is_given_up(hub: FakeModelHub, model: FakeModel) -> None:
    hub.breaks[WEIGHTS] = [100_000, *[0] * 99]
    waits: list[float] = []
    error = failure(fetched(waits))
    assert f"the line broke, {TRIES} times in a row" in error.message
    assert "goes on from there" in error.then
    assert waits == sorted(waits)
    assert partial_file(blob()).stat().st_size == 100_000
    hub.breaks.clear()
    assert isinstance(fetched()[-1], Fetched)
    assert hub.sent[WEIGHTS] == len(model.files[WEIGHTS])


def test_what_came_damaged_comes_again(hub: FakeModelHub, model: FakeModel) -> None:
    file = blob()
    file.parent.mkdir(parents=True)
    partial_file(file).write_bytes(b"junk" * 1000)
    said = fetched()
    assert any(isinstance(m, FetchPaused) and "damaged" in m.why for m in said)
    assert is_right(model)
    # A file that a full disk once cut off, though its name says that it is whole.
    file.write_bytes(file.read_bytes()[:1000])
    assert "was cut off" in describe(NAME).problem
    fetched()
    assert is_right(model)


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_another_program_that_fetches_the_same_is_waited_for(
    hub: FakeModelHub, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_LOCK_WAIT_S", 0.01)
    file = blob()
    lock = plan_folder() / ".locks" / file.parent.parent.name / f"{file.name}.lock"
    lock.parent.mkdir(parents=True)
    with library().WeakFileLock(lock):
        whys = []

        def wait(seconds: float) -> None:
            whys.append(seconds)
            if len(whys) == TRIES + 5:
                raise KeyboardInterrupt

        said: list[FromFetch] = []
        with pytest.raises(KeyboardInterrupt):
            fetch(NAME, None, said.append, wait)
    assert {m.why for m in said if isinstance(m, FetchPaused)} == {ANOTHER}
    assert isinstance(fetched()[-1], Fetched)


def test_a_gated_model(hub: FakeModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = frozenset({"hf_secret"})
    model = hub.add_tiny(NAME, tmp_path, gated="manual", allowed=allowed)
    error = failure(fetched())
    assert "is gated" in error.message
    assert f"Accept them at {hub.endpoint}/{NAME}, then log in with `hf auth login`" in error.then
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "your token is not on its list" in failure(fetched()).message
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert isinstance(fetched()[-1], Fetched)
    assert is_right(model)
    assert hub.tokens == {"hf_other", "hf_secret"}
    assert not hub.leaked


def test_missing_offline_and_full(
    hub: FakeModelHub, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "has no such revision" in failure(fetched(revision="v2")).message
    with monkeypatch.context() as small:
        usage = type("Usage", (), {"free": 1000})
        small.setattr(fetching.shutil, "disk_usage", lambda place: usage)
        assert "1.00 kB are free" in failure(fetched()).message
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in failure(fetched()).message
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.close()
    assert "cannot be reached" in failure(fetched()).message


def test_a_disk_that_fills_up_midway_ends_it(
    hub: FakeModelHub, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "_download", full)
    error = failure(fetched())
    assert "cannot be written: No space left on device" in error.message
    assert "What came is kept" in error.then


def test_the_worker_ends_with_its_viewer_and_what_came_is_kept(
    hub: FakeModelHub, model: FakeModel
) -> None:
    hub.holds[WEIGHTS] = threading.Event()
    said: list[FromFetch] = []
    planned, ended = threading.Event(), threading.Event()
    words: list[str] = []

    def heard(message: FromFetch) -> None:
        said.append(message)
        planned.set()

    def over(code: int, stderr: str) -> None:
        words.append(stderr)
        ended.set()

    def start() -> PipeWorker[ToFetch, FromFetch]:
        return PipeWorker(
            launch.start_pipe_worker("fetch", NAME, devices="cpu"),
            sends=TO_FETCH,
            hears=FROM_FETCH,
            on_message=heard,
            on_end=over,
        )

    worker = start()
    assert planned.wait(60)
    assert hub.held.wait(60)
    wait_for(lambda: partial_file(blob()).stat().st_size > 0)
    worker.close()
    assert ended.wait(60)
    assert isinstance(said[0], FetchPlanned)
    hub.holds.pop(WEIGHTS).set()
    came = partial_file(blob()).stat().st_size
    assert 0 < came < len(model.files[WEIGHTS])
    hub.sent.clear()

    ended.clear()
    start()
    assert ended.wait(60)
    assert isinstance(said[-1], Fetched)
    assert hub.sent[WEIGHTS] == len(model.files[WEIGHTS]) - came
    assert words == ["", ""]  # the libraries say nothing
    assert is_right(model)


def test_fetching_loads_no_torch() -> None:
    code = "import sys, tui_lora.worker.fetch as f; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
