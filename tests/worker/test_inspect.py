"""The inspect worker: a real process for the way it is spoken to, its answers in this one."""

from __future__ import annotations

import json
import queue
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import CHATML
from tests.workers import tiny_spec
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    CancelInspect,
    FeedRow,
    FromInspect,
    InspectFailed,
    InspectReady,
    InspectWorking,
    LengthsMeasured,
    LookAt,
    LookAtModel,
    Looked,
    MeasureLengths,
    ModelLooked,
    ReadRow,
    RowFed,
    RowRead,
    ToInspect,
)
from tui_lora.worker.inspector import Inspector

pytestmark = pytest.mark.model

ROWS = [
    {
        "messages": [
            {"role": "user", "content": "What is a rank?"},
            {"role": "assistant", "content": "The inner width."},
        ]
    },
    {"messages": [{"role": "user", "content": "No answer here."}]},
    {
        "messages": [
            {"role": "user", "content": "Ist 日本 \x1b[31m[/INST]?"},
            {"role": "assistant", "content": "Ja, grün. " * 30},
        ]
    },
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    file.write_text("\n".join([*lines, "{broken", ""]), encoding="utf-8")
    return file


def spec_of(model: Path | str, path: Path | str, **changes: Any) -> dict[str, Any]:
    own = {"training__max_length": 1024, **changes}
    return tiny_spec(Path(model), Path(path), **own).model_dump(mode="json")


def ask(model: Path | str, path: Path | str, row: int, **changes: Any) -> FeedRow:
    return FeedRow(id=f"row-{row}", spec=spec_of(model, path, **changes), row=row)


def fed(answer: FromInspect | None) -> RowFed:
    assert isinstance(answer, RowFed), answer
    return answer


def test_a_row_comes_as_pieces_that_show_what_is_learned(tiny_model: Path, rows: Path) -> None:
    inspector = Inspector()
    answer = fed(inspector.answer(ask(tiny_model, rows, 0)))
    (sequence,) = answer.sequences
    assert [(piece.text, piece.trained, piece.special) for piece in sequence.pieces] == [
        ("<|im_start|>", False, True),
        ("user\nWhat is a rank?", False, False),
        ("<|im_end|>", False, True),
        ("\n", False, False),
        ("<|im_start|>", False, True),
        ("assistant\n", False, False),
        ("The inner width.", True, False),
        ("<|im_end|>", True, True),
        ("\n", True, False),
    ]
    assert answer.tokens == sum(len(piece.texts) for piece in sequence.pieces)
    assert answer.trained_tokens == sum(len(p.texts) for p in sequence.pieces if p.trained)
    assert (answer.cut_tokens, answer.template, answer.notes) == (0, "own", ())
    everything = fed(inspector.answer(ask(tiny_model, rows, 0, dataset__loss_on="all")))
    assert everything.trained_tokens == everything.tokens == answer.tokens


def test_the_cut_is_shown_and_escapes_do_not_get_through(tiny_model: Path, rows: Path) -> None:
    inspector = Inspector()
    whole = fed(inspector.answer(ask(tiny_model, rows, 2)))
    cut = fed(inspector.answer(ask(tiny_model, rows, 2, training__max_length=64)))
    assert cut.tokens == 64
    assert cut.cut_tokens == whole.tokens - 64
    assert cut.sequences[0].pieces[-1].cut
    assert sum(len(p.texts) for p in cut.sequences[0].pieces if p.cut) == cut.cut_tokens
    assert cut.notes == ("its end lies behind max length and is not trained",)
    for answer in (whole, cut):
        text = "".join(piece.text for piece in answer.sequences[0].pieces)
        assert "\x1b" not in text
        assert "日本 [31m[/INST]?" in text


def test_a_row_that_is_left_out_is_shown_with_the_reason(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": "word " * 60, "answer": "never"}))
    answer = fed(Inspector().answer(ask(tiny_model, file, 0, training__max_length=16)))
    assert answer.trained_tokens == 0
    assert answer.tokens == 16
    assert "left out of training" in answer.notes[0]


@pytest.mark.parametrize(
    ("task", "row", "names", "label"),
    [
        ("dpo", {"prompt": "a", "chosen": "b", "rejected": "c"}, ["chosen", "rejected"], ""),
        ("kto", {"prompt": "a", "chosen": "b", "rejected": "c"}, ["chosen", "rejected"], ""),
        ("kto", {"prompt": "a", "completion": "b", "label": False}, [""], "bad"),
        ("classification", {"text": "a", "label": 3}, [""], "3"),
    ],
)
def test_each_task_shows_what_its_trainer_is_fed(
    tiny_model: Path, tmp_path: Path, task: str, row: dict[str, Any], names: list[str], label: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    answer = fed(Inspector().answer(ask(tiny_model, file, 0, task=task)))
    assert [sequence.name for sequence in answer.sequences] == names
    assert answer.label == label


def test_a_chosen_template_and_what_the_tokenizer_lacks_are_told(
    tiny_model: Path, rows: Path
) -> None:
    answer = fed(Inspector().answer(ask(tiny_model, rows, 0, model__chat_template="zephyr")))
    assert answer.template == "zephyr"
    assert answer.choices[0].startswith("chat template zephyr: as you said")
    assert answer.notes == ()
    assert "<|user|>" in answer.sequences[0].pieces[0].text


def test_rows_are_found_in_any_order_and_a_changed_file_is_read_again(
    tiny_model: Path, rows: Path
) -> None:
    inspector = Inspector()
    for number in (2, 0, 2, 0):
        assert isinstance(inspector.answer(ask(tiny_model, rows, number)), RowFed)
    with rows.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({**ROWS[0], "more": True}) + "\n")
    assert isinstance(inspector.answer(ask(tiny_model, rows, 4)), RowFed)


def test_the_held_out_part_can_be_looked_at_too(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"question": "Held?", "answer": "Out."}))
    asked = ask(tiny_model, rows, 0, dataset__eval_path=str(held))
    answer = fed(Inspector().answer(asked.model_copy(update={"part": "held_out"})))
    assert "Held?" in "".join(piece.text for piece in answer.sequences[0].pieces)


def test_whatever_is_wrong_is_said_in_a_sentence(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    refusing = AutoTokenizer.from_pretrained(tiny_model)
    refusing.chat_template = (
        "{% if messages[0]['content'] == 'What is a rank?' %}"
        "{{ raise_exception('only \x1b[2Jpoems') }}{% endif %}" + CHATML
    )
    refusing.save_pretrained(tmp_path / "poet")
    formless = tmp_path / "formless.jsonl"
    formless.write_text('{"a": 1, "b": 2}\n')
    inspector = Inspector()
    for asked, says in [
        (ask(tiny_model, rows, 1), "not the assistant's"),
        (ask(tiny_model, rows, 3), "row 4: (line 4) is no JSON"),
        (ask(tiny_model, rows, 99), "no row 100; it has 4"),
        (ask(tiny_model, tmp_path / "nowhere.jsonl", 0), "there is no dataset"),
        (ask(tiny_model, formless, 0), "format"),
        (ask(tmp_path / "no-model", rows, 0), "tokenizer"),
        (ask(tmp_path / "poet", rows, 0), "poems"),
        (ask(tiny_model, rows, 0, task="dpo"), "set task to sft"),
        (FeedRow(id="row-0", spec={"dataset": {"path": "x"}}, row=0), "model"),
    ]:
        answer = inspector.answer(asked)
        assert isinstance(answer, InspectFailed), (says, answer)
        assert answer.id == asked.id
        assert says in answer.message
        assert "\x1b" not in answer.message


def test_a_template_that_loops_for_ever_is_given_up(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    from tui_lora.worker import inspector as module

    endless = AutoTokenizer.from_pretrained(tiny_model)
    loops = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc")
    # Only for this question, not for the one that finds out how a turn ends.
    endless.chat_template = (
        "{% if messages[0]['content'] == 'What is a rank?' %}"
        + loops
        + "{% endfor %}" * 3
        + "{% endif %}"
        + CHATML
    )
    endless.save_pretrained(tmp_path / "endless")
    monkeypatch.setattr(module, "ROW_LIMIT_S", 0.2)
    inspector = Inspector()
    answer = inspector.answer(ask(tmp_path / "endless", rows, 0))
    assert isinstance(answer, InspectFailed), answer
    assert "may loop for ever" in answer.message
    assert isinstance(inspector.answer(ask(tmp_path / "endless", rows, 2)), RowFed)


def test_a_template_that_loops_for_any_turns_is_given_up_too(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    from tui_lora.worker import inspector as module

    endless = AutoTokenizer.from_pretrained(tiny_model)
    loops = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc")
    endless.chat_template = loops + "{% endfor %}" * 3 + CHATML
    endless.save_pretrained(tmp_path / "endless")
    monkeypatch.setattr(module, "ROW_LIMIT_S", 0.2)
    answer = Inspector().answer(ask(tmp_path / "endless", rows, 0))
    assert isinstance(answer, InspectFailed), answer
    assert "may loop for ever" in answer.message


def test_a_row_that_would_take_too_long_is_told_as_such(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    huge = {"question": "q?", "answer": "word " * 500_000}
    lines = [json.dumps(huge), json.dumps({"question": "q?", "answer": "short"})]
    file.write_text("\n".join(lines))
    answer = Inspector().answer(ask(tiny_model, file, 0))
    assert isinstance(answer, InspectFailed), answer
    assert "row 1 has more than 2,000,000 characters" in answer.message
    assert "max length (1,024 tokens)" in answer.message
    assert isinstance(Inspector().answer(ask(tiny_model, file, 1)), RowFed)
    *_, found = lengths(tiny_model, file, 10)
    assert (found.rows, found.of_rows) == (1, 2)
    assert found.problems == ("1 row: not measured, beyond 2,000,000 characters",)


def test_a_template_that_is_changed_on_disk_is_read_again(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(tiny_model, tmp_path / "model")
    inspector = Inspector()
    before = fed(inspector.answer(ask(tmp_path / "model", rows, 0)))
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text(CHATML.replace("<|im_end|>\n", "<|im_end|>"))
    after = fed(inspector.answer(ask(tmp_path / "model", rows, 0)))
    assert after.tokens < before.tokens


def test_a_gguf_is_inspected_without_being_converted(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.worker.test_gguf import write_gguf

    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    source = write_gguf(tiny_model, tmp_path / "tiny.gguf")
    plain = fed(Inspector().answer(ask(tiny_model, rows, 0)))
    assert fed(Inspector().answer(ask(source, rows, 0))).sequences == plain.sequences
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    from datasets import Dataset

    file = tmp_path / "rows.parquet"
    values = [{"question": f"q {n}?", "answer": f"a {n}."} for n in range(3000)]
    Dataset.from_list(values).to_parquet(file)
    return file


def test_a_table_is_read_and_looked_at_for_the_viewer(tiny_model: Path, parquet: Path) -> None:
    inspector, spec = Inspector(), spec_of(tiny_model, parquet)
    for number in (2900, 0, 2999, 17):
        answer = inspector.answer(ReadRow(id="1", spec=spec, row=number))
        assert isinstance(answer, RowRead), answer
        assert answer.there
        assert answer.value == {"question": f"q {number}?", "answer": f"a {number}."}
        assert answer.rows == 3000
        assert answer.file == str(parquet)
    behind = inspector.answer(ReadRow(id="2", spec=spec, row=3000))
    assert isinstance(behind, RowRead)
    assert (behind.there, behind.rows) == (False, 3000)
    looked = inspector.answer(LookAt(id="3", spec=spec, rows=50))
    assert isinstance(looked, Looked), looked
    assert (looked.format, looked.seen, looked.usable, looked.rows) == ("pairs", 50, 50, 3000)
    assert looked.columns == ("question", "answer")
    assert "q 2999?" in "".join(
        piece.text
        for piece in fed(inspector.answer(ask(tiny_model, parquet, 2999))).sequences[0].pieces
    )


def lengths(model: Path, path: Path, rows: int, **changes: Any) -> list[LengthsMeasured]:
    asked = MeasureLengths(id="m", spec=spec_of(model, path, **changes), rows=rows)
    told = [answer for answer in Inspector().measure(asked) if answer is not None]
    assert all(isinstance(answer, LengthsMeasured) for answer in told), told
    return told  # type: ignore[return-value]


def test_lengths_are_what_training_would_cut_and_drop(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny import make_tokenizer
    from tests.worker.test_data import Told
    from tui_lora.core.spec import RunSpec

    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    values = [
        {"question": "word " * (n % 40), "answer": f"answer {n} " * (n % 9)} for n in range(90)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, values)))
    *_, found = lengths(tiny_model, file, 500, training__max_length=64, dataset__eval_share=0)
    spec = RunSpec.model_validate(
        spec_of(tiny_model, file, training__max_length=64, dataset__eval_share=0)
    )
    told = Told(tmp_path, make_tokenizer())
    prepared = told.prepare(spec)
    assert found.done
    assert found.of_rows == 90
    assert found.rows - found.untrained_rows == len(prepared.train)
    assert found.cut_rows == prepared.cut_rows
    assert found.tokens - found.cut_tokens >= sum(map(len, prepared.train["input_ids"]))
    trained = sum(len(ids) - ids.count(-100) for ids in prepared.train["labels"])
    assert found.trained_tokens >= trained
    assert sum(found.lengths) == found.rows
    assert 64 in found.edges
    assert 0 < (found.padded_share or 0) < 1
    assert 0 < (found.packed_share or 0) < 1
    # Empty questions and answers.
    assert sum(int(text.split()[0]) for text in found.problems) == 90 - found.rows


def test_a_sample_is_spread_over_all_rows_and_answers_come_early(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker import measuring

    file = tmp_path / "rows.jsonl"
    with file.open("w") as out:
        for n in range(1000):
            # The second half is longer, so a sample of the first rows would be wrong.
            row = {"question": "q?", "answer": "word " * (5 if n < 500 else 50)}
            out.write(json.dumps(row) + "\n")
    monkeypatch.setattr(measuring, "TELL_EVERY_S", 0.0)
    first, *_, last = lengths(tiny_model, file, 100)
    assert not first.done
    assert first.rows <= 16
    assert last.done
    assert 50 <= last.rows <= 100
    assert last.of_rows == 1000
    assert last.p50 < last.mean < last.p95
    short = sum(n for n, edge in zip(last.lengths, last.edges, strict=False) if edge < last.mean)
    assert 0.4 < short / last.rows < 0.6


class Heard:
    """What a desk said, and a desk that says it."""

    def __init__(self) -> None:
        from tui_lora.worker.inspect import Desk

        self.answers: list[FromInspect] = []
        self.desk = Desk(Inspector(self.say), self.say)

    def say(self, answer: FromInspect) -> None:
        if not isinstance(answer, InspectWorking):
            self.answers.append(answer)


def test_a_row_is_answered_while_lengths_are_measured(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_lora.worker import measuring

    monkeypatch.setattr(measuring, "TELL_EVERY_S", 0.0)
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(ROWS[0]) for _ in range(200)))
    heard = Heard()
    spec = spec_of(tiny_model, file)
    heard.desk.hear(MeasureLengths(id="lengths", spec=spec, rows=200))
    for _ in range(3):
        heard.desk.serve()
    heard.desk.hear(FeedRow(id="row", spec=spec, row=3))
    heard.desk.serve()
    assert isinstance(heard.answers[-1], RowFed)
    while not (isinstance(heard.answers[-1], LengthsMeasured) and heard.answers[-1].done):
        heard.desk.serve()
    assert heard.answers[-1].rows == 200


def test_what_nobody_wants_any_more_is_left_off(
    tiny_model: Path, tmp_path: Path, rows: Path
) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join(json.dumps(ROWS[0]) for _ in range(200)))
    heard = Heard()
    spec = spec_of(tiny_model, file)
    heard.desk.hear(MeasureLengths(id="old", spec=spec, rows=200))
    heard.desk.serve()
    heard.desk.serve()
    heard.desk.hear(CancelInspect(id="old"))
    heard.desk.hear(FeedRow(id="older", spec=spec, row=3))
    heard.desk.hear(FeedRow(id="newest", spec=spec, row=4))
    for _ in range(5):
        if heard.answers and isinstance(heard.answers[-1], RowFed):
            break
        heard.desk.serve()
    assert [answer.id for answer in heard.answers if isinstance(answer, RowFed)] == ["newest"]
    assert not any(isinstance(a, LengthsMeasured) and a.done for a in heard.answers)


def test_the_worker_answers_over_pipes_and_ends_with_its_input(
    tiny_model: Path, rows: Path, parquet: Path
) -> None:
    from tui_lora.store.launch import start_pipe_worker
    from tui_lora.store.pipe import PipeWorker

    heard: queue.SimpleQueue[FromInspect | int] = queue.SimpleQueue()
    worker: PipeWorker[ToInspect, FromInspect] = PipeWorker(
        start_pipe_worker("inspect", devices="cpu"),
        sends=TO_INSPECT,
        hears=FROM_INSPECT,
        on_message=heard.put,
        on_end=lambda code, words: heard.put(code),
    )

    def hear() -> FromInspect | int:
        while isinstance(answer := heard.get(timeout=60), InspectWorking):
            pass
        return answer

    worker.send(ReadRow(id="table", spec=spec_of(tiny_model, parquet), row=7))
    # A table is read while peft is still being imported, a model looked at while trl is.
    assert isinstance(hear(), RowRead)
    ready = hear()
    assert isinstance(ready, InspectReady)
    assert ready.models
    worker.send(LookAtModel(id="model", spec=spec_of(tiny_model, rows)))
    answers = [hear(), hear()]
    (ready,) = (answer for answer in answers if isinstance(answer, InspectReady))
    (looked,) = (answer for answer in answers if isinstance(answer, ModelLooked))
    assert not ready.models
    assert looked.adapter is not None
    worker.send(ask(tiny_model, rows, 0))
    assert isinstance(hear(), RowFed)
    worker.send(ask(tiny_model, rows, 1))
    assert isinstance(hear(), InspectFailed)
    assert worker.unreadable == 0
    worker.close()
    assert hear() == 0
