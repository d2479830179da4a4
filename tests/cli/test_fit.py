"""`tui-lora fit`: with an inspect worker of our own, and once with the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import fake_inspect
from tests.hub_models import FakeModelHub, pointed_at
from tests.models import write_model
from tui_lora.core.errors import UserError
from tui_lora.core.sensors import CardReading, MachineReading, SensorReading
from tui_lora.headless import fit as verb
from tui_lora.headless import questions

KEYS = {
    "peak_allocated_gib", "peak_reserved_gib", "peak_process_gib", "parts", "card_gib",
    "headroom_gib", "verdict", "method", "reasons", "advice",
}  # fmt: skip
PARTS = {
    "weights", "adapter", "gradients", "optimizer", "activations", "workspace", "loss", "context",
    "others",
}  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forecast is always of 7.3 GiB."""
    monkeypatch.setattr(questions, "start_pipe_worker", fake_inspect.start_fake)


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return str(folder)


def cards(monkeypatch: pytest.MonkeyPatch, *found: CardReading, **known: Any) -> None:
    machine = MachineReading(16.0, 4.0, None, 2)
    reading = SensorReading(found, machine, **{"nvml_problem": None, **known})
    monkeypatch.setattr(verb.Sensors, "read", lambda self: reading)


def card(total_gib: float, used_gib: float | None) -> CardReading:
    free = None if used_gib is None else total_gib - used_gib
    numbers: list[Any] = [total_gib, used_gib, free, *[None] * 4]
    return CardReading(0, "GPU-1", "NVIDIA GeForce RTX 4080", *numbers, (), None)


def ask(root: Path, **others: Any) -> int:
    wanted = {"what": None, "preset": "16gb-ada-7b", "changes": [], "card": None}
    return verb.fit(root, **{**wanted, "json_wanted": False, **others})


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("size", "headroom", "verdict"),
    [
        ("16GiB", 8.7, "fits"),
        ("7.5GiB", 0.2, "tight"),
        ("T4", 7.7, "fits"),
        ("4", -3.3, "does_not_fit"),
    ],
)
def test_json_has_every_key_and_the_verdict(
    tmp_path: Path,
    model: str,
    size: str,
    headroom: float,
    verdict: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ask(tmp_path, changes=[f"model.id={model}"], card=size, json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= KEYS
    assert found["parts"].keys() == PARTS
    assert found["headroom_gib"] == pytest.approx(headroom)
    assert (found["verdict"], found["method"]) == (verdict, "simulated")
    peaks = [change["peak_process_gib"] for change in found["advice"]]
    assert peaks == ([] if verdict == "fits" else [6.9])
    parts = sum(size for name, size in found["parts"].items() if name != "others")
    assert parts == pytest.approx(found["peak_process_gib"])


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("size", ["16GiB", "4"])
def test_more_tells_the_largest_and_the_ways(
    tmp_path: Path, model: str, size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [f"model.id={model}"]
    assert ask(tmp_path, changes=changes, card=size, more=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-10:] == [
        "the largest that fits, each alone",
        f"{'largest rank: 64':<42}    7.40 GiB  fits",
        "  at 68 it takes 7.5 of 7.5 GiB, which is tight",
        f"{'most rows at once: none':<42}       — GiB  does not fit",
        "  even at 1 it takes 9.0 of 7.5 GiB, which does not fit",
        "",
        "the same rows in other ways",
        f"{'full fine-tuning':<42}       — GiB  unknown",
        "  it cannot be simulated",
        f"{'LoRA, int8':<42}    7.30 GiB  tight",
    ]
    assert ask(tmp_path, changes=changes, card=size, more=True, json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [change["peak_process_gib"] for change in found["advice"]] == [6.9]
    assert [(one["value"], one["set"]) for one in found["largest"]] == [
        (64, {"lora.r": 64, "lora.alpha": 128}),
        (None, {}),
    ]
    assert [way["peak_process_gib"] for way in found["ways"]] == [None, pytest.approx(7.3)]


@pytest.mark.usefixtures("fake")
def test_what_was_found_before_it_failed_is_kept_and_the_failure_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "half")
    assert ask(tmp_path, changes=[f"model.id={folder}"], card="16GiB", more=True) == 0
    said = capsys.readouterr().out
    assert "largest rank: 64" in said
    assert "in other ways" not in said
    assert "not all that may fit was found: the ways fell off the bus." in " ".join(said.split())


@pytest.mark.usefixtures("fake")
def test_what_more_there_is_to_ask_is_said_where_it_fits(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(tmp_path, changes=[f"model.id={model}"], card="16GiB") == 0
    assert "--more says what else fits" in capsys.readouterr().out
    assert ask(tmp_path, changes=[f"model.id={model}"], card="4") == 0
    said = capsys.readouterr().out
    assert "rows of 512 tokens" in said
    assert "largest" not in said


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("used", "words"), [(1.0, "it fits ("), (12.0, "it does not fit (")])
def test_the_card_that_is_here_and_what_others_hold(
    tmp_path: Path,
    model: str,
    used: float,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cards(monkeypatch, card(16.0, used))
    assert ask(tmp_path, changes=[f"model.id={model}"]) == 0
    said = capsys.readouterr().out
    assert words in said
    assert f"others{used:22.2f} GiB" in said
    assert all(len(line) <= 80 for line in said.splitlines())


@pytest.mark.usefixtures("fake")
def test_where_it_is_not_known_what_others_hold_there_is_no_verdict(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards(monkeypatch, card(16.0, None))
    assert ask(tmp_path, changes=[f"model.id={model}"]) == 0
    said = capsys.readouterr().out
    assert "no verdict: what others hold of NVIDIA GeForce RTX 4080 is not known" in said
    assert "it fits" not in said
    assert ask(tmp_path, changes=[f"model.id={model}"], json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["others"] is None
    assert (found["headroom_gib"], found["verdict"]) == (None, "unknown")


@pytest.mark.usefixtures("fake")
def test_without_a_card_there_is_a_peak_and_no_verdict(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards(monkeypatch)
    assert ask(tmp_path, changes=[f"model.id={model}"]) == 0
    said = capsys.readouterr().out
    assert "peak of the process     7.30 GiB" in said
    assert "no verdict: there is no card here; name one with --card" in said
    assert ask(tmp_path, changes=[f"model.id={model}"], json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["card_gib"], found["headroom_gib"], found["verdict"]) == (None, None, "unknown")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("found", "devices", "reading", "why"),
    [
        (1, "cpu", {}, "hardware.devices is cpu"),
        (1, "1", {}, "hardware.devices is 1, which names no card here"),
        (1, "auto", {"visible": ""}, "CUDA_VISIBLE_DEVICES is '', which names no card here"),
        (0, "auto", {"nvml_problem": "The driver was upgraded. Reboot."}, "Reboot; name one with"),
    ],
)
def test_why_there_is_no_card(
    tmp_path: Path,
    model: str,
    found: int,
    devices: str,
    reading: dict[str, Any],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cards(monkeypatch, *[card(16.0, 1.0)] * found, **reading)
    changes = [f"model.id={model}", f"hardware.devices={devices}"]
    assert ask(tmp_path, changes=changes) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert why in said
    assert "there is no card here" not in said
    assert ask(tmp_path, changes=changes, json_wanted=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert why in answer["reasons"][-1]
    assert answer["card_gib"] is None


def test_where_nobody_can_simulate_the_formula_answers(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(kind: str, **named: str) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(questions, "start_pipe_worker", cannot)
    assert ask(tmp_path, changes=[f"model.id={model}"], card="16GiB", json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "formula"
    assert "Cannot allocate memory" in found["reasons"][0]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "names no model"),
        ({"preset": None}, "give one of: a run spec, a session, or --preset"),
        ({"preset": None, "what": "no-such-session"}, "there is no session no-such-session"),
        ({"changes": ["model.id=m", "lora.r=-1"]}, "lora.r"),
        ({"changes": ["model.id=m"], "card": "banana"}, "names no card"),
        ({"changes": ["model.id=m"], "card": "0GiB"}, "is no size of a card"),
        ({"changes": ["model.id=broken"]}, "it cannot be run"),
        ({"changes": ["model.id=/nowhere/at/all"]}, "there is no model /nowhere/at/all"),
        ({"changes": ["model.id=gpt2"]}, "A Hub id is owner/name"),
        ({"changes": ["model.id=smollm2-135m-instruct"]}, "the demo model is not on this machine"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, asked: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "broken")
    with pytest.raises(UserError) as error:
        ask(tmp_path, **asked)
    assert words in f"{error.value} {error.value.then}"
    assert error.value.exit_code == 2


@pytest.mark.usefixtures("fake")
def test_of_a_model_of_the_hub_only_the_config_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeModelHub()
    pointed_at(hub, tmp_path, monkeypatch)
    hub.add_tiny("nobody/tiny", tmp_path)
    try:
        assert ask(tmp_path, changes=["model.id=nobody/tiny"], card="16GiB") == 0
    finally:
        hub.close()
    assert "it fits (16 GiB)" in capsys.readouterr().out
    assert set(hub.sent) == {"config.json"}


def test_a_model_that_is_not_here_is_unknown_with_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert ask(tmp_path, changes=["model.id=nobody/nothing"], card="16GiB") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "unknown (16 GiB)" in said
    assert "the config.json of nobody/nothing could not be fetched" in said
    assert "name a folder with its config.json" in said


@pytest.mark.model
def test_the_real_worker_simulates(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(tmp_path, changes=[f"model.id={model}"], card="T4", json_wanted=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["method"], found["verdict"], found["phase"]) == ("simulated", "fits", "backward")
    assert 0.3 < found["peak_process_gib"] < 1.5
