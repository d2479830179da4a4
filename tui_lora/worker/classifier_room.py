"""The room of a classifier: a base with a head in memory, adapters beside it, and their labels."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_lora.core.chat import (
    BASE,
    Ask,
    Chance,
    ChatFailed,
    FromChat,
    LoadModel,
    LookAtTokens,
    Predict,
    Predicted,
)
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.worker.adapter import attach, check_fits
from tui_lora.worker.labelling import labels_in, text_ids
from tui_lora.worker.room import Room, answered
from tui_lora.worker.voices import Voice, adapters_tokenizer


@dataclass
class ClassifierRoom(Room):
    """Every adapter here sorts into the same `labels`."""

    def _own_voice(self) -> Voice:
        return Voice(None, self.loaded.tokenizer, frozenset())

    def _load(self, folder: Path) -> Voice:
        labels = labels_in(folder)
        if labels != self.labels:
            raise UserError(
                f"it sorts into other labels: {clean(', '.join(labels), max_chars=200)}.",
                then="Open it by itself.",
            )
        check_fits(folder, self.loaded.model)
        tokenizer = adapters_tokenizer(folder, self.loaded)
        inner = next(self._inner_names)
        self.model = attach(self.model, folder, inner, self.loaded.device)
        return Voice(inner, tokenizer, frozenset())

    def answer(self, asked: Ask, cancelled: threading.Event) -> FromChat:
        return ChatFailed(
            id=asked.id,
            message="this model sorts texts into labels and does not answer; give it a text to "
            "sort.",
        )

    def load_model(self, asked: LoadModel) -> FromChat:
        return ChatFailed(message="a classifier shares its base with nobody.", name=asked.name)

    def look(self, asked: LookAtTokens) -> FromChat:
        return ChatFailed(id=asked.id, message="this model writes no tokens; it sorts texts.")

    def predict(self, asked: Predict) -> FromChat:
        """The label of a text, with what speaks for each; never raises."""
        return answered(asked.id, "no prediction", lambda: self._predict(asked))

    def _predict(self, asked: Predict) -> FromChat:
        import torch

        voice = self.voices.get(asked.name)
        if voice is None or voice.adapter is None:
            known = ", ".join(name for name in self.voices if name != BASE) or "(none)"
            raise UserError(
                "the base sorts at random: what sorts comes with an adapter."
                if voice is not None
                else f"there is no adapter {clean(asked.name)} here.",
                then=f"Loaded are: {clean(known)}.",
            )
        if not asked.text.strip():
            raise UserError("there is no text to sort.")
        began = time.monotonic()
        ids = text_ids(voice.tokenizer, asked.text, self.context)
        batch: Any = torch.tensor([ids], device=self.loaded.device)
        with torch.inference_mode(), self.speaking(voice) as model:
            logits = model(input_ids=batch, attention_mask=torch.ones_like(batch)).logits[0]
        chances = [
            Chance(label=label, probability=probability)
            for label, probability in zip(
                self.labels, logits.float().softmax(-1).tolist(), strict=True
            )
        ]
        return Predicted(
            id=asked.id,
            name=asked.name,
            chances=tuple(sorted(chances, key=lambda chance: -chance.probability)),
            prompt_tokens=len(ids),
            seconds=round(time.monotonic() - began, 3),
        )
