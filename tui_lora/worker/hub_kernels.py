"""Native code of the Hub: the package `kernels` fetches it, and it runs at once.

bitsandbytes does so as it is imported, on a processor with AVX512-BF16, and transformers wherever
something faster is to be had. No worker lets them, but for a run that asks for it by
`model.attention: kernels`, and then for its attention alone.
"""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.machinery import PathFinder

PACKAGE = "kernels"


def keep_out() -> None:
    """Let nothing in this process import the package from here on; before torch is."""
    sys.modules.setdefault(PACKAGE, None)  # type: ignore[arg-type]


def let_in() -> None:
    """Let transformers import it after all; before transformers is imported."""
    # It asks once, as it is imported: it gets no for an answer.
    import bitsandbytes  # noqa: F401

    if sys.modules.get(PACKAGE, sys) is None:
        del sys.modules[PACKAGE]


def is_there() -> bool:
    """Whether the package is installed, kept out or not, in a version that transformers takes."""
    from packaging.version import Version
    from transformers.utils.import_utils import KERNELS_MAX_VERSION, KERNELS_MIN_VERSION

    if PathFinder.find_spec(PACKAGE) is None:
        return False
    try:
        found = Version(metadata.version(PACKAGE))
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return Version(KERNELS_MIN_VERSION) <= found < Version(KERNELS_MAX_VERSION)
