"""What follows from a draft: rows a step, the adapter's scale, steps. Unknown is `—`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from textual.content import Content

from tui_lora.core.spec import RunSpec
from tui_lora.core.text import UNKNOWN
from tui_lora.ui.drafted import drafted_text
from tui_lora.ui.forms.checked import NEEDED, Checked, name_taken
from tui_lora.ui.forms.entry import Note
from tui_lora.ui.ink import GOOD, TIGHT, WRONG, between, dim, fitting, ink, join
from tui_lora.ui.state import Draft

MOST_BYTES = 64 << 20
"""A dataset larger than this is not counted for the sake of a line."""


@dataclass(frozen=True)
class Survey:
    """What the disk says of a draft: usable rows, and a name that no session has yet.

    `key` is what it was asked for; figures are None where they are not known cheaply. `taken` is
    the draft's own name when a session has it.
    """

    key: tuple[str, ...]
    rows: int | None = None
    held_out: int | None = None
    name: str = ""
    taken: str = ""


def with_taken(checked: Checked, draft: Draft, survey: Survey) -> Checked:
    """The same, and that the draft's name is taken where it is."""
    if not draft.name or draft.name != survey.taken:
        return checked
    return replace(checked, problems=(*checked.problems, name_taken(draft.name)))


def split(spec: RunSpec, survey: Survey) -> tuple[int | None, int | None]:
    """Rows trained on and rows held out, as the worker divides them."""
    rows = survey.rows
    if rows is None:
        return None, None
    if spec.dataset.max_rows is not None:
        rows = min(rows, spec.dataset.max_rows)
    if spec.dataset.eval_path is not None:
        return rows, survey.held_out
    share = spec.dataset.eval_share
    if share <= 0 or rows < 2:
        return rows, 0
    held_out = min(rows - 1, max(1, round(rows * share)))
    return rows - held_out, held_out


def steps(spec: RunSpec, train_rows: int | None) -> int | None:
    """Optimizer steps; rows that turn out to have no trained token make them fewer."""
    training = spec.training
    if training.max_steps is not None:
        return training.max_steps
    if not train_rows or training.packing is True:
        return None
    batches = math.ceil(train_rows / training.micro_batch)
    return math.ceil(training.epochs * max(1, math.ceil(batches / training.accumulation)))


def scale(spec: RunSpec) -> float:
    """What the adapter's output is multiplied by."""
    root = math.sqrt(spec.lora.r) if spec.lora.variant == "rslora" else spec.lora.r
    return spec.lora.alpha / root


def notes(checked: Checked, survey: Survey) -> dict[str, Note]:
    """What is said beside a setting, by its path."""
    spec = checked.sound
    if spec is None:
        return {}
    training, dataset, scheme = spec.training, spec.dataset, spec.quantization.scheme
    train_rows, held_out = split(spec, survey)
    planned = steps(spec, train_rows)
    found: dict[str, Note] = {}
    if survey.rows is not None:
        found["dataset.path"] = Note(f"{survey.rows:,} usable rows")
    if dataset.eval_path is not None:
        found["dataset.eval_share"] = Note("unused: there is a file", idle=True)
        if survey.held_out is not None:
            found["dataset.eval_path"] = Note(f"{survey.held_out:,} rows")
    elif held_out is not None:
        found["dataset.eval_share"] = Note(f"{held_out:,} rows")
    if scheme not in ("nf4", "fp4"):
        found["quantization.double_quant"] = Note("unused: not 4 bits", idle=True)
        found["quantization.compute_dtype"] = Note("unused: not 4 bits", idle=True)
    root = "√r" if spec.lora.variant == "rslora" else "r"
    found["lora.alpha"] = Note(f"scale α/{root} = {scale(spec):.3g}")
    found["training.accumulation"] = Note(
        f"× {training.micro_batch:,} = {training.micro_batch * training.accumulation:,} rows"
    )
    if training.max_steps is not None:
        found["training.epochs"] = Note("unused: max steps", idle=True)
        if train_rows:
            passes = training.max_steps * training.micro_batch * training.accumulation / train_rows
            found["training.max_steps"] = Note(f"{passes:.3g} epochs")
    elif planned is not None:
        found["training.epochs"] = Note(f"about {planned:,} steps")
    if planned is not None and 0 < training.warmup < 1:
        found["training.warmup"] = Note(f"{math.ceil(planned * training.warmup):,} steps")
    if spec.evaluation.every_steps and not _held_out_any(spec):
        found["evaluation.every_steps"] = Note("unused: none held out", idle=True)
    return {
        path: note for path, note in found.items() if path.split(".")[0] not in _unsure(checked)
    }


def _unsure(checked: Checked) -> set[str]:
    """Sections with a value that does not hold: nothing is reckoned from its stand-in."""
    sections = {path.split(".")[0] for path in checked.wrong - set(NEEDED.values())}
    return sections | {"training"} if "dataset" in sections else sections


def summary(checked: Checked, survey: Survey, width: int) -> Content:
    """The line that stays in sight: what a step is, how many, and whether anything is wrong."""
    pieces = []
    spec = checked.sound
    if spec is not None:
        train_rows, held_out = split(spec, survey)
        per_step = spec.training.micro_batch * spec.training.accumulation
        planned = steps(spec, train_rows)
        about = "" if spec.training.max_steps is not None or planned is None else "about "
        rows = UNKNOWN if train_rows is None else f"{train_rows:,}"
        apart = "" if held_out is None else f" + {held_out:,} held out"
        wrong = checked.wrong

        def figure(value: str, *needs: str) -> str:
            return UNKNOWN if wrong & set(needs) else value

        batch = ("training.micro_batch", "training.accumulation")
        length = ("training.epochs", "training.max_steps", *batch, "dataset.max_rows")
        shown = figure(f"{about}{planned:,}" if planned is not None else UNKNOWN, *length)
        pieces = [
            join(dim("steps "), ink(shown)),
            join(dim("rows a step "), ink(figure(f"{per_step:,}", *batch))),
            join(dim("rows "), ink(rows), dim(apart)),
            join(dim("scale "), ink(figure(f"{scale(spec):.3g}", "lora.r", "lora.alpha"))),
        ]
    end = ink("✓ s starts it", GOOD)
    if count := len(checked.problems):
        missing = {p.field for p in checked.problems} <= {"model.id", "dataset.path"}
        words = "1 problem" if count == 1 else f"{count} problems"
        end = ink(f"! {words}", TIGHT) if missing else ink(f"▲ {words}", WRONG)
    return between(fitting(pieces, width - end.cell_length - 2), end, width)


def survey_key(draft: Draft) -> tuple[str, ...]:
    """What a survey depends on: another key asks for another survey."""
    paths = ("dataset.path", "dataset.eval_path", "dataset.format", "model.id")
    return tuple(drafted_text(draft, path) for path in paths)


def wanted_name(draft: Draft) -> str:
    """A name made from the dataset and the model: `gsm8k-qwen2.5-1.5b`."""
    dataset = PurePath(drafted_text(draft, "dataset.path")).name
    for suffix in (".jsonl", ".json", ".ndjson"):
        dataset = dataset.removesuffix(suffix)
    model = PurePath(drafted_text(draft, "model.id")).name.removesuffix(".gguf")
    parts = (dataset[:24].lower(), model[:32].lower().removesuffix("-instruct"))
    return "-".join(part for part in parts if part) or "run"


def survey_of(draft: Draft, free_name: Callable[[str], str]) -> Survey:
    """Ask the disk; in a thread."""
    path, eval_path, format, _ = key = survey_key(draft)
    return Survey(
        key,
        _usable_rows(path, format or "auto"),
        _usable_rows(eval_path, format or "auto"),
        free_name(wanted_name(draft)),
    )


def _usable_rows(path: str, format: str) -> int | None:
    from tui_lora.core.errors import UserError
    from tui_lora.store.dataset import check_file, look

    if not path:
        return None
    try:
        if check_file(path).stat().st_size > MOST_BYTES:
            return None
        seen: Any = look(path, format=format)
    except (UserError, OSError):
        return None
    return seen.usable_rows if seen.complete else None


def _held_out_any(spec: RunSpec) -> bool:
    return spec.dataset.eval_path is not None or spec.dataset.eval_share > 0
