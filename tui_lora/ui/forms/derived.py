"""What follows from a draft: rows a step, the adapter's scale, steps. Unknown is `—`."""

from __future__ import annotations

import math
from dataclasses import replace

from textual.content import Content

from tui_lora.core.errors import Problem
from tui_lora.core.spec import HIGH_FOR_PREFERENCES, USUAL_RATES, RunSpec
from tui_lora.core.spec_differences import idle
from tui_lora.core.text import UNKNOWN, count, shorten_middle
from tui_lora.store.packages import may_pack
from tui_lora.ui.forms.checked import NEEDED, Checked, name_taken
from tui_lora.ui.forms.entry import Note
from tui_lora.ui.forms.relevance import format_of, unused
from tui_lora.ui.forms.survey import Survey
from tui_lora.ui.ink import GOOD, TIGHT, WRONG, between, dim, fitting, ink, join
from tui_lora.ui.state import Draft


def with_survey(checked: Checked, draft: Draft, survey: Survey) -> Checked:
    """The same, and what the disk has against it: a name that is taken, rows of another kind."""
    more = []
    if draft.name and draft.name == survey.taken:
        more.append(name_taken(draft.name))
    known = {problem.field for problem in checked.problems}
    if survey.unread and "dataset.format" not in known:
        more.append(Problem(f"{survey.unread}.", "dataset.format"))
    return replace(checked, problems=(*checked.problems, *more)) if more else checked


def split(spec: RunSpec, survey: Survey) -> tuple[int | None, int | None]:
    """Rows trained on and rows held out, as the worker divides them."""
    rows, mixed, data = survey.rows, survey.mixed, spec.dataset
    if rows is None or mixed is None:
        return None, None
    if data.max_rows is not None:
        rows = min(rows, data.max_rows)
    if data.eval_path is not None or data.eval_split is not None:
        found = survey.held_out
        return rows + mixed, found if found is None else min(found, data.eval_rows or found)
    if data.eval_share <= 0 or rows < 2:
        return rows + mixed, 0
    held_out = min(rows - 1, max(1, round(rows * data.eval_share)))
    return rows - held_out + mixed, held_out


def steps(spec: RunSpec, train_rows: int | None, survey: Survey) -> int | None:
    """Optimizer steps; rows that turn out to have no trained token make them fewer.

    None where a row may become several, or several one: texts are cut into passages, kto takes a
    pair apart, and with flash attention short rows are packed.
    """
    training = spec.training
    if training.max_steps is not None:
        return training.max_steps
    format = format_of(spec, survey)
    several = format == "text" or (format == "preference" and spec.task == "kto")
    if not train_rows or several or may_pack(spec):
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
    training, dataset = spec.training, spec.dataset
    train_rows, held_out = split(spec, survey)
    planned = steps(spec, train_rows, survey)
    found = {path: Note(why, idle=True) for path, why in unused(spec, survey).items()}
    if survey.rows is not None:
        found["dataset.path"] = Note(f"{survey.rows:,} usable rows")
    if dataset.mix and survey.mixed is not None:
        found["dataset.mix"] = Note(f"{survey.mixed:,} rows")
    if dataset.format == "auto" and survey.format is not None:
        found["dataset.format"] = Note(survey.format)
    apart = "dataset.eval_path" if dataset.eval_path is not None else "dataset.eval_split"
    if dataset.eval_path is not None or dataset.eval_split is not None:
        what = "file" if dataset.eval_path is not None else "split"
        found["dataset.eval_share"] = Note(f"unused: there is a {what}", idle=True)
        if survey.held_out is not None:
            found[apart] = Note(f"{survey.held_out:,} rows")
    elif held_out is not None:
        found["dataset.eval_share"] = Note(f"{held_out:,} rows")
    for path, why in idle(spec.model_dump()).items():
        found.setdefault(path, Note(f"unused: {why}", idle=True))
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
        found["training.epochs"] = Note(f"about {_steps(planned)}")
    if planned is not None and 0 < training.warmup < 1:
        found["training.warmup"] = Note(_steps(math.ceil(planned * training.warmup)))
    usual = f"{USUAL_RATES[spec.task]:.0e}".replace("e-0", "e-")
    if training.learning_rate is None:
        found["training.learning_rate"] = Note(f"{usual} for {spec.task}")
    elif spec.task in ("dpo", "kto") and training.learning_rate > HIGH_FOR_PREFERENCES:
        found["training.learning_rate"] = Note(f"{spec.task}: {usual} is usual")
    if not _held_out_any(spec):
        found["dataset.eval_rows"] = Note("unused: none held out", idle=True)
    if spec.evaluation.every_steps and not _held_out_any(spec):
        found["evaluation.every_steps"] = Note("unused: none held out", idle=True)
    return {path: note for path, note in found.items() if path.split(".")[0] not in unsure(checked)}


def unsure(checked: Checked) -> set[str]:
    """Sections with a value that does not hold: nothing is reckoned from its stand-in."""
    sections = {path.split(".")[0] for path in checked.wrong - set(NEEDED.values())}
    return sections | {"training"} if "dataset" in sections else sections


def summary(
    checked: Checked, survey: Survey, width: int, trained: int | None = None, runs: str = ""
) -> Content:
    """The line that stays in sight: what a step is, how many, and whether anything is wrong;
    `trained` counts the adapter's weights, where they are known; `runs` is the session on its
    card."""
    pieces = []
    spec = checked.sound
    if spec is not None:
        train_rows, held_out = split(spec, survey)
        per_step = spec.training.micro_batch * spec.training.accumulation
        planned = steps(spec, train_rows, survey)
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
        if trained is not None:
            pieces.append(join(dim("trainable "), ink(count(trained))))
    end = ink("✓ s starts it", GOOD)
    if runs:
        end = ink(f"! {shorten_middle(runs, 16)} runs: t waits, s starts beside it", TIGHT)
    if many := len(checked.problems):
        missing = {p.field for p in checked.problems} <= {"model.id", "dataset.path"}
        words = "1 problem" if many == 1 else f"{many} problems"
        end = ink(f"! {words}", TIGHT) if missing else ink(f"▲ {words}", WRONG)
    return between(fitting(pieces, width - end.cell_length - 2), end, width)


def _steps(many: int) -> str:
    return f"{many:,} step" if many == 1 else f"{many:,} steps"


def _held_out_any(spec: RunSpec) -> bool:
    data = spec.dataset
    return bool(data.eval_path or data.eval_split or data.eval_share > 0)
