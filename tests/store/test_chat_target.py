"""What a chat's target means, what is wrong with it, and whether its base has moved on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hub_models import FakeModelHub, pointed_at
from tests.model_files import tensors
from tests.models import write_model
from tui_lora.core.errors import UserError
from tui_lora.core.fetch import FetchPlanned, FromFetch
from tui_lora.core.spec import ModelSpec, parse_spec
from tui_lora.store import sessions
from tui_lora.store.adapters import ChatTarget, stored_as, target
from tui_lora.store.checkpoints import MANIFEST, folder_name
from tui_lora.store.file_marks import base_files, marks_of
from tui_lora.store.moved_on import moved_on
from tui_lora.store.paths import SessionPaths
from tui_lora.store.same_shape import differs

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
SHAPES = {
    f"{LAYER}.lora_A.weight": ("F32", [4, 8]),
    f"{LAYER}.lora_B.weight": ("F32", [16, 4]),
}


def write_adapter(folder: Path, base: str, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps({**said, **config}))
    tensors(folder / "adapter_model.safetensors", SHAPES)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return sessions.make_root(tmp_path / "sessions")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base")


@pytest.fixture
def run(root: Path, base: Path) -> SessionPaths:
    """A session with an adapter and checkpoints at 5, 10 (unfinished: 15), stored in 4 bits."""
    spec = parse_spec({"model": str(base), "dataset": "d.jsonl", "quantization": {"scheme": "nf4"}})
    paths = sessions.create(root, "run", spec)
    write_adapter(paths.adapter, str(base))
    for step in (5, 10, 15):
        folder = write_adapter(paths.checkpoints / folder_name(step), str(base))
        if step != 15:
            made = {"step": step, "tokens_seen": 1, "files": {}}
            (folder / MANIFEST).write_text(json.dumps(made))
    return paths


def test_a_session_a_checkpoint_and_their_folders(
    root: Path, run: SessionPaths, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, ten = run.adapter, run.checkpoints / folder_name(10)
    for text in ("run", str(run.folder), str(adapter)):
        assert target(root, text).adapter == adapter
    for text in ("run@10", str(ten)):
        found = target(root, text)
        assert (found.adapter, found.name) == (ten, "run at step 10")
    monkeypatch.chdir(run.checkpoints)
    assert target(root, f"./{folder_name(10)}").adapter == ten
    # As it was trained, however it is named.
    schemes = {target(root, t).quantization.scheme for t in ("run", "run@5", str(adapter))}
    assert schemes == {"nf4"}
    with pytest.raises(UserError, match="no checkpoint of step 7") as caught:
        target(root, "run@7")
    assert "5, 10" in str(caught.value)
    with pytest.raises(UserError, match="never finished"):
        target(root, str(run.checkpoints / folder_name(15)))


def test_a_folder_is_loaded_on_the_base_and_revision_that_it_names(
    root: Path, tmp_path: Path, base: Path
) -> None:
    folder = write_adapter(tmp_path / "mine", "owner/name", revision="v2")
    assert target(root, str(folder)).model == ModelSpec(id="owner/name", revision="v2")
    found = target(root, str(folder), base=str(base))
    assert found.model == ModelSpec(id=str(base))
    # A folder has no revisions.
    local = write_adapter(tmp_path / "local", str(base), revision="v2")
    assert target(root, str(local)).model == ModelSpec(id=str(base))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"base_model_name_or_path": None}, "does not say which base"),
        ({"base_model_name_or_path": "/gone/model"}, "there is no model /gone/model"),
        ("pickle", "a pickle that can run any code"),
        ("config", "adapter_config.json is damaged"),
    ],
    ids=str,
)
def test_what_cannot_be_talked_to_says_why(
    root: Path, tmp_path: Path, base: Path, spoil: Any, says: str
) -> None:
    folder = write_adapter(
        tmp_path / "mine", str(base), **(spoil if isinstance(spoil, dict) else {})
    )
    if spoil == "pickle":
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    if spoil == "config":
        (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=says):
        target(root, str(folder))


def test_the_base_may_be_stored_otherwise() -> None:
    one = ChatTarget("one", ModelSpec(id="m"))
    assert stored_as(one) == one
    assert stored_as(one, quantization="int8").quantization.scheme == "int8"
    assert stored_as(one, dtype="float32").model.dtype == "float32"
    assert stored_as(one, devices="cpu").devices == "cpu"
    assert stored_as(one, dtype="float32").base != one.base
    for given in ({"quantization": "nf5"}, {"dtype": "float8"}, {"devices": "gpu?"}):
        with pytest.raises(UserError):
            stored_as(one, **given)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModelHub]:
    fake = FakeModelHub()
    pointed_at(fake, tmp_path, monkeypatch)
    yield fake
    fake.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_an_adapter_of_the_hub_is_fetched_once(
    root: Path, tmp_path: Path, base: Path, hub: FakeModelHub
) -> None:
    made = write_adapter(tmp_path / "made", str(base))
    hub.add("owner/adapter", files_of(made))
    hub.add_tiny("owner/model", tmp_path)
    heard: list[FromFetch] = []
    # Nobody is asked unless somebody hears.
    assert target(root, "owner/adapter").adapter is None
    found = target(root, "owner/adapter", hear=heard.append)
    assert found.adapter is not None
    assert (found.name, found.model.id) == ("owner/adapter", str(base))
    assert any(isinstance(message, FetchPlanned) for message in heard)
    sent = hub.sent.total()
    assert target(root, "owner/adapter", hear=heard.append) == found
    assert target(root, "owner/adapter") == found
    assert hub.sent.total() == sent
    assert target(root, "owner/model", hear=heard.append).model == ModelSpec(id="owner/model")
    with pytest.raises(UserError, match="there is no model owner/nothing"):
        target(root, "owner/nothing", hear=heard.append)


def test_a_pickled_adapter_of_the_hub_is_not_fetched(
    root: Path, tmp_path: Path, base: Path, hub: FakeModelHub
) -> None:
    made = files_of(write_adapter(tmp_path / "made", str(base)))
    made["adapter_model.bin"] = made.pop("adapter_model.safetensors")
    hub.add("owner/pickled", made)
    with pytest.raises(UserError, match="pickle"):
        target(root, "owner/pickled", hear=lambda message: None)
    assert "adapter_model.bin" not in hub.sent


OLD, NEW = "a" * 40, "b" * 40


def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **refs: str) -> None:
    """A Hub's cache with owner/name at both commits; `refs` are its branches and tags."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--owner--name"
    for commit in (OLD, NEW):
        (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    for name, commit in refs.items():
        (folder / "refs" / name).write_text(commit)


@pytest.mark.parametrize(
    ("revision", "written", "loaded", "says"),
    [
        (OLD, None, None, "was trained on owner/name at aaaaaaaaaa, and bbbbbbbbbb is loaded"),
        (None, OLD, None, "was trained on owner/name at aaaaaaaaaa"),
        ("v1", None, None, "was trained on owner/name at aaaaaaaaaa"),
        (OLD, None, OLD, ""),
        (None, OLD, OLD, ""),
        (NEW, None, None, ""),
        ("main", None, None, ""),
        (None, None, None, ""),
    ],
)
def test_a_base_of_the_hub_that_moved_on_is_told(
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str | None,
    written: str | None,
    loaded: str | None,
    says: str,
) -> None:
    cached(tmp_path, monkeypatch, main=NEW, v1=OLD)
    paths = sessions.create(root, "run", parse_spec({"model": "owner/name", "dataset": "d"}))
    adapter = write_adapter(paths.adapter, "owner/name", revision=revision)
    if written is not None:
        paths.resolved.write_text(yaml.safe_dump({"model_revision": written}))
    found = moved_on(adapter, ModelSpec(id="owner/name", revision=loaded))
    assert says in found
    assert bool(says) == bool(found)


def test_another_base_of_the_hub_is_told(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", "owner/name")
    assert "trained on owner/name, and owner/other is loaded" in moved_on(
        adapter, ModelSpec(id="owner/other")
    )


def test_a_folder_with_other_weights_than_then_is_told(run: SessionPaths, base: Path) -> None:
    from dataclasses import asdict

    model = ModelSpec(id=str(base))
    marks = [asdict(mark) for mark in marks_of(base_files(model))]
    run.resolved.write_text(yaml.safe_dump({"base_files": marks}))
    for adapter in (run.adapter, run.checkpoints / folder_name(10)):
        assert moved_on(adapter, model) == ""
    with (base / "model.safetensors").open("ab") as file:
        file.write(b"more")
    assert "its base has moved on: model.safetensors" in moved_on(run.adapter, model)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"vocab_size": 40}, None),
        ({"vocab_size": 30}, "30 tokens, and the base has 32"),
        ({"model_type": "qwen2"}, "a qwen2 and the base a llama"),
        ({"num_hidden_layers": 3}, "3 layers, and the base has 2"),
    ],
    ids=str,
)
def test_models_are_compared_by_how_they_are_built(
    change: dict[str, Any], says: str | None
) -> None:
    built = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    found = differs({**built, **change}, built)
    assert (found is None) if says is None else (found is not None and says in found)


@pytest.mark.parametrize("text", ["x" * 300, f"{'x' * 300}@5", f"/{'x' * 300}"])
def test_what_no_folder_can_be_called_is_refused(root: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"there is no folder /?xxx") as caught:
        target(root, text)
    assert "too long" in caught.value.what
    assert len(caught.value.what) < 120


@pytest.mark.parametrize(
    ("task", "sorts"), [("SEQ_CLS", True), ("CAUSAL_LM", False), (None, False)]
)
def test_a_classifier_that_was_not_made_here_is_known_by_its_config(
    root: Path, tmp_path: Path, base: Path, task: str | None, sorts: bool
) -> None:
    folder = write_adapter(tmp_path / "mine", str(base), task_type=task)
    assert target(root, str(folder)).classifier is sorts
