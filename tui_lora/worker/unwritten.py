"""Errors of saving that say no more than that a file could not be written."""

from __future__ import annotations

import re

from tui_lora.core.text import one_line

_BY_TORCH = re.compile(r"inline_container|PytorchStreamWriter|unexpected pos")
_BY_SAFETENSORS = re.compile(r"I/O error: (.*)")
_BY_TOKENIZERS = re.compile(r"^(.*) \(os error \d+\)$")


def why_unwritten(error: BaseException) -> str | None:
    """The reason in words (`No space left on device`), or None for an error of another kind.

    torch raises a RuntimeError out of its zip writer, which does not say why; safetensors an error
    of its own and tokenizers a plain Exception, with the system's words in it.
    """
    if isinstance(error, OSError):
        return one_line(error.strerror or str(error), max_chars=200)
    text = str(error)
    if type(error).__name__ == "SafetensorError" and (found := _BY_SAFETENSORS.search(text)):
        return one_line(found[1], max_chars=200)
    if type(error) is Exception and (found := _BY_TOKENIZERS.search(text)):
        return one_line(found[1], max_chars=200)
    if isinstance(error, RuntimeError) and _BY_TORCH.search(text):
        return "the disk did not take it"
    return None
