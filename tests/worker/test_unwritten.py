"""What saving raises where a disk is full, by the libraries that save."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.blows import SmallFiles
from tui_lora.worker.unwritten import why_unwritten

pytestmark = pytest.mark.model


def by_torch(path: Path) -> None:
    import torch

    torch.save({"a": torch.ones(10_000)}, path)


def by_safetensors(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.ones(10_000)}, path)


def by_python(path: Path) -> None:
    path.write_text("x" * 40_000)


def attempt(save: Callable[[Path], None], path: Path) -> str | None:
    """Why it was not written; in a process of its own, whose files have to stay small."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        SmallFiles(1000)()
        try:
            save(path)
            os.write(write, b"it was written")
        except Exception as error:  # noqa: BLE001
            os.write(write, (why_unwritten(error) or f"unknown: {error!r}").encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


@pytest.mark.parametrize(
    ("save", "why"),
    [
        (by_torch, "the disk did not take it"),
        (by_safetensors, "File too large (os error 27)"),
        (by_python, "File too large"),
    ],
)
def test_each_library_says_it_in_its_own_way(
    tmp_path: Path, save: Callable[[Path], None], why: str
) -> None:
    assert attempt(save, tmp_path / "file") == why


def test_other_errors_are_none_of_this() -> None:
    assert why_unwritten(OSError(errno.ENOSPC, "No space left")) == "No space left"
    for error in (RuntimeError("CUDA error: device-side assert"), ValueError("I/O error: x")):
        assert why_unwritten(error) is None
