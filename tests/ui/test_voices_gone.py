"""Voices that could not be loaded, and those that are freed: what is said is what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui.chatting import (
    answers,
    chat,
    deck,
    fake,
    settled,
    shown,
    talking,
    tuned,
    with_adapter,
    write,
)
from tests.ui.conftest import notice, until
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]

WHY = "the adapter bad cannot be used: another base."


def names(app: TuiLora) -> list[str]:
    return [voice.label for voice in chat(app).conversation.voices.all]


async def test_what_could_not_be_loaded_takes_no_part(root: Path, fake: Path) -> None:
    with_adapter(root, "bad")
    async with talking(root, None) as (app, pilot):
        link = chat(app).link
        await until(pilot, lambda: link.state.problem)
        await until(pilot, lambda: names(app) == ["base"])
        # What went wrong does not hide where the base is.
        await until(pilot, lambda: WHY in shown(app) and "cpu · float32" in shown(app))
        await write(pilot, "Still there?")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["STILL THERE?"]
        await until(pilot, lambda: WHY not in shown(app))
        # The base is loaded again without it.
        await pilot.press("escape", "U")
        await until(pilot, lambda: "nothing is loaded" in shown(app))
        await pilot.press("r")
        await until(pilot, lambda: link.state.phase == "ready", 20)
        assert link.state.problem == ""
        assert names(app) == ["base"]


async def test_of_several_only_the_one_that_failed_leaves(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    with_adapter(root, "bad")
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(120, 40)) as pilot:
        (fake / "wait").touch()
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: len(targets.targets) == 3)
        await pilot.press("space", "space", "enter")
        await until(pilot, lambda: sorted(names(app)) == ["bad", "base", "tuned-run"])
        await write(pilot, "Hello")
        (fake / "wait").unlink()
        await until(pilot, lambda: sorted(names(app)) == ["base", "tuned-run"])
        assert chat(app).link.state.label == ""
        await until(pilot, lambda: not chat(app).conversation.running)
        await pilot.press("ctrl+n")
        await write(pilot, "Hello")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app) == ["HELLO", "(hello), 1"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_free_is_said_once_it_is(
    root: Path, tuned: SessionPaths, fake: Path, size: tuple[int, int]
) -> None:
    with_adapter(root, "other")
    async with deck(root, size) as (app, pilot):
        await pilot.press("escape")
        gone = names(app)[chat(app).conversation.voices.at]
        await pilot.press("u")
        await until(pilot, lambda: "that it held are free" in notice(app))
        assert notice(app).startswith(f"{gone} takes part no more; the 10.7 MB")
        assert len(chat(app).link.state.voices) == 1


async def test_one_that_is_loading_is_freed_too(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    (fake / "wait").touch()
    async with talking(root, tuned) as (app, pilot):
        link = chat(app).link
        await pilot.press("tab", "tab")
        chat(app).action_unload()
        assert names(app) == ["base"]
        (fake / "wait").unlink()
        await until(pilot, lambda: "are free" in notice(app))
        assert link.state.voices == frozenset()
        assert link.state.problem == ""


async def test_blind_ends_where_nobody_is_left_to_compare(root: Path, fake: Path) -> None:
    with_adapter(root, "bad")
    (fake / "wait").touch()
    async with talking(root, None) as (app, pilot):
        await pilot.press("escape", "B")
        assert chat(app).blind.on
        (fake / "wait").unlink()
        await until(pilot, lambda: names(app) == ["base"])
        assert not chat(app).blind.on


async def test_what_goes_wrong_while_the_list_looks_is_told(
    root: Path, tuned: SessionPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: targets.targets)
        await pilot.press("p")
        await until(pilot, lambda: targets.typing)
        app.screen.focused.value = "x" * 300  # type: ignore[union-attr]
        await pilot.press("enter")
        await until(pilot, lambda: "there is no folder xxx" in notice(app))

        def broken(*_: object) -> None:
            raise RuntimeError("the disk sings [/b]")

        monkeypatch.setattr("tui_lora.ui.widgets.target_list.chat_targets", broken)
        targets.read()
        await until(pilot, lambda: "RuntimeError: the disk sings [/b]" in notice(app))


async def test_what_is_being_fetched_by_its_name_is_called_off(
    root: Path, tuned: SessionPaths, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from tui_lora.core.fetch import FetchProgressed
    from tui_lora.store.adapters import session_target

    asked, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def fetching(_root: Path, _text: str, *, hear: object) -> object:
        asked.set()
        assert go_on.wait(60)
        try:
            hear(FetchProgressed(done_bytes=1))  # type: ignore[operator]
            return session_target(tuned)
        finally:
            ended.set()

    monkeypatch.setattr("tui_lora.ui.widgets.target_list.target", fetching)
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("p", *"a/b", "enter")
        await until(pilot, asked.is_set)
        await pilot.press("escape")
        assert "called off" in notice(app)
        go_on.set()
        await until(pilot, ended.is_set)
        await pilot.pause()
        await pilot.pause()
        assert chat(app).choosing
        assert chat(app).link.state.phase == "off"
