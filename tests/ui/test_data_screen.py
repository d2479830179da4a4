"""The Data screen: choosing a dataset, its problems by line, and rows as they are fed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.conftest import keys, notice, page, picture, until
from tui_lora.core.spec import parse_spec
from tui_lora.store import launch, sessions
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import DraftReplaced, SettingsChanged
from tui_lora.ui.state import Draft
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.row_view import RowView
from tui_lora.ui.widgets.table import Table

HOSTILE = "[/INST] [@click=app.quit]x[/] \x1b[31mred\x1b]0;title\x07 [bold"
HARMLESS = "[/INST] [@click=app.quit]x[/] [31mred]0;title [bold"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Instead of the tokenizer worker a process that imports nothing and never answers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *arguments: str, devices: str = "auto") -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, stderr=pipe))
        return started[-1]

    monkeypatch.setattr(launch, "start_pipe_worker", start)
    return started


def turns(question: str, answer: str) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said}


def write(file: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def names(app: TuiLora) -> list[str]:
    return [Path(row.key).name for row in page(app).query_one(Table).rows]


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


def dataset_of(app: TuiLora, name: str = "path") -> object:
    dataset = app.draft.data.get("dataset")
    return dataset.get(name) if isinstance(dataset, dict) else None


def lines_of(app: TuiLora, id: str) -> str:
    return "\n".join(row.plain for row in page(app).query_one(id, Lines).said)


def head(app: TuiLora) -> str:
    return " ".join(page(app).query_one("#row-head", Line).said.plain.split())


def with_dataset(app: TuiLora, file: Path, **model: str) -> None:
    app.set_reactive(TuiLora.draft, Draft("", {"dataset": {"path": str(file)}, "model": model}))


async def listed(pilot: Pilot[None], app: TuiLora) -> None:
    await until(pilot, lambda: names(app))
    await pilot.pause()


async def type_text(pilot: Pilot[None], app: TuiLora, text: str) -> None:
    """As if pasted, then Enter."""
    field = app.focused
    assert isinstance(field, Input)
    field.value = text
    await pilot.press("enter")


@pytest.mark.usefixtures("silent")
async def test_an_empty_folder_has_the_quickstart(root: Path) -> None:
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, app)
        assert names(app) == ["quickstart"]
        assert "Nothing chosen to learn from" in shown(app)
        assert "held-out" not in keys(app)
        await pilot.press("enter")
        await until(pilot, lambda: dataset_of(app) == "quickstart")
        assert dataset_of(app, "eval_path") == "quickstart-heldout"
        await until(pilot, lambda: "row 1 of 210" in head(app))
        assert "choose one with 2" in lines_of(app, "#fed")
        await until(pilot, lambda: "all usable" in lines_of(app, "#look"))


@pytest.mark.usefixtures("silent")
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
        await until(pilot, lambda: len(names(app)) == 3)
        assert names(app) == ["quickstart", "a.jsonl", "b.json"]
        await pilot.press("down", "enter")
        await until(pilot, lambda: dataset_of(app) == str(here / "a.jsonl"))
        await until(pilot, lambda: "row 1 of 30" in head(app))
        await until(pilot, lambda: "question 0" in shown(app))
        assert "answer 0" in lines_of(app, "#written")
        assert all(len(row) <= size[0] for row in picture(app))
        await pilot.press("right", "n", "left")
        await until(pilot, lambda: "row 2 of 30" in head(app))
        await pilot.press("p", "p", "p")
        await until(pilot, lambda: "row 1 of 30" in head(app))
        await pilot.press("escape")
        assert isinstance(app.focused, Table)


@pytest.mark.usefixtures("silent")
async def test_a_bad_line_is_named(here: Path, root: Path) -> None:
    rows: list[object] = [turns("q", "a")] * 6
    rows[3] = "{broken"
    rows[4] = {"messages": [{"role": "wizard [/x]", "content": "y"}]}
    file = write(here / "rows.jsonl", *rows)
    app = TuiLora(root, start="data", live=False)
    with_dataset(app, file)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "rows.jsonl:4  is no JSON" in shown(app))
        assert "! 2 cannot be used  e lists them" in shown(app)
        await until(pilot, lambda: "row 1 of 6" in head(app))
        await pilot.press("g")
        await type_text(pilot, app, "4")
        await until(pilot, lambda: "✗ line 4 is no JSON" in lines_of(app, "#written"))
        assert "cannot be read" not in lines_of(app, "#look")
        await pilot.press("e")
        await pilot.pause()
        assert "rows.jsonl:5  messages[0].role: unknown role 'wizard [/x]'" in shown(app)
        await pilot.press("e")
        await pilot.pause()
        assert "row 4 of 6" in head(app)


@pytest.mark.usefixtures("silent")
async def test_a_file_without_a_usable_row_is_no_good_news(here: Path, root: Path) -> None:
    write(here / "rows.jsonl", "{broken", "{broken too")
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, app)
        await pilot.press("t")
        await type_text(pilot, app, str(here / "rows.jsonl"))
        await until(pilot, lambda: notice(app) == "✗ rows.jsonl has no row that can be used.")
        # What was said does not stand below the next question.
        await pilot.press("t")
        await until(pilot, lambda: not notice(app))
        await until(pilot, lambda: "Enter take it   Esc close" in keys(app))


@pytest.mark.usefixtures("silent")
async def test_rows_are_shown_as_they_are(here: Path, root: Path) -> None:
    rows = [
        {**turns(HOSTILE, f"{HOSTILE} too"), HOSTILE: {"more": HOSTILE}},
        {"prompt": HOSTILE, "completion": "plain"},
        {"messages": [{"role": HOSTILE, "content": ["no", "text"]}]},
        [HOSTILE],
        {},
    ]
    file = write(here / "[bold]rows.jsonl", *rows)
    app = TuiLora(root, start="data", live=False)
    with_dataset(app, file)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "row 1 of 5" in head(app))
        text = lines_of(app, "#written")
        assert text.startswith(f"user\n{HARMLESS}\n")
        assert f"{HARMLESS} too" in text
        assert HARMLESS in shown(app)
        assert "[bold]rows.jsonl" in shown(app)
        for number, said in [
            (2, f"prompt\n{HARMLESS}"),
            (3, HARMLESS[:39]),
            (4, "no"),
            (5, "empty"),
        ]:
            await pilot.press("right")
            await until(pilot, lambda n=number: f"row {n} of 5" in head(app))  # type: ignore[misc]
            assert said in lines_of(app, "#written")
            assert "\x1b" not in shown(app)


@pytest.mark.usefixtures("silent")
async def test_a_long_row_and_a_long_file_do_not_hold_up_the_screen(here: Path, root: Path) -> None:
    rows = [turns(f"question {n}", "words " * (20_000 if n == 2999 else 1)) for n in range(3000)]
    app = TuiLora(root, start="data", live=False)
    with_dataset(app, write(here / "long.jsonl", *rows))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "row 1 of 3,000" in head(app))
        await pilot.press("g")
        await type_text(pilot, app, "3,000")
        await until(pilot, lambda: "row 3,000 of 3,000" in head(app))
        assert "more characters" in lines_of(app, "#written")
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
        assert "question 16" in lines_of(app, "#written")


@pytest.mark.usefixtures("silent")
async def test_a_path_is_typed(here: Path, tmp_path: Path, root: Path) -> None:
    write(tmp_path / "far" / "rows.jsonl", turns("q", "a"))
    app = TuiLora(root, start="data", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, app)
        for typed, says in [
            ("nowhere.jsonl", "there is no dataset nowhere.jsonl"),
            (str(tmp_path), "is a folder"),
        ]:
            await pilot.press("t")
            await type_text(pilot, app, typed)
            await until(pilot, lambda s=says: s in " ".join(shown(app).split()))  # type: ignore[misc]
            await pilot.press("escape")
        await pilot.press("t")
        await type_text(pilot, app, "../far/rows.jsonl")
        await until(pilot, lambda: "row 1 of 1" in head(app))
        path = dataset_of(app)
        assert isinstance(path, str)
        assert Path(path).is_absolute()
        await until(pilot, lambda: "rows.jsonl" in names(app))


@pytest.mark.usefixtures("silent")
async def test_the_held_out_file(here: Path, root: Path) -> None:
    rows = write(here / "rows.jsonl", turns("q", "a"))
    write(here / "held.jsonl", turns("other", "words"))
    write(here / "none.jsonl", {"a": 1})
    app = TuiLora(root, start="data", live=False)
    with_dataset(app, rows)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "held-out 10% of the rows" in lines_of(app, "#look"))
        await pilot.press("h")
        await type_text(pilot, app, "rows.jsonl")
        await until(pilot, lambda: "That is the dataset itself" in shown(app))
        await type_text(pilot, app, "none.jsonl")
        await until(pilot, lambda: "None of its rows can be used" in shown(app))
        await type_text(pilot, app, "held.jsonl")
        await until(pilot, lambda: dataset_of(app, "eval_path") == str(here / "held.jsonl"))
        assert "held-out held.jsonl" in lines_of(app, "#look")
        await pilot.press("h")
        await type_text(pilot, app, "")
        await until(pilot, lambda: dataset_of(app, "eval_path") is None)
        assert dataset_of(app) == str(rows)


@pytest.mark.usefixtures("silent")
async def test_what_runs_used_is_offered_and_the_quickstarts_held_out_file_goes(
    here: Path, root: Path
) -> None:
    write(here / "mine.jsonl", turns("q", "a"))
    used = write(here.parent / "used.jsonl", turns("q", "a"))
    spec = parse_spec({"model": {"id": "tiny"}, "dataset": {"path": str(used)}})
    sessions.create(root, "before", spec)
    app = TuiLora(root, start="data", live=False)
    shipped = {"path": "quickstart", "eval_path": "quickstart-heldout"}
    app.set_reactive(TuiLora.draft, Draft("", {"dataset": shipped}))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "mine.jsonl" in names(app))
        assert "used.jsonl" in names(app)
        page(app).query_one(Table).point(str(here / "mine.jsonl"))
        await pilot.press("enter")
        await until(pilot, lambda: dataset_of(app) == str(here / "mine.jsonl"))
        assert dataset_of(app, "eval_path") is None


async def test_the_worker_starts_with_the_screen_and_ends_with_the_app(
    here: Path, root: Path, silent: list[subprocess.Popen[bytes]]
) -> None:
    file = write(here / "rows.jsonl", turns("q", "a"))
    app = TuiLora(root, live=False)
    with_dataset(app, file, id="some/model")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert silent == []
        await pilot.press("3")
        await until(pilot, lambda: "starting the tokenizer worker" in lines_of(app, "#fed"))
        assert "q" in lines_of(app, "#written")
        assert "answer" not in shown(app)
        await until(pilot, lambda: silent)
        silent[0].kill()
        await until(pilot, lambda: "✗ the tokenizer worker ended" in shown(app))
        await pilot.press("r")
        await until(pilot, lambda: len(silent) == 2)
    assert silent[1].wait(5) == 0


@pytest.mark.usefixtures("silent")
async def test_a_dataset_that_is_gone_or_broken_says_so(here: Path, root: Path) -> None:
    broken = write(here / "rows.json", "[{")
    app = TuiLora(root, start="data", live=False)
    with_dataset(app, here / "gone.jsonl")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✗ there is no dataset" in lines_of(app, "#look"))
        await until(pilot, lambda: "gone.jsonl" in names(app))
        app.post_message(SettingsChanged({"dataset.path": str(broken)}))
        await until(pilot, lambda: "rows.json:2: is no JSON" in lines_of(app, "#look"))
        app.post_message(DraftReplaced(Draft()))
        await until(pilot, lambda: "Nothing chosen" in shown(app))


@pytest.mark.model
async def test_a_row_is_fed(tiny_model: Path, rows: Path, root: Path, here: Path) -> None:
    """The real tokenizer worker: margin, counts, the cut, and why a row cannot be fed."""
    app = TuiLora(root, start="data", live=False)
    with_dataset(app, rows, id=str(tiny_model))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "trained" in head(app), 60)
        await until(pilot, lambda: "▌ The rank is 0" in lines_of(app, "#fed"), 60)
        fed = lines_of(app, "#fed").splitlines()
        assert fed[0] == "  <|im_start|>user⏎"
        assert [line for line in fed if line.startswith("▌")] == [
            "▌ The rank is 0, alpha is 0.<|im_end|>⏎"
        ]
        counts = head(app).split()
        tokens, trained = (int(counts[counts.index(w) + 1]) for w in ("tokens", "trained"))
        assert 0 < trained < tokens
        assert head(app).startswith("row 1 of 40")
        await pilot.press("right")
        await until(pilot, lambda: "The rank is 1" in lines_of(app, "#fed"), 20)
        app.post_message(SettingsChanged({"training.max_length": tokens - 2}))
        await until(pilot, lambda: "✂ " in lines_of(app, "#fed"), 20)
        app.post_message(SettingsChanged({"training.max_length": "long"}))
        await until(pilot, lambda: "not valid" in lines_of(app, "#fed"), 20)
        app.post_message(SettingsChanged({"training.max_length": 512, "model.id": "/no/model"}))
        await until(pilot, lambda: "✗" in lines_of(app, "#fed"), 20)
        bad = write(here / "bad.jsonl", turns(HOSTILE, HOSTILE), {"messages": []})
        app.post_message(SettingsChanged({"dataset.path": str(bad), "model.id": str(tiny_model)}))
        await until(pilot, lambda: "[/INST]" in lines_of(app, "#fed"), 20)
        assert "[31mred" in shown(app)
        assert "\x1b" not in shown(app)
        await pilot.press("right")
        await until(pilot, lambda: "row 2" in lines_of(app, "#fed"), 20)
        worker = page(app).query_one(RowView)._inspector._worker
        assert worker is not None
    assert worker.process.wait(10) == 0
