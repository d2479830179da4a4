from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import make_tiny_adapter, make_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer llama with its tokenizer. Not to be changed by a test."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that makes the tiny model answer otherwise. Not to be changed by a test."""
    return make_tiny_adapter(tiny_model, tmp_path_factory.mktemp("tiny") / "adapter")
