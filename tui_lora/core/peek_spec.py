"""What the model is asked while it trains."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from tui_lora.core.section import Section, setting

MOST_PROMPTS = 20
MOST_CHARS = 8000


class PeekSpec(Section):
    prompts: tuple[str, ...] = setting(
        (),
        "ask on the way",
        "Texts that the model answers on the way, with its weights of that moment: before the "
        "first step, every so many steps, and after the last. A bar between two: What is LoRA? | "
        "And QLoRA? What is trained is the same to the bit with and without. Empty: none; a "
        "message can be sent to a run at any time.",
    )
    held_out: int = setting(
        0,
        "ask held-out",
        "So many of the first held-out rows are asked too, and their own answer stands beside.",
        unit="rows",
        ge=0,
        le=MOST_PROMPTS,
    )
    every_steps: int = setting(50, "answer every", "Each so many steps.", unit="steps", ge=1)
    max_new_tokens: int = setting(
        64,
        "answer length",
        "An answer ends there. Training waits for it: 64 tokens take about 3 s on a card.",
        unit="tokens",
        ge=1,
        le=2048,
    )

    @property
    def asks(self) -> bool:
        """Whether anything is asked by itself."""
        return bool(self.prompts or self.held_out)

    @field_validator("prompts", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator("prompts")
    @classmethod
    def _few_and_short(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > MOST_PROMPTS:
            raise ValueError(f"can be {MOST_PROMPTS} texts at most (given: {len(value)})")
        if any(not text.strip() for text in value):
            raise ValueError("holds a text with nothing in it")
        if any(len(text) > MOST_CHARS for text in value):
            raise ValueError(f"holds a text of more than {MOST_CHARS:,} characters")
        return value
