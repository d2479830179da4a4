"""The Chat screen: against a fake worker on real pipes, and against the real one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from tests.recorded import make_session
from tests.ui import fake_chat
from tests.ui.chatting import (
    answers,
    chat,
    fake,
    kept,
    raw,
    settled,
    shown,
    talking,
    tuned,
    with_adapter,
    write,
)
from tests.ui.conftest import keys, notice, picture, until
from tui_lora.core.spec import parse_spec
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SessionChosen
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.exchange import Talk
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens
__all__ = ["fake", "tuned"]


async def test_without_an_adapter_it_says_what_to_do(root: Path) -> None:
    make_session(root, "draft")
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No session has an adapter yet" in " ".join(shown(app).split()))
        assert "p   an adapter's folder or a model, by its path" in shown(app)
        await pilot.press("p")
        await pilot.press(*"nowhere/at/all", "enter")
        await until(pilot, lambda: "nowhere/at/all" in notice(app))
        await pilot.press("escape")
        assert not chat(app).query_one(TargetList).typing


async def test_the_chosen_session_is_pointed_at(root: Path, tuned: SessionPaths) -> None:
    other = with_adapter(root, "zz-last")
    app = TuiLora(root, session=other, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        targets = chat(app).query_one(TargetList)
        await until(pilot, lambda: len(targets.targets) == 3)
        where = targets.query_one(".where", Line)
        await until(pilot, lambda: where.said.plain == f"adapter in {other.adapter}")


async def test_nothing_loads_before_somebody_is_chosen(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    app = TuiLora(root, session=tuned, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        assert chat(app).link.state.phase == "off"


async def test_a_message_is_answered_and_the_voice_switched(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        assert "○ base   ● tuned-run" in shown(app)
        await write(pilot, "Hello There")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(hello there), 1"]
        assert "3 tokens · 6.00 tok/s" in shown(app)
        await pilot.press("tab")
        assert "● base   ○ tuned-run" in shown(app)
        await write(pilot, "and you?")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "AND YOU?"
        # The adapter reads its own first answer, and the base's second.
        await pilot.press("ctrl+b")
        await write(pilot, "go on")
        await until(pilot, lambda: settled(app, 3))
        assert answers(app)[2] == "(go on), 5"


@pytest.mark.parametrize("size", [(60, 20), (80, 24)])
async def test_both_answer_side_by_side_or_stacked(
    root: Path, tuned: SessionPaths, fake: Path, size: tuple[int, int]
) -> None:
    async with talking(root, tuned, size) as (app, pilot):
        await write(pilot, "Which Rank?", "ctrl+s")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app) == ["WHICH RANK?", "(which rank?), 1"]
        left, right = chat(app).query(AnswerView)
        await until(pilot, lambda: left.region.height and right.region.height)
        if size[0] >= 80:
            assert left.region.y == right.region.y
            assert left.region.right <= right.region.x
        else:
            assert left.region.bottom <= right.region.y
        assert all(len(row) <= size[0] for row in picture(app))


async def test_the_other_voice_catches_up_on_the_last_message(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "Why?")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app) == ["(why?), 1", "WHY?"]


async def test_escape_stops_an_answer_then_leaves_the_composer(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "slow")
        await until(pilot, lambda: answers(app) and "word1" in answers(app)[0])
        await until(pilot, lambda: "Esc stop" in keys(app))
        await write(pilot, "meanwhile")
        assert "still being written" in notice(app)
        assert app.screen.query_one(Composer).text == "meanwhile"
        await pilot.press("escape")
        assert not chat(app).conversation.running
        await until(pilot, lambda: "■ stopped" in shown(app))
        # The worker heard it too, and takes the next message.
        await write(pilot, "Next")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "(next), 3"
        await pilot.press("escape")
        assert not chat(app).writing
        await pilot.press("n")
        assert not chat(app).query(AnswerView)
        assert chat(app).writing


async def test_numbers_are_typed_while_composing_and_switch_outside(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("1", "q", "n")
        assert chat(app).query_one(Composer).value == "1qn"
        await pilot.press("escape", "1")
        assert app.current_mode == "sessions"
        await pilot.press("6")
        await pilot.press("i")
        assert chat(app).writing
        await pilot.press("ctrl+o")
        await until(pilot, lambda: len(app.screen_stack) == 2)


async def test_loading_shows_its_phase_and_what_was_sent_meanwhile_is_answered(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    (fake / "wait").touch()
    async with talking(root, tuned) as (app, pilot):
        await until(pilot, lambda: "loading the weights" in shown(app))
        assert "0 s of about 40 s" in shown(app)
        await write(pilot, "Early")
        await until(pilot, lambda: "◌ waiting" in shown(app))
        (fake / "wait").unlink()
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(early), 1"]
        assert "cpu · float32 · loaded in 0.1 s" in shown(app)


async def test_the_conversation_is_kept_as_it_goes(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "Keep This\x1b", "ctrl+s")
        await until(pilot, lambda: settled(app, 2))
        await until(pilot, lambda: len(kept(tuned)) == 3)
        asked, *replies = kept(tuned)
        assert asked["role"] == "user"
        assert asked["temperature"] == 0
        assert [(r["name"], r["content"]) for r in replies] == [
            ("base", "KEEP THIS"),
            ("tuned-run", "(keep this), 1"),
        ]
        assert replies[0]["ended_by"] == "end"
        await pilot.press("ctrl+n")
        await write(pilot, "another")
        await until(pilot, lambda: settled(app, 1))
    assert len(list(tuned.chats.iterdir())) == 2


async def test_hostile_text_is_shown_as_it_is(root: Path, tuned: SessionPaths, fake: Path) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "hostile [/bold] [@click=app.exit]")
        await until(pilot, lambda: settled(app, 1))
        assert fake_chat.HOSTILE in shown(app)
        assert "hostile [/bold] [@click=app.exit]" in shown(app)
        await pilot.press("ctrl+n")
        chat(app).query_one(Composer).post_message(events.Paste("two\nlines \x1b[31m[/]"))
        await until(pilot, lambda: chat(app).query_one(Composer).value == "two⏎lines [31m[/]")
        await pilot.press("enter")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(two\nlines [31m[/]), 1"]
        await pilot.press("up")
        assert chat(app).query_one(Composer).text == "two\nlines [31m[/]"


async def test_a_worker_that_dies_says_why_and_starts_again(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await write(pilot, "die")
        await until(pilot, lambda: "the card fell off the bus" in shown(app))
        assert "loads it again" in shown(app)
        assert "exit code 3" in shown(app)
        assert not chat(app).conversation.running
        await until(pilot, lambda: "^r load again" in keys(app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: chat(app).link.state.phase == "ready")
        await write(pilot, "Back")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "(back), 1"


async def test_a_base_that_cannot_be_loaded_fails_what_was_asked(
    root: Path, tmp_path: Path, fake: Path
) -> None:
    spec = parse_spec({"model": {"id": "broken"}, "dataset": {"path": "quickstart"}})
    paths = sessions.create(root, "run", spec)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x")
    async with talking(root, paths) as (app, pilot):
        await until(pilot, lambda: "the model broken cannot be loaded: no." in shown(app))
        await write(pilot, "anybody?")
        await until(pilot, lambda: settled(app, 1))


async def test_a_bad_adapter_leaves_the_base(root: Path, fake: Path) -> None:
    paths = with_adapter(root, "bad")
    async with talking(root, paths) as (app, pilot):
        await until(pilot, lambda: "the adapter bad cannot be used: another base." in shown(app))
        await pilot.press("tab")
        await write(pilot, "still there?")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["STILL THERE?"]


async def test_a_running_training_is_asked_about_first(
    root: Path, tuned: SessionPaths, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "holder", lambda path: 4242)
    app = TuiLora(root, session=tuned, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("enter")
        # Neither the model's size nor what the run takes is known.
        await until(pilot, lambda: "Load a model beside tuned-run?" in shown(app))
        assert "Whether it fits is not known" in " ".join(shown(app).split())
        await pilot.press("n")
        assert chat(app).link.state.phase == "off"
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(pilot, lambda: chat(app).link.state.phase == "ready")


async def test_another_base_takes_the_place_of_the_first(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    spec = parse_spec({"model": {"id": "other"}, "dataset": {"path": "quickstart"}})
    other = sessions.create(root, "other-run", spec)
    other.adapter.mkdir()
    (other.adapter / "adapter_model.safetensors").write_bytes(b"x")
    os.utime(tuned.spec, (time.time() + 5, time.time() + 5))
    async with talking(root, None) as (app, pilot):
        await until(pilot, lambda: chat(app).link.state.phase == "ready")
        first = chat(app).link.pipe
        assert first is not None
        await write(pilot, "One")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: chat(app).choosing)
        await pilot.press("escape")
        assert not chat(app).choosing
        await pilot.press("ctrl+t", "down", "enter")
        await until(pilot, lambda: "○ base   ● other-run" in shown(app))
        await until(pilot, lambda: chat(app).link.state.phase == "ready")
        assert not first.alive
        assert not chat(app).query(AnswerView)


async def test_the_worker_ends_with_the_app(root: Path, tuned: SessionPaths, fake: Path) -> None:
    async with talking(root, tuned) as (app, pilot):
        await until(pilot, lambda: chat(app).link.state.phase == "ready")
        pipe = chat(app).link.pipe
        assert pipe is not None
        await write(pilot, "slow")
        await until(pilot, lambda: answers(app) and answers(app)[0])
    assert pipe.process.wait(60) == 0


async def test_held_out_questions_come_with_their_reference(
    root: Path, tuned: SessionPaths, fake: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as file:
        for at in range(3):
            turns = [
                {"role": "user", "content": f"Question\n{at}?"},
                {"role": "assistant", "content": f"Reference [/b] {at}"},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    text = tuned.spec.read_text().replace("eval_path: null", f"eval_path: {rows}")
    tuned.spec.write_text(text)
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", "h")
        composer = chat(app).query_one(Composer)
        await until(pilot, lambda: composer.value == "Question⏎0?")
        assert f"3 questions: held-out file {rows}"[:60] in notice(app)
        await pilot.press("escape", "h", "enter")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(question\n1?), 1"]
        assert "reference  Reference [/b] 1" in shown(app)


async def test_of_plain_text_the_beginning_is_asked_and_the_rest_is_told(
    root: Path, tuned: SessionPaths, fake: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "Once upon a time there was a rank."}) + "\n")
    text = tuned.spec.read_text().replace("eval_path: null", f"eval_path: {rows}")
    tuned.spec.write_text(text)
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", "h")
        composer = chat(app).query_one(Composer)
        await until(pilot, lambda: composer.value == "Once upon a time")
        assert "1 beginning of a text: held-out file" in notice(app)
        await pilot.press("enter")
        await until(pilot, lambda: settled(app, 1))
        await until(pilot, lambda: "goes on  there was a rank." in shown(app))


async def test_a_short_talk_stays_on_top_and_a_long_one_follows_its_end(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned, (80, 24)) as (app, pilot):
        talk = chat(app).query_one(Talk)
        await write(pilot, "short")
        await until(pilot, lambda: settled(app, 1))
        assert talk.scroll_y == 0
        for at in range(5):
            await write(pilot, f"more {at}")
            await until(pilot, lambda at=at: settled(app, at + 2))
        await until(pilot, lambda: talk.scroll_y == talk.max_scroll_y > 0)
        await pilot.press("pageup")
        await until(pilot, lambda: talk.scroll_y < talk.max_scroll_y)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: talk.scroll_y == 0)


async def test_another_session_that_is_chosen_is_pointed_out(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    other = with_adapter(root, "newer")
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("escape", "1")
        app.post_message(SessionChosen(other))
        await pilot.pause()
        await pilot.press("6")
        await until(pilot, lambda: "t talks to newer" in notice(app))


# Against the real worker.


@pytest.mark.model
async def test_the_real_worker_streams_switches_cancels_and_ends(
    root: Path, tiny_model: Path, tiny_adapter: Path
) -> None:
    spec = parse_spec({"model": {"id": str(tiny_model)}, "dataset": {"path": "quickstart"}})
    paths = sessions.create(root, "tiny", spec)
    shutil.copytree(tiny_adapter, paths.adapter)
    async with talking(root, paths) as (app, pilot):
        screen = chat(app)
        await until(pilot, lambda: screen.link.state.label == "starting torch", 30)
        await until(pilot, lambda: screen.link.state.voices, 60)
        ready = screen.link.state.ready
        assert ready is not None
        pid = screen.link.pipe.process.pid if screen.link.pipe else 0
        await pilot.press("tab")
        await write(pilot, "What is the rank?")
        await until(pilot, lambda: settled(app, 1), 30)
        base = raw(app)[0]
        assert "256 tokens ·" in shown(app)
        await pilot.press("ctrl+n")
        await write(pilot, "What is the rank?", "ctrl+s")
        await until(pilot, lambda: settled(app, 2), 30)
        again, adapted = raw(app)
        assert again == base != adapted
        # No other base was loaded for that.
        assert screen.link.pipe is not None
        assert screen.link.pipe.process.pid == pid
        await pilot.press("ctrl+g")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        app.screen.query_one("#max_new_tokens", Input).value = "3000"
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await pilot.press("ctrl+n")
        # It came to the limit before, so it goes round in circles.
        await write(pilot, "What is the rank?")
        await until(pilot, lambda: raw(app) and raw(app)[0], 30)
        grew: list[int] = []
        began = time.monotonic()
        for _ in range(20):
            grew.append(len(raw(app)[0]))
            await asyncio.sleep(0.05)
            await pilot.pause()
        # At most four times a second, however long those pauses were; two more for both ends.
        assert 1 < len(set(grew)) <= 4 * (time.monotonic() - began) + 2
        await pilot.press("escape")
        ended = screen.conversation.transcript.exchanges[-1].answers[0]
        await until(pilot, lambda: ended.seconds is not None, 5)
        assert ended.ended_by == "cancel"
        process = screen.link.pipe.process
    assert process.wait(60) == 0
    roles = [line["role"] for line in kept(paths)]
    assert sorted(roles) == ["assistant"] * 4 + ["user"] * 3


async def test_a_list_that_fills_while_one_is_elsewhere_has_the_keys(root: Path) -> None:
    app = TuiLora(root, start="chat", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No session has an adapter yet" in " ".join(shown(app).split()))
        await pilot.press("1")
        await until(pilot, lambda: app.current_mode == "sessions")
        with_adapter(root, "tuned-run")
        await pilot.press("6")
        await until(pilot, lambda: "Enter open   Space mark   p by path" in keys(app))
        await pilot.press("down")
        targets = chat(app).query_one(TargetList)
        assert not targets.typing
        assert targets.query_one(Input).value == ""
