"""What the Data screen draws: fed rows, written rows, lengths, problems; and which task it sets."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.check import Checked, CheckProgressed, RowProblem
from tui_lora.core.inspect import LengthsMeasured, Piece, RowFed, Sequence
from tui_lora.store.sources import Row
from tui_lora.ui.dataset_problems import head_row, kind_rows, problem_table, progress_row
from tui_lora.ui.dataset_task import format_of_rows, wanted_task
from tui_lora.ui.dataset_text import problems_file
from tui_lora.ui.lengths_text import FEWEST_ROWS, lengths_rows, lossless
from tui_lora.ui.row_fed import fed_rows, pages
from tui_lora.ui.row_words import row_head
from tui_lora.ui.row_written import MOST_CHARS, dumped, written, written_rows

PROMPT = Piece(texts=("<s>",), trained=False, special=True)
ASKED = Piece(texts=("What", " is", " it", "?\n"), trained=False)
ANSWER = Piece(texts=("It", " is", " 7", "."), trained=True)
END = Piece(texts=("</s>",), trained=True, special=True)


def fed_of(*pieces: Piece, **more: Any) -> RowFed:
    return RowFed(id="1", row=0, sequences=(sequence(*pieces),), **more)


def sequence(*pieces: Piece, name: str = "") -> Sequence:
    kept = [piece for piece in pieces if not piece.cut]
    return Sequence(
        name=name,
        pieces=pieces,
        tokens=sum(len(piece.texts) for piece in kept),
        trained_tokens=sum(len(piece.texts) for piece in kept if piece.trained),
        cut_tokens=sum(len(piece.texts) for piece in pieces if piece.cut),
    )


def plain(rows: Any) -> list[str]:
    return [row.plain.rstrip() for row in rows]


# Rows as they are fed.


def test_what_is_learned_has_a_margin_and_is_underlined() -> None:
    rows = fed_rows(fed_of(PROMPT, ASKED, ANSWER, END), 40)
    assert plain(rows) == ["  <s>What is it?⏎", "▌ It is 7.</s>"]
    assert any("underline" in str(span.style) for span in rows[1].spans)
    assert not any("underline" in str(span.style) for span in rows[0].spans)


def test_what_is_lost_stands_below_a_line_and_is_struck_out() -> None:
    lost = Piece(texts=(" and", " more"), trained=False, cut=True)
    rows = fed_rows(fed_of(ASKED, ANSWER, lost), 40)
    assert plain(rows)[2] == "✂── cut here: 2 tokens are lost ────────"
    assert plain(rows)[3] == "┊  and more"
    assert any("strike" in str(span.style) for span in rows[3].spans)
    one = fed_rows(fed_of(ANSWER, Piece(texts=(" x",), trained=False, cut=True)), 40)
    assert "1 token is lost" in plain(one)[1]


def test_tokens_are_told_apart_and_counted() -> None:
    rows = plain(fed_rows(fed_of(PROMPT, ASKED, ANSWER, END), 40, boundaries=True))
    assert rows == ["    1   <s>│What│ is│ it│?⏎│", "    6 ▌ It│ is│ 7│.│</s>│"]
    narrow = plain(fed_rows(fed_of(ANSWER), 18, boundaries=True))
    assert narrow == ["    1 ▌ It│ is│ 7│", "    4 ▌ .│"]
    long = fed_rows(fed_of(Piece(texts=("x" * 50, "y"), trained=True)), 28, boundaries=True)
    assert [row.replace("│", "").split()[-1] for row in plain(long)] == [
        "x" * 20,
        "x" * 20,
        "x" * 10 + "y",
    ]


@pytest.mark.parametrize("boundaries", [False, True])
def test_a_huge_row_is_drawn_in_part_with_its_cut_in_sight(boundaries: bool) -> None:
    words = Piece(texts=tuple(f" word{n}" for n in range(20_000)), trained=True)
    lost = Piece(texts=tuple(f" lost{n}" for n in range(20_000)), trained=False, cut=True)
    rows = plain(fed_rows(fed_of(words, lost), 100, boundaries=boundaries))
    assert len(rows) < 600
    text = " ".join(" ".join(rows).replace("│", "").split())
    assert "word0 " in text
    assert "more tokens" in text
    assert "word19999" in text
    assert "cut here: 20,000 tokens are lost" in text
    assert "more lost tokens" in text


def test_chosen_and_rejected_share_their_beginning_in_words() -> None:
    asked = Piece(texts=tuple(f" w{n}" for n in range(12)), trained=False)
    no = Piece(texts=("No",), trained=True)
    fed = RowFed(
        id="1",
        row=0,
        sequences=(
            sequence(asked, ANSWER, name="chosen"),
            sequence(asked, no, name="rejected"),
        ),
    )
    rows = plain(fed_rows(fed, 60))
    assert pages(fed) == 1
    assert rows[0] == "chosen   16 tokens, 4 trained"
    assert "rejected   13 tokens, 1 trained" in rows
    assert "  ⋯ the same 12 tokens as above" in rows
    assert rows[-1] == "▌ No"


def test_passages_are_seen_one_at_a_time() -> None:
    parts = [sequence(ANSWER, name=f"passage {n} of 2") for n in (1, 2)]
    fed = RowFed(id="1", row=0, sequences=tuple(parts))
    assert pages(fed) == 2
    head = " ".join(piece.plain for piece in row_head(0, "9", "", fed, 1))
    assert "passage 2 of 2" in head


def test_a_label_is_what_is_learned() -> None:
    rows = plain(fed_rows(fed_of(ASKED, label="good [/x]", notes=("from all of it",)), 60))
    assert rows[:2] == ["▌ label  good [/x]", "  from all of it"]
    counts = " ".join(p.plain for p in row_head(0, "9", "", fed_of(ASKED, label="good"), 0))
    assert "!" not in counts
    counts = " ".join(p.plain for p in row_head(0, "9", "", fed_of(ASKED), 0))
    assert "! trained" in counts


def test_warnings_stand_above_and_choices_below() -> None:
    chosen = ("pad token <pad>: the tokenizer names none",)
    fed = fed_of(ANSWER, notes=("its end is never trained",), choices=chosen)
    rows = plain(fed_rows(fed, 60))
    assert rows[0] == "! its end is never trained"
    assert rows[-1] == "  pad token <pad>: the tokenizer names none"


# Rows as they were written.


def test_parts_are_named_by_what_they_play() -> None:
    row = written(Row(0, 1, {"question": "Q?", "answer": "A.", "id": 7}))
    rows = plain(written_rows(row, {"question": "prompt", "answer": "completion"}))
    assert rows == ["question → prompt", "Q?", "", "answer → completion", "A.", "", "id  7"]
    # Nothing is known of the columns yet.
    assert plain(written_rows(row, {}))[0] == "question"


def test_tool_calls_are_shown() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"from": "gpt", "value": "12 °C"},
    ]
    rows = plain(written_rows(written(Row(0, 1, {"messages": turns})), {}))
    assert rows[3:5] == ["assistant calls", 'weather({city: "Köln"})']
    assert rows[-2:] == ["gpt", "12 °C"]


def test_a_huge_row_is_kept_in_part() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    for value in ("x" * 10_000_000, ["word"] * 1_000_000, {"a": "y" * 1_000_000}, deep):
        row = written(Row(0, 1, {"text": value}))
        assert sum(len(part.text) for part in row.parts) <= MOST_CHARS + 10
    many = written(Row(0, 1, {f"c{n}": "v" for n in range(5000)}))
    assert len(many.parts) <= 200
    assert dumped({"a": [1, None, True, 1e400, float("nan")]}).startswith("{a: [1, null, true")


def test_what_is_looked_for_is_marked() -> None:
    row = written(Row(0, 1, {"text": "A needle, a NEEDLE [and] more"}))
    marked = written_rows(row, {}, find="needle")[1]
    assert [span.style for span in marked.spans].count("reverse") == 2
    assert plain(written_rows(row, {}, find="[and"))[1] == "A needle, a NEEDLE [and] more"


# Lengths.


def measured(**changes: Any) -> LengthsMeasured:
    values: dict[str, Any] = {
        "id": "1",
        "rows": 100,
        "of_rows": 100,
        "done": True,
        "edges": tuple(range(0, 1200, 100)),
        "lengths": (5, 40, 30, 10, 5, 3, 3, 2, 1, 0, 1),
        "mean": 231.0,
        "p50": 188,
        "p95": 641,
        "longest": 1033,
        "tokens": 23_100,
        "trained_tokens": 9_000,
        "max_length": 512,
        "cut_rows": 9,
        "cut_tokens": 1_300,
        "untrained_rows": 0,
        "padded_share": 0.31,
        "packed_share": 0.02,
    }
    return LengthsMeasured(**{**values, **changes})


@pytest.mark.parametrize(("width", "height"), [(58, 5), (76, 14), (116, 7), (116, 30), (160, 8)])
def test_max_length_stands_on_the_histogram(width: int, height: int) -> None:
    rows = plain(lengths_rows(measured(), width, height))
    assert len(rows) <= height
    assert all(len(row) <= width for row in rows)
    chart = [row for row in rows if "┊" in row]
    assert len({row.index("┊") for row in chart}) == 1
    assert any("max length 512" in row for row in rows)
    axis = next(row for row in rows if "┼" in row)
    assert axis.index("┼") == chart[0].index("┊")


def test_lengths_fit_in_one_row() -> None:
    row = lengths_rows(measured(), 76, 1)
    assert len(row) == 1
    assert row[0].cell_length <= 76
    assert "9 cut at 512" in row[0].plain
    assert (
        "none cut at 2,048" in lengths_rows(measured(max_length=2048, cut_rows=0), 76, 1)[0].plain
    )


def test_what_would_lose_nothing() -> None:
    assert lossless(measured()) == 1040
    assert lossless(measured(cut_rows=0)) is None
    rows = " ".join(plain(lengths_rows(measured(), 116, 7)))
    assert "nothing is lost at 1,040" in rows
    part = " ".join(plain(lengths_rows(measured(rows=50), 116, 7)))
    assert "nothing is lost at about 1,040" in part
    assert "50 rows of 100" in part


@pytest.mark.parametrize(
    "changes",
    [
        {"longest": 200_000, "edges": (0, 1000, 200_001), "lengths": (99, 1)},
        {"longest": 3, "edges": (3, 4), "lengths": (100,), "p50": 3, "p95": 3, "cut_rows": 0},
        {"max_length": 1_048_576, "cut_rows": 0},
        {"max_length": 8, "cut_rows": 100},
        {"padded_share": None, "packed_share": None, "of_rows": None, "done": False},
        {"edges": (0,), "lengths": (), "rows": 1},
    ],
)
def test_strange_lengths_are_drawn(changes: dict[str, Any]) -> None:
    for width, height in [(58, 1), (58, FEWEST_ROWS), (116, 8), (200, 40)]:
        rows = lengths_rows(measured(**changes), width, height)
        assert all(row.cell_length <= width for row in rows)


# Checks.


def test_a_check_in_words() -> None:
    problem = RowProblem(
        file="/data/a.jsonl", line=3, row=2, field="x", message="is null", left_out=True
    )
    kept = problem.model_copy(update={"left_out": False, "message": "twice [/x]"})
    checked = Checked(
        id="1",
        format="pairs",
        reason="",
        task="sft",
        rows=100,
        usable_rows=99,
        labels={"good": 60, "bad": 39},
        duplicates=4,
        also_held_out=1,
        problems=(problem, kept),
        kinds={"is null": 1, "twice": 4},
        seconds=0.5,
    )
    head = head_row(checked, 118).plain
    assert "99 can be learned from" in head
    assert "✗ 1 left out" in head
    assert "! 4 more worth knowing" in head
    kinds = " ".join(plain(kind_rows(checked, 118)))
    assert kinds.split()[:2] == ["4", "twice"]
    assert "trained on and held out 1" in kinds
    assert "labels 2   good 60   bad 39" in kinds
    rows = problem_table(checked.problems)
    assert [cell.plain for cell in rows[0].cells] == ["✗", "3", "a.jsonl:3", "x", "is null"]
    assert [rows[1].cells[at].plain for at in (0, 4)] == ["!", "twice [/x]"]
    told = CheckProgressed(id="1", rows=3120, done=41, total=100, problems=12)
    assert "41%" in progress_row(told, 118).plain
    assert "nothing is wrong" in head_row(checked.model_copy(update={"kinds": {}}), 118).plain


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/data/train.jsonl", "./train.problems.jsonl"),
        ("/data/train.jsonl.gz", "./train.problems.jsonl"),
        ("org/films", "./films.problems.jsonl"),
        ("/data/docs/", "./docs.problems.jsonl"),
        ("docs/**/*.md", "./dataset.problems.jsonl"),
        ("quickstart", "./quickstart.problems.jsonl"),
    ],
)
def test_the_list_of_problems_is_called_after_the_dataset(path: str, file: str) -> None:
    assert problems_file(path) == file


# The task that goes with a dataset.


@pytest.mark.parametrize(
    ("format", "now", "followed", "wanted"),
    [
        ("preference", "sft", False, "dpo"),
        ("preference", "kto", False, None),
        ("preference", "classification", False, "dpo"),
        ("messages", "sft", False, None),
        ("messages", "dpo", True, "sft"),
        ("messages", "dpo", False, "sft"),
        ("classification", "dpo", True, "classification"),
        (None, "sft", False, None),
        (None, "dpo", True, "sft"),
        (None, "dpo", False, None),
    ],
)
def test_the_task_follows_the_rows(
    format: str | None, now: str, followed: bool, wanted: str | None
) -> None:
    assert wanted_task(format, now, followed=followed) == wanted


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"text": "t", "label": "l"}, "classification"),
        ({"prompt": "p", "completion": "c", "label": 1}, "kto"),
        ({"chosen": "c", "rejected": "r", "prompt": "p"}, "preference"),
        ({"question": "q", "answer": "a"}, "pairs"),
        ({"strange": 1}, None),
    ],
)
def test_a_format_is_known_whatever_the_task(row: dict[str, Any], format: str | None) -> None:
    assert format_of_rows([row] * 3) == format
