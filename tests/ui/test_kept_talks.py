"""Over the Chat screen: conversations, corrections, sampling, tokens, prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.ui.chatting import (
    answers,
    chat,
    fake,
    raw,
    settled,
    shown,
    talking,
    tuned,
    write,
)
from tests.ui.conftest import notice, until
from tui_lora.core.chat import Alternative, TokenShown
from tui_lora.core.sampling_set import SamplingSet
from tui_lora.core.token_figures import token_figures
from tui_lora.store import launch
from tui_lora.store.paths import SessionPaths, user_chats
from tui_lora.ui.app import TuiLora
from tui_lora.ui.screens.chat import ChatScreen
from tui_lora.ui.screens.conversations import ConversationsScreen
from tui_lora.ui.screens.correction import CorrectionForm
from tui_lora.ui.screens.sampling import SamplingForm
from tui_lora.ui.screens.tokens import TokensScreen
from tui_lora.ui.token_text import cell, visible
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.table import Table
from tui_lora.ui.widgets.target_list import TargetList
from tui_lora.ui.widgets.token_grid import TokenGrid, rows_of

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUI_LORA_DATA", str(tmp_path / "data"))


async def ask(
    app: TuiLora, pilot: Pilot[None], text: str, key: str = "enter", many: int = 1
) -> None:
    """Have it answered, and leave the writing."""
    chat(app).query_one(Composer).focus()
    await pilot.pause()
    await write(pilot, text, key)
    await until(pilot, lambda: settled(app, many))
    await pilot.press("escape")


def kept(paths: SessionPaths) -> list[dict[str, object]]:
    """The lines of a session's conversations, the earliest first."""
    files = paths.chats.glob("*.jsonl")
    talks = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    return [line for talk in sorted(talks, key=lambda talk: talk[0]["t"]) for line in talk]


async def over(pilot: Pilot[None], kind: type) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind) and pilot.app.screen.is_mounted)
    await pilot.pause()


async def back(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))
    await pilot.pause()


# Conversations.


async def test_a_conversation_is_found_reopened_and_goes_on_in_its_file(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await ask(app, pilot, "Rank of a cat", "ctrl+s", 2)
        await pilot.press("n")
        await ask(app, pilot, "something else")
        await pilot.press("n", "escape", "o")
        await over(pilot, ConversationsScreen)
        table = app.screen.query_one(Table)
        await until(pilot, lambda: len(table.rows) == 2)
        await pilot.press("slash", *"CAT", "space", *"rank")
        await until(pilot, lambda: len(table.rows) == 1)
        await until(pilot, lambda: "voices base, tuned-run" in shown(app))
        assert "Rank of a cat" in shown(app)
        await pilot.press("enter", "enter")
        await back(pilot)
        await until(pilot, lambda: answers(app) == ["RANK OF A CAT", "(rank of a cat), 1"])
        await until(pilot, lambda: chat(app).conversation.voices.all)
        await until(pilot, lambda: "● base   ● tuned-run" in shown(app))
        await ask(app, pilot, "more", "enter", 4)
        assert raw(app)[2:] == ["MORE", "(more), 3"]
    assert len(list(tuned.chats.glob("*.jsonl"))) == 2
    assert [line["content"] for line in kept(tuned)][:4] == [
        "Rank of a cat", "RANK OF A CAT", "(rank of a cat), 1", "more",
    ]  # fmt: skip


async def test_who_cannot_be_loaded_is_read_only(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    chats = user_chats()
    chats.mkdir(parents=True)
    voice = {"name": "/gone/adapter", "label": "gone"}
    lines = [
        {"role": "user", "content": "Why?", "base": {"model": "/gone"}, "voices": [voice]},
        {"role": "assistant", "content": "[/b] So.", "name": "gone", "voice": "/gone/adapter"},
        {"role": "nonsense"},
    ]
    (chats / "one.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("o")
        await over(pilot, ConversationsScreen)
        await until(pilot, lambda: "! 1 line could not be read" in shown(app))
        assert "(no session)" in shown(app)
        await pilot.press("enter")
        await back(pilot)
        await until(pilot, lambda: "read only: gone: its files are not there" in notice(app))
        assert answers(app) == ["[/b] So."]
        assert "gone" in shown(app)
        assert chat(app).link.state.phase == "off"
        chat(app).query_one(Composer).focus()
        await write(pilot, "anybody?")
        await until(pilot, lambda: "nobody is here to answer" in notice(app))
        assert chat(app).query_one(Composer).text == "anybody?"
        await pilot.press("escape")
        # It can be made a row all the same.
        await pilot.press("k")
        await until(pilot, lambda: "kept as a row" in notice(app))
        row = json.loads((chats.parent / "corrections.jsonl").read_text())
        assert row["messages"][-1] == {"role": "assistant", "content": "[/b] So."}


async def test_conversations_are_exported_and_deleted(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
    tmp_path: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await ask(app, pilot, "Keep", "ctrl+s", 2)
        await pilot.press("o")
        await over(pilot, ConversationsScreen)
        await until(pilot, lambda: "voices base" in shown(app))
        await pilot.press("r")
        field = app.screen.query_one("AskLine Input", Input)
        await until(pilot, lambda: field.has_focus)
        taken = tmp_path / "taken.jsonl"
        taken.touch()
        field.value = str(taken)
        await pilot.press("enter")
        await until(pilot, lambda: "there is a file already" in shown(app))
        field.value = str(tmp_path / "rows.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: (tmp_path / "rows.jsonl").exists() and not field.has_focus)
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
        await pilot.press("v", "v", "r")
        await until(pilot, lambda: field.has_focus)
        assert "rows of tuned-run" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: len(list((tuned.chats / "exports").iterdir())) == 1)
        (file,) = (tuned.chats / "exports").iterdir()
        (row,) = file.read_text().splitlines()
        assert json.loads(row)["messages"][-1]["content"] == "(keep), 1"
        await until(pilot, lambda: not field.has_focus)
        # The one that is open stays.
        await pilot.press("d")
        assert len(app.screen_stack) == 2
        await pilot.press("escape")
        await back(pilot)
        await pilot.press("n", "escape", "o")
        await over(pilot, ConversationsScreen)
        await until(pilot, lambda: "voices base" in shown(app))
        await pilot.press("d")
        await until(pilot, lambda: len(app.screen_stack) == 3)
        await pilot.press("y")
        await until(pilot, lambda: not list(tuned.chats.glob("*.jsonl")))
        await until(pilot, lambda: "No conversation is kept yet" in shown(app))


async def test_the_base_alone_is_kept_too(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    app = TuiLora(root, session=tuned, start="chat", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("end", "enter")
        await until(pilot, lambda: not chat(app).choosing, 20)
        await ask(app, pilot, "alone")
        model = chat(app).model
    (file,) = user_chats().iterdir()
    asked = json.loads(file.read_text().splitlines()[0])
    assert asked["base"]["model"] == model


# Corrections.


async def test_what_an_answer_should_have_been_becomes_a_row(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    def rows() -> list[list[str]]:
        lines = tuned.corrections.read_text().splitlines()
        return [[turn["content"] for turn in json.loads(line)["messages"]] for line in lines]

    async with talking(root, tuned, (80, 24)) as (app, pilot):
        chat(app).sampling = SamplingSet(system="Be kind")
        await ask(app, pilot, "First")
        await ask(app, pilot, "Second", "enter", 2)
        await pilot.press("E")
        await over(pilot, CorrectionForm)
        area = app.screen.query_one(TextArea)
        assert area.text == "(second), 4"
        assert "1 message before it go along" in shown(app)
        area.load_text("Two\nlines [/b]")
        await pilot.press("ctrl+s")
        await back(pilot)
        await until(pilot, lambda: "1 row in it" in notice(app))
        assert rows() == [["Be kind", "First", "(first), 2", "Second", "Two\nlines [/b]"]]
        # The one before, and what was typed is not lost by one key.
        await pilot.press("E", "ctrl+r")
        await until(pilot, lambda: area is not None and "First" in shown(app))
        area = app.screen.query_one(TextArea)
        assert area.text == "(first), 2"
        await pilot.press("x", "escape")
        assert isinstance(app.screen, CorrectionForm)
        assert "Esc again" in shown(app)
        await pilot.press("escape")
        await back(pilot)
        assert len(rows()) == 1
        await pilot.press("k")
        await until(pilot, lambda: "in the place of the answer before" in notice(app))
        assert rows() == [["Be kind", "First", "(first), 2", "Second", "(second), 4"]]


async def test_rows_go_to_the_file_that_was_chosen(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
    tmp_path: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await ask(app, pilot, "long")
        await pilot.press("k")
        await until(pilot, lambda: "not whole" in notice(app))
        await pilot.press("E", "ctrl+t")
        field = app.screen.query_one("#file", Input)
        await until(pilot, lambda: field.has_focus)
        field.value = str(tmp_path / "rows.txt")
        await pilot.press("enter")
        await until(pilot, lambda: "called .jsonl" in shown(app))
        field.value = str(tmp_path / "rows.jsonl")
        await pilot.press("enter", "ctrl+s")
        await back(pilot)
        await until(pilot, lambda: (tmp_path / "rows.jsonl").exists())
        await ask(app, pilot, "more", "enter", 2)
        await pilot.press("k")
        await until(pilot, lambda: "2 rows in it" in notice(app))


# Sampling.


async def test_settings_are_checked_as_typed_and_used(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await pilot.press("ctrl+g")
        await over(pilot, SamplingForm)
        await pilot.press("9")
        await until(pilot, lambda: "✗ temperature is a number from 0 to 5." in shown(app))
        await pilot.press("enter")
        assert isinstance(app.screen, SamplingForm)
        app.screen.query_one("#temperature", Input).value = "0"
        await pilot.press("down")
        await until(
            pilot, lambda: "It plays no part at temperature 0" in shown(app).replace("\n", "")
        )
        app.screen.query_one("#temperature", Input).value = "0.7"
        app.screen.query_one("#system", Composer).value = "Be⏎kind"
        await pilot.press("enter")
        await back(pilot)
        sampling = chat(app).sampling
        assert (sampling.values.temperature, sampling.system) == (0.7, "Be\nkind")
        assert "temperature 0.700 · seed 7 · 256 tokens · system prompt" in shown(app)
        await ask(app, pilot, "Hi")
        assert answers(app) == ["(hi), 2 from 7"]


async def test_a_set_is_chosen_saved_renamed_and_deleted(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
    config: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await pilot.press("ctrl+g")
        await over(pilot, SamplingForm)
        await pilot.press("up", "right", "right")
        await until(pilot, lambda: "‹ balanced ›  temperature 0.7, top-p 0.9" in shown(app))
        app.screen.query_one("#seed", Input).value = "8"
        await until(pilot, lambda: "‹ (no name) ›" in shown(app))
        await pilot.press("s", *"mine", "enter")
        await until(pilot, lambda: "mine is saved" in shown(app))
        await pilot.press("r", "end", "2", "enter")
        await until(pilot, lambda: "‹ mine2 ›" in shown(app))
        assert list(json.loads((config / "sampling.json").read_text())["sets"]) == ["mine2"]
        await pilot.press("enter")
        await back(pilot)
        assert "mine2 · 256 tokens" in shown(app)
        await pilot.press("ctrl+g")
        await over(pilot, SamplingForm)
        await pilot.press("up", "d")
        await until(pilot, lambda: "mine2 is deleted" in " ".join(shown(app).split()))
        await pilot.press("left")
        await until(pilot, lambda: "‹ greedy ›" in shown(app))
        await pilot.press("d")
        await until(pilot, lambda: "✗ greedy comes along" in shown(app))


# Tokens.


async def test_tokens_are_walked_and_what_else_was_likely_is_shown(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        (fake / "many words").write_text("a bc extraordinarily d")
        await ask(app, pilot, "many words")
        await pilot.press("x")
        await over(pilot, TokensScreen)
        await until(
            pilot, lambda: "⟦<|user|>⟧ ·many ·words ·a ·bc ·extraordinarily ·d" in shown(app)
        )
        assert "prompt 3   answer 4   mean" in shown(app)
        assert "1 under 10%" in shown(app)
        assert "·a   answer · 4 of 7 · id 3   100.0%, likeliest" in shown(app)
        await pilot.press("u")
        await until(pilot, lambda: "·extraordinarily   answer · 6 of 7" in shown(app))
        assert "6.7%, number 2" in shown(app)
        assert "▸ ·extraordinarily" in shown(app)
        assert "93.3%" in shown(app)
        await pilot.press("home")
        await until(
            pilot, lambda: "special · prompt · 1 of 7 · id 1   no probability" in shown(app)
        )
        await pilot.press("i")
        await until(pilot, lambda: "⟦1⟧ 2 2 3 3 3 3" in shown(app))
        await pilot.press("escape")
        await back(pilot)


async def test_tokens_that_nobody_can_tell_say_why(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await ask(app, pilot, "unseen")
        await pilot.press("x")
        await over(pilot, TokensScreen)
        await until(pilot, lambda: "✗ nobody can say." in shown(app))
        assert "u next unlikely" not in shown(app)


def token(probability: float | None, part: str = "answer") -> TokenShown:
    others = (Alternative(id=1, text="a", probability=probability or 0),)
    return TokenShown(id=1, text="a", part=part, probability=probability, others=others)  # type: ignore[arg-type]


def test_figures_of_an_answer() -> None:
    found = token_figures([token(None, "prompt"), token(0.5), token(0.125), token(0.05)])
    assert (found.tokens, found.unlikely) == (3, 1)
    assert found.mean == pytest.approx(0.225)
    assert found.perplexity == pytest.approx((1 / (0.5 * 0.125 * 0.05)) ** (1 / 3))
    assert token_figures([token(0.0)]).perplexity == float("inf")
    assert token_figures([token(None, "prompt")]).perplexity is None


def test_rows_of_tokens_keep_their_width() -> None:
    rows = rows_of(["ab", "c⏎", "日本", "x" * 9, "y"], [False, True, False, False, False], 8)
    assert [[one.text for one in row] for row in rows] == [["ab", "c⏎"], ["日本"], ["x" * 9], ["y"]]
    assert (rows[0][1].start, rows[1][0].end) == (3, 4)
    assert rows_of([], [], 8) == [[]]


def test_blanks_are_seen_and_nothing_steers_the_terminal() -> None:
    assert visible(" a\tb\n") == "·a⇥b⏎"
    assert visible("") == visible("\x1b") == "∅"
    assert cell(TokenShown(id=7, text="<s>", special=True)) == "⟦<s>⟧"
    assert cell(TokenShown(id=7, text="x" * 99)).endswith("…")


async def test_many_tokens_are_drawn_row_by_row(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(41, 30)) as pilot:
        grid = TokenGrid()
        await app.screen.query_one("#body").mount(grid)
        grid.focus()
        grid.styles.width = 40
        grid.show(tuple(token(0.01 if n == 1500 else 0.9) for n in range(2048)))
        await pilot.pause()
        await pilot.press("down", "right")
        wide = 20
        assert grid.cursor == wide + 1
        await pilot.press("pagedown")
        assert grid.cursor == wide * grid.size.height + 1
        assert grid.next_unlikely()
        await pilot.pause()
        assert grid.cursor == 1500
        assert 0 <= 1500 // wide - grid.scroll_offset.y < grid.size.height
        await pilot.press("end")
        assert grid.cursor == 2047


# Prompts.


async def test_prompts_of_ones_own_are_kept_and_gone_through(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        composer = chat(app).query_one(Composer)
        await pilot.press("escape", "l")
        await until(pilot, lambda: "no prompt of your own" in notice(app))
        await ask(app, pilot, "One")
        await pilot.press("P")
        await until(pilot, lambda: "kept as prompt 1" in notice(app))
        composer.value = "Two⏎lines"
        await pilot.press("P")
        await until(pilot, lambda: "kept as prompt 2" in notice(app))
        await pilot.press("P")
        await until(pilot, lambda: "kept already" in notice(app))
        await pilot.press("l")
        await until(pilot, lambda: composer.value == "One")
        await pilot.press("escape", "l")
        await until(pilot, lambda: composer.text == "Two\nlines")


# Held-out rows that only a worker reads.


def of_parquet(paths: SessionPaths, folder: Path) -> None:
    """Let the session's held-out rows be Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": f"Question {at}?", "completion": f"[/b] {at}"} for at in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "held.parquet")
    text = paths.spec.read_text().replace("eval_path: null", f"eval_path: {folder}/held.parquet")
    paths.spec.write_text(text)


@pytest.mark.model
async def test_held_out_rows_of_parquet_come_from_the_inspect_worker(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
    tmp_path: Path,
) -> None:
    of_parquet(tuned, tmp_path)
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        composer = chat(app).query_one(Composer)
        await pilot.press("escape", "h")
        await until(pilot, lambda: composer.value == "Question 0?", 60)
        assert "3 questions: held-out file" in notice(app)
        await pilot.press("escape", "h", "enter")
        await until(pilot, lambda: settled(app, 1))
        assert "reference  [/b] 1" in shown(app)


@pytest.mark.model
async def test_without_the_inspect_worker_it_says_so(
    root: Path,
    tuned: SessionPaths,
    fake: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(kind: str, *arguments: str, devices: str = "auto") -> object:
        raise OSError(12, "Cannot allocate memory")

    of_parquet(tuned, tmp_path)
    monkeypatch.setattr(launch, "start_pipe_worker", refuse)
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        await pilot.press("escape", "h")
        await until(pilot, lambda: "the inspect worker ended: Cannot allocate" in notice(app))
