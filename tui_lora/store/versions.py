"""The versions of what a run is made with, read without importing any of it."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = (
    *("tui-lora", "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes"),
    "datasets",
)
_CUDA = re.compile(r"^cuda\b[^=\n]*=\s*'([\d.]+)'", re.MULTILINE)


@cache
def versions() -> dict[str, str]:
    """By package, with Python's and that of torch's CUDA; what is not installed is left out."""
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if cuda := _cuda():
        found["cuda"] = cuda
    return found


def _cuda() -> str:
    """What torch was built for; empty for a build for the processor."""
    try:
        torch = find_spec("torch")
        if torch is None or not torch.origin:
            return ""
        text = Path(torch.origin).with_name("version.py").read_text(encoding="utf-8")
    except (ImportError, OSError, ValueError):
        return ""
    built = _CUDA.search(text)
    return built.group(1) if built else ""
