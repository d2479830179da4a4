"""Chat templates are programs of foreign hands: each rendering has a limit of time and of memory.

transformers renders them in a sandbox that keeps them from files and processes, but not from a
loop without end, a text of gigabytes, or a number whose digits take years.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tui_lora.core.errors import UserError
from tui_lora.worker.time_limit import TookTooLong, chars_in, time_limit

RENDER_LIMIT_S = 10.0
"""Of one conversation, which takes a thousandth of a second."""
MOST_GROWTH_BYTES = 512 << 20
_MOST_ITEMS = 10_000_000
"""Characters or entries of a text or a list that is repeated."""
_MOST_BITS = 1 << 16
"""Of a product or a power of whole numbers."""
_FREELY_WRITTEN, _TIMES_WHAT_IT_READ = 1_000_000, 100
"""Characters: what comes out of a template is then written as tokens, where no alarm is heard."""

_STATM = Path("/proc/self/statm")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, in which no single operation is so large that it cannot be interrupted: these
    would even be carried out while the template is compiled."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _size_of(operator, left, right):
            raise OverflowError(f"{operator} of something so large")
        return super().call_binop(context, operator, left, right)


def _size_of(operator: str, left: Any, right: Any) -> bool:
    """Whether the result would be beyond all reason."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        if operator == "**":
            return bits > 1 and bits * max(right, 0) > _MOST_BITS
        return bits + right.bit_length() > _MOST_BITS
    if operator == "*":
        many, what = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(many, int) and isinstance(what, str | list | tuple):
            return len(what) * many > _MOST_ITEMS
    return False


def bound_rendering() -> None:
    """From now on whatever transformers renders in this process is bounded. May be called again."""
    from transformers import processing_utils, tokenization_utils_base
    from transformers.utils import chat_template_utils

    if chat_template_utils.ImmutableSandboxedEnvironment is BoundedEnvironment:
        return
    really = chat_template_utils.render_jinja_template

    def render(**named: Any) -> Any:
        return _bounded(lambda: really(**named), list(named.values()))

    chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment
    chat_template_utils._compile_jinja_template.cache_clear()
    for module in (chat_template_utils, tokenization_utils_base, processing_utils):
        module.render_jinja_template = render


def _bounded(render: Callable[[], Any], given: list[Any]) -> Any:
    """What `render` makes of what was `given`: texts, and where the assistant's words are. Raises
    UserError."""
    began = time.monotonic()
    try:
        with time_limit(RENDER_LIMIT_S), _memory_limit():
            found = render()
    except TookTooLong:
        if time.monotonic() - began < RENDER_LIMIT_S:
            # A limit around this one, whose words are its own.
            raise
        raise _refusal(f"did not end within {RENDER_LIMIT_S:g} s") from None
    except (MemoryError, RecursionError, OverflowError):
        raise _refusal("asks for more memory or steps than any conversation needs") from None
    written = sum(map(len, found[0]))
    # What it read is only counted where it matters.
    if written > _FREELY_WRITTEN and written > _TIMES_WHAT_IT_READ * chars_in(given):
        raise _refusal(f"writes {written:,} characters for one conversation")
    return found


def _refusal(what: str) -> UserError:
    return UserError(
        f"the chat template {what}.",
        where="model.chat_template",
        then="Choose one of ours, such as zephyr, or another model.",
    )


@contextmanager
def _memory_limit() -> Iterator[None]:
    """MemoryError inside for what would make the process grow by more than any rendering does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(_STATM.read_bytes().split()[0]) * resource.getpagesize() + MOST_GROWTH_BYTES
    if soft != resource.RLIM_INFINITY and soft <= most:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
