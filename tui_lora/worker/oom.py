"""Was it memory that ran out? Cards, CPUs and cuBLAS each say it in their own words."""

from __future__ import annotations

_WORDS = ("out of memory", "allocate memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on the card or on the machine.

    By its words: torch may be what could not be imported.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)
