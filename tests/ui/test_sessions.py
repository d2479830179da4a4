"""The Sessions screen: what it lists, and what its keys do to the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.recorded import done_session, finish, make_session, opening, steps, write
from tests.ui.conftest import keys, notice, page, picture, until
from tui_lora.core.spec import parse_spec
from tui_lora.store import lock, sessions
from tui_lora.store.parent import Parent, write_parent
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SessionsListed
from tui_lora.ui.session_rows import of_what
from tui_lora.ui.widgets.line import Block
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens


async def listed(pilot: Pilot[None], root: Path) -> None:
    """As if the feed had listed the root."""
    found = tuple(sessions.summarize(paths) for paths in sessions.listed(root))
    app = pilot.app
    assert isinstance(app, TuiLora)
    app.post_message(SessionsListed(found))
    await until(pilot, lambda: app.sessions == found)
    await pilot.pause()


def names(app: TuiLora) -> list[str]:
    return [row.key for row in page(app).query_one(Table).rows]


@pytest.fixture
def several(root: Path) -> Path:
    done_session(root, "done", 60)
    failed = make_session(root, "failed")
    write(failed, opening(500), steps(1, 20, 500, card=True))
    finish(failed, 20, "out_of_memory", "too much")
    make_session(root, "draft")
    broken = make_session(root, "broken")
    broken.spec.write_text("model: [")
    return root


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (140, 40), (60, 16)])
async def test_every_session_is_a_row(several: Path, size: tuple[int, int]) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=size) as pilot:
        await listed(pilot, several)
        shown = "\n".join(picture(app))
        assert sorted(names(app)) == ["broken", "done", "draft", "failed"]
        assert "✓ done" in shown
        assert "▲ out of memory" in shown
        assert "○ draft" in shown
        assert "✗ unreadable" in shown
        assert all(len(row) <= size[0] for row in picture(app))
        if size[0] >= 80:
            assert "60/60" in shown
        if size[0] >= 140:
            assert "11.0 GiB" in shown


async def test_an_empty_root_says_what_to_do(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, root)
        shown = "\n".join(picture(app))
        assert "No session yet" in shown
        assert "tui-lora train --preset quickstart" in shown
        for key in ("enter", "r", "d", "x", "slash", "n"):
            await pilot.press(key)


async def test_enter_opens_on_the_train_screen(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, several)
        page(app).query_one(Table).point("done")
        await until(pilot, lambda: "Enter open" in keys(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")
        assert app.session == SessionPaths(several / "done")


async def test_the_cursor_stays_on_its_session(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, several)
        table = page(app).query_one(Table)
        await pilot.press("down", "down")
        here = table.pointed
        make_session(several, "newest")
        await listed(pilot, several)
        assert len(names(app)) == 5
        assert table.pointed == here
        await pilot.press("end", "down", "pagedown")
        assert table.cursor == 4
        await pilot.press("home", "up")
        assert table.cursor == 0


async def test_the_row_says_what_is_wrong(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, several)
        page(app).query_one(Table).point("broken")
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert "✗ run.yaml:" in shown
        await until(pilot, lambda: "r resume" not in keys(app))
        await until(pilot, lambda: "duplicate" not in keys(app))


async def test_filter(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, several)
        await pilot.press("slash", *"memory")
        assert names(app) == ["failed"]
        await pilot.press(*"qq")
        assert names(app) == []
        assert "No session matches" in "\n".join(picture(app))
        await pilot.press("escape")
        assert len(names(app)) == 4
        assert app.is_running


async def test_duplicate_makes_a_draft(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, several)
        page(app).query_one(Table).point("done")
        await pilot.pause()
        await pilot.press("d")
        await until(pilot, lambda: "done-2 is a draft" in notice(app))
        await listed(pilot, several)
        assert page(app).query_one(Table).pointed == "done-2"


async def test_delete_asks_first(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, several)
        page(app).query_one(Table).point("done")
        await pilot.pause()
        await pilot.press("x")
        await pilot.pause()
        assert "Delete done?" in "\n".join(picture(app))
        await pilot.press("n")
        assert (several / "done").exists()
        await pilot.press("x")
        await pilot.press("y")
        await until(pilot, lambda: "done is deleted" in notice(app))
        assert not (several / "done").exists()


async def test_a_running_session_is_not_deleted(
    several: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "holder", lambda path: 1 if path.parent.name == "failed" else None)
    app = TuiLora(several, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, several)
        page(app).query_one(Table).point("failed")
        await pilot.pause()
        assert "● running" in "\n".join(picture(app))
        await until(pilot, lambda: "delete" not in keys(app))
        await pilot.press("x")
        assert len(app.screen_stack) == 1


async def test_hundreds_and_hostile_names(root: Path) -> None:
    model = "[/INST] [@click=app.quit]x[/] \x1b[31m"
    for index in range(150):
        make_session(root, f"run-{index:03}")
    spec = parse_spec({"model": {"id": model}, "dataset": {"path": "[bold"}})
    sessions.create(root, "a-rather-long-name-" + "z" * 40, spec)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, root)
        table = page(app).query_one(Table)
        table.point("a-rather-long-name-" + "z" * 40)
        await pilot.pause()
        shown = "\n".join(picture(app))
        assert "[/INST] [@click=app.quit]x[/] [31m" in shown
        assert "…zzz" in shown
        assert "\x1b" not in shown
        await pilot.press("end")
        assert table.cursor == 150
        assert names(app)[150] in "\n".join(picture(app))


async def test_the_feed_lists_only_while_it_is_shown(several: Path) -> None:
    app = TuiLora(several)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(names(app)) == 4)
        assert app.listing
        await pilot.press("5")
        await until(pilot, lambda: not app.listing)
        await pilot.press("1")
        await until(pilot, lambda: app.listing)


async def test_a_hidden_filter_never_takes_the_keys(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, root)
        await pilot.press("2", "1")
        await until(pilot, lambda: app.current_mode == "sessions")
        assert "open" not in keys(app)
        await pilot.press("n")
        await until(pilot, lambda: app.current_mode == "model")
        await pilot.press("1")
        make_session(root, "first")
        await listed(pilot, root)
        await until(pilot, lambda: "Enter open" in keys(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")


async def test_a_table_that_comes_back_has_the_keys(root: Path) -> None:
    app = TuiLora(root, live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await listed(pilot, root)
        await until(pilot, lambda: page(app).focused is None)
        make_session(root, "first")
        await listed(pilot, root)
        await until(pilot, lambda: "Enter open" in keys(app))


async def test_only_keys_that_work_are_shown_while_typing(several: Path) -> None:
    app = TuiLora(several, live=False)
    async with app.run_test(size=(132, 24)) as pilot:
        await listed(pilot, several)
        await until(pilot, lambda: "1-7 screens   ? help   q leave" in keys(app))
        assert "show all" not in keys(app)
        await pilot.press("slash")
        await until(pilot, lambda: "^o screens   ^p actions   ^q leave" in keys(app))
        assert "Enter to the list   Esc show all" in keys(app)
        assert "filter" not in keys(app)
        await pilot.press(*"memory", "enter")
        await until(pilot, lambda: "1-7 screens" in keys(app))
        assert "Esc show all" in keys(app)
        await pilot.press("escape")
        await until(pilot, lambda: "show all" not in keys(app))


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_a_name_that_is_cut_stands_below_in_full(root: Path, width: int) -> None:
    name = "a-rather-long-name-" + "z" * 41
    make_session(root, "short")
    make_session(root, name)
    app = TuiLora(root, live=False)
    async with app.run_test(size=(width, 24)) as pilot:
        await listed(pilot, root)
        page(app).query_one(Table).point(name)
        start = name[:50]
        await until(pilot, lambda: any(start in row for row in picture(app)))
        page(app).query_one(Table).point("short")
        await until(pilot, lambda: not any(start in row for row in picture(app)))
        assert any(" short " in row for row in picture(app))


async def test_a_branch_names_its_parent_in_a_row_of_its_own(root: Path) -> None:
    paths = done_session(root, "a-branch")
    write_parent(paths.parent, Parent("first-with-a-long-name", 1200, "adapter"))
    app = TuiLora(root, live=False)
    async with app.run_test(size=(60, 16)) as pilot:
        await listed(pilot, root)
        above, _ = page(app).query_one("#detail", Block).said
        assert above.plain == "branched from the adapter of first-with-a-long-name at step 1,200"


@pytest.mark.parametrize(
    ("model", "dataset", "shown"),
    [
        ("a/b", "rows.jsonl", "model a/b   dataset rows.jsonl"),
        ("/m/" + "x" * 60, "rows.jsonl", f"model /m/{'x' * 23}…{'x' * 26}   dataset rows.jsonl"),
        ("x" * 60, "y" * 60, f"model {'x' * 15}…{'x' * 15}   dataset {'y' * 15}…{'y' * 15}"),
    ],
)
def test_a_long_model_leaves_room_for_the_dataset(
    root: Path, model: str, dataset: str, shown: str
) -> None:
    summary = sessions.summarize(make_session(root))
    row = of_what(replace(summary, model=model, dataset=dataset), 80)
    assert row.plain == shown
    assert row.cell_length <= 80
