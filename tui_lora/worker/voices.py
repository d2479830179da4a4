"""Who can answer in a chat: an adapter, the base or a whole model, and the words it is asked in."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.json_file import read_object
from tui_lora.store.model_code import own_classes
from tui_lora.store.model_tokenizer import vocabulary

if TYPE_CHECKING:
    from tui_lora.worker.model import Loaded


@dataclass(frozen=True)
class Voice:
    """What answers: an adapter (None: the base), and a tokenizer that writes turns its way.

    `ends` are the tokens with which it ends an answer: those of the template beside the end token,
    or a model whose end token is another one would talk on past them. `model`: a whole model beside
    the base. `fixed`: why what the adapter adds cannot be scaled; empty where it can.
    """

    adapter: str | None
    tokenizer: Any
    ends: frozenset[int]
    model: Any = None
    fixed: str = ""

    @property
    def writes(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """Equal where two voices turn the same turns into the same tokens."""
        template = self.tokenizer.chat_template
        return str(template), tuple(sorted(self.tokenizer.get_added_vocab().items()))


def voice_of(
    adapter: str | None,
    tokenizer: Any,
    *,
    model: Any = None,
    ends: frozenset[int] = frozenset(),
    fixed: str = "",
) -> Voice:
    """A voice that ends with its template's end of turn, beside `ends`."""
    from tui_lora.worker.templates import end_of_turn_ids

    return Voice(adapter, tokenizer, end_of_turn_ids(tokenizer) | ends, model, fixed)


def adapters_tokenizer(folder: Path, loaded: Loaded) -> Any:
    """The adapter's own tokenizer and template where its folder has them, else the base's.

    Raises UserError when its tokens go beyond the base's vocabulary.
    """
    from tui_lora.worker.model import load_tokenizer
    from tui_lora.worker.templates import settle_pad
    from tui_lora.worker.token_rows import rows_of

    base = loaded.tokenizer
    settings = read_object(folder / "tokenizer_config.json")
    has_code = settings is not None and bool(own_classes({}, settings))
    if has_code and not vocabulary(folder, settings or {}).added.keys() <= base.get_vocab().keys():
        raise UserError(
            "it added tokens to a tokenizer with code of its own, and code is not run out of an "
            "adapter's folder.",
            then="Train without new tokens on this model.",
        )
    if settings is None or has_code:
        template = folder / "chat_template.jinja"
        if not template.is_file():
            return base
        own = copy.copy(base)
        own.chat_template = template.read_text(encoding="utf-8")
        return own
    own = load_tokenizer(str(folder))
    # An adapter that has rows of its own for them brings these along.
    rows = max(loaded.model.get_input_embeddings().weight.shape[0], rows_of(folder))
    if len(own) > rows:
        raise UserError(
            f"its tokenizer has {len(own):,} tokens and this base has room for {rows:,}.",
            then="Load it on the base that it was trained on.",
        )
    own.chat_template = own.chat_template or base.chat_template
    settle_pad(own)
    return own


def prompt_of(voice: Voice, turns: tuple[Turn, ...], *, plain: bool = False) -> list[int]:
    """The turns as token ids, ready for the answer to begin. Raises UserError."""
    return _plain_ids(voice, turns) if plain else _turn_ids(voice, turns)


def begun_of(
    voice: Voice, turns: tuple[Turn, ...], begun: str, *, plain: bool = False
) -> list[int]:
    """The ids of prompt and `begun` together, as one text turned into tokens. Raises UserError."""
    if plain:
        return _plain_ids(voice, (*turns, Turn(role="assistant", content=begun)))
    written = _in_template(voice, turns, tokenize=False)
    # The template has written the special tokens already.
    return list(voice.tokenizer(written + begun, add_special_tokens=False)["input_ids"])


def _turn_ids(voice: Voice, turns: tuple[Turn, ...]) -> list[int]:
    if not any(turn.role == "user" for turn in turns):
        raise UserError("there is no question to answer.")
    ids = _in_template(voice, turns, tokenize=True)["input_ids"]
    if not ids:
        raise UserError("there is no question to answer.")
    return list(ids)


def _in_template(voice: Voice, turns: tuple[Turn, ...], *, tokenize: bool) -> Any:
    from jinja2 import TemplateError

    try:
        return voice.tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in turns],
            add_generation_prompt=True,
            tokenize=tokenize,
            **({"return_dict": True} if tokenize else {}),
        )
    except TemplateError as error:
        raise UserError(
            f"the chat template does not take these turns: {clean(str(error))}.",
            then="Some templates know no system turn, or want user and assistant to alternate.",
        ) from None


def _plain_ids(voice: Voice, turns: tuple[Turn, ...]) -> list[int]:
    ids = list(voice.tokenizer("".join(turn.content for turn in turns))["input_ids"])
    # Some tokenizers end every text; this one goes on.
    while ids and ids[-1] == voice.tokenizer.eos_token_id:
        ids.pop()
    if not ids:
        raise UserError("there is no text to go on from.")
    return ids
