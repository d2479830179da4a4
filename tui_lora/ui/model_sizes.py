"""A model's sizes for the formula, read in a thread, and its config.json fetched to know them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.core.text import one_line

if TYPE_CHECKING:
    from tui_lora.core.model_facts import ModelFacts
    from tui_lora.core.spec import ModelSpec

Key = tuple[str, str | None]


class SizesRead(Message):
    """A model's sizes were read from the disk; None where they are not told there.

    `to_be_had`: its config.json is not here, and the Hub may have it. `fetched`: it came from there
    just now; `problem` says why it did not.
    """

    def __init__(
        self,
        key: Key,
        facts: ModelFacts | None,
        *,
        to_be_had: bool = False,
        fetched: bool = False,
        problem: str = "",
    ) -> None:
        self.key = key
        self.facts = facts
        self.to_be_had = to_be_had
        self.fetched = fetched
        self.problem = problem
        super().__init__()


def key_of(model: ModelSpec) -> Key:
    return model.id, model.revision


def read_sizes(model: ModelSpec, post: Callable[[Message], object]) -> None:
    """Blocks on the disk."""
    from tui_lora.store.model_sizes import facts_at, is_to_be_had

    facts = facts_at(model)
    post(SizesRead(key_of(model), facts, to_be_had=facts is None and is_to_be_had(model)))


def fetched_sizes(model: ModelSpec) -> SizesRead:
    """Fetch config.json, and nothing else of the model. Blocks on the network."""
    from tui_lora.store.model_sizes import facts_at, fetch_config

    try:
        fetch_config(model)
    except UserError as error:
        return SizesRead(key_of(model), None, problem=one_line(f"{error.what} {error.then}"))
    return SizesRead(key_of(model), facts_at(model), fetched=True)
