"""Classification and preferences trained for real: figures, resuming, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import workers
from tests.task_rows import judged, labelled, pairs, spec_of
from tests.workers import tiny_spec, view_of, wait_for
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import class_reports, sessions
from tui_lora.store.adapter_labels import read_labels
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def trained(root: Path, spec: RunSpec) -> SessionPaths:
    paths = sessions.create(root, spec.task, spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    return paths


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def test_dpo_widens_its_margin(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    paths = trained(root, spec_of("dpo", tiny_model, tmp_path, training__max_steps=12))
    view = view_of(paths)
    assert (view.task, view.verdict) == ("dpo", "done")
    assert view.base_metrics["margin"] == 0
    assert "preferred" not in view.base_metrics
    # The loss of a pair that is preferred neither way is ln 2.
    assert view.base_eval is not None
    assert view.base_eval.loss == pytest.approx(0.6931, abs=1e-3)
    assert view.metrics["margin"] > 0.5
    assert view.metrics["preferred"] == 1
    assert view.metrics["chosen_reward"] - view.metrics["rejected_reward"] == pytest.approx(
        view.metrics["margin"]
    )
    assert view.step_metrics["margin"].latest_step == 12
    assert [bucket.first for bucket in view.eval_metrics["margin"].buckets] == [0, 3, 6, 9, 12]
    chosen = {choice.setting: choice for choice in view.choices}
    assert "no second copy" in chosen["reference model"].reason
    assert any("high for dpo" in line.text for line in view.log)
    result = sessions.read_result(paths)
    assert result is not None
    assert result.metrics == view.metrics
    assert result.base_metrics == view.base_metrics
    summary = sessions.summarize(paths)
    assert (summary.task, summary.metrics) == ("dpo", view.metrics)


@pytest.mark.parametrize("loss", ["ipo", "hinge"])
def test_other_losses_of_pairs(loss: str, root: Path, tiny_model: Path, tmp_path: Path) -> None:
    changes = {"preference__loss": loss, "training__max_steps": 2}
    view = view_of(trained(root, spec_of("dpo", tiny_model, tmp_path, **changes)))
    assert view.base_eval is not None
    # Of equal answers: (0 - 1 / 2β)² with a β of 0.1, and 1.
    assert view.base_eval.loss == pytest.approx(25 if loss == "ipo" else 1, rel=1e-3)


def test_kto_rewards_what_was_marked_good(root: Path, tiny_model: Path, tmp_path: Path) -> None:
    paths = trained(root, spec_of("kto", tiny_model, tmp_path, training__max_steps=12))
    view = view_of(paths)
    assert view.base_metrics["margin"] == 0
    assert view.metrics["margin"] > 0.3
    assert view.metrics["kl"] >= 0
    assert view.last_eval is not None
    assert view.base_eval is not None
    assert view.last_eval.loss < view.base_eval.loss
    # As many good rows as bad ones: nothing to balance.
    assert not any("would balance" in line.text for line in view.log)


def test_pairs_become_judged_answers_in_a_drawn_order(tiny_model: Path, tmp_path: Path) -> None:
    """In this process: in the order of the file all good answers could come first."""
    from tui_lora.worker.data import prepare
    from tui_lora.worker.model import load_tokenizer

    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs()))
    spec = tiny_spec(tiny_model, file, task="kto")
    tokenizer = load_tokenizer(str(tiny_model))

    def prepared() -> Any:
        return prepare(
            spec,
            tokenizer,
            say=lambda text, level="info": None,
            progress=lambda done, total, unit: None,
            left_out_file=tmp_path / "left-out.jsonl",
        )

    data = prepared()
    assert (len(data.train), len(data.held_out)) == (64, 16)
    labels = list(data.train["label"])
    assert sum(labels) == 32
    assert len({tuple(labels[at : at + 8]) for at in range(0, 64, 8)}) > 4
    # Both sides of a pair stand on one side of the held-out share.
    prompts = [{tuple(ids) for ids in part["prompt_ids"]} for part in (data.train, data.held_out)]
    assert not prompts[0] & prompts[1]
    assert list(prepared().train["label"]) == labels


@pytest.mark.parametrize(
    ("scheme", "dtype"),
    [
        ("none", "auto"),
        ("none", "bfloat16"),
        ("nf4", "auto"),
        ("nf4", "bfloat16"),
        ("int8", "auto"),
    ],
)
def test_a_classifier_learns_an_easy_set(
    scheme: str, dtype: str, root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    spec = spec_of(
        "classification", tiny_model, tmp_path, quantization__scheme=scheme, model__dtype=dtype,
        training__max_steps=30, evaluation__every_steps=15, training__learning_rate=1e-2,
    )  # fmt: skip
    paths = trained(root, spec)
    view = view_of(paths)
    labels = ("[matrix]", "bits", "turns")
    assert (view.task, view.labels) == ("classification", labels)
    assert view.metrics["accuracy"] > 0.9
    assert view.metrics["macro_f1"] > 0.9
    assert view.base_metrics["accuracy"] < view.metrics["accuracy"]

    report = class_reports.newest(paths)
    assert report is not None
    assert (report.step, report.labels, report.rows) == (30, labels, 24)
    assert report.accuracy == view.metrics["accuracy"]
    assert sum(map(sum, report.confusion)) == 24
    base = class_reports.at(paths, 0)
    assert base is not None
    assert base.accuracy == view.base_metrics["accuracy"]
    assert class_reports.at(paths, 7) is None

    assert read_labels(paths.adapter) == labels
    config = json.loads((paths.adapter / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS"
    assert not any("score" in target for target in config["target_modules"])
    head = weights_of(paths.adapter)["base_model.model.score.weight"]
    assert (tuple(head.shape), str(head.dtype)) == ((3, 64), "torch.float32")
    assert "labels.json" in (paths.adapter / "README.md").read_text()
    assert labels[0] in paths.resolved.read_text()


def test_a_saved_classifier_sorts_as_it_did_in_training(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """By the very script of its README, over texts of several lengths at once."""
    spec = spec_of(
        "classification", tiny_model, tmp_path, training__max_steps=8,
        evaluation__every_steps=8, training__learning_rate=5e-3,
    )  # fmt: skip
    paths = trained(root, spec)
    report = class_reports.newest(paths)
    assert report is not None
    script = (paths.adapter / "README.md").read_text().split("```python\n")[1].split("```")[0]
    # Up to where it says what to sort.
    script = script.split("text = ")[0].replace('Path("adapter")', f"Path({str(paths.adapter)!r})")
    there: dict[str, Any] = {}
    exec(script, there)
    model, tokenizer = there["model"], there["tokenizer"]
    import torch

    from tui_lora.store.dataset import held_out_rows

    rows = labelled()
    held_out = [rows[at] for at in sorted(held_out_rows(len(rows), 0.2, spec.training.seed))]
    batch = tokenizer([row["text"] for row in held_out], padding=True, return_tensors="pt")
    with torch.no_grad():
        together = model(**batch).logits.softmax(-1)
        alone = torch.cat(
            [
                model(**tokenizer(row["text"], return_tensors="pt")).logits.softmax(-1)
                for row in held_out
            ]
        )
    assert torch.allclose(together, alone, atol=1e-5)
    confusion = [[0] * 3 for _ in range(3)]
    for row, found in zip(held_out, together.argmax(-1).tolist(), strict=True):
        confusion[there["labels"].index(row["label"])][found] += 1
    assert tuple(map(tuple, confusion)) == report.confusion


@pytest.mark.parametrize(
    "task", ["classification", pytest.param("dpo", marks=pytest.mark.long), "kto"]
)
def test_stop_then_resume_ends_where_an_unbroken_run_does(
    task: str, root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    import torch

    spec = spec_of(
        task, tiny_model, tmp_path, training__max_steps=30, evaluation__save_every_steps=1000,
        evaluation__every_steps=1000,
    )  # fmt: skip
    whole = trained(root, spec)
    broken = sessions.create(root, "broken", spec)
    with workers.running(broken) as worker:
        wait_for(broken, lambda view: view.step >= 1)
        sessions.order_stop(broken)
        assert workers.finish(worker) == 0
    assert sessions.status_of(broken) is Status.STOPPED
    stopped = view_of(broken)
    assert 1 <= stopped.step < 30
    assert [c.step for c in checkpoints(broken.checkpoints)] == [stopped.step]

    assert workers.train(broken) == 0
    left, right = weights_of(whole.adapter), weights_of(broken.adapter)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    one, other = view_of(whole), view_of(broken)
    assert other.resumed_from == stopped.step
    assert one.last_step is not None
    assert other.last_step is not None
    assert one.last_step.tokens_seen == other.last_step.tokens_seen > 0
    assert one.metrics == other.metrics != {}
    assert one.base_metrics == other.base_metrics
    result = sessions.read_result(broken)
    assert result is not None
    assert result.base_metrics == one.base_metrics


def test_what_lora_fa_freezes_stays_frozen_when_the_reference_was_asked(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from tests import in_process

    spec = spec_of("dpo", tiny_model, tmp_path, lora__variant="lora-fa", training__max_steps=2)
    model, _ = in_process.trained(root, "run", spec)
    matrices = [p for name, p in model.named_parameters() if "lora_A" in name]
    assert matrices
    assert not any(matrix.requires_grad for matrix in matrices)


def test_other_labels_than_at_the_start_are_refused(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    spec = spec_of("classification", tiny_model, tmp_path, training__max_steps=2000)
    paths = sessions.create(root, "relabelled", spec)
    with workers.running(paths) as worker:
        wait_for(paths, lambda view: view.step >= 1)
        sessions.order_stop(paths)
        assert workers.finish(worker) == 0
    file = Path(spec.dataset.path)
    file.write_text(file.read_text().replace('"bits"', '"bytes"'))
    assert workers.train(paths) == 1
    assert "labels" in view_of(paths).verdict_message
    assert "begin anew" in view_of(paths).verdict_message


def test_a_step_is_the_same_however_its_rows_are_cut_up(
    root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Under `on_oom: retry` they are: the order of the rows is still that of run.yaml."""
    spec = spec_of(
        "classification", tiny_model, tmp_path, lora__dropout=0.0, training__max_steps=2,
        training__micro_batch=4, training__accumulation=1, dataset__eval_share=0.0,
    )  # fmt: skip
    cut_up = json.dumps({"training.micro_batch": 1, "training.accumulation": 4})
    found = []
    for more in ((), ("--changes", cut_up)):
        paths = sessions.create(root, f"run-{len(more)}", spec)
        assert workers.finish(workers.start(paths, more=more)) == 0, paths.log.read_text()[-2000:]
        view = view_of(paths)
        found.append((view.loss.buckets[0].mean, view.grad_norm.buckets[0].mean))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    # Of a head that begins at random the loss is near ln 3, whatever the rows.
    assert found[0][0] == pytest.approx(1.0986, abs=0.2)


def test_no_second_copy_of_the_base_is_held_for_pairs(tiny_model: Path, tmp_path: Path) -> None:
    """In this process: what trl keeps as the reference is nothing."""
    import torch
    from datasets import Dataset
    from trl import DPOTrainer

    from tui_lora.worker.arguments import trainer_config
    from tui_lora.worker.lora import lora_config
    from tui_lora.worker.model import load_model

    spec = spec_of("dpo", tiny_model, tmp_path)
    loaded = load_model(spec.model, spec.quantization, devices="cpu")
    config, _ = trainer_config(
        spec, scratch=tmp_path, device="cpu", dtype=torch.float32, held_out=False, resumed=False
    )
    trainer = DPOTrainer(
        model=loaded.model,
        args=config,
        train_dataset=Dataset.from_list(pairs()[:4]),
        processing_class=loaded.tokenizer,
        peft_config=lora_config(spec.lora, task=spec.task),
    )
    assert trainer.ref_model is None
    assert list(trainer.model.peft_config) == ["default"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lora__target_modules": ("q_proj", "score")}, "score cannot be a target"),
        ({"lora__target_modules": "nonsense_proj"}, "no linear layer called nonsense_proj"),
    ],
)
def test_what_cannot_work_ends_in_a_sentence(
    changes: dict[str, Any], sentence: str, root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    spec = spec_of("classification", tiny_model, tmp_path, **changes)
    paths = sessions.create(root, "bad", spec)
    assert workers.train(paths) == 1
    assert sentence in view_of(paths).verdict_message


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_uneven_judgements_are_said_with_the_weight_that_balances_them(
    share: float, root: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "uneven.jsonl"
    rows = judged()
    good = [row for row in rows if row["label"]][: int(40 * share)]
    bad = [row for row in rows if not row["label"]][: 40 - len(good)]
    file.write_text("".join(json.dumps(row) + "\n" for row in good + bad))
    spec = tiny_spec(tiny_model, file, task="kto", training__max_steps=2, dataset__eval_share=0.0)
    paths = trained(root, spec)
    (said,) = [line.text for line in view_of(paths).log if "would balance" in line.text]
    assert ("undesirable_weight 2.2" if share > 0.5 else "desirable_weight 3") in said
