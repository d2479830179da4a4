"""Answers of a model that is being trained: greedy, one after the other, by the model itself.

An answer takes far less memory than a step: no gradient is kept, and what attention remembers of a
token is two small vectors a layer (of a model of 7 billion weights 64 to 128 kB a token).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from tui_lora.core.chat import Chance, Turn
from tui_lora.core.errors import UserError
from tui_lora.core.peek import shortened
from tui_lora.worker.as_it_was import as_it_was
from tui_lora.worker.labelling import text_ids
from tui_lora.worker.model import context_tokens
from tui_lora.worker.voices import prompt_of, voice_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tui_lora.worker.trainer import Session

MOST_SECONDS = 60.0
"""Of one answer; training waits."""

SHOWN_CHANCES = 10

Found = dict[str, Any]
"""What was found of an answer, by the names of PeekAnswer."""


class CutOff(Exception):
    """The run is to end: nobody waits for this answer any more."""


class Answers:
    """Asks the model of a trainer. `plain`: its rows are texts to be carried on and have no turns;
    `labels` are those of a classifier."""

    def __init__(self, trainer: Session, *, plain: bool, labels: tuple[str, ...]) -> None:
        self._trainer, self._plain, self._labels = trainer, plain, labels
        self._peft: Any = trainer.model  # type: ignore[attr-defined]
        self._model = self._peft.get_base_model()
        tokenizer = trainer.processing_class  # type: ignore[attr-defined]
        ends = _ids(getattr(self._model.generation_config, "eos_token_id", None))
        self._voice = voice_of(None, tokenizer, ends=ends)
        self._longest = int(getattr(trainer.args, "max_length", None) or 0)  # type: ignore[attr-defined]
        self._context = context_tokens(self._model.config)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While this is open the model answers; before and after it is in training."""
        trainer = self._trainer
        drawn = getattr(self._model, "generation_config", None)
        with as_it_was(self._peft), trainer.as_saved(), trainer.accelerator.autocast():  # type: ignore[attr-defined]
            self._peft.eval()
            # generate() fills from here what it is not told: a model's own temperature.
            self._model.generation_config = GenerationConfig()
            try:
                yield
            finally:
                self._model.generation_config = drawn

    def of(
        self, turns: tuple[Turn, ...], limit: int, *, base: bool, ended: Callable[[], bool]
    ) -> Found:
        """The answer to `turns`, of `limit` tokens at most; by the base without the adapter where
        `base` says so. `ended` tells whether the run is to end, which raises CutOff.

        Raises UserError for what cannot be asked.
        """
        began = time.monotonic()
        without: AbstractContextManager[Any] = nullcontext()
        if base:
            without = self._peft.disable_adapter()
        with torch.no_grad(), without:
            found = self._sorted(turns) if self._labels else self._written(turns, limit, ended)
        if ended():
            raise CutOff
        return {**found, "limit": limit, "seconds": round(time.monotonic() - began, 3)}

    def _written(self, turns: tuple[Turn, ...], limit: int, ended: Callable[[], bool]) -> Found:
        ids = prompt_of(self._voice, turns, plain=self._plain)
        room = self._room(len(ids), limit)
        batch = torch.tensor([ids], device=self._model.device)
        watch = _Watch(ended, time.monotonic() + MOST_SECONDS)
        drawing = drawn(room, sorted(self._voice.ends), self._voice.tokenizer.pad_token_id)
        output = self._model.generate(
            input_ids=batch,
            attention_mask=torch.ones_like(batch),
            generation_config=drawing,
            stopping_criteria=StoppingCriteriaList([watch]),
        )
        answer = output[0, len(ids) :].tolist()
        text = self._voice.tokenizer.decode(answer, skip_special_tokens=True)
        ended_by = "end" if answer and answer[-1] in self._voice.ends else "length"
        return {
            "text": shortened(text),
            "tokens": len(answer),
            "prompt_tokens": len(ids),
            "ended_by": "time" if watch.late and ended_by != "end" else ended_by,
        }

    def _room(self, asked: int, limit: int) -> int:
        """How many tokens an answer may have; raises UserError where the question is too long."""
        if self._longest and asked > self._longest:
            raise UserError(
                f"it has {asked:,} tokens, and no row of this run has more than max length "
                f"({self._longest:,}).",
                then="Ask something shorter; a chat takes longer ones.",
            )
        if self._context is None:
            return limit
        if asked >= self._context:
            raise UserError(
                f"it has {asked:,} tokens, and this model's context ends at {self._context:,}.",
                then="Ask something shorter.",
            )
        return min(limit, self._context - asked)

    def _sorted(self, turns: tuple[Turn, ...]) -> Found:
        # As it is trained: what is behind max length is cut off.
        ids = text_ids(self._voice.tokenizer, turns[-1].content, self._longest or None)
        if not ids:
            raise UserError("there is no text to sort.")
        batch = torch.tensor([ids], device=self._model.device)
        logits = self._model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits[0]
        sizes = logits.float().softmax(-1).tolist()
        both = sorted(zip(self._labels, sizes, strict=True), key=lambda pair: -pair[1])
        chances = tuple(Chance(label=label, probability=size) for label, size in both)
        return {
            "chances": chances[:SHOWN_CHANCES],
            "prompt_tokens": len(ids),
            "ended_by": "label",
        }


def drawn(most: int, ends: list[int], pad: int | None) -> GenerationConfig:
    """Always the likeliest token: an answer that changes does so because the weights did."""
    return GenerationConfig(
        max_new_tokens=most, do_sample=False, eos_token_id=ends, pad_token_id=pad, use_cache=True
    )


class _Watch(StoppingCriteria):
    """Ends an answer that takes too long, or when the run is to end; asked at every token."""

    def __init__(self, ended: Callable[[], bool], until: float) -> None:
        self._ended, self._until = ended, until
        self.late = False

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.late = time.monotonic() >= self._until
        stop = self.late or self._ended()
        return torch.full((input_ids.shape[0],), stop, dtype=torch.bool, device=input_ids.device)


def _ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset(int(one) for one in (value if isinstance(value, list | tuple) else [value]))
