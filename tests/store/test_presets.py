"""Shipped presets load, fit their card by the sum in docs/presets.md, and say why; and the user's
own are kept, listed, replaced and deleted without harm."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.presets import CARDS, card_of, class_of_card, filled, kept
from tui_lora.core.spec import check_spec
from tui_lora.store import presets
from tui_lora.store.paths import DEMO_MODEL
from tui_lora.store.presets import listed, own_names, preset_names, read_preset, write_preset
from tui_lora.store.sources import SHIPPED
from tui_lora.store.spec_file import spec_in

MATRIX = [
    f"{card.prefix}-{size}"
    for card in CARDS
    for size in ("1b", "3b", "7b", "14b")
    if (card.prefix, size) != ("8gb", "14b")
]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config" / "presets"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / "presets.py"
    spec = importlib.util.spec_from_file_location("presets_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_card_and_size_has_its_preset() -> None:
    assert [name for name in preset_names() if card_of(name)] == sorted(MATRIX)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_spec_with_its_reasons(name: str) -> None:
    preset = read_preset(name)
    # As long as the list has room for in a terminal of 80 columns, below its rows.
    assert 60 <= len(preset.about) <= 280
    assert preset.entry.sources
    assert preset.entry in listed()
    spec, problems = check_spec(filled(preset.data))
    assert problems == ()
    assert spec is not None
    if card_of(name):
        assert "model" not in preset.data
        assert "dataset" not in preset.data
        assert spec.training.micro_batch * spec.training.accumulation == 16


def test_the_quickstart_needs_nothing_more() -> None:
    spec = spec_in(read_preset("quickstart").data)
    assert spec.model.id == DEMO_MODEL
    assert {spec.dataset.path, spec.dataset.eval_path} == set(SHIPPED)


@pytest.mark.parametrize("name", ["quikstart", "../quickstart", "", "x\x1b[31m", "16gb-ada7b"])
def test_an_unknown_preset_names_near_ones(name: str) -> None:
    with pytest.raises(UserError, match="there is no preset") as caught:
        read_preset(name)
    said = str(caught.value)
    assert "lora-16bit, " in said.partition("Known: ")[2]
    assert "\x1b" not in said
    assert name != "quikstart" or "Did you mean quickstart?" in said
    assert name != "16gb-ada7b" or "16gb-ada-7b or " in said


def test_an_old_name_is_understood_and_not_listed() -> None:
    assert read_preset("qlora-16gb").data == read_preset("16gb-ada-7b").data
    assert "qlora-16gb" not in preset_names()


@pytest.mark.parametrize(
    ("card", "gib", "prefix"),
    [
        ("Tesla T4", 15.0, "16gb-t4"),
        ("NVIDIA GeForce RTX 4080", 15.99, "16gb-ada"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 7.996, "8gb"),
        ("NVIDIA L4", 22.49, "24gb"),
        ("NVIDIA H200", 139.8, "24gb"),
        ("NVIDIA GeForce RTX 2080", 7.99, "8gb"),
        ("Quadro RTX 6000", 24.0, "16gb-t4"),
        ("NVIDIA GeForce RTX 3060", 12.0, "12gb"),
        ("NVIDIA GeForce GT 1030", 2.0, None),
        ("something", None, None),
    ],
)
def test_the_class_of_a_card(card: str, gib: float | None, prefix: str | None) -> None:
    found = class_of_card(card, gib)
    assert (found.prefix if found else None) == prefix


# The sums.


def test_the_page_of_sums_is_up_to_date(script: ModuleType) -> None:
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page() == text, "run scripts/presets.py --write"
    for name in preset_names():
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "quickstart"])
def test_a_preset_leaves_a_tenth_of_its_card(name: str, script: ModuleType) -> None:
    spec, model, card = script.of_preset(name)
    reckoned = script.reckon(spec, model, card).peak_process_gib
    assert reckoned <= (1 - script.SPARE) * card.gib


# The user's own.

DRAFT: dict[str, Any] = {
    "model": {"id": "a/b", "revision": "main", "dtype": "float16"},
    "dataset": {"path": "rows.jsonl", "format": "pairs", "eval_share": 0.2},
    "lora": {"r": 8, "alpha": 32, "target_modules": ("q_proj", "v_proj")},
    "training": {"learning_rate": 1e-5, "epochs": 3},
}


def test_only_what_was_changed_is_kept_and_what_is_of_one_model_only_if_asked() -> None:
    assert kept(DRAFT, whole=False) == {
        "model": {"dtype": "float16"},
        "dataset": {"eval_share": 0.2},
        "lora": {"r": 8, "target_modules": ["q_proj", "v_proj"]},
        "training": {"learning_rate": 1e-5},
    }
    assert kept(DRAFT, whole=True)["model"] == {
        "id": "a/b",
        "revision": "main",
        "dtype": "float16",
    }


def test_an_own_preset_is_kept_listed_replaced_and_deleted(config: Path) -> None:
    assert own_names() == []
    path = write_preset("mine", kept(DRAFT, whole=True), "For Köln:\n# naïve \x1b[31m rows.")
    assert path == config / "mine.yaml"
    found = read_preset("mine")
    assert found.about == "For Köln:⏎# naïve [31m rows."
    assert found.entry.own
    assert found.data["lora"] == {"r": 8, "target_modules": ["q_proj", "v_proj"]}
    assert found.data["training"] == {"learning_rate": 1e-5}
    assert [entry.name for entry in listed() if entry.own] == ["mine"]
    assert "mine" not in preset_names()
    write_preset("mine", {"lora": {"r": 4}})
    assert read_preset("mine").data == {"lora": {"r": 4}}
    assert read_preset("mine").about == ""
    presets.delete_preset("mine")
    assert own_names() == []
    with pytest.raises(UserError, match="there is no preset"):
        read_preset("mine")
    with pytest.raises(UserError, match="is no preset of yours"):
        presets.delete_preset("quickstart")


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "../up", "x" * 49, "ü", "-x"])
def test_a_name_that_is_no_file_s_is_refused(name: str, config: Path) -> None:
    with pytest.raises(UserError, match="cannot name a preset"):
        write_preset(name, {})
    assert not config.exists()


@pytest.mark.parametrize("name", ["quickstart", "qlora-16gb"])
def test_a_shipped_name_is_not_taken(name: str, config: Path) -> None:
    with pytest.raises(UserError, match="a preset that we ship"):
        write_preset(name, {})
    config.mkdir(parents=True)
    (config / f"{name}.yaml").write_text("lora: {r: 2}\n")
    assert own_names() == []
    assert read_preset(name).entry.own is False


def test_settings_that_do_not_hold_are_not_kept(config: Path) -> None:
    with pytest.raises(UserError, match=r"lora\.r"):
        write_preset("mine", {"lora": {"r": 0}})
    assert not config.exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text("lora: {r: [\n"), "is no YAML"),
        (lambda path: path.write_text("training: 5\n"), "training"),
        (lambda path: path.write_text("dataset: 5\n"), "dataset"),
        (lambda path: path.write_text("lora: {rnak: 8}\n"), "rnak"),
        (lambda path: path.write_text("- 1\n"), "list of settings"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "UTF-8"),
        (lambda path: path.write_text(""), "list of settings"),
    ],
)
def test_one_that_cannot_be_used_is_listed_with_its_problem(
    spoil: Callable[[Path], object], said: str, config: Path
) -> None:
    write_preset("good", {})
    spoil(config / "bad.yaml")
    entries = {entry.name: entry for entry in listed()}
    assert said in entries["bad"].problem
    assert entries["good"].problem == ""
    assert len(entries) == len(preset_names()) + 2
    with pytest.raises(UserError, match=r"bad\.yaml|preset"):
        read_preset("bad")
    presets.delete_preset("bad")
    assert own_names() == ["good"]


def test_a_folder_that_cannot_be_written_is_named(config: Path) -> None:
    config.parent.mkdir()
    config.write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        write_preset("mine", {})
