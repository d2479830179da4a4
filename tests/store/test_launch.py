"""What a worker is told by its environment."""

from pathlib import Path

import pytest

from tui_lora.core.spec import ModelSpec
from tui_lora.store import launch
from tui_lora.store.adapters import ChatTarget


@pytest.mark.parametrize(
    ("given", "devices", "seen"),
    [
        (None, "auto", "0"),
        ("2,3", "auto", "2"),
        ("", "auto", ""),
        ("2,3", "1", "1"),
        ("0", "cpu", ""),
    ],
)
def test_one_card_is_visible_at_most(
    given: str | None, devices: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert launch._environment(devices)["CUDA_VISIBLE_DEVICES"] == seen


def test_folders_are_meant_from_where_the_viewer_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUI_LORA_CACHE", "cache")
    monkeypatch.setenv("HF_HOME", "/somewhere/hf")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    environment = launch._environment()
    assert environment["TUI_LORA_CACHE"] == str(tmp_path / "cache")
    assert environment["HF_HOME"] == "/somewhere/hf"
    assert "HF_HUB_CACHE" not in environment


@pytest.mark.parametrize("classifier", [False, True])
def test_a_chat_worker_is_told_of_a_classifier_before_it_loads(
    monkeypatch: pytest.MonkeyPatch, classifier: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(launch, "start_pipe_worker", lambda *a, **_: told.extend(a))
    folder = Path("/runs/one/adapter")
    launch.start_chat(ChatTarget("one", ModelSpec(id="m"), adapter=folder, classifier=classifier))
    assert (told[-2:] == ["--classifier", str(folder)]) is classifier
