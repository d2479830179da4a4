"""The Data screen: choosing a dataset, its rows as fed, how they are read, checks and lengths."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.conftest import keys, notice, page, picture
from tests.ui.conftest import until as until_within
from tests.ui.fake_inspect import GATE, start_fake_inspect
from tui_lora.core.spec import parse_spec
from tui_lora.store import launch, sessions
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import DraftReplaced, SettingsChanged
from tui_lora.ui.row_lengths import row_lengths
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.dataset_pane import DatasetTable
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.problems_view import ProblemTable
from tui_lora.ui.widgets.scroll_rows import ScrollRows

pytestmark = pytest.mark.screens

HOSTILE = "[/INST] [@click=app.quit]x[/] \x1b[31mred\x1b]0;title\x07 [bold"
HARMLESS = "[/INST] [@click=app.quit]x[/] [31mred]0;title [bold"
REAL = launch.start_pipe_worker


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Inspect workers that split at spaces; check workers are real."""
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        if kind == "check":
            return REAL(kind, *arguments, devices=devices)
        started.append(start_fake_inspect(kind))
        return started[-1]

    monkeypatch.setattr(launch, "start_pipe_worker", start)
    return started


async def until(pilot: Pilot[None], done: Callable[[], object], seconds: float = 20.0) -> None:
    """Workers are processes, which a busy machine starts slowly."""
    await until_within(pilot, done, seconds)


def turns(question: str, answer: str) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said}


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(count)]


def write(file: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def table(app: TuiLora) -> DatasetTable:
    return page(app).query_one(DatasetTable)


def names(app: TuiLora) -> list[str]:
    return [Path(row.key).name for row in table(app).rows]


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


def drafted(app: TuiLora, path: str) -> object:
    section, _, name = path.partition(".")
    part = app.draft.data.get(section)
    return (part.get(name) if isinstance(part, dict) else None) if name else part


def rows_of(app: TuiLora, id: str) -> list[str]:
    return [row.plain.rstrip() for row in page(app).query_one(id, ScrollRows).said]


def text_of(app: TuiLora, id: str) -> str:
    """What a pane says, its wrapped lines put together."""
    return " ".join(" ".join(rows_of(app, id)).split())


def look(app: TuiLora) -> str:
    said = page(app).query_one("#look", Lines).said
    return " ".join(" ".join(row.plain for row in said).split())


def head(app: TuiLora) -> str:
    return " ".join(page(app).query_one("#row-head", Line).said.plain.split())


def with_draft(app: TuiLora, file: Path | str, **sections: Any) -> TuiLora:
    data = {"dataset": {"path": str(file), **sections.pop("dataset", {})}, **sections}
    app.set_reactive(TuiLora.draft, Draft("", data))
    return app


async def type_text(pilot: Pilot[None], app: TuiLora, text: str, *, enter: bool = True) -> None:
    """As if pasted, then Enter."""
    field = app.focused
    assert isinstance(field, Input)
    field.value = text
    if enter:
        await pilot.press("enter")


# Choosing.


@pytest.mark.usefixtures("faked")
async def test_an_empty_folder_has_the_quickstart(root: Path) -> None:
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: names(app) == ["quickstart"])
        assert "Nothing chosen to learn from" in shown(app)
        assert "held-out" not in keys(app)
        await pilot.press("enter")
        await until(pilot, lambda: drafted(app, "dataset.path") == "quickstart")
        assert drafted(app, "dataset.eval_path") == "quickstart-heldout"
        await until(pilot, lambda: "row 1 of 210" in head(app))
        assert "choose one with 2" in text_of(app, "#fed")
        await until(pilot, lambda: "all usable" in look(app))
        assert "choose one with 2" in text_of(app, "#lengths")


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (60, 16)])
async def test_a_dataset_is_chosen_by_keyboard(
    here: Path, root: Path, size: tuple[int, int]
) -> None:
    write(here / "a.jsonl", *[turns(f"question {n}", f"answer {n}") for n in range(30)])
    write(here / "below" / "b.json", [{"prompt": "p", "completion": "c"}])
    write(here / "below" / "package.json", {"name": "no rows"})
    write(here / "below" / "deeper" / "c.jsonl", turns("q", "a"))
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: names(app) == ["quickstart", "a.jsonl", "b.json"])
        await pilot.press("down", "enter")
        await until(pilot, lambda: drafted(app, "dataset.path") == str(here / "a.jsonl"))
        await until(pilot, lambda: "row 1 of 30" in head(app))
        await until(pilot, lambda: "question 0" in shown(app))
        assert "answer 0" in text_of(app, "#written")
        assert all(len(row) <= size[0] for row in picture(app))
        await pilot.press("right", "n", "left")
        await until(pilot, lambda: "row 2 of 30" in head(app))
        await pilot.press("p", "p", "p")
        await until(pilot, lambda: "row 1 of 30" in head(app))
        await pilot.press("escape")
        assert app.focused is table(app)
        assert not page(app).has_class("-entered")


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize(
    ("row", "task", "words"),
    [
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "dpo", "preference pairs"),
        ({"prompt": "p", "completion": "c", "label": True}, "kto", "judged answers"),
        ({"text": "t", "label": "good"}, "classification", "classification"),
    ],
)
async def test_choosing_rows_sets_the_task_that_they_teach(
    here: Path, root: Path, row: dict[str, Any], task: str, words: str
) -> None:
    write(here / "a.jsonl", *[row] * 3)
    write(here / "b.jsonl", turns("q", "a"))
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(names(app)) == 3)
        await pilot.press("down", "enter")
        await until(pilot, lambda: drafted(app, "task") == task)
        await until(
            pilot, lambda: f"The rows are {words}, so the task is {task} now" in notice(app)
        )
        await until(pilot, lambda: f"task {task}" in look(app))
        assert "all usable" in look(app)
        await pilot.press("escape", "down", "enter")
        await until(pilot, lambda: drafted(app, "task") == "sft")
        await until(pilot, lambda: "so the task is sft now" in notice(app))


@pytest.mark.usefixtures("faked")
async def test_a_task_that_was_chosen_stays_where_the_rows_can_teach_it(
    here: Path, root: Path
) -> None:
    write(here / "a.jsonl", {"prompt": "p", "chosen": "c", "rejected": "r"})
    app = TuiLora(root, start="data", live=False)
    app.set_reactive(TuiLora.draft, Draft("", {"task": "kto"}))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(names(app)) == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: drafted(app, "dataset.path"))
        assert drafted(app, "task") == "kto"


@pytest.mark.usefixtures("faked")
async def test_what_was_said_of_one_dataset_is_not_said_of_the_next(here: Path, root: Path) -> None:
    file = write(here / "mine.jsonl", turns("q", "a"))
    used = write(here.parent / "used.jsonl", turns("q", "a"))
    spec = parse_spec({"model": {"id": "tiny"}, "dataset": {"path": str(used)}})
    sessions.create(root, "before", spec)
    app = TuiLora(root, start="data", live=False)
    columns = {"columns": {"prompt": "a"}, "split": "train", "format": "pairs"}
    with_draft(app, "quickstart", dataset={"eval_path": "quickstart-heldout", **columns})
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: {"mine.jsonl", "used.jsonl"} <= set(names(app)))
        table(app).point(str(file))
        await pilot.press("enter")
        await until(pilot, lambda: drafted(app, "dataset.path") == str(file))
        assert not drafted(app, "dataset.eval_path")
        assert not drafted(app, "dataset.columns")
        assert not drafted(app, "dataset.split")
        assert drafted(app, "dataset.format") == "auto"


@pytest.mark.usefixtures("faked")
async def test_a_path_is_typed(here: Path, tmp_path: Path, root: Path) -> None:
    write(tmp_path / "far" / "rows.jsonl", turns("q", "a"))
    (tmp_path / "far" / "none").mkdir()
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: names(app))
        for typed, says in [
            ("nowhere.jsonl", "there is no dataset nowhere.jsonl"),
            ("../far/none", "is a folder without data"),
        ]:
            await pilot.press("t")
            await type_text(pilot, app, typed)
            await until(pilot, lambda s=says: s in " ".join(shown(app).split()))  # type: ignore[misc]
            await pilot.press("escape")
        await pilot.press("t")
        await type_text(pilot, app, "../far/rows.jsonl")
        await until(pilot, lambda: "row 1 of 1" in head(app))
        path = drafted(app, "dataset.path")
        assert isinstance(path, str)
        assert Path(path).is_absolute()
        await until(pilot, lambda: "rows.jsonl" in names(app))


@pytest.mark.usefixtures("faked")
async def test_a_hub_dataset_asks_for_its_subset_and_finds_its_task(root: Path) -> None:
    app = TuiLora(root, start="data", live=False)
    app.set_reactive(TuiLora.draft, Draft("", {"model": {"id": "a/model"}}))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: names(app))
        await pilot.press("t")
        await type_text(pilot, app, "org/films")
        await until(pilot, lambda: "books" in shown(app) and len(app.screen_stack) == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: drafted(app, "dataset.subset") == "books")
        await until(pilot, lambda: drafted(app, "task") == "classification")
        await until(pilot, lambda: "row 1 of 20" in head(app) and "good" in text_of(app, "#fed"))
        assert "a fine film [/INST]" in text_of(app, "#written")
        assert "train● test" in look(app)
        await pilot.press("s")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("end", "enter")
        await until(pilot, lambda: drafted(app, "dataset.split") == "test")
        await pilot.press("right")
        await until(pilot, lambda: "row 2 of 20" in head(app))
        await pilot.press("slash")
        await type_text(pilot, app, "fine")
        await until(pilot, lambda: "row 3 of 20" in head(app))
        assert "Row 3 has it" in shown(app)


@pytest.mark.usefixtures("faked")
async def test_the_held_out_part(here: Path, root: Path) -> None:
    folder = here / "set"
    rows = write(folder / "train.jsonl", turns("q", "a"))
    write(folder / "test.jsonl", turns("q2", "a"))
    write(here / "held.jsonl", turns("other", "words"))
    write(here / "none.jsonl", {"a": 1})
    app = with_draft(TuiLora(root, start="data", live=False), folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "held-out 10% of the rows" in look(app))
        await pilot.press("h")
        await type_text(pilot, app, "none.jsonl")
        await until(pilot, lambda: "None of its rows can be used" in shown(app))
        await type_text(pilot, app, "held.jsonl")
        await until(pilot, lambda: drafted(app, "dataset.eval_path") == str(here / "held.jsonl"))
        assert "held-out held.jsonl" in look(app)
        await pilot.press("h")
        assert "a split of it: train, test" in " ".join(shown(app).split())
        await type_text(pilot, app, "test")
        await until(pilot, lambda: drafted(app, "dataset.eval_split") == "test")
        assert drafted(app, "dataset.eval_path") is None
        await until(pilot, lambda: "held-out the split test" in look(app))
        await pilot.press("h")
        await type_text(pilot, app, "")
        await until(pilot, lambda: drafted(app, "dataset.eval_split") is None)
        app.post_message(SettingsChanged({"dataset.path": str(rows)}))
        await until(pilot, lambda: "train.jsonl" in look(app))
        await pilot.press("h")
        await type_text(pilot, app, "set/train.jsonl")
        await until(pilot, lambda: "That is the dataset itself" in shown(app))


# Rows.


@pytest.mark.usefixtures("faked")
async def test_rows_are_shown_as_they_are(here: Path, root: Path) -> None:
    rows = [
        {**turns(HOSTILE, f"{HOSTILE} too"), HOSTILE: {"more": HOSTILE}},
        {"prompt": HOSTILE, "completion": "plain"},
        {"messages": [{"role": HOSTILE, "content": ["no", "text"]}]},
        [HOSTILE],
        {},
    ]
    file = write(here / "[bold]rows.jsonl", *rows)
    app = with_draft(TuiLora(root, start="data", live=False), file, model={"id": "a/model"})
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "tokens" in head(app) and "—" not in head(app))
        text = text_of(app, "#written")
        assert text.startswith(f"user {HARMLESS} assistant {HARMLESS} too")
        assert HARMLESS in text_of(app, "#fed")
        await until(pilot, lambda: HARMLESS in shown(app) and "[bold]rows.jsonl" in shown(app))
        for number, said in [(2, f"{HARMLESS}"), (3, HARMLESS[:39]), (4, HARMLESS), (5, "empty")]:
            await pilot.press("right")
            await until(pilot, lambda n=number: f"row {n} of 5" in head(app))  # type: ignore[misc]
            assert said in text_of(app, "#written")
            assert "\x1b" not in shown(app)


@pytest.mark.usefixtures("faked")
async def test_a_long_row_and_a_long_file_do_not_hold_up_the_screen(here: Path, root: Path) -> None:
    rows = [turns(f"question {n}", "words " * (20_000 if n == 2999 else 1)) for n in range(3000)]
    app = with_draft(TuiLora(root, start="data", live=False), write(here / "long.jsonl", *rows, ""))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "row 1 of 3,000" in head(app))
        await pilot.press("g")
        await type_text(pilot, app, "3,000")
        await until(pilot, lambda: "row 3,000 of 3,000" in head(app))
        assert "more characters" in text_of(app, "#written")
        await pilot.press("right")
        await until(pilot, lambda: "Row 3,000 is the last" in notice(app))
        await pilot.press("g")
        await type_text(pilot, app, "9999")
        await until(pilot, lambda: "row 3,000 of 3,000" in head(app))
        await pilot.press("g")
        await type_text(pilot, app, "none")
        assert "whole number" in shown(app)
        await type_text(pilot, app, "17")
        await until(pilot, lambda: "row 17 of" in head(app))
        assert "question 16" in text_of(app, "#written")


@pytest.mark.usefixtures("faked")
async def test_a_text_is_searched_for(here: Path, root: Path) -> None:
    rows = [turns(f"question {n}", "Needle" if n in (5, 30) else "hay") for n in range(40)]
    app = with_draft(TuiLora(root, start="data", live=False), write(here / "a.jsonl", *rows))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "row 1 of 40" in head(app))
        await pilot.press("slash")
        await type_text(pilot, app, "needle")
        await until(pilot, lambda: "row 6 of 40" in head(app))
        assert "Row 6 has it; Enter looks further" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "row 31 of 40" in head(app))
        await pilot.press("enter")
        await until(pilot, lambda: "No row from there on has it" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "row 6 of 40" in head(app))
        await pilot.press("escape", "n")
        await until(pilot, lambda: "row 7 of 40" in head(app))


@pytest.mark.usefixtures("faked")
async def test_the_cut_and_the_tokens_are_shown(here: Path, root: Path) -> None:
    file = write(here / "a.jsonl", *pairs(20))
    app = with_draft(TuiLora(root, start="data", live=False), file, model={"id": "a/model"})
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "tokens 12 trained 4 cut 0" in head(app))
        assert [row for row in rows_of(app, "#fed") if row.startswith("▌")] == [
            "▌ It is 0.<|im_end|>"
        ]
        app.post_message(SettingsChanged({"training.max_length": 10}))
        await until(pilot, lambda: "tokens 10 trained 2 cut 2" in head(app))
        assert "✂── cut here: 2 tokens are lost" in text_of(app, "#fed")
        assert rows_of(app, "#fed")[-1] == "┊  0.<|im_end|>"
        await pilot.press("x")
        await until(pilot, lambda: "It│ is│" in text_of(app, "#fed"))
        await pilot.press("x")
        await until(pilot, lambda: "│" not in text_of(app, "#fed"))
        await until(pilot, lambda: "rows cut 20 100%" in text_of(app, "#lengths"))
        # Whoever asks about these rows next has them.
        spec, _ = app.draft.check()
        assert spec is not None
        assert row_lengths(app.inspector.lengths, spec).rows == 20
        await until(pilot, lambda: "nothing is lost at 16" in text_of(app, "#lengths"))
        await pilot.press("m")
        await until(pilot, lambda: drafted(app, "training.max_length") == 16)
        await until(
            pilot, lambda: "Max length is 16 tokens (it was 10): no row is cut." in notice(app)
        )
        await until(pilot, lambda: "nothing is cut" in text_of(app, "#lengths"))
        await until(pilot, lambda: "cut nothing" not in keys(app))


@pytest.mark.usefixtures("faked")
async def test_passages_are_turned_and_judged_answers_are_seen_together(
    here: Path, root: Path
) -> None:
    documents = here / "docs"
    for name in ("a.md", "b.md"):
        write(documents / name, " ".join(f"word{n}" for n in range(100)))
    prompt = "Say it in as many words as it takes, and no more than that."
    judged = write(here / "p.jsonl", {"prompt": prompt, "chosen": "Yes.", "rejected": "No."})
    app = with_draft(
        TuiLora(root, start="data", live=False),
        documents,
        model={"id": "a/model"},
        training={"max_length": 40},
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "passage 1 of 3" in head(app))
        assert "word0 " in text_of(app, "#fed")
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "passage 2 of 3" in head(app))
        assert "word40 " in text_of(app, "#fed")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(pilot, lambda: "passage 3 of 3" in head(app))
        app.post_message(SettingsChanged({"dataset.path": str(judged), "task": "dpo"}))
        await until(pilot, lambda: "rejected" in text_of(app, "#fed"))
        assert "▌ Yes.<|im_end|>" in rows_of(app, "#fed")
        assert "▌ No.<|im_end|>" in rows_of(app, "#fed")
        assert "the same" in text_of(app, "#fed")


# How rows are read.


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_template_is_previewed_while_it_is_typed(
    here: Path, root: Path, size: tuple[int, int]
) -> None:
    row = {"question": "Who?", "context": "In a far country.", "reply": "Me."}
    app = with_draft(
        TuiLora(root, start="data", live=False),
        write(here / "a.jsonl", *[row] * 3),
        model={"id": "a/model"},
    )
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "no format known" in text_of(app, "#fed"))
        await pilot.press("o")
        await until(pilot, lambda: "columns" in shown(app))
        await pilot.press("down", "down", "enter")
        good = "prompt={question}\\n{context}, completion=reply"
        await type_text(pilot, app, good, enter=False)
        await until(pilot, lambda: "▌ Me.<|im_end|>" in rows_of(app, "#fed"))
        assert "Who?⏎ In a far country.<|im_end|>" in text_of(app, "#fed")
        assert drafted(app, "dataset.columns") is None
        # What does not hold, or cannot be filled, leaves the last good one in sight.
        await type_text(pilot, app, "prompt={question, completion=reply", enter=False)
        await until(pilot, lambda: "brace" in shown(app))
        assert "▌ Me.<|im_end|>" in rows_of(app, "#fed")
        await type_text(pilot, app, "prompt={nothing}, completion=reply", enter=False)
        await until(pilot, lambda: "has no column 'nothing'" in shown(app))
        assert "▌ Me.<|im_end|>" in rows_of(app, "#fed")
        await pilot.press("escape")
        await until(pilot, lambda: "no format known" in text_of(app, "#fed"))
        await pilot.press("enter")
        await type_text(pilot, app, good)
        columns = {"prompt": "{question}\n{context}", "completion": "reply"}
        await until(pilot, lambda: drafted(app, "dataset.columns"))
        assert app.draft.check()[0] is None or parse_spec(app.draft.data).dataset.columns == columns
        await until(pilot, lambda: "▌ Me.<|im_end|>" in rows_of(app, "#fed"))
        await pilot.press("escape")
        await until(pilot, lambda: "your columns" in look(app) or "pairs of columns" in look(app))
        assert app.focused is table(app)


@pytest.mark.usefixtures("faked")
async def test_a_choice_is_turned_and_the_row_follows(here: Path, root: Path) -> None:
    app = with_draft(
        TuiLora(root, start="data", live=False),
        write(here / "a.jsonl", *pairs(3)),
        model={"id": "a/model"},
    )
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "its own" in shown(app))
        await pilot.press("o", "end", "up", "up", "up", "up", "up")
        await pilot.press("right")
        await until(pilot, lambda: drafted(app, "model.chat_template") == "chatml")
        await until(pilot, lambda: "· chatml" in shown(app))
        # Arrows choose here; n and p still turn rows.
        assert "row 1 of" in head(app)
        await pilot.press("n")
        await until(pilot, lambda: "row 2 of 3" in head(app))


# Checks.


@pytest.mark.usefixtures("faked")
async def test_every_row_is_checked_and_the_bad_ones_are_stepped_through(
    here: Path, root: Path
) -> None:
    rows: list[object] = [turns(f"q{n}", f"a{n}") for n in range(40)]
    rows[3] = "{broken"
    rows[20] = {"messages": [{"role": "wizard [/x]", "content": "y"}]}
    file = write(here / "rows.jsonl", *rows)
    app = with_draft(TuiLora(root, start="data", live=False), file)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "rows.jsonl:4 is no JSON" in look(app))
        assert "! 2 cannot be used e lists them" in look(app)
        await pilot.press("e")
        await until(pilot, lambda: "40 rows checked" in shown(app), 60)
        assert "✗ 2 left out" in " ".join(shown(app).split())
        problems = page(app).query_one(ProblemTable)
        assert app.focused is problems
        assert "rows.jsonl:4" in shown(app)
        await pilot.press("down")
        await until(pilot, lambda: "unknown role 'wizard [/x]'" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "row 21 of 40" in head(app))
        assert "! messages[0].role: unknown role 'wizard [/x]'" in text_of(app, "#written")
        await pilot.press("f")
        await until(pilot, lambda: "! problem 2 of 2" in head(app))
        await pilot.press("p")
        await until(pilot, lambda: "row 4 of 40 ! problem 1 of 2" in head(app))
        await pilot.press("p")
        await until(pilot, lambda: "No row before this one has a problem" in notice(app))
        await pilot.press("f", "n")
        await until(pilot, lambda: "row 5 of 40" in head(app) and "problem" not in head(app))


@pytest.mark.usefixtures("faked")
async def test_the_list_of_problems_is_written_and_nothing_is_overwritten_unasked(
    here: Path, root: Path
) -> None:
    file = write(here / "my rows.jsonl", turns("q", "a"), "{broken", turns("q2", "a"))
    app = with_draft(TuiLora(root, start="data", live=False), file)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "row 1 of 3" in head(app))
        assert "write list" not in keys(app)
        await pilot.press("e")
        await until(pilot, lambda: "3 rows checked" in shown(app), 60)
        await pilot.press("w")
        field = app.focused
        assert isinstance(field, Input)
        assert field.value == "./my-rows.problems.jsonl"
        kept = write(here / "my-rows.problems.jsonl", "mine")
        await pilot.press("enter")
        await until(pilot, lambda: "It is there already" in shown(app))
        assert kept.read_text() == "mine\n"
        await pilot.press("enter")
        await until(pilot, lambda: "every problem is listed in" in notice(app), 60)
        assert [json.loads(line)["line"] for line in kept.read_text().splitlines()] == [2]


async def test_a_check_is_left_off(here: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, stderr=pipe)
        if kind == "check":
            started.append(process)
        return process

    monkeypatch.setattr(launch, "start_pipe_worker", start)
    file = write(here / "rows.jsonl", turns("q", "a"))
    app = with_draft(TuiLora(root, start="data", live=False), file)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "row 1 of 1" in head(app))
        await pilot.press("e")
        await until(pilot, lambda: started)
        assert "starting the check" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: started[0].poll() is not None)
        assert "row 1 of 1" in shown(app)


# What can go wrong.


async def test_the_worker_starts_with_the_screen_and_ends_with_the_app(
    here: Path,
    root: Path,
    faked: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = here / "gate"
    gate.touch()
    monkeypatch.setenv(GATE, str(gate))
    file = write(here / "rows.jsonl", *pairs(3))
    app = with_draft(TuiLora(root, live=False), file, model={"id": "slow/model"})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert faked == []
        await pilot.press("3")
        await until(pilot, lambda: "loading the tokenizer" in text_of(app, "#fed"))
        assert "What is 0?" in text_of(app, "#written")
        gate.unlink()
        await until(pilot, lambda: "▌ It is 0.<|im_end|>" in rows_of(app, "#fed"))
        faked[0].kill()
        await until(pilot, lambda: "✗ the inspect worker ended" in shown(app))
        await pilot.press("r")
        await until(pilot, lambda: "▌ It is 0.<|im_end|>" in rows_of(app, "#fed"))
        app.post_message(SettingsChanged({"model.id": "short/model"}))
        await until(pilot, lambda: "the tokenizer fell off the bus" in shown(app))
        await pilot.press("r")
        await until(pilot, lambda: len(faked) == 3)
    assert faked[2].wait(60) is not None


@pytest.mark.usefixtures("faked")
async def test_a_dataset_that_is_gone_or_broken_says_so(here: Path, root: Path) -> None:
    broken = write(here / "rows.json", "[{")
    app = with_draft(TuiLora(root, start="data", live=False), here / "gone.jsonl")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✗ there is no dataset" in look(app))
        await until(pilot, lambda: "gone.jsonl" in names(app))
        await until(pilot, lambda: "✗ there is no dataset" in text_of(app, "#written"))
        write(here / "gone.jsonl", *pairs(2))
        await pilot.press("r")
        await until(pilot, lambda: "row 1 of 2" in head(app))
        app.post_message(SettingsChanged({"dataset.path": str(broken)}))
        await until(pilot, lambda: "rows.json" in look(app) and "✗" in look(app))
        app.post_message(DraftReplaced(Draft()))
        await until(pilot, lambda: "Nothing chosen" in shown(app))
        app.post_message(DraftReplaced(Draft("", {"dataset": {"path": "quickstart", "mix": 3}})))
        await until(pilot, lambda: "row 1 of 210" in head(app))


@pytest.mark.usefixtures("faked")
async def test_a_file_without_a_usable_row_is_no_good_news(here: Path, root: Path) -> None:
    write(here / "rows.jsonl", "{broken", "{broken too")
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: names(app))
        await pilot.press("t")
        await type_text(pilot, app, str(here / "rows.jsonl"))
        await until(pilot, lambda: notice(app) == "✗ rows.jsonl has no row that can be used.")
        # What was said does not stand below the next question.
        await pilot.press("t")
        await until(pilot, lambda: not notice(app))
        await until(pilot, lambda: "Enter take it   Esc close" in keys(app))


@pytest.mark.model
async def test_a_row_is_fed(tiny_model: Path, rows: Path, root: Path, here: Path) -> None:
    """The real inspect worker: margin, counts, the cut, lengths, and why a row cannot be fed."""
    app = TuiLora(root, start="data", live=False)
    with_draft(app, rows, model={"id": str(tiny_model)})
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "▌ The rank is 0" in text_of(app, "#fed"), 90)
        fed = rows_of(app, "#fed")
        assert fed[0] == "  <|im_start|>user⏎"
        assert [line for line in fed if line.startswith("▌")] == [
            "▌ The rank is 0, alpha is 0.<|im_end|>⏎"
        ]
        counts = head(app).split()
        tokens, trained = (int(counts[counts.index(w) + 1]) for w in ("tokens", "trained"))
        assert 0 < trained < tokens
        assert head(app).startswith("row 1 of 40")
        await until(pilot, lambda: "nothing is cut" in text_of(app, "#lengths"), 90)
        await pilot.press("right")
        await until(pilot, lambda: "The rank is 1" in text_of(app, "#fed"), 60)
        app.post_message(SettingsChanged({"training.max_length": tokens - 2}))
        await until(pilot, lambda: "cut here" in text_of(app, "#fed"), 60)
        app.post_message(SettingsChanged({"training.max_length": "long"}))
        await until(pilot, lambda: "✗ max length" in text_of(app, "#fed"), 60)
        app.post_message(SettingsChanged({"training.max_length": 512, "model.id": "/no/model"}))
        await until(pilot, lambda: "✗" in text_of(app, "#fed"), 60)
        bad = write(here / "bad.jsonl", turns(HOSTILE, HOSTILE), {"messages": []})
        app.post_message(SettingsChanged({"dataset.path": str(bad), "model.id": str(tiny_model)}))
        await until(pilot, lambda: "[/INST]" in text_of(app, "#fed"), 60)
        assert "[31mred" in shown(app)
        assert "\x1b" not in shown(app)
        await pilot.press("right")
        await until(pilot, lambda: "✗" in text_of(app, "#fed"), 60)
        worker = page(app)._inspector._worker  # type: ignore[attr-defined]
        assert worker is not None
    assert worker.process.wait(60) == 0


@pytest.mark.model
async def test_a_parquet_file_is_leafed_through_and_searched(
    tiny_model: Path, here: Path, root: Path
) -> None:
    """The real inspect worker reads what the screen itself cannot."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "text": [f"film {n} {HOSTILE}" for n in range(3000)],
        "label": ["good", "bad"] * 1500,
    }
    parquet.write_table(pyarrow.table(columns), here / "films.parquet")
    app = TuiLora(root, start="data", live=False)
    app.set_reactive(TuiLora.draft, Draft("", {"model": {"id": str(tiny_model)}}))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(names(app)) == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: drafted(app, "task") == "classification", 90)
        await until(pilot, lambda: "row 1 of 3,000" in head(app), 90)
        await until(pilot, lambda: "▌ label good" in text_of(app, "#fed"), 90)
        assert HARMLESS in text_of(app, "#written")
        await pilot.press("slash")
        await type_text(pilot, app, "FILM 2999")
        await until(pilot, lambda: "row 3,000 of 3,000" in head(app), 60)
        await pilot.press("enter")
        await until(pilot, lambda: "No row from there on has it" in shown(app), 60)
        await pilot.press("escape")
        assert "\x1b" not in shown(app)
