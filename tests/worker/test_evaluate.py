"""Evaluations of sessions, against plain loops over the libraries."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.kinds import kind_of, make_model
from tests.task_rows import ROWS, spec_of
from tests.tiny import make_tiny_adapter, make_tiny_classifier
from tests.workers import tiny_spec
from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import (
    Evaluate,
    EvaluationEnded,
    EvaluationPlanned,
    EvaluationProgressed,
    FromEvaluate,
)
from tui_lora.core.evaluation import AnswerRow, Evaluation, LossRow
from tui_lora.core.spec import RunSpec
from tui_lora.store import evaluations, sessions
from tui_lora.store.dataset import held_out_rows
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


class Listener:
    """A viewer that cancels once it has heard so many messages of a kind."""

    def __init__(self, kind: type[FromEvaluate] | None = None, after: int = 1) -> None:
        self.heard: list[FromEvaluate] = []
        self.cancelled = threading.Event()
        self._kind, self._left = kind, after

    def __call__(self, message: FromEvaluate) -> None:
        self.heard.append(message)
        if self._kind is not None and isinstance(message, self._kind):
            self._left -= 1
            if not self._left:
                self.cancelled.set()


def measured(
    paths: SessionPaths, listener: Listener | None = None, **asked: Any
) -> EvaluationEnded:
    from tui_lora.worker.evaluation import evaluate

    listener = listener or Listener()
    given = {
        "session": str(paths.folder),
        "adapter": str(paths.adapter),
        "devices": "cpu",
        "max_new_tokens": 8,
        **asked,
    }
    return evaluate(Evaluate.model_validate(given), listener, listener.cancelled)


def session(root: Path, spec: RunSpec, model: Path, name: str = "run") -> SessionPaths:
    """A session with an adapter that was never trained, but is not the base."""
    paths = sessions.create(root, name, spec)
    if spec.task == "classification":
        labels = tuple(sorted({row["label"] for row in ROWS["classification"]()}))
        make_tiny_classifier(model, paths.adapter, labels)
    else:
        make_tiny_adapter(model, paths.adapter, scale=0.2)
    return paths


@pytest.fixture
def run(tiny_model: Path, rows: Path, tmp_path: Path) -> SessionPaths:
    return session(tmp_path / "sessions", tiny_spec(tiny_model, rows), tiny_model)


def plain_losses(
    model: Any, tokenizer: Any, file: Path, numbers: list[int], max_length: int
) -> tuple[float, int]:
    """The loss of the answers' tokens, row by row, as anybody would compute it."""
    import torch

    loss, tokens = 0.0, 0
    for number in numbers:
        turns = json.loads(file.read_text().splitlines()[number])["messages"]
        asked = tokenizer.apply_chat_template(
            turns[:-1], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
        ids = ids[:max_length]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].float()
        chances = logits.log_softmax(-1)
        for at in range(len(asked), len(ids)):
            loss -= chances[at - 1, ids[at]].item()
            tokens += 1
    return loss, tokens


@pytest.mark.parametrize(
    ("kind", "scheme", "max_length"),
    [
        # Rows of 38 to 40 tokens are cut.
        ("llama", "none", 34),
        ("llama", "nf4", 64),
        pytest.param("llama", "none", 64, marks=pytest.mark.long),
        pytest.param("gemma2", "none", 64, marks=pytest.mark.long),
        pytest.param("gpt2", "none", 64, marks=pytest.mark.long),
        pytest.param("gpt_neox", "none", 64, marks=pytest.mark.long),
        pytest.param("qwen3_moe", "none", 64, marks=pytest.mark.long),
    ],
)
def test_the_perplexity_is_that_of_a_plain_loop(
    kind: str, scheme: str, max_length: int, rows: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer

    from tui_lora.core.spec import ModelSpec, QuantizationSpec
    from tui_lora.worker.model import load_model

    model = make_model(kind_of(kind), tmp_path / "model")
    spec = tiny_spec(model, rows, training__max_length=max_length, quantization__scheme=scheme)
    paths = session(tmp_path / "sessions", spec, model)
    found = measured(paths, metrics=("none",), batch=3).evaluation

    base = load_model(
        ModelSpec(id=str(model)), QuantizationSpec(scheme=scheme), devices="cpu"
    ).model
    tokenizer = AutoTokenizer.from_pretrained(model)
    held = sorted(held_out_rows(40, 0.2, 42))
    numbers = {"eval": held, "train": [at for at in range(40) if at not in held]}
    plain = {
        name: plain_losses(base, tokenizer, rows, n, max_length) for name, n in numbers.items()
    }
    tuned = PeftModel.from_pretrained(base, paths.adapter).eval()
    after = {
        name: plain_losses(tuned, tokenizer, rows, n, max_length) for name, n in numbers.items()
    }

    for name in ("eval", "train"):
        part = found.part(name)
        assert part is not None
        assert part.rows == part.of == len(numbers[name])
        assert part.tokens == plain[name][1]
        for side, (loss, tokens) in ((part.base, plain[name]), (part.tuned, after[name])):
            assert side.perplexity.value == pytest.approx(math.exp(loss / tokens), rel=1e-4)
            assert side.perplexity.low < side.perplexity.value < side.perplexity.high
        assert part.base.loss.value != pytest.approx(part.tuned.loss.value, rel=1e-4)
        assert (part.cut_rows > 0) == (part.cut_tokens > 0) == (max_length < 40)
    general = found.part("general")
    assert general is not None
    assert general.rows == 16


@pytest.mark.long
@pytest.mark.parametrize("task", ["sft", "classification"])
def test_the_loss_is_what_the_run_itself_measured(
    task: str, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """Before its first step, where the adapter adds nothing, and after its last."""
    from tests.in_process import trained

    plain = task == "sft"
    spec = tiny_spec(tiny_model, rows) if plain else spec_of(task, tiny_model, tmp_path)
    (tmp_path / "sessions").mkdir()
    _, paths = trained(tmp_path / "sessions", "run", spec)
    found = measured(paths, parts=("eval",), metrics=("none",) if plain else None).evaluation
    part = found.part("eval")
    assert part is not None
    assert found.same_rows is True
    before, *_, after = sessions.evaluations(paths)
    assert part.base.loss.value == pytest.approx(before.loss, rel=1e-5)
    assert part.tuned.loss.value == pytest.approx(after.loss, rel=1e-5)
    if found.classes is not None:
        assert found.classes.tuned.accuracy == pytest.approx(after.metrics["accuracy"])
        assert found.classes.base.macro_f1 == pytest.approx(before.metrics["macro_f1"])


@pytest.mark.long
def test_over_real_pipes_it_ends_with_its_viewer(run: SessionPaths) -> None:
    import queue

    from tui_lora.core.evaluate import FROM_EVALUATE, TO_EVALUATE
    from tui_lora.store.launch import start_pipe_worker
    from tui_lora.store.pipe import PipeWorker

    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    worker = PipeWorker(
        start_pipe_worker("evaluate", devices="cpu"),
        sends=TO_EVALUATE,
        hears=FROM_EVALUATE,
        on_message=heard.put,
        on_end=lambda code, words: heard.put(code),
    )
    asked = Evaluate(session=str(run.folder), adapter=str(run.adapter), devices="cpu")
    worker.send(asked.model_copy(update={"metrics": ("none",)}))
    message = heard.get(timeout=120)
    while not isinstance(message, EvaluationEnded):
        assert isinstance(message, FromEvaluate), message
        message = heard.get(timeout=120)
    assert message.evaluation.complete
    # Another one, on what imports are there by now; its viewer goes in the middle of it.
    worker.send(asked)
    heard.get(timeout=60)
    worker.process.stdin.close()
    assert worker.process.wait(timeout=60) == 0
    assert worker.unreadable == 0


def test_what_is_found_is_kept_row_by_row(run: SessionPaths, rows: Path) -> None:
    listener = Listener()
    ended = measured(run, listener)
    kept = evaluations.newest(run)
    assert kept is not None
    assert kept.evaluation == ended.evaluation
    assert str(kept.path) == ended.path
    assert evaluations.partials(run) == []
    told = list(evaluations.rows_of(kept))
    losses = [row for row in told if isinstance(row, LossRow)]
    answers = [row for row in told if isinstance(row, AnswerRow)]
    assert (len(losses), len(answers)) == (40 + 16, 8)
    part = ended.evaluation.part("eval")
    assert part is not None
    mine = [row for row in losses if row.part == "eval"]
    assert sum(row.tokens for row in mine) == part.tokens
    assert part.improved + part.worsened == 8
    changes = [row.change for row in part.most_improved]
    assert changes == sorted(changes)
    # A row's own words, where it stands, and what it is compared with.
    lines = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    for row in (*mine, *answers):
        assert (row.begin if isinstance(row, LossRow) else row.question) == (
            lines[row.line - 1][0]["content"]
        )
    assert {row.reference for row in answers} <= {turns[1]["content"] for turns in lines}
    # Chosen by the rows, and why.
    assert [metric.name for metric in ended.evaluation.metrics] == ["exact_match", "f1"]
    assert all("words" in metric.why for metric in ended.evaluation.metrics)
    assert listener.heard.count(next(m for m in listener.heard if isinstance(m, EvaluationPlanned)))
    as_json = ended.evaluation.as_json()
    assert as_json["tuned"]["perplexity"]["eval"] == part.tuned.perplexity.value
    assert set(as_json["base"]["metrics"]) == {"exact_match", "f1"}


def test_answers_in_batches_are_those_of_one_row_at_a_time(run: SessionPaths) -> None:
    """Rows of unlike lengths, padded on the left, by base and tuned."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ended = measured(run, parts=(), metrics=("rouge_l",), max_new_tokens=12)
    kept = evaluations.newest(run)
    assert kept is not None
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    spec_model = ended.evaluation.model
    model = AutoModelForCausalLM.from_pretrained(spec_model, dtype="float32")
    plain: dict[str, list[str]] = {}
    answers = [row for row in evaluations.rows_of(kept) if isinstance(row, AnswerRow)]
    for side in ("base", "tuned"):
        if side == "tuned":
            model = PeftModel.from_pretrained(model, run.adapter)
        model.eval()
        for row in answers:
            fed = tokenizer.apply_chat_template(
                [{"role": "user", "content": row.question}],
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
            )
            written = model.generate(
                **fed, max_new_tokens=12, do_sample=False, eos_token_id=tokenizer.eos_token_id
            )
            new = written[0, fed["input_ids"].shape[1] :]
            text = tokenizer.decode(new, skip_special_tokens=True)
            plain.setdefault(side, []).append(text)
    from tui_lora.core.text import clean

    assert [row.base.text for row in answers] == [clean(text) for text in plain["base"]]
    assert [row.tuned.text for row in answers] == [clean(text) for text in plain["tuned"]]


@pytest.mark.parametrize("after", [2, pytest.param(5, marks=pytest.mark.long)])
def test_cancelled_it_keeps_what_is_done_and_goes_on_from_there(
    run: SessionPaths, after: int
) -> None:
    whole = measured(run, batch=4).evaluation
    listener = Listener(EvaluationProgressed, after)
    ended = measured(run, listener, batch=4)
    assert not ended.evaluation.complete
    assert evaluations.partials(run) == [Path(ended.path)]
    done = len(Path(ended.path).read_text().splitlines()) - 1
    assert done >= 4 * after
    again = Listener()
    resumed = measured(run, again, batch=4).evaluation
    planned = next(m for m in again.heard if isinstance(m, EvaluationPlanned))
    assert sum(part.done for part in planned.parts) == done
    assert resumed.complete
    assert evaluations.partials(run) == []
    unlike = {"t", "seconds"}
    assert resumed.model_dump(exclude=unlike) == whole.model_dump(exclude=unlike)


@pytest.mark.long
def test_other_settings_begin_anew(run: SessionPaths) -> None:
    few = {"parts": ("eval",), "metrics": ("none",)}
    measured(run, Listener(EvaluationProgressed), batch=4, **few)
    for other in ({"seed": 1}, {"anew": True}):
        listener = Listener()
        measured(run, listener, **few, **other)
        planned = next(m for m in listener.heard if isinstance(m, EvaluationPlanned))
        assert [part.done for part in planned.parts] == [0], other


def test_memory_that_runs_out_halves_the_batch(
    run: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker import eval_work

    really, tried = eval_work.losses, []

    def scarce(model: Any, feeder: Any, items: Any, side: Any, pad: int) -> Any:
        tried.append(len(items))
        if len(items) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return really(model, feeder, items, side, pad)

    monkeypatch.setattr(eval_work, "losses", scarce)
    found = measured(run, parts=("eval",), metrics=("none",), batch=8).evaluation
    assert tried[:3] == [8, 4, 2]
    assert "2 rows at a time" in " ".join(found.notices)
    part = found.part("eval")
    assert part is not None
    assert part.rows == 8


def test_own_code_is_run_and_its_faults_are_told_row_by_row(
    run: SessionPaths, tmp_path: Path
) -> None:
    code = tmp_path / "own.py"
    code.write_text(
        "def judge(answer, reference, row):\n"
        "    asked = row['messages'][0]['content']\n"
        "    if asked.endswith(' 1?'):\n"
        "        raise ValueError('\\x1b[31mnot this one')\n"
        "    return asked.startswith('What') and row['messages'][1]['content'] == reference\n"
        "def nan(answer, reference, row):\n"
        "    return float('nan')\n"
    )
    found = measured(run, parts=(), metrics=(f"{code}:judge", f"{code}:nan")).evaluation
    judge, nan = found.metrics
    assert judge.kind == "right"
    assert judge.tuned.value == 1.0
    held = held_out_rows(40, 0.2, 42)
    assert judge.rows == 8 - (1 in held)
    assert judge.failed == 2 * (1 in held)
    assert "\x1b" not in "".join(judge.failures)
    assert (nan.rows, nan.failed, nan.tuned.value, nan.p) == (0, 16, None, None)
    assert "returned nan" in nan.failures[0]


def test_a_pattern_that_never_ends_is_ended(
    run: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker import eval_scores

    monkeypatch.setattr(eval_scores, "PATTERN_S", 0.05)
    (scorer,) = eval_scores.scorers(["regex:(a|a)*b$"])
    assert scorer.score("a" * 40, "", None, "row 3") is None
    assert scorer.failed == 1
    assert "row 3: took longer" in scorer.failures[0]


@pytest.mark.parametrize("task", ["classification", "dpo", "kto"])
def test_other_tasks_have_figures_of_their_own(task: str, tiny_model: Path, tmp_path: Path) -> None:
    spec = spec_of(task, tiny_model, tmp_path)
    paths = session(tmp_path / "sessions", spec, tiny_model)
    found = measured(paths).evaluation
    part = found.part("eval")
    assert part is not None
    assert found.answers is None
    metrics = {metric.name: metric for metric in found.metrics}
    if task == "classification":
        assert part.counted_by == "rows"
        assert part.tuned.perplexity.value is None
        classes = found.classes
        assert classes is not None
        assert sum(map(sum, classes.tuned.confusion)) == part.rows == 24
        assert metrics["accuracy"].tuned.value == pytest.approx(classes.tuned.accuracy)
        assert found.part("general") is None
        return
    reward = ("reward_margin",) if task == "dpo" else ("reward_good", "reward_bad")
    rows = _losses(paths)
    for name in reward:
        assert metrics[name].base.value is None
    if task == "dpo":
        assert set(metrics) == {"prefers_chosen", "reward_margin", "reward_accuracy"}
        # As trl's DPOTrainer has it: beta times what the answers gained over the base.
        margins = [0.1 * ((r.base - r.tuned) - (r.rejected_base - r.rejected_tuned)) for r in rows]
        assert metrics["reward_margin"].tuned.value == pytest.approx(sum(margins) / len(margins))
        # The rejected answers of all pairs are the same words.
        assert len({row.rejected_tokens for row in rows}) == 1 < len({row.tokens for row in rows})
        assert part.unit == "pairs"
        assert part.rows == 8
    else:
        good = [row for row in rows if row.good]
        assert part.rows == len(good) == metrics["reward_good"].rows
        assert metrics["reward_bad"].rows == len(rows) - len(good)


def _losses(paths: SessionPaths) -> list[LossRow]:
    kept = evaluations.newest(paths)
    assert kept is not None
    told = evaluations.rows_of(kept)
    return [row for row in told if isinstance(row, LossRow) and row.part == "eval"]


def test_a_file_takes_the_place_of_the_held_out_rows(
    run: SessionPaths, rows: Path, tmp_path: Path
) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"question": "What is 2 + 2?", "answer": "It is 4.\\n#### 4"}\n' * 3)
    found = measured(run, data=str(file), parts=("eval",)).evaluation
    assert found.test_file == str(file)
    part = found.part("eval")
    assert part is not None
    assert part.rows == 3
    assert [metric.name for metric in found.metrics] == ["gsm8k"]
    assert found.notices[-1].startswith("3 of 3 answers of the tuned model did not end")
    # All rows of the dataset, of which 32 were trained on.
    found = measured(run, data=str(rows), parts=("eval",), metrics=("none",)).evaluation
    assert f"trained on 32 of the measured rows of {rows}" in " ".join(found.notices)
    listed = tmp_path / "labels.jsonl"
    listed.write_text('{"text": "a plain text"}\n' * 3)
    with pytest.raises(UserError, match="plain text"):
        measured(run, data=str(listed))


@pytest.mark.long
def test_the_rows_are_those_of_the_run_or_it_is_said(run: SessionPaths, tmp_path: Path) -> None:
    import yaml

    found: dict[str | None, Evaluation] = {}
    for print_ in (None, "0" * 64):
        run.resolved.write_text(yaml.safe_dump({"dataset_sha256": print_}))
        found[print_] = measured(run, parts=("eval",), metrics=("none",)).evaluation
    assert found[None].same_rows is None
    assert found["0" * 64].same_rows is False
    assert "not those that the run was trained on" in " ".join(found["0" * 64].notices)


def test_plain_text_has_passages_and_no_answers(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    text = " ".join(f"The rank of run {i} is {2 * i}." for i in range(30))
    file.write_text("".join(json.dumps({"text": f"{n} {text}"}) + "\n" for n in range(10)))
    spec = tiny_spec(tiny_model, file)
    paths = session(tmp_path / "sessions", spec, tiny_model)
    found = measured(paths).evaluation
    part = found.part("eval")
    assert part is not None
    assert part.unit == "passages"
    assert part.rows > 2
    assert part.most_improved or part.most_worsened
    assert found.metrics == ()
    assert "plain text" in next(c.reason for c in found.choices if c.setting == "metrics")
    with pytest.raises(UserError, match="no answers"):
        measured(paths, metrics=("f1",))
