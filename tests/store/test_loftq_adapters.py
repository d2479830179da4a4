"""Who is told that an adapter began with what quantization rounded away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui_lora.core.spec import RunSpec
from tui_lora.store.loftq_adapters import counts_twice_in_chat
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


def test_nothing_is_said_of_an_adapter_whose_base_nobody_wrote_down(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"init_lora_weights": "loftq"}')
    assert counts_twice_in_chat(tmp_path, "none") == ""
