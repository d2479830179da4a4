"""What an evaluation will measure: decided from the rows, before the model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import (
    ANSWER_ROWS,
    PERPLEXITY_ROWS,
    Evaluate,
    EvaluationNotice,
    FromEvaluate,
    Preparing,
)
from tui_lora.core.evaluation import PARTS
from tui_lora.core.events import Choice
from tui_lora.core.formats import Example
from tui_lora.core.spec import RunSpec
from tui_lora.core.task_metrics import NONE, suited
from tui_lora.core.text import clean
from tui_lora.store.loftq_adapters import counts_twice
from tui_lora.store.moved_on import moved_on
from tui_lora.store.paths import SessionPaths
from tui_lora.store.spec_now import spec_now
from tui_lora.worker.eval_answers import Question, prompt_ids
from tui_lora.worker.eval_rows import (
    Found,
    Rows,
    drawn,
    find_rows,
    picked,
    raw_rows,
    reference_in,
    rows_to_measure,
)
from tui_lora.worker.eval_scores import Scorer, scorers
from tui_lora.worker.general_text import general_rows
from tui_lora.worker.labelling import labels_in
from tui_lora.worker.model import context_tokens, load_config, load_tokenizer, weights_place
from tui_lora.worker.resolved import template_hash
from tui_lora.worker.spool import Chosen
from tui_lora.worker.templates import settle_in_time, settle_pad
from tui_lora.worker.vocabulary import add_tokens

_NO_TEXT = "plain text has no answers to compare with"
_MOST_GENERAL = 1024


@dataclass
class Notes:
    """What was chosen and what is to be known, gathered as it is found."""

    say: Callable[[FromEvaluate], None]
    choices: list[Choice] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def choose(self, setting: str, value: object, reason: str) -> None:
        self.choices.append(Choice(setting=setting, value=str(value), reason=reason))

    def notice(self, text: str) -> None:
        self.notices.append(clean(text))
        self.say(EvaluationNotice(text=clean(text)))


@dataclass(frozen=True)
class Asked:
    """Rows that are answered, of `of`; `left_out` of the drawn cannot be asked."""

    questions: tuple[Question, ...] = ()
    source: str = ""
    of: int = 0
    left_out: int = 0
    why_left_out: str = ""


@dataclass(frozen=True)
class Plan:
    """`same_rows`: whether these are the rows that the run was trained on, None where it did not
    write that down. `raw`: rows as they stand in their files, for the user's own functions."""

    tokenizer: Any
    labels: tuple[str, ...]
    parts: tuple[Rows, ...]
    answers: Asked
    scoring: tuple[Scorer, ...]
    why_metrics: str
    same_rows: bool | None
    raw: dict[tuple[str, int], Any]
    fingerprint: str


def plan_of(
    asked: Evaluate,
    spec: RunSpec,
    adapter: Path,
    resolved: dict[str, Any],
    scratch: Path,
    notes: Notes,
    look_up: Callable[[], None],
) -> Plan:
    """Read the rows into `scratch` and decide. `look_up` is called at every row and may raise.

    Raises UserError for what cannot be measured.
    """
    labels = labels_in(adapter) if spec.task == "classification" else ()
    scoring = _asked_for(asked, spec, labels)
    _tell_of_another_base(asked, spec, adapter, notes)
    tokenizer = _tokenizer(spec, resolved, notes)
    notes.say(Preparing(label="reading the rows"))
    found = find_rows(spec, scratch, asked.data, lambda _: look_up())
    same = _same_rows(resolved, found.gathered.fingerprint, notes)
    parts = _parts(asked, spec, tokenizer, found, labels, notes)
    if asked.data is not None:
        _tell_what_was_trained_on(found, parts, notes)
    answers, why = Asked(), "as you said"
    if not labels and asked.metrics != (NONE,):
        answers = _questions(asked, spec, tokenizer, found)
        if asked.metrics is None:
            scoring, why = _suited(spec, found, answers)
            notes.choose("metrics", ", ".join(s.metric.name for s in scoring) or NONE, why)
    if not scoring:
        answers = Asked()
    elif found.held_out is None:
        notes.notice("no rows were held out, so rows are answered that were trained on")
    if not parts and not answers.questions:
        raise UserError(
            "there is nothing to measure: no row of what was asked for can be fed.",
            then="Name a file of rows: --data FILE.",
        )
    raw: dict[tuple[str, int], Any] = {}
    if any(scorer.metric.own for scorer in scoring):
        places = {(one.place.file, one.place.line) for one in answers.questions}
        raw = raw_rows(found.held_out_sources, places)
    return Plan(
        tokenizer=tokenizer,
        labels=labels,
        parts=parts,
        answers=answers,
        scoring=tuple(scoring),
        why_metrics=why,
        same_rows=same,
        raw=raw,
        fingerprint=found.fingerprint,
    )


def _asked_for(asked: Evaluate, spec: RunSpec, labels: Sequence[str]) -> list[Scorer]:
    """What is asked for by name, before anything is read."""
    names = [name for name in dict.fromkeys(asked.metrics or ()) if name != NONE]
    if names and labels:
        raise UserError(
            "a classifier gives labels, of which accuracy and macro F1 are always counted.",
            where="--metric",
            then="Leave it out.",
        )
    return scorers(names)


def _tell_of_another_base(asked: Evaluate, spec: RunSpec, adapter: Path, notes: Notes) -> None:
    trained = spec_now(SessionPaths(Path(asked.session))).quantization.scheme
    twice = counts_twice(adapter, trained, spec.quantization.scheme)
    if twice:
        twice += ", and these are no figures of the adapter as it learned"
    for words in (moved_on(adapter, spec.model), twice):
        if words:
            notes.notice(words)


def _tokenizer(spec: RunSpec, resolved: dict[str, Any], notes: Notes) -> Any:
    """With the template and the tokens that training gave it."""
    place = weights_place(spec.model)
    tokenizer = load_tokenizer(place, spec.model.revision, model=spec.model)
    if spec.task == "classification":
        settle_pad(tokenizer)
    else:
        settle_in_time(tokenizer, spec.model.chat_template)
        tokens = resolved.get("tokens")
        before = tokens.get("template_sha256") if isinstance(tokens, dict) else None
        if before not in (None, template_hash(tokenizer.chat_template)):
            notes.notice("the chat template is not the one that the run was trained with")
    add_tokens(tokenizer, spec.lora.new_tokens)
    return tokenizer


def _same_rows(resolved: dict[str, Any], fingerprint: str, notes: Notes) -> bool | None:
    before = resolved.get("dataset_sha256")
    if not isinstance(before, str):
        notes.notice("the run did not write down which rows it was trained on")
        return None
    if before != fingerprint:
        notes.notice(
            "the rows are not those that the run was trained on: a file was changed since, and "
            "some that count as held out may have been trained on"
        )
    return before == fingerprint


def _tell_what_was_trained_on(found: Found, parts: tuple[Rows, ...], notes: Notes) -> None:
    """Of a file that was given nobody took out what the run was trained on."""
    given = next((rows for rows in parts if rows.part == "eval"), None)
    if given is None:
        return
    wanted = {_as_text(item.example) for item in given.items}
    trained = {text for one in found.gathered.train if (text := _as_text(one.example)) in wanted}
    if trained:
        many = sum(_as_text(item.example) in trained for item in given.items)
        notes.notice(f"the run was trained on {many:,} of the measured rows of {given.source}")


def _as_text(example: Example) -> str:
    return json.dumps(example, sort_keys=True)


def _parts(
    asked: Evaluate,
    spec: RunSpec,
    tokenizer: Any,
    found: Found,
    labels: tuple[str, ...],
    notes: Notes,
) -> tuple[Rows, ...]:
    most = asked.rows or PERPLEXITY_ROWS
    parts = []
    for part in (part for part in PARTS if part in asked.parts):
        if part == "general":
            if labels:
                notes.choose("general text", "left out", "a classifier writes no words")
                continue
            context = context_tokens(load_config(spec.model)) or _MOST_GENERAL
            parts.append(general_rows(tokenizer, min(context, _MOST_GENERAL)))
            continue
        chosen, reading, source = found.part(part)
        if chosen is None:
            notes.choose("held-out rows", "none", "the run held none out")
            continue
        rows = rows_to_measure(
            *(part, spec, tokenizer, chosen, reading, source),
            labels=labels,
            most=most,
            seed=asked.seed,
        )
        if rows.of > most:
            why = "as you said" if asked.rows else "unless you say otherwise"
            notes.choose(f"{part} rows", most, f"drawn of {rows.of:,} by seed {asked.seed}; {why}")
        if rows.left_out:
            notes.notice(f"left out {rows.left_out:,} of the {part} rows: {rows.why_left_out}")
        if rows.items:
            parts.append(rows)
    return tuple(parts)


def _questions(asked: Evaluate, spec: RunSpec, tokenizer: Any, found: Found) -> Asked:
    """Held-out rows that can be asked; those that were trained on where none were held out."""
    chosen, reading, source = found.part("eval")
    if chosen is None:
        chosen, reading, source = found.part("train")
    assert chosen is not None
    if reading.shape == "text":
        if asked.metrics is not None:
            raise UserError(f"{_NO_TEXT}.", where="--metric", then=f"--metric {NONE}")
        return Asked()
    context = context_tokens(load_config(spec.model))
    questions: list[Question] = []
    lost, why = 0, ""
    for at, question in enumerate(_drawn(chosen, asked)):
        place, example = question
        reference = reference_in(example)
        if reference is None:
            continue
        try:
            ids = prompt_ids(tokenizer, example)
            if context is not None and len(ids) + asked.max_new_tokens > context:
                raise ValueError(f"an answer does not fit into the context ({context:,} tokens)")
        except ValueError as error:
            lost, why = lost + 1, str(error)
            continue
        questions.append(Question(at, place, ids, reference, example))
    return Asked(tuple(questions), source, len(chosen), lost, why)


def _drawn(chosen: Chosen, asked: Evaluate) -> list[tuple[Any, Any]]:
    return picked(chosen, drawn(len(chosen), asked.rows or ANSWER_ROWS, asked.seed))


def _suited(spec: RunSpec, found: Found, answers: Asked) -> tuple[list[Scorer], str]:
    """The metrics that suit the rows, where none is named, and why."""
    chosen, reading, _ = found.part("eval")
    if spec.task != "sft":
        return [], f"the task is {spec.task}: what it learned shows in the losses of its answers"
    if reading.shape == "text":
        return [], _NO_TEXT
    if chosen is None:
        return [], "no rows were held out; name a metric, or a file of rows"
    names, why = suited([question.reference for question in answers.questions], reading.format)
    return scorers(names), why
