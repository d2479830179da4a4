"""The inspect worker: a real process for the way it is spoken to, its answers in this one."""

from __future__ import annotations

import json
import queue
import time
from pathlib import Path

import pytest

from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    FeedRow,
    FromInspect,
    InspectFailed,
    InspectReady,
    RowFed,
    ToInspect,
)

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


def ask(model: Path | str, path: Path | str, row: int, **settings: object) -> FeedRow:
    return FeedRow(id=f"row-{row}", model=str(model), path=str(path), row=row, **settings)  # type: ignore[arg-type]


def test_a_row_comes_as_pieces_that_show_what_is_learned(tiny_model: Path, rows: Path) -> None:
    from tui_lora.worker.inspect import Inspector

    answer = Inspector().answer(ask(tiny_model, rows, 0))
    assert isinstance(answer, RowFed), answer
    assert [(piece.text, piece.trained) for piece in answer.pieces] == [
        ("<|im_start|>user\nWhat is a rank?<|im_end|>\n<|im_start|>assistant\n", False),
        ("The inner width.<|im_end|>\n", True),
    ]
    assert answer.tokens == sum(piece.tokens for piece in answer.pieces)
    assert answer.trained_tokens == answer.pieces[1].tokens
    assert answer.cut_tokens == 0
    everything = Inspector().answer(ask(tiny_model, rows, 0, loss_on="all"))
    assert isinstance(everything, RowFed)
    assert len(everything.pieces) == 1
    assert everything.trained_tokens == everything.tokens == answer.tokens


def test_the_cut_is_counted_and_escapes_do_not_get_through(tiny_model: Path, rows: Path) -> None:
    from tui_lora.worker.inspect import Inspector

    inspector = Inspector()
    whole = inspector.answer(ask(tiny_model, rows, 2))
    cut = inspector.answer(ask(tiny_model, rows, 2, max_length=64))
    assert isinstance(whole, RowFed), whole
    assert isinstance(cut, RowFed), cut
    assert cut.tokens == 64
    assert cut.cut_tokens == whole.tokens - 64
    text = "".join(piece.text for piece in whole.pieces)
    assert "\x1b" not in text
    assert "日本 [31m[/INST]?" in text


def test_rows_are_found_in_any_order_and_a_changed_file_is_read_again(
    tiny_model: Path, rows: Path
) -> None:
    from tui_lora.worker.inspect import Inspector

    inspector = Inspector()
    for number in (2, 0, 2, 0):
        assert isinstance(inspector.answer(ask(tiny_model, rows, number)), RowFed)
    with rows.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({**ROWS[0], "more": True}) + "\n")
    assert isinstance(inspector.answer(ask(tiny_model, rows, 4)), RowFed)


def test_whatever_is_wrong_is_said_in_a_sentence(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from tui_lora.worker.inspect import Inspector

    untemplated = AutoTokenizer.from_pretrained(tiny_model)
    untemplated.chat_template = None
    untemplated.save_pretrained(tmp_path / "plain")
    refusing = AutoTokenizer.from_pretrained(tiny_model)
    refusing.chat_template = "{{ raise_exception('only \x1b[2Jpoems') }}"
    refusing.save_pretrained(tmp_path / "poet")
    formless = tmp_path / "formless.jsonl"
    formless.write_text('{"a": 1}\n')
    inspector = Inspector()
    for asked, says in [
        (ask(tiny_model, rows, 1), "not the assistant's"),
        (ask(tiny_model, rows, 3), "line 4) is no JSON"),
        (ask(tiny_model, rows, 99), "no row 100; it has 4"),
        (ask(tiny_model, tmp_path / "nowhere.jsonl", 0), "there is no dataset"),
        (ask(tiny_model, formless, 0), "format"),
        (ask(tmp_path / "no-model", rows, 0), "tokenizer"),
        (ask(tmp_path / "plain", rows, 0), "no chat template"),
        (ask(tmp_path / "poet", rows, 0), "poems"),
    ]:
        answer = inspector.answer(asked)
        assert isinstance(answer, InspectFailed), (says, answer)
        assert answer.id == asked.id
        assert says in answer.message
        assert "\x1b" not in answer.message


def test_a_gguf_is_inspected_without_being_converted(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.worker.test_gguf import write_gguf
    from tui_lora.worker.inspect import Inspector

    monkeypatch.setenv("TUI_LORA_CACHE", str(tmp_path / "cache"))
    source = write_gguf(tiny_model, tmp_path / "tiny.gguf")
    plain = Inspector().answer(ask(tiny_model, rows, 0))
    assert Inspector().answer(ask(source, rows, 0)) == plain
    assert not (tmp_path / "cache").exists()


def test_the_worker_answers_over_pipes_and_ends_with_its_input(
    tiny_model: Path, rows: Path
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
    worker.send(ask(tiny_model, rows, 0))
    worker.send(ask(tiny_model, rows, 1))
    assert isinstance(heard.get(timeout=60), InspectReady)
    assert isinstance(heard.get(timeout=60), RowFed)
    assert isinstance(heard.get(timeout=60), InspectFailed)
    assert worker.unreadable == 0
    began = time.monotonic()
    worker.close()
    assert heard.get(timeout=5) == 0
    assert time.monotonic() - began < 3
