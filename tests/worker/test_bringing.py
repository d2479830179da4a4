"""What a run needs of the Hub, from a Hub on this machine that breaks and refuses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hub_models import FakeModelHub, pointed_at
from tests.model_files import tensors
from tests.models import write_model
from tests.workers import tiny_spec, view_of
from tui_lora.core.chat import Loading
from tui_lora.core.errors import UserError
from tui_lora.core.events import AttemptStarted
from tui_lora.core.spec import ModelSpec
from tui_lora.store import sessions
from tui_lora.store.bring import bring
from tui_lora.store.fetching import partial_file, plan
from tui_lora.store.hub_client import library
from tui_lora.store.hub_snapshots import snapshot_at, whole_snapshot
from tui_lora.store.paths import SessionPaths
from tui_lora.worker.bringing import Brought, bring_all, missing_model
from tui_lora.worker.chat import _fetch
from tui_lora.worker.reporter import Reporter
from tui_lora.worker.resolved import Earlier

MODEL, ADAPTER, WEIGHTS = "owner/tiny", "owner/adapter", "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelHub]:
    fake = FakeModelHub()
    pointed_at(fake, tmp_path, monkeypatch)
    yield fake
    fake.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model's folder without sense, for what is decided by headers alone."""
    folder = write_model(tmp_path / "base")
    tensors(folder / WEIGHTS, {"model.layers.0.self_attn.q_proj.weight": ("BF16", [16, 8])})
    return folder


def adapter_files(tmp_path: Path, inputs: int = 8, weights: str = "adapter_model.safetensors"):
    path = tmp_path / f"{inputs}.safetensors"
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors(
        path,
        {
            f"{layer}.lora_A.weight": ("F32", [4, inputs]),
            f"{layer}.lora_B.weight": ("F32", [16, 4]),
        },
    )
    config = (
        b'{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj"]}'
    )
    return {"adapter_config.json": config, weights: path.read_bytes()}


def brought(
    root: Path,
    model: Path | str,
    *,
    before: Earlier | None = None,
    look_up: Callable[[], None] = lambda: None,
    **changes: Any,
) -> tuple[Brought, SessionPaths]:
    """What a run of these settings is given, in a session of its own."""
    spec = tiny_spec(Path("m"), Path("d.jsonl"), model__id=str(model), **changes)
    paths = sessions.create(root, sessions.free_name(root, "run"), spec)
    reporter = Reporter(paths.events)
    reporter.begin(AttemptStarted(attempt=1, pid=os.getpid()))
    try:
        return bring_all(paths, spec, None, before or Earlier(), reporter, look_up), paths
    finally:
        reporter.close()


def test_a_model_is_fetched_once_and_told_about(hub: FakeModelHub, tmp_path: Path) -> None:
    model = hub.add_tiny(MODEL, tmp_path, more=400_000)
    hub.breaks[WEIGHTS] = [100_000]
    found, paths = brought(tmp_path, MODEL)
    assert found.spec.model.revision == model.sha
    (choice,) = found.choices
    assert (choice.setting, choice.value) == ("model.revision", model.sha)
    assert "main" in choice.reason
    view = view_of(paths)
    assert [name for name, _ in view.phases] == ["fetching"]
    assert any("the line broke" in line.text for line in view.log)
    assert hub.sent[WEIGHTS] == len(model.files[WEIGHTS])

    asked = len(hub.asked)
    _, paths = brought(tmp_path, MODEL)
    assert view_of(paths).phases == []
    assert len(hub.asked) == asked


def test_a_run_that_goes_on_keeps_its_commit(hub: FakeModelHub, tmp_path: Path) -> None:
    first = hub.add_tiny(MODEL, tmp_path).sha
    brought(tmp_path, MODEL)
    second = hub.add_tiny(MODEL, tmp_path, more=1024)
    # On the Hub's main stands another by now, and the cache knows of both.
    snapshot = snapshot_at(MODEL)
    assert snapshot is not None
    (snapshot.parent.parent / "refs" / "main").write_text(second.sha)
    found, _ = brought(tmp_path, MODEL, before=Earlier(model_commit=first))
    assert found.spec.model.revision == first
    assert found.choices[0].reason == "what this run began with"
    found, _ = brought(tmp_path, MODEL)
    assert found.spec.model.revision == second.sha


class Stopped(Exception):
    pass


def test_a_stop_ends_it_at_once_and_what_came_is_kept(hub: FakeModelHub, tmp_path: Path) -> None:
    hub.add_tiny(MODEL, tmp_path, more=400_000)
    hub.holds[WEIGHTS] = threading.Event()
    stopped = 0.0
    _, about = plan(MODEL)
    part = partial_file(about.folder / "blobs" / about.files[-1].blob)

    def look_up() -> None:
        nonlocal stopped
        if hub.held.is_set() and part.exists():
            stopped = time.monotonic()
            raise Stopped

    with pytest.raises(Stopped):
        bring(MODEL, None, lambda message: None, look_up)
    assert time.monotonic() - stopped < 15
    assert whole_snapshot(MODEL) is None
    hub.holds.pop(WEIGHTS).set()
    assert bring(MODEL, None, lambda message: None, lambda: None) == whole_snapshot(MODEL)


def test_an_adapter_is_fetched_and_pinned(hub: FakeModelHub, tmp_path: Path, base: Path) -> None:
    adapter = hub.add(ADAPTER, adapter_files(tmp_path))
    found, _ = brought(tmp_path, base, lora__start_from=ADAPTER)
    assert found.start == snapshot_at(ADAPTER)
    assert found.start_commit == adapter.sha
    assert found.choices[-1].value == f"{ADAPTER}@{adapter.sha}"
    asked = len(hub.asked)
    found, _ = brought(tmp_path, base, lora__start_from=f"{ADAPTER}@{adapter.sha}")
    assert found.start_commit == adapter.sha
    assert len(hub.asked) == asked


def refuse(hub: FakeModelHub, tmp_path: Path, patch: pytest.MonkeyPatch, case: str) -> None:
    match case:
        case "pickle":
            hub.add(ADAPTER, adapter_files(tmp_path, weights="adapter_model.bin"))
        case "model":
            hub.add_tiny(ADAPTER, tmp_path)
        case "gated":
            hub.add(ADAPTER, adapter_files(tmp_path), gated="manual")
        case "other base":
            hub.add(ADAPTER, adapter_files(tmp_path, inputs=12))
        case "offline":
            patch.setenv("HF_HUB_OFFLINE", "1")
        case "away":
            hub.close()


@pytest.mark.parametrize(
    ("case", "sentence", "then"),
    [
        ("pickle", "is an adapter without adapter_model.safetensors; pickles are never read", ""),
        ("model", "is no adapter: it has no adapter_config.json on the Hub", "model.id"),
        ("gated", "is gated", "hf auth login"),
        ("missing", "there is no model owner/adapter on the Hub, or it is private", "slip"),
        ("other base", "does not fit this base: its model.layers.0.self_attn.q_proj has 12", ""),
        ("offline", "HF_HUB_OFFLINE is set", "Unset it"),
        ("away", "cannot be reached", "network"),
    ],
)
def test_an_adapter_that_cannot_be_had(
    case: str,
    sentence: str,
    then: str,
    hub: FakeModelHub,
    tmp_path: Path,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(hub, tmp_path, monkeypatch, case)
    with pytest.raises(UserError, match=sentence) as caught:
        brought(tmp_path, base, lora__start_from=ADAPTER)
    assert caught.value.where == "lora.start_from"
    assert then in caught.value.then
    if case != "other base":
        assert hub.sent.total() == 0


def test_the_base_of_a_chat_is_fetched_with_words_for_each_part_of_it(
    hub: FakeModelHub, tmp_path: Path
) -> None:
    hub.add_tiny(MODEL, tmp_path, more=400_000)
    hub.breaks[WEIGHTS] = [200_000]
    said: list[str] = []

    class Pipes:
        def say(self, message: Loading) -> None:
            said.append(message.label)

    _fetch(ModelSpec(id=MODEL), Pipes())  # type: ignore[arg-type]
    assert said[0] == f"fetching {MODEL}"
    assert f"fetching {MODEL}: the line broke, trying again" in said
    assert said[-1] == f"fetching {MODEL}, 100% of 401 kB"
    assert not missing_model(ModelSpec(id=MODEL))
    assert missing_model(ModelSpec(id=MODEL, revision="v2"))


@pytest.mark.model
def test_a_model_of_the_hub_is_trained_and_nobody_is_asked_again(
    hub: FakeModelHub,
    tmp_path: Path,
    tiny_model: Path,
    tiny_adapter: Path,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.in_process import trained

    def files(folder: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    hub.add(MODEL, files(tiny_model))
    hub.add(ADAPTER, files(tiny_adapter))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    requests: list[str] = []
    client = type(library().get_session())
    send = client.send

    def counted(session: Any, request: Any, **named: Any) -> Any:
        requests.append(str(request.url))
        return send(session, request, **named)

    monkeypatch.setattr(client, "send", counted)
    spec = tiny_spec(
        Path(MODEL), rows, lora__start_from=ADAPTER, training__max_steps=2, dataset__max_rows=10
    )
    for name in ("online", "offline"):
        _, paths = trained(tmp_path, name, spec)
        assert requests == []
        kept = yaml.safe_load(paths.resolved.read_text())
        assert kept["model_revision"] == hub.models[MODEL].sha
        assert kept["start_revision"] == hub.models[ADAPTER].sha
        assert kept["spec"]["model"]["revision"] is None
        assert f'"{MODEL}"' in (paths.adapter / "adapter_config.json").read_text()
        # The second finds all of it in the cache.
        hub.close()
