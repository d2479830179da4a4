"""Evaluations on disk: results that count, and what was measured before one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.evaluation import AnswerRow, Evaluation, LossRow, Written
from tui_lora.core.events import EVENTS, AdapterSaved
from tui_lora.store import evaluations
from tui_lora.store.measured_adapter import folder_of, mark_of, trained_to
from tui_lora.store.paths import SessionPaths

EVIL = "\x1b]0;title\x07[red]text"


def evaluation(t: float, session: str = "run") -> Evaluation:
    return Evaluation(
        t=t,
        session=session,
        task="sft",
        model="m",
        device="cpu",
        dtype="float32",
        quantization="none",
        seed=0,
        seconds=1.0,
    )


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    return SessionPaths(tmp_path)


def test_a_result_is_read_back_with_its_rows_and_its_texts_clean(paths: SessionPaths) -> None:
    partial = evaluations.open_partial(paths, "key", {}, 1e9)
    written = Written(text=EVIL, tokens=3, ended_by="end", scores={"f1": 0.5, "own": None})
    rows = [
        LossRow(part="eval", at=0, line=7, begin=EVIL, tokens=4, base=2.0, tuned=1.0),
        AnswerRow(at=0, question=EVIL, reference="ok", base=written, tuned=written),
    ]
    path = evaluations.keep(paths, partial, evaluation(1e9, EVIL), rows)
    partial.close()
    kept = evaluations.newest(paths)
    assert kept is not None
    assert kept.path == path
    assert "\x1b" not in kept.evaluation.session
    loss, answer = evaluations.rows_of(kept)
    assert isinstance(loss, LossRow)
    assert isinstance(answer, AnswerRow)
    assert loss.change == -0.25
    assert loss.begin == answer.question == answer.base.text == "]0;title[red]text"
    assert answer.tuned.scores == {"f1": 0.5, "own": None}
    assert [file.name for file in evaluations.partials(paths)] == []
    assert path.stat().st_mode & 0o077 == 0


def test_the_newest_is_the_one_begun_last_and_damaged_ones_are_passed_over(
    paths: SessionPaths,
) -> None:
    assert evaluations.newest(paths) is None
    for t in (2e9, 1e9, 2e9):
        partial = evaluations.open_partial(paths, f"{t}", {}, t, anew=True)
        evaluations.keep(paths, partial, evaluation(t), [])
        partial.close()
    found = evaluations.listed(paths)
    assert [kept.evaluation.t for kept in found] == [2e9, 2e9, 1e9]
    assert len({kept.path for kept in found}) == 3
    for text in ("{", "[1]", '{"v": 1}', "[" * 100_000):
        found[0].path.write_text(text)
        assert [kept.evaluation.t for kept in evaluations.listed(paths)] == [2e9, 1e9]


def test_one_that_is_dropped_is_gone_but_not_while_it_is_measured(paths: SessionPaths) -> None:
    for t in (1e9, 2e9):
        partial = evaluations.open_partial(paths, f"{t}", {"t": t}, t)
        partial.add({"kind": "loss"})
        if t == 1e9:
            partial.close()
    left = evaluations.unfinished(paths)
    assert left is not None
    with pytest.raises(UserError, match="measured now"):
        evaluations.drop(left)
    assert left.path.exists()
    partial.close()
    evaluations.drop(left)
    before = evaluations.unfinished(paths)
    assert before is not None
    assert before.t == 1e9
    evaluations.drop(before)
    # Another viewer was quicker.
    evaluations.drop(before)
    assert evaluations.unfinished(paths) is None
    assert list(paths.evaluations.iterdir()) == []


def test_only_what_was_asked_alike_is_gone_on_with(paths: SessionPaths) -> None:
    first = evaluations.open_partial(paths, "one", {"rows": 3}, 1e9)
    first.add({"kind": "loss", "at": 0})
    first.close()
    # A worker that was killed tore its last line.
    with first.path.open("a") as file:
        file.write('{"kind": "lo')
    again = evaluations.open_partial(paths, "one", {}, 1.1e9)
    assert again.path == first.path
    assert [line["kind"] for line in again.lines] == ["asked", "loss"]
    again.add({"kind": "loss", "at": 1})
    again.close()
    lines = evaluations.open_partial(paths, "one", {}, 1.2e9).lines
    assert [line.get("at") for line in lines] == [None, 0, 1]
    for other in (
        evaluations.open_partial(paths, "two", {}, 1.3e9),
        evaluations.open_partial(paths, "one", {}, 1.4e9, anew=True),
    ):
        assert other.lines == []
        assert other.path != first.path
        other.add({"kind": "loss", "at": 0})
        other.close()
    assert len(evaluations.partials(paths)) == 3


def test_what_a_narrower_one_leaves_over_is_gone_on_with(paths: SessionPaths) -> None:
    first = evaluations.open_partial(paths, "one", {}, 1e9)
    first.add({"kind": "answer", "at": 0})
    first.close()
    narrower = evaluations.open_partial(paths, "one", {}, 1.1e9)
    narrower.add({"kind": "loss", "part": "eval", "at": 0})
    result = evaluations.keep(paths, narrower, evaluation(1.1e9), [], whole=False)
    narrower.close()
    assert result.is_file()
    again = evaluations.open_partial(paths, "one", {}, 1.2e9)
    assert [line["kind"] for line in again.lines] == ["asked", "answer", "loss"]
    whole = evaluations.keep(paths, again, evaluation(1.2e9), [])
    again.close()
    assert whole != result
    assert len(evaluations.listed(paths)) == 2
    assert evaluations.partials(paths) == []


def test_two_at_once_share_nothing(paths: SessionPaths) -> None:
    first = evaluations.open_partial(paths, "one", {}, 1e9)
    second = evaluations.open_partial(paths, "one", {}, 1e9)
    assert first.path != second.path
    for partial in (first, second):
        partial.add({"kind": "loss", "at": 0})
    first_result = evaluations.keep(paths, first, evaluation(1e9), [])
    first.close()
    second.add({"kind": "loss", "at": 1})
    assert evaluations.keep(paths, second, evaluation(1e9), []) != first_result
    second.close()
    assert len(evaluations.listed(paths)) == 2


def test_what_measured_nothing_leaves_nothing(paths: SessionPaths) -> None:
    evaluations.open_partial(paths, "one", {}, 1e9).close()
    assert evaluations.partials(paths) == []


def test_an_evaluation_of_an_adapter_that_was_trained_on_is_an_earlier_ones(
    paths: SessionPaths,
) -> None:
    checkpoint = paths.checkpoints / "step-000040"
    for folder in (paths.adapter, checkpoint):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"first")
    events = (AdapterSaved(step=40, path="adapter", size_bytes=5, tensors=2),)
    paths.events.write_text("".join(EVENTS.encode(event) for event in events))
    assert trained_to(paths, None) == 40
    for step in (None, 40):
        mark = mark_of(folder_of(paths, step))
        found = evaluation(1e9).model_copy(update={"step": step, "adapter": mark})
        partial = evaluations.open_partial(paths, "key", {}, 1e9, anew=True)
        evaluations.keep(paths, partial, found, [])
        partial.close()

    def told() -> dict[int | None, tuple[bool, bool]]:
        kept = evaluations.listed(paths)
        return {one.evaluation.step: (one.earlier, one.current) for one in kept}

    assert told() == {None: (False, True), 40: (False, False)}
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"second")
    assert told() == {None: (True, False), 40: (False, False)}
    # What is gone is replaced by nothing.
    shutil.rmtree(checkpoint)
    assert told()[40] == (False, False)


def test_what_was_cancelled_long_ago_goes_at_last(paths: SessionPaths) -> None:
    for number in range(9):
        partial = evaluations.open_partial(paths, f"{number}", {}, 1e9 + 60 * number)
        partial.add({"kind": "loss", "at": 0})
        partial.close()
    left = evaluations.partials(paths)
    assert len(left) == 6
    assert json.loads(left[0].read_text().splitlines()[0])["key"] == "8"
