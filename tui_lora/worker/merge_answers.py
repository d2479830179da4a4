"""Whether the merged model answers as base and adapter do: both whole, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.export import Asked, StorageLoss, Verified
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean, number, one_line
from tui_lora.worker.generation import generation_config
from tui_lora.worker.held_memory import free_memory
from tui_lora.worker.loading import OnProgress
from tui_lora.worker.merge_check import Found, unit_of
from tui_lora.worker.merge_work import Progress, Work
from tui_lora.worker.model import load_model
from tui_lora.worker.oom import is_out_of_memory
from tui_lora.worker.voices import prompt_of, voice_of

ANSWER_TOKENS = 20
TIMES = 4.0
"""So many times the yardstick may the logits differ. What stands beside the base instead of in it
is rounded at other places on its way, which is as much again as the weights' own rounding; the rest
is the spread of a few prompts."""

_LAST = 24
_PROMPTS = 4
_LONGEST = 512
_FLOOR = 1e-4
"""Of the logits' own size: sums in float32 in another order."""

_QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Explain in a few words what a fraction is.",
    "List three colours.",
)


@dataclass
class Answers:
    """Of one model to all prompts: logits of the last tokens read, float32 on the CPU; the tokens
    that it wrote, always the likeliest, and the logits that they were chosen by; the loss over
    reference answers, in nats, and their tokens."""

    logits: list[torch.Tensor] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    steps: list[torch.Tensor] = field(default_factory=list)
    loss: float = 0.0
    tokens: int = 0
    rows: int = 0

    @property
    def perplexity(self) -> float | None:
        return math.exp(self.loss / self.tokens) if self.tokens else None


@dataclass(frozen=True)
class Prompts:
    """What both are asked: `read` as tokens, `scored` with the tokens of a reference answer."""

    read: list[list[int]]
    scored: list[tuple[list[int], list[int]]]
    ends: frozenset[int]
    pad: int | None

    @staticmethod
    def of(tokenizer: Any, asked: Sequence[Asked], fresh: Sequence[int]) -> Prompts:
        """`fresh` are new tokens, which have to be read by somebody."""
        voice = voice_of(None, tokenizer)
        plain = not tokenizer.chat_template
        found = asked or tuple(
            Asked(turns=(Turn(role="user", content=text),)) for text in _QUESTIONS
        )

        def ids(one: Asked) -> list[int]:
            return prompt_of(voice, one.turns, plain=plain)[-_LONGEST:]

        read = [ids(one) for one in found[:_PROMPTS]]
        if fresh:
            read.append([*read[0][:8], *fresh[:16]])
        scored = [
            (
                ids(one),
                list(tokenizer(one.reference, add_special_tokens=False)["input_ids"])[:_LONGEST],
            )
            for one in found
            if one.reference
        ]
        return Prompts(read, scored, voice.ends, tokenizer.pad_token_id)


def verify(work: Work, folder: Path, weights: Found, say: Progress) -> Verified:
    """Hold the model in `folder` against base and adapter in the same precision. Raises UserError
    where it answers otherwise; what was measured stands in it. One model is in memory at a time."""
    prompts = Prompts.of(work.tokenizer, work.asked.asked, _fresh(work))
    wanted, device = _of_both(work, QuantizationSpec(), prompts, "base and adapter", say)
    free_memory()
    real, moved = _of_merged(work, folder, prompts, say)
    free_memory()
    return _compared(wanted, real, moved, weights, device)


def measure_loss(work: Work, folder: Path, say: Progress) -> StorageLoss | None:
    """What merging into 16 bits changes for an adapter that learned on a quantized base; None for
    one that did not. Never fails: what cannot be measured is said."""
    stored = work.asked.quantization
    if stored.scheme == "none":
        return None
    prompts = Prompts.of(work.tokenizer, work.asked.asked, ())
    if work.labels:
        return StorageLoss(scheme=stored.scheme, why_not="it is not measured for a classifier")
    if not prompts.scored:
        why = "there are no held-out rows with reference answers"
        return StorageLoss(scheme=stored.scheme, why_not=why)
    try:
        before, _ = _of_both(
            work, stored, prompts, f"base and adapter in {stored.scheme}", say, only_scored=True
        )
        free_memory()
        after, _ = _of_merged(work, folder, prompts, say, only_scored=True)
        free_memory()
    except Exception as error:  # noqa: BLE001 the merged model is verified without this figure
        why = "memory ran out" if is_out_of_memory(error) else one_line(str(error), max_chars=160)
        return StorageLoss(scheme=stored.scheme, why_not=why or type(error).__name__)
    return StorageLoss(
        scheme=stored.scheme,
        merged=after.perplexity,
        quantized=before.perplexity,
        tokens=after.tokens,
        rows=after.rows,
        source=work.asked.asked_of,
    )


def _of_both(
    work: Work,
    stored: QuantizationSpec,
    prompts: Prompts,
    name: str,
    say: Progress,
    *,
    only_scored: bool = False,
) -> tuple[Answers, str]:
    """What base and adapter answer, the base stored so; and the device. Nobody but this function
    holds the model, so that it is gone when the next one is loaded."""
    from tui_lora.worker.adapter import attach

    loaded = load_model(
        work.spec,
        stored,
        devices=work.asked.devices,
        tokenizer=work.tokenizer,
        labels=work.labels,
        on_progress=_loading(f"loading {name}", say),
    )
    model = attach(loaded.model, work.adapter, "merged", loaded.device)
    if stored.scheme == "none":
        work.rounded.put_in(model)
    asking = _Asking(work, prompts, loaded.device, f"asking {name}", say)
    return (asking.scored(model) if only_scored else asking.read(model)), loaded.device


def _of_merged(
    work: Work, folder: Path, prompts: Prompts, say: Progress, *, only_scored: bool = False
) -> tuple[Answers, Answers]:
    """What the merged model answers, and what it does with its weights moved as rounding does."""
    named = str(work.dtype).removeprefix("torch.")
    loaded = load_model(
        ModelSpec(id=str(folder), dtype=named),
        QuantizationSpec(),
        devices=work.asked.devices,
        labels=work.labels,
        on_progress=_loading("loading the merged model", say),
    )
    asking = _Asking(work, prompts, loaded.device, "asking the merged model", say)
    model = loaded.model.eval()
    if only_scored:
        return asking.scored(model), Answers()
    _check_tokenizer(work.tokenizer, loaded.tokenizer)
    real = asking.read(model)
    _move(model, work)
    return real, replace(asking, label="asking it with its weights moved").read(model, write=False)


def _loading(label: str, say: Progress) -> OnProgress:
    return lambda done, total, unit: say(label, int(done), int(total or 0), unit)


@dataclass(frozen=True)
class _Asking:
    """The prompts, asked one by one; `label` says of whom."""

    work: Work
    prompts: Prompts
    device: str
    label: str
    say: Progress

    def read(self, model: Any, *, write: bool = True) -> Answers:
        """Logits of every prompt, and what is written after it."""
        found, labels = Answers(), self.work.labels
        if not labels:
            # generate() would fill what is not asked for from the model's own.
            model.generation_config = type(model.generation_config)()
        with torch.inference_mode():
            for at, ids in enumerate(self.prompts.read):
                self.say(self.label, at, len(self.prompts.read), "prompts")
                given = torch.tensor([ids], device=self.device)
                mask = torch.ones_like(given)
                logits = model(input_ids=given, attention_mask=mask).logits[0]
                rows = logits.reshape(-1, logits.shape[-1])  # a classifier gives one
                found.logits.append(rows[-_LAST:].float().cpu())
                if write and not labels:
                    _write(model, given, self.prompts, found)
        return found

    def scored(self, model: Any) -> Answers:
        """The loss over the reference answers."""
        found = Answers()
        with torch.inference_mode():
            for at, (prompt, answer) in enumerate(self.prompts.scored):
                self.say(self.label, at, len(self.prompts.scored), "answers")
                given = torch.tensor([[*prompt, *answer]], device=self.device)
                logits = model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0]
                told = logits[len(prompt) - 1 : -1].float()
                loss = torch.nn.functional.cross_entropy(
                    told, given[0, len(prompt) :], reduction="sum"
                )
                found.loss += float(loss)
                found.tokens += len(answer)
                found.rows += 1
        return found


def _write(model: Any, given: torch.Tensor, prompts: Prompts, found: Answers) -> None:
    config = generation_config(
        Sampling(temperature=0.0, max_new_tokens=ANSWER_TOKENS),
        most=ANSWER_TOKENS,
        ends=prompts.ends,
        pad=prompts.pad,
    )
    config.return_dict_in_generate = True
    config.output_logits = True
    written = model.generate(
        input_ids=given, attention_mask=torch.ones_like(given), generation_config=config
    )
    found.ids.append(written.sequences[0, given.shape[1] :].tolist())
    found.steps.append(torch.stack([step[0].float().cpu() for step in written.logits]))


def _move(model: Any, work: Work) -> None:
    """Move the weights that were merged by as much as rounding does: a unit in the last place up or
    down for one in twelve, which has the variance of rounding to the nearest (a twelfth)."""
    touched = tuple(f"{path}." for path in work.hollow.modules)
    with torch.no_grad():
        for number_of, (name, parameter) in enumerate(model.named_parameters()):
            if not name.startswith(touched):
                continue
            dice = torch.Generator(device=parameter.device).manual_seed(number_of)
            drawn = torch.rand(parameter.shape, generator=dice, device=parameter.device)
            step = (drawn < 1 / 24).float() - (drawn > 23 / 24).float()
            moved = parameter.float() + step * unit_of(parameter.float(), work.dtype)
            parameter.copy_(moved.to(parameter.dtype))


def _compared(
    wanted: Answers, real: Answers, moved: Answers, weights: Found, device: str
) -> Verified:
    off = _rms([a - b for a, b in zip(wanted.logits, real.logits, strict=True)])
    yardstick = _rms([a - b for a, b in zip(moved.logits, real.logits, strict=True)])
    largest = max(
        float((a - b).abs().max()) for a, b in zip(moved.logits, real.logits, strict=True)
    )
    size = _rms(wanted.logits)
    allowed = TIMES * yardstick + _FLOOR * size
    if not off <= allowed:
        raise _otherwise(
            f"its logits are {number(off)} from those of base and adapter (root mean square over "
            f"{len(wanted.logits)} prompts), and rounding accounts for {number(allowed)}"
        )
    same = 0
    for one, other, near, far in zip(wanted.ids, real.ids, wanted.steps, real.steps, strict=True):
        at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if at is None:
            same += 1
            continue
        # Each prefers its own token; were both right, logits would be off by half the sum.
        apart = float(near[at, one[at]] - near[at, other[at]])
        apart += float(far[at, other[at]] - far[at, one[at]])
        if apart > 2 * (TIMES * largest + _FLOOR * size):
            raise _otherwise(
                f"at token {at + 1} of an answer it prefers another one by {number(apart)}, and "
                f"rounding accounts for {number(2 * TIMES * largest)}"
            )
    agree = torch.cat(
        [a.argmax(-1) == b.argmax(-1) for a, b in zip(wanted.logits, real.logits, strict=True)]
    )
    return Verified(
        weights=weights.weights,
        worst_ulp=weights.worst_ulp,
        kept_share=weights.kept_share,
        prompts=len(wanted.logits),
        device=device,
        logits_rms=off,
        logits_allowed=allowed,
        yardstick=yardstick,
        top_agree=float(agree.float().mean()),
        answers=len(wanted.ids),
        same_answers=same,
        answer_tokens=sum(map(len, wanted.ids)),
    )


def _rms(tensors: Sequence[torch.Tensor]) -> float:
    squares = sum(float(tensor.double().square().sum()) for tensor in tensors)
    return math.sqrt(squares / max(1, sum(tensor.numel() for tensor in tensors)))


def _fresh(work: Work) -> list[int]:
    """Tokens that the adapter brought rows for."""
    given = work.hollow.model.peft_config["default"].trainable_token_indices
    lists = given.values() if isinstance(given, dict) else [given or []]
    return sorted({token for ids in lists for token in ids})


_PROBE = "In 2024, it's 3.5 °C:\n\n    def f(x):  return x[10:] \t# naïve 日本"


def _check_tokenizer(wanted: Any, saved: Any) -> None:
    """What was saved reads like the adapter's; classes differ in what they rebuild on loading."""
    added = " ".join(sorted(wanted.get_added_vocab()))
    for text in (_PROBE, added):
        if saved(text)["input_ids"] != wanted(text)["input_ids"]:
            raise _otherwise("its tokenizer does not survive being saved")
    if wanted.chat_template and saved.chat_template != wanted.chat_template:
        raise _otherwise("its chat template did not arrive")


def _otherwise(what: str) -> UserError:
    return UserError(
        f"the merged model does not answer as base and adapter do: {clean(what)}.",
        then="It was not put in place. Merge it with --dtype float32, or report this.",
        exit_code=1,
    )
