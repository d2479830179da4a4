"""How turns are written down: the chat template, and the tokens that end a turn and fill a batch.

Nothing here ever grows a vocabulary: a template whose marks are no tokens of it is refused.
"""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from functools import cache
from typing import Any

from jinja2 import TemplateError

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.text import one_line
from tui_lora.store.paths import data_folder
from tui_lora.worker.bounded_templates import bound_rendering
from tui_lora.worker.marked_template import marked_template
from tui_lora.worker.time_limit import TookTooLong, time_limit

FALLBACK = "zephyr"
"""For a tokenizer without a template: its marks are plain text, and a turn ends with the end token
that the tokenizer has anyway."""

_LIMIT_S = 30
"""A template is a program of foreign hands, and may loop for ever."""

_MARKERS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
_BEGINNING = re.compile(r"\{\{-?\s*bos_token\s*-?\}\}")
_USUAL_PADS = (
    "<pad>",
    "<|pad|>",
    "[PAD]",
    "<|finetune_right_pad_id|>",
    "<|endoftext|>",
    "<|reserved_special_token_0|>",
    "<unused0>",
    "<unk>",
)
_USUAL_ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|eos|>", "[SEP]")
_ENDS_ITSELF = (
    "zephyr, alpaca, llama2, mistral and plain end a turn with the tokenizer's own end token"
)
_OTHERWISE = "Set dataset.loss_on to completion, which needs no marks in the template."


def settle_template(tokenizer: Any, wanted: str) -> list[Choice]:
    """Give `tokenizer` its template, end token and pad token; what was chosen, and why.

    `wanted` is `model.chat_template`: auto, or the name of one of ours. From here on this process
    renders within bounds. Raises UserError.
    """
    bound_rendering()
    chosen = _settle_text(tokenizer, wanted)
    return [chosen, *_settle_end(tokenizer, chosen.value), *settle_pad(tokenizer)]


def settle_in_time(tokenizer: Any, wanted: str) -> list[Choice]:
    """`settle_template`, which also raises UserError for a template that never ends."""
    try:
        with time_limit(_LIMIT_S):
            return settle_template(tokenizer, wanted)
    except TookTooLong:
        raise UserError(
            f"the chat template did not end within {_LIMIT_S} s.",
            where="model.chat_template",
            then="Choose another one.",
        ) from None


def _settle_text(tokenizer: Any, wanted: str) -> Choice:
    own = tokenizer.chat_template
    if wanted == "auto" and own:
        if isinstance(own, dict) and "default" not in own:
            raise UserError(
                f"the tokenizer has {len(own)} chat templates, and none is its default.",
                where="model.chat_template",
                then="Choose one of ours, such as zephyr.",
            )
        return Choice(setting="chat template", value="own", reason="the tokenizer has one")
    name = FALLBACK if wanted == "auto" else wanted
    tokenizer.chat_template = _unmarked(shipped_template(name, tokenizer))
    if wanted == "auto":
        reason = "the tokenizer has none; this one needs no tokens of its own"
    else:
        reason = "as you said" + (", in place of the tokenizer's own" if own else "")
    return Choice(setting="chat template", value=name, reason=reason)


def shipped_template(name: str, tokenizer: Any) -> str:
    """One of ours, with generation markers; begins as `tokenizer` begins a text."""
    text = _shipped()[name]
    return text if _begins_with_bos(tokenizer) else _BEGINNING.sub("", text)


@cache
def _shipped() -> dict[str, str]:
    folder = data_folder() / "templates"
    return {file.stem: file.read_text(encoding="utf-8") for file in folder.glob("*.jinja")}


def _begins_with_bos(tokenizer: Any) -> bool:
    return bool(
        tokenizer.bos_token_id is not None
        and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    )


def _settle_end(tokenizer: Any, template: str) -> list[Choice]:
    """An end token where the tokenizer names none; refuse a template that cannot end a turn."""
    choices: list[Choice] = []
    found: list[int] = []
    if tokenizer.eos_token_id is None:
        # A template that writes the end token writes nothing there, or fails.
        with suppress(UserError):
            found = _ends_in_rendering(tokenizer)
        reason = "the tokenizer names no end token; with this one the template ends a turn"
        if not found:
            known = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
            vocabulary = tokenizer.get_vocab()
            found = [vocabulary[end] for end in _USUAL_ENDS if vocabulary.get(end) in known]
            reason = "the tokenizer names no end token; this vocabulary has this one for it"
        if not found:
            raise UserError(
                "the tokenizer has no end token, so a model could never learn to stop.",
                where="model.id",
                then="Name one of its tokens as eos_token in its tokenizer_config.json, or choose "
                "a template whose end of turn its vocabulary has (model.chat_template).",
            )
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(found[0])
        choices.append(Choice(setting="end token", value=tokenizer.eos_token, reason=reason))
    if template != "own" and not _ends_in_rendering(tokenizer):
        raise UserError(
            f"the template {template} ends a turn with a mark that is no token of this vocabulary.",
            where="model.chat_template",
            then="Choose another: zephyr, alpaca, llama2, mistral and plain end a turn with the "
            "tokenizer's own end token.",
        )
    return choices


def settle_pad(tokenizer: Any) -> list[Choice]:
    """A pad token that is not the end token, from the vocabulary as it is; what was chosen.

    Nobody may take the end token for padding and leave it out of the loss.
    """
    named, end = tokenizer.pad_token, tokenizer.eos_token
    if tokenizer.pad_token_id is not None and named != end:
        return []
    vocabulary = tokenizer.get_vocab()
    spare = [
        token
        for token in (*_USUAL_PADS, tokenizer.unk_token, tokenizer.bos_token)
        if token and token in vocabulary and token != end
    ]
    why = "the tokenizer names none" if named is None else f"the tokenizer names {named}, its end"
    if spare:
        reason = f"{why}; this one is spare in its vocabulary"
    else:
        # trl masks by position, never by id, so that an end token in the text stays in the loss.
        reason = f"{why}, and none is spare; padding is masked by position, so the end is learned"
    tokenizer.pad_token = spare[0] if spare else end
    return [Choice(setting="pad token", value=str(tokenizer.pad_token), reason=reason)]


def training_tokenizer(tokenizer: Any) -> Any:
    """A copy whose template marks the assistant's words, for the loss on assistant turns.

    It writes the same tokens as the tokenizer's own, where trl has not mended that one. Raises
    UserError where no template is known that marks them, the end of each turn included.
    """
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if not tokenizer.is_fast:
        raise UserError(
            "this tokenizer cannot say which characters became which token, so that turns cannot "
            "be told apart.",
            where="dataset.loss_on",
            then=_OTHERWISE,
        )
    if not _ends_in_rendering(tokenizer):
        raise UserError(
            "the chat template ends no turn with a token, so that the model could never learn to "
            "stop.",
            where="model.chat_template",
            then="Choose one of ours, such as zephyr.",
        )
    marked = copy.copy(tokenizer)
    ours = [shipped_template(name, tokenizer) for name in _shipped()]
    if not has_generation_markers(tokenizer.chat_template):
        marked.chat_template = next(
            (template for template in ours if _unmarked(template) == tokenizer.chat_template), None
        )
    if marked.chat_template is None:
        try:
            marked.chat_template = get_training_chat_template(tokenizer)
        except (ValueError, TypeError, TemplateError):
            marked.chat_template = marked_template(tokenizer, end_of_turn_ids(tokenizer))
    if not _marks_the_end(marked):
        raise UserError(
            "the chat template leaves the end of a turn out of what it marks as the assistant's, "
            "so that the model would never learn to stop.",
            where="dataset.loss_on",
            then=_OTHERWISE,
        )
    return marked


def _unmarked(template: str) -> str:
    return _MARKERS.sub("", template)


def _marks_the_end(tokenizer: Any) -> bool:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        written = tokenizer.apply_chat_template(
            turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
    except (ValueError, TypeError, TemplateError):
        return False
    marks = zip(written["input_ids"], written["assistant_masks"], strict=True)
    return not end_of_turn_ids(tokenizer).isdisjoint(token for token, mark in marks if mark)


def end_of_turn_ids(tokenizer: Any) -> frozenset[int]:
    """What ends an assistant's turn as the template writes it, and the end token."""
    ends = _ends_in_rendering(tokenizer) if tokenizer.chat_template else []
    own = tokenizer.eos_token_id
    return frozenset([*ends, *([] if own is None else [own])])


_SAID = "An answer, in words."


def _ends_in_rendering(tokenizer: Any) -> list[int]:
    """The token that ends a turn in what the template writes: [] where no single token does."""
    asked = {"role": "user", "content": "A question?"}
    turns = [asked, {"role": "assistant", "content": _SAID}]
    # A template that never ends the last turn ends it with what begins the next.
    for conversation in (turns, [*turns, asked]):
        try:
            text = tokenizer.apply_chat_template(conversation, tokenize=False)
        except (TemplateError, TypeError, ValueError) as error:
            raise UserError(
                "the chat template does not take a question and an answer: "
                f"{one_line(str(error), max_chars=200)}.",
                where="model.chat_template",
                then="Choose one of ours, such as zephyr.",
            ) from None
        _, _, behind = text.rpartition(_SAID)
        known = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        for token in tokenizer(behind, add_special_tokens=False)["input_ids"]:
            if token in known:
                return [int(token)]
    return []
