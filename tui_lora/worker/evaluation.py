"""One evaluation, from the session's files to its result: reads top to bottom.

Rows before the model, since what is wrong with them is known in seconds. Base and tuned are one
model in memory, measured batch by batch with the adapter off and on, so that what was measured
when it was cancelled was measured of both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import (
    Evaluate,
    EvaluationEnded,
    EvaluationPlanned,
    FromEvaluate,
    Preparing,
)
from tui_lora.core.evaluation import Evaluation
from tui_lora.core.fetch import FetchPlanned, FetchProgressed, FromFetch
from tui_lora.core.spec import ModelSpec, RunSpec
from tui_lora.core.text import clean, size
from tui_lora.store import evaluations
from tui_lora.store.adapter_files import CONFIG, WEIGHTS
from tui_lora.store.checkpoints import sha256_of
from tui_lora.store.measured_adapter import mark_of, trained_to
from tui_lora.store.paths import SessionPaths
from tui_lora.store.resolved import model_commit, read_resolved
from tui_lora.store.spec_now import spec_now
from tui_lora.store.versions import versions
from tui_lora.worker import hub_kernels
from tui_lora.worker.bringing import bring, missing_model

if TYPE_CHECKING:
    from tui_lora.store.evaluations import Partial
    from tui_lora.worker.eval_plan import Plan

Say = Callable[[FromEvaluate], None]

FORM = 1
"""Of what is written down row by row; to be raised where it means something else."""


class CalledOff(Exception):
    """Cancelled before anything was measured."""


class BrokenOff(Exception):
    """What went wrong once rows were measured, which stay in the file `path`: see the cause."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path))


@contextmanager
def _what_is_kept(kept: Partial) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if kept.rows:
            raise BrokenOff(kept.path) from error
        raise


def evaluate(asked: Evaluate, say: Say, cancelled: threading.Event) -> EvaluationEnded:
    """Measure what was asked, and write it down. Raises UserError, CalledOff, OSError and what the
    libraries raise; BrokenOff by any of them where rows were measured by then, which stay on disk.
    """
    began, t = time.monotonic(), round(time.time(), 3)
    paths, adapter = SessionPaths(Path(asked.session)), Path(asked.adapter)
    spec = spec_asked(asked, paths)
    if missing_model(spec.model):
        _fetch(spec.model, say)

    def look_up() -> None:
        if cancelled.is_set():
            raise CalledOff

    # The libraries.
    say(Preparing(label="starting torch", expect_s=10.0))
    if spec.model.attention == "kernels":
        hub_kernels.let_in()
    import transformers

    from tui_lora.worker.chat_bounds import hold_to
    from tui_lora.worker.eval_answers import ends_of
    from tui_lora.worker.eval_plan import Notes, plan_of
    from tui_lora.worker.eval_result import figures_of, measured_rows
    from tui_lora.worker.eval_work import Work
    from tui_lora.worker.model import load_model

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

    # The rows: those that were trained on and those held out of it, and how answers are scored.
    notes = Notes(say)
    with tempfile.TemporaryDirectory(prefix="tui-lora-") as scratch:
        resolved = read_resolved(paths)
        plan = plan_of(asked, spec, adapter, resolved, Path(scratch), notes, look_up)
    look_up()

    # The base, and the adapter on it.
    hold_to(asked.most_gib)
    loaded = load_model(
        spec.model,
        spec.quantization,
        devices=spec.hardware.devices,
        on_phase=lambda label, s: say(Preparing(label=clean(label), expect_s=s)),
        tokenizer=plan.tokenizer,
        labels=plan.labels,
        seed=spec.training.seed,
    )
    notes.choices += loaded.choices
    model = _tuned(loaded, adapter)
    base = model.get_base_model()
    ends = [] if plan.labels else ends_of(base, plan.tokenizer)
    # generate() would fill what is left unset from the model's own, such as its temperature.
    base.generation_config = transformers.GenerationConfig()
    look_up()

    # What an evaluation that was cancelled had measured is not measured again.
    where = {"device": loaded.device, "dtype": str(loaded.dtype).removeprefix("torch.")}
    key, mark = _key(asked, spec, adapter, plan, where), mark_of(adapter)
    about = {"t": t, "asked": asked.model_dump(mode="json")}
    kept = evaluations.open_partial(paths, key, about, t, anew=asked.anew)
    with closing(kept), _what_is_kept(kept):
        work = Work(model, plan, spec, asked, kept, notes, cancelled, ends)
        say(
            EvaluationPlanned(
                parts=work.planned(),
                metrics=tuple(scorer.metric.name for scorer in plan.scoring),
                choices=tuple(notes.choices),
                notices=tuple(notes.notices),
                **where,
            )
        )

        # Measure.
        for rows in plan.parts:
            work.measure(rows)
        work.answer(plan.scoring)
        if not kept.rows:
            look_up()

        # What it comes to.
        measured = measured_rows(plan, work)
        figures = figures_of(measured, asked, spec, plan, notes)
        evaluation = Evaluation(
            t=t,
            session=paths.name,
            task=spec.task,
            step=asked.step,
            adapter=mark,
            adapter_step=trained_to(paths, asked.step),
            model=clean(spec.model.id),
            revision=model_commit(paths),
            **where,
            quantization=spec.quantization.scheme,
            seed=asked.seed,
            test_file=clean(asked.data or ""),
            same_rows=plan.same_rows,
            complete=work.complete,
            seconds=round(time.monotonic() - began, 2),
            **figures,
            choices=tuple(notes.choices),
            notices=tuple(notes.notices),
        )
        path = kept.path
        if evaluation.complete:
            path = evaluations.keep(paths, kept, evaluation, measured, whole=work.uses_all)
    return EvaluationEnded(evaluation=evaluation, path=str(path))


def spec_asked(asked: Evaluate, paths: SessionPaths) -> RunSpec:
    """The session's spec as it holds now, on the commit of its model that it was trained on, in the
    place and the precision that are asked for. Raises UserError."""
    spec = spec_now(paths)
    commit = model_commit(paths)
    model = spec.model.model_copy(update={"revision": commit}) if commit else spec.model
    hardware = spec.hardware.model_copy(update={"devices": asked.devices})
    return spec.model_copy(
        update={
            "model": model,
            "hardware": hardware,
            "quantization": asked.quantization or spec.quantization,
        }
    )


def _fetch(model: ModelSpec, say: Say) -> None:
    """Bring the base here, saying now and then how far that is. Raises UserError."""
    label, total, said = f"fetching {clean(model.id)}", 0, ""

    def hear(message: FromFetch) -> None:
        nonlocal total, said
        words = said
        if isinstance(message, FetchPlanned):
            total = message.total_bytes
        elif isinstance(message, FetchProgressed) and total:
            percent = 100 * message.done_bytes // total
            words = f"{label}, {percent - percent % 5}% of {size(total)}"
        if words != said:
            said = words
            say(Preparing(label=words))

    say(Preparing(label=label))
    bring(model.id, model.revision, hear)


def _tuned(loaded: Any, adapter: Path) -> Any:
    """The model with the adapter on it. Raises UserError."""
    from tui_lora.worker.adapter import attach, check_fits
    from tui_lora.worker.eval_losses import ADAPTER

    check_fits(adapter, loaded.model)
    return attach(loaded.model, adapter, ADAPTER, loaded.device).eval()


def _key(asked: Evaluate, spec: RunSpec, adapter: Path, plan: Plan, where: dict[str, str]) -> str:
    """All that the figures of a row depend on, in one name."""
    drawn = asked.model_dump(mode="json", include={"rows", "seed", "max_new_tokens"})
    # Not the parts and the metrics: a row is the same whatever else is measured or scored.
    told = {
        "form": FORM,
        "versions": versions(),
        "spec": spec.model_dump(mode="json"),
        "adapter": [sha256_of(adapter / name) for name in (CONFIG, WEIGHTS)],
        "rows": plan.fingerprint,
        "asked": drawn,
        **where,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def why_not(error: BaseException) -> UserError:
    """What went wrong, in words, with the exit code of its kind."""
    from tui_lora.core.text import one_line
    from tui_lora.worker.oom import is_out_of_memory

    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        return UserError(
            "memory ran out while the model was loaded.",
            then="Store the base in 4 bits (--quantization nf4), or free memory that others hold.",
            exit_code=3,
        )
    said = one_line(str(error), max_chars=300).rstrip(".")
    return UserError(f"the evaluation failed: {said or type(error).__name__}.", exit_code=1)
