"""Training, for real: tiny models, real trl, peft and bitsandbytes, in real worker processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from tests import workers
from tests.worker.test_saving import NoRandomState
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.checkpoints import checkpoints, damage
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def adapter_weights(paths: SessionPaths) -> dict[str, object]:
    from safetensors.torch import load_file

    return dict(load_file(paths.adapter / "adapter_model.safetensors"))


def equal(a: SessionPaths, b: SessionPaths) -> bool:
    import torch

    left, right = adapter_weights(a), adapter_weights(b)
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name])  # type: ignore[arg-type]
        for name in left
    )


def close(a: SessionPaths, b: SessionPaths) -> bool:
    import torch

    left, right = adapter_weights(a), adapter_weights(b)
    return left.keys() == right.keys() and all(
        torch.allclose(left[name], right[name], rtol=1e-3, atol=1e-5)  # type: ignore[arg-type]
        for name in left
    )


@pytest.mark.parametrize("scheme", ["none", "nf4", "int8"])
def test_a_run_ends_in_an_adapter_that_plain_peft_loads(
    scheme: str, root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(tiny_model, rows, quantization__scheme=scheme)
    paths = sessions.create(root, f"run-{scheme}", spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]

    view = view_of(paths)
    assert view.unreadable == 0
    assert view.unknown_fields == 0
    assert view.verdict == "done"
    assert view.step == view.total_steps == 6
    assert view.base_eval is not None
    assert view.last_eval is not None
    assert view.last_eval.loss < view.base_eval.loss
    assert view.loss.buckets[0].first == 1
    assert view.last_step is not None
    assert view.last_step.tokens_seen > 6 * 4 * 10
    assert view.last_step.tokens_per_s is not None
    assert view.last_step.process_gib is not None
    assert {name for name, _ in view.phases} >= {"imports", "data", "model", "trainer", "saving"}
    chosen = {choice.setting: choice for choice in view.choices}
    assert chosen["model.dtype"].value == "float32"
    assert chosen["adapter's dtype"].value == "float32"
    assert all(choice.reason for choice in view.choices)

    assert sessions.status_of(paths) is Status.DONE
    result = sessions.read_result(paths)
    assert result is not None
    assert (result.step, result.total_steps) == (6, 6)
    assert [c.step for c in checkpoints(paths.checkpoints)] == [4, 6]
    for checkpoint in checkpoints(paths.checkpoints):
        assert damage(checkpoint.folder) is None
        assert not (checkpoint.folder / "training_args.bin").exists()
    assert "because" in paths.resolved.read_text()

    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    tuned = PeftModel.from_pretrained(base, paths.adapter)
    tokenizer = AutoTokenizer.from_pretrained(paths.adapter)
    assert tokenizer.chat_template
    prompt = tokenizer("The rank", return_tensors="pt")
    after = tuned(**prompt).logits
    with tuned.disable_adapter():
        before = tuned(**prompt).logits
    assert (after - before).abs().max() > 1e-4


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_variants_train(variant: str, root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(tiny_model, rows, lora__variant=variant, training__max_steps=2)
    paths = sessions.create(root, variant, spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    config = json.loads((paths.adapter / "adapter_config.json").read_text())
    assert config[f"use_{variant}"] is True


@pytest.mark.parametrize("scheme", ["none", "nf4"])
def test_stop_then_resume_ends_where_an_unbroken_run_does(
    scheme: str, root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(
        tiny_model, rows, quantization__scheme=scheme, training__max_steps=40,
        evaluation__save_every_steps=1000, evaluation__every_steps=1000,
    )  # fmt: skip
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0

    broken = sessions.create(root, "broken", spec)
    with workers.running(broken) as worker:
        wait_for(broken, lambda view: view.step >= 1)
        order = sessions.order_stop(broken)
        assert workers.finish(worker) == 0
    stopped = view_of(broken)
    assert sessions.status_of(broken) is Status.STOPPED
    assert stopped.answers[order.id].ok
    assert 1 <= stopped.step < 40
    assert [c.step for c in checkpoints(broken.checkpoints)] == [stopped.step]
    assert stopped.adapter is not None
    assert stopped.adapter.size_bytes == sessions.adapter_bytes(broken.adapter)

    assert workers.train(broken) == 0
    view = view_of(broken)
    assert view.attempt == 2
    assert view.resumed_from == stopped.step
    assert view.verdict == "done"
    assert [bucket.first for bucket in view.loss.buckets] == sorted(
        {bucket.first for bucket in view.loss.buckets}
    )
    unbroken = view_of(whole)
    assert view.last_step is not None
    assert unbroken.last_step is not None
    assert view.last_step.tokens_seen == unbroken.last_step.tokens_seen
    assert view.last_step.loss == unbroken.last_step.loss
    assert equal(whole, broken)
    result, unbroken_result = sessions.read_result(broken), sessions.read_result(whole)
    assert result is not None
    assert unbroken_result is not None
    assert result.base_eval_loss == unbroken_result.base_eval_loss
    assert result.eval_loss == unbroken_result.eval_loss


def as_it_was_at(step: int, whole: SessionPaths, name: str) -> SessionPaths:
    """A copy of a session as it would be, had its worker died right after a checkpoint."""
    paths = SessionPaths(whole.folder.with_name(name))
    shutil.copytree(whole.folder, paths.folder)
    paths.result.unlink()
    shutil.rmtree(paths.adapter)
    for checkpoint in checkpoints(paths.checkpoints):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.folder)
    lines = paths.events.read_text().splitlines(keepends=True)
    saved = f'"step-{step:06}"'
    last = next(at for at, line in enumerate(lines) if saved in line)
    paths.events.write_text("".join(lines[: last + 1]))
    assert sessions.status_of(paths) is Status.INTERRUPTED
    return paths


def test_a_run_goes_on_in_the_middle_of_an_epoch_with_the_rows_that_are_left(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    """Packed and accumulated, in the second epoch: bit for bit. In the first one with half the
    micro-batch and twice the accumulation: each step has the same rows, and what is learned differs
    by rounding."""
    spec = tiny_spec(
        tiny_model, rows, lora__dropout=0.0, training__packing=True, training__max_length=128,
        training__max_steps=8, evaluation__save_every_steps=1, evaluation__keep=10,
    )  # fmt: skip
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0, whole.log.read_text()[-2000:]
    unbroken = view_of(whole)
    assert unbroken.last_step is not None
    assert unbroken.plan is not None
    in_epoch = unbroken.total_steps / unbroken.plan.epochs
    assert in_epoch + 0.9 < 4 < 2 * in_epoch - 0.9, "step 4 is in the midst of the second epoch"

    same = as_it_was_at(4, whole, "same")
    assert workers.train(same) == 0
    assert view_of(same).resumed_from == 4
    assert view_of(same).last_step.tokens_seen == unbroken.last_step.tokens_seen
    assert equal(same, whole)

    halved = as_it_was_at(1, whole, "halved")
    changes = {"training.micro_batch": 1, "training.accumulation": 4}
    more = ("--changes", json.dumps(changes), "--reason", "Memory ran out.")
    assert workers.finish(workers.start(halved, more=more)) == 0
    view = view_of(halved)
    assert (view.resumed_from, view.spec_changes) == (1, changes)
    assert view.last_step is not None
    assert view.last_step.tokens_seen == unbroken.last_step.tokens_seen
    assert view.last_step.loss == pytest.approx(unbroken.last_step.loss, rel=1e-5)
    assert not equal(halved, whole)
    assert close(halved, whole)


@pytest.mark.long
@pytest.mark.parametrize(("scheme", "dropout"), [("nf4", 0.0), ("nf4", 0.1), ("none", 0.1)])
def test_packed_it_goes_on_bit_for_bit_with_dropout_and_in_four_bits(
    root: Path, tiny_model: Path, rows: Path, scheme: str, dropout: float
) -> None:
    """Accumulated, in the midst of the second epoch."""
    spec = tiny_spec(
        tiny_model, rows, quantization__scheme=scheme, lora__dropout=dropout,
        training__packing=True, training__max_length=128, training__max_steps=8,
        evaluation__save_every_steps=1, evaluation__keep=10,
    )  # fmt: skip
    whole = sessions.create(root, "whole", spec)
    assert workers.train(whole) == 0, whole.log.read_text()[-2000:]
    same = as_it_was_at(4, whole, "same")
    assert workers.train(same) == 0, same.log.read_text()[-2000:]
    assert view_of(same).resumed_from == 4
    assert equal(same, whole)
    if dropout:
        # It is drawn, so that it has to be drawn on where it stood.
        other = as_it_was_at(4, whole, "other")
        assert workers.finish(workers.start(other, first=NoRandomState())) == 0
        assert not equal(other, whole)


def test_kill_9_is_seen_and_the_last_whole_checkpoint_is_taken(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    spec = tiny_spec(tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000)
    paths = sessions.create(root, "killed", spec)
    worker = workers.start(paths)
    wait_for(paths, lambda view: view.checkpoint is not None and view.step >= 8)
    workers.kill(worker)
    assert sessions.status_of(paths) is Status.INTERRUPTED
    # The newest checkpoint loses a byte; the one before it is whole.
    newest = checkpoints(paths.checkpoints)[-1]
    older = checkpoints(paths.checkpoints)[-2]
    weights = newest.folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with workers.running(paths):
        view = wait_for(paths, lambda view: view.attempt == 2 and view.step > older.step)
    assert view.resumed_from == older.step
    assert any(newest.folder.name in line.text for line in view.log)


def test_sigterm_is_a_stop(root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000)
    paths = sessions.create(root, "terminated", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGHUP)
        os.kill(worker.pid, signal.SIGTERM)
        assert workers.finish(worker) == 0
    assert sessions.status_of(paths) is Status.STOPPED
    assert "SIGTERM" in view_of(paths).verdict_message


def test_a_checkpoint_is_saved_when_asked_for(root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000,
        evaluation__save_every_steps=5000,
    )  # fmt: skip
    paths = sessions.create(root, "asked", spec)
    with workers.running(paths):
        wait_for(paths, lambda view: view.step >= 1)
        order = sessions.order_checkpoint(paths)
        view = wait_for(paths, lambda view: order.id in view.answers)
        assert view.answers[order.id].ok
        saved = checkpoints(paths.checkpoints)
        assert len(saved) == 1
        assert str(saved[0].step) in view.answers[order.id].message
        later = wait_for(paths, lambda view: view.step > saved[0].step + 5)
        assert later.verdict is None


def test_a_second_worker_leaves_the_first_alone(root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(tiny_model, rows, training__max_steps=2000, evaluation__every_steps=5000)
    paths = sessions.create(root, "twice", spec)
    with workers.running(paths):
        wait_for(paths, lambda view: view.step >= 1)
        assert workers.train(paths) == 2
        assert sessions.status_of(paths) is Status.RUNNING
        assert view_of(paths).attempt == 1


def test_a_stop_while_loading_ends_the_run_at_once(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    paths = sessions.create(root, "early", tiny_spec(tiny_model, rows, training__max_steps=2000))
    with workers.running(paths) as worker:
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    assert sessions.status_of(paths) is Status.STOPPED


def test_a_stop_is_heard_while_the_rows_are_tokenized(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many.jsonl"
    with many.open("w") as file:
        for number in range(50_000):
            file.write(json.dumps({"prompt": f"What is rank {number}?", "completion": "4."}) + "\n")
    paths = sessions.create(root, "many", tiny_spec(tiny_model, many))
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.phase is not None and view.phase.name == "data")
        sessions.order_stop(paths)
        assert workers.finish(worker, 15) == 0
    assert sessions.status_of(paths) is Status.STOPPED
    assert "before the first step" in view_of(paths).verdict_message


def test_a_stop_cuts_an_evaluation_short(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.jsonl"
    with many.open("w") as file:
        for number in range(6000):
            row = {"prompt": f"What is rank {number}?", "completion": "Four, and alpha is eight."}
            file.write(json.dumps(row) + "\n")
    spec = tiny_spec(tiny_model, many, training__max_steps=50, dataset__eval_share=0.5)
    paths = sessions.create(root, "slow-eval", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.phase is not None and view.phase.name == "evaluating")
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    view = view_of(paths)
    assert sessions.status_of(paths) is Status.STOPPED
    assert view.step <= 1
    assert view.base_eval is None
    assert any("cut short" in line.text for line in view.log)


def test_early_stopping(root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=300, training__learning_rate=0.5,
        evaluation__every_steps=2, evaluation__early_stopping=2, evaluation__save_every_steps=1000,
    )  # fmt: skip
    paths = sessions.create(root, "patience", spec)
    assert workers.train(paths) == 0
    view = view_of(paths)
    assert view.step < 300
    assert any("early stopping" in line.text for line in view.log)
    assert sessions.status_of(paths) is Status.DONE


@pytest.mark.parametrize(("guard", "steps"), [("off", 3), ("stop", 1), ("pause", 1)])
def test_nan_is_shown_and_no_adapter_is_called_saved(
    guard: str, steps: int, root: Path, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "nan-model"
    broken.mkdir()
    for file in tiny_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "mlp.down_proj" in name)
    weights[name] = weights[name] * float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    spec = tiny_spec(
        broken, rows, training__max_steps=3, dataset__eval_share=0.0, guards__nan=guard,
        evaluation__save_every_steps=1,
    )  # fmt: skip
    paths = sessions.create(root, "nan", spec)
    assert workers.train(paths) == 1
    view = view_of(paths)
    assert view.loss.not_finite == steps
    assert any("NaN" in line.text for line in view.log)
    # Weights that are lost push no good ones out.
    assert any(f"no checkpoint at step {steps}" in line.text for line in view.log)
    assert checkpoints(paths.checkpoints) == []
    assert view.adapter is None
    assert not paths.adapter.exists()
    assert sessions.status_of(paths) is Status.FAILED
    # A pause that has nothing to go on from is none.
    assert "holds NaN or infinity" in view.verdict_message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"training__max_length": 8}, "no token of any row would be trained"),
        ({"lora__target_modules": "nonsense_proj"}, "no linear layer called nonsense_proj"),
        ({"lora__target_modules": ("q_proj", "lm_head")}, "lm_head cannot be a target"),
        ({"model__id": "/nowhere/at/all"}, "cannot be loaded"),
        ({"dataset__path": "/nowhere.jsonl"}, "there is no dataset"),
    ],
)
def test_what_cannot_work_ends_in_a_sentence(
    changes: dict[str, object], sentence: str, root: Path, tiny_model: Path, rows: Path
) -> None:
    paths = sessions.create(root, "refused", tiny_spec(tiny_model, rows, **changes))
    assert workers.train(paths) == 1
    view = view_of(paths)
    assert view.verdict == "failed"
    assert sentence in view.verdict_message
    result = sessions.read_result(paths)
    assert result is not None
    assert sentence in result.message


def test_targets_and_loss_on_reach_the_libraries(root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(
        tiny_model, rows, lora__target_modules=("q_proj", "v_proj"), dataset__loss_on="all",
        training__max_steps=2,
    )  # fmt: skip
    paths = sessions.create(root, "targets", spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    config = json.loads((paths.adapter / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    view = view_of(paths)
    assert view.plan is not None
    # Two layers; q: 64→64, v: 64→32, rank 4.
    assert view.plan.trainable_parameters == 2 * 4 * ((64 + 64) + (64 + 32))


def test_a_run_that_died_before_its_last_word_takes_no_step_more(
    root: Path, tiny_model: Path, rows: Path
) -> None:
    paths = sessions.create(root, "nearly", tiny_spec(tiny_model, rows))
    assert workers.train(paths) == 0
    before = sessions.read_result(paths)
    weights = (paths.adapter / "adapter_model.safetensors").read_bytes()
    paths.result.unlink()
    assert sessions.status_of(paths) is Status.INTERRUPTED
    assert workers.train(paths) == 0
    after = sessions.read_result(paths)
    assert before is not None
    assert after is not None
    same = {"attempt": 2, "seconds": after.seconds, "finished": after.finished}
    assert after == before.model_copy(update=same)
    assert (paths.adapter / "adapter_model.safetensors").read_bytes() == weights


@pytest.mark.long
def test_early_stopping_counts_through_a_resume(root: Path, tiny_model: Path, rows: Path) -> None:
    spec = tiny_spec(
        tiny_model, rows, training__max_steps=4000, training__learning_rate=0.9,
        evaluation__every_steps=20, evaluation__early_stopping=4,
        evaluation__save_every_steps=1000,
    )  # fmt: skip
    paths = sessions.create(root, "patience", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: len(view.evaluations) >= 3)
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    stopped = sessions.read_result(paths)
    assert stopped is not None
    assert stopped.eval_loss == view_of(paths).evaluations[-1].loss
    assert workers.train(paths) == 0
    best, worse = float("inf"), []
    for found in view_of(paths).evaluations:
        assert len(worse) < 4
        if found.loss < best:
            best, worse = found.loss, []
        else:
            worse.append(found.loss)
    assert len(worse) == 4


def test_rows_that_max_length_empties_are_named(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "long.jsonl"
    with file.open("w") as lines:
        for number in range(20):
            row = {"prompt": "Why? " * (40 if number % 2 else 1), "completion": "So."}
            lines.write(json.dumps(row) + "\n")
    spec = tiny_spec(tiny_model, file, training__max_steps=2, dataset__eval_share=0.0)
    paths = sessions.create(root, "long", spec)
    assert workers.train(paths) == 0
    view = view_of(paths)
    assert any("left out 10 of 20 rows" in line.text for line in view.log)
    assert view.plan is not None
    assert view.plan.train_rows == 10


def fail_at_a_checkpoint() -> None:
    from tui_lora.worker import saving

    def seal(*_: object, **__: object) -> int:
        raise ValueError("not as expected")

    saving.seal = seal  # type: ignore[attr-defined]


def test_a_failure_says_at_which_step(root: Path, tiny_model: Path, rows: Path) -> None:
    paths = sessions.create(root, "failed", tiny_spec(tiny_model, rows))
    assert workers.finish(workers.start(paths, first=fail_at_a_checkpoint)) == 1
    result = sessions.read_result(paths)
    assert result is not None
    assert (result.step, result.total_steps) == (2, 6)
    assert not (paths.checkpoints / ".saving").exists()


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": "What is the rank of %d?"},
                    {"role": "assistant", "content": "Four."},
                    {"role": "user", "content": "And alpha?"},
                    {"role": "assistant", "content": "Eight."},
                ]
            },
            {"dataset__loss_on": "assistant"},
        ),
        ({"text": "In run %d LoRA freezes the base. " + "It trains two matrices. " * 5}, {}),
    ],
)
def test_what_is_learned_of_turns_and_texts(
    row: dict[str, object],
    settings: dict[str, object],
    root: Path,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row).replace("%d", str(n)) + "\n" for n in range(20)))
    paths = sessions.create(root, "learned", tiny_spec(tiny_model, file, **settings))
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    view = view_of(paths)
    assert view.last_eval is not None
    assert view.base_eval is not None
    assert view.last_eval.loss < view.base_eval.loss
    resolved = yaml.safe_load(paths.resolved.read_text())
    (dataset,) = resolved["datasets"]
    assert dataset["format"] == next(iter(row))
    assert dataset["columns"] == {next(iter(row)): next(iter(row))}
    assert dataset["because"]
    assert (resolved["tokens"]["end"], resolved["tokens"]["pad"]) == ("<|im_end|>", "<pad>")


def test_the_template_that_was_trained_is_saved_where_there_was_none(
    root: Path, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(tiny_model, plain)
    (plain / "chat_template.jinja").unlink()
    paths = sessions.create(root, "plain", tiny_spec(plain, rows, training__max_steps=2))
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    template = (paths.adapter / "chat_template.jinja").read_text()
    assert "<|assistant|>" in template
    resolved = yaml.safe_load(paths.resolved.read_text())
    sha256 = hashlib.sha256(template.encode()).hexdigest()
    assert resolved["tokens"]["template_sha256"] == sha256
    assert "none" in resolved["chosen"]["chat template"]["because"]


def test_rows_that_cannot_be_used_are_listed_in_the_session(
    root: Path, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(rows.read_bytes() + b'{"messages": []}\n{"messages"\n')
    paths = sessions.create(root, "partly", tiny_spec(tiny_model, file, training__max_steps=2))
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    listed = [json.loads(line) for line in paths.left_out.read_text().splitlines()]
    assert [entry["line"] for entry in listed] == [41, 42]
    assert any("2 rows are left out; left-out.jsonl" in line.text for line in view_of(paths).log)


def test_rows_are_refused_before_any_weights_are_loaded(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": []}\n' * 5)
    paths = sessions.create(root, "refused", tiny_spec(tiny_model, file))
    assert workers.train(paths) == 1
    assert "model" not in {name for name, _ in view_of(paths).phases}
