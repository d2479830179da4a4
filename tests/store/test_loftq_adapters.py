"""Who is told that an adapter began with what quantization rounded away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tui_lora.core.spec import RunSpec
from tui_lora.store.loftq_adapters import counts_twice_in_chat, merges_rounded, of_loftq
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_file import to_yaml


@pytest.mark.parametrize(
    ("variant", "stored", "told"),
    [
        ("loftq", "none", "is not quantized here"),
        ("loftq", "int8", "is stored in int8 here"),
        ("loftq", "nf4", ""),
        ("lora", "none", ""),
    ],
)
def test_a_chat_on_a_base_that_is_stored_otherwise(
    tmp_path: Path, variant: str, stored: str, told: str
) -> None:
    paths = SessionPaths(tmp_path / "run")
    paths.adapter.mkdir(parents=True)
    (paths.adapter / "adapter_config.json").write_text('{"init_lora_weights": true}')
    spec = {"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}, "lora": {"variant": variant}}
    paths.spec.write_text(to_yaml(RunSpec(**spec, quantization={"scheme": "nf4"})))
    words = counts_twice_in_chat(paths.adapter, stored)
    assert told in words
    assert bool(words) == bool(told)


def session(folder: Path, scheme: str, **lora: str) -> SessionPaths:
    """A run with its adapter, whose own files tell nothing."""
    paths = SessionPaths(folder)
    paths.adapter.mkdir(parents=True)
    (paths.adapter / "adapter_config.json").write_text('{"init_lora_weights": true}')
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"")
    spec = {"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}, "lora": lora}
    paths.spec.write_text(to_yaml(RunSpec(**spec, quantization={"scheme": scheme})))
    return paths


STARTS = {
    "its name": "a",
    "its folder": "{root}/a",
    "its adapter": "{root}/a/adapter",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("gone", [False, True], ids=["there", "adapter gone"])
def test_a_run_that_started_from_one_is_found(tmp_path: Path, start: str, gone: bool) -> None:
    first = session(tmp_path / "a", "nf4", variant="loftq")
    second = session(tmp_path / "b", "nf4", start_from=start.format(root=tmp_path))
    third = session(tmp_path / "c", "nf4", start_from="b")
    if gone:
        shutil.rmtree(first.adapter)
    assert of_loftq(second.adapter)
    assert of_loftq(third.adapter)


@pytest.mark.parametrize("start", ["a", "gone", "/no/such/adapter", "owner/name"])
def test_a_run_that_started_elsewhere_is_none(tmp_path: Path, start: str) -> None:
    session(tmp_path / "a", "nf4", variant="lora")
    assert not of_loftq(session(tmp_path / "b", "nf4", start_from=start).adapter)


@pytest.mark.parametrize(
    ("scheme", "rounded"), [("nf4", True), ("fp4", True), ("int8", False), ("none", False)]
)
def test_what_it_is_merged_into_is_what_its_own_run_learned_on(
    tmp_path: Path, scheme: str, rounded: bool
) -> None:
    session(tmp_path / "a", "nf4", variant="loftq")
    child = session(tmp_path / "b", scheme, start_from="a")
    assert merges_rounded(child.adapter) is rounded


def test_of_a_run_that_nobody_wrote_down_it_is_what_was_rounded(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"init_lora_weights": "loftq"}')
    assert merges_rounded(tmp_path)


def test_nothing_is_said_of_an_adapter_whose_base_nobody_wrote_down(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"init_lora_weights": "loftq"}')
    assert counts_twice_in_chat(tmp_path, "none") == ""
