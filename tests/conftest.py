"""What tests that train share: a tiny model, an adapter, rows."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import tempfile
from pathlib import Path

import pytest

from tests.tiny import make_tiny_adapter, make_tiny_model

# Before anything imports torch, and for the workers that are started too: on models as small as
# these, threads that wait for each other take several times as long as one alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What the user's own runs took is nothing to a test, and a test's is nothing to the user.
os.environ["TUI_LORA_DATA"] = tempfile.mkdtemp(prefix="tui-lora-data-")
# A shell that runs the tests in the background has Ctrl-C ignored, and so would all that they
# start and then interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_MARKS_OF_A_MODULE = re.compile(r"^pytestmark = .*", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a module unread of which every test is deselected: most of those import torch."""
    left_out = re.findall(r"not (\w+)", config.option.markexpr)
    if not left_out or collection_path.suffix != ".py":
        return None
    marks = _MARKS_OF_A_MODULE.search(collection_path.read_text("utf-8"))
    named = re.findall(r"mark\.(\w+)", marks[0]) if marks else []
    return True if set(named) & set(left_out) else None


@pytest.fixture(autouse=True, scope="module")
def what_is_imported_stays() -> None:
    """Whoever collects garbage looks at what tests made, not at a million objects of torch."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer llama with its tokenizer. Not to be changed by a test."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that makes the tiny model answer otherwise. Not to be changed by a test."""
    return make_tiny_adapter(tiny_model, tmp_path_factory.mktemp("tiny") / "adapter")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    with path.open("w") as file:
        for i in range(40):
            turns = [
                {"role": "user", "content": f"What is the rank of run {i}?"},
                {"role": "assistant", "content": f"The rank is {i}, alpha is {2 * i}."},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path
