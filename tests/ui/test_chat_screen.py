"""The Chat screen: against a fake worker on real pipes, and against the real one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from tests.recorded import make_session
from tests.ui import fake_chat
from tests.ui.conftest import keys, notice, picture, until
from tui_lora.core.spec import parse_spec
from tui_lora.store import lock, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.ui import chat_link
from tui_lora.ui.app import TuiLora
from tui_lora.ui.messages import SessionChosen
from tui_lora.ui.screens.chat import ChatScreen
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.exchange import AnswerView, Talk
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.target_list import TargetList

pytestmark = pytest.mark.screens


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake worker; a file `wait` in the folder keeps it loading."""
    gates = tmp_path / "gates"
    gates.mkdir()
    monkeypatch.setenv(fake_chat.GATES, str(gates))
    monkeypatch.setattr(chat_link, "start_chat", fake_chat.start_fake_chat)
    return gates


def with_adapter(root: Path, name: str) -> SessionPaths:
    paths = make_session(root, name)
    paths.adapter.mkdir()
    (paths.adapter / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    return paths


@pytest.fixture
def tuned(root: Path) -> SessionPaths:
    return with_adapter(root, "tuned-run")


def chat(app: TuiLora) -> ChatScreen:
    shown = app.screen_stack[0]
    assert isinstance(shown, ChatScreen)
    return shown


@asynccontextmanager
async def talking(
    root: Path, session: SessionPaths | None, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[TuiLora, Pilot[None]]]:
    """The Chat screen with the first row of the list chosen."""
    app = TuiLora(root, session=session, start="chat", live=False)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: chat(app).query_one(TargetList).targets)
        await pilot.press("enter")
        await until(pilot, lambda: not chat(app).choosing, 20)
        yield app, pilot


async def write(pilot: Pilot[None], text: str, key: str = "enter") -> None:
    pilot.app.screen.query_one(Composer).value = text
    await pilot.press(key)


def answers(app: TuiLora) -> list[str]:
    return [view._text.said.plain for view in chat(app).query(AnswerView)]


def raw(app: TuiLora) -> list[str]:
    """The answers as they came, line breaks around them included."""
    exchanges = chat(app).conversation.transcript.exchanges
    return [answer.text for exchange in exchanges for answer in exchange.answers]


def settled(app: TuiLora, count: int) -> bool:
    shown = chat(app).query(AnswerView)
    return len(shown) == count and not chat(app).conversation.running


def shown(app: TuiLora) -> str:
    return "\n".join(picture(app))


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
        assert "● tuned-run   ○ base" in shown(app)
        await write(pilot, "Hello There")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(hello there), 1"]
        assert "3 tokens · 6.00 tok/s" in shown(app)
        await pilot.press("tab")
        assert "○ tuned-run   ● base" in shown(app)
        await write(pilot, "and you?")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app)[1] == "AND YOU?"
        # The adapter reads its own first answer, and the base's second.
        await pilot.press("ctrl+b")
        await write(pilot, "go on")
        await until(pilot, lambda: settled(app, 3))
        assert answers(app)[2] == "(go on), 5"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_both_answer_side_by_side_or_stacked(
    root: Path, tuned: SessionPaths, fake: Path, size: tuple[int, int]
) -> None:
    async with talking(root, tuned, size) as (app, pilot):
        await write(pilot, "Which Rank?", "ctrl+s")
        await until(pilot, lambda: settled(app, 2))
        assert answers(app) == ["WHICH RANK?", "(which rank?), 1"]
        left, right = chat(app).query(AnswerView)
        await until(pilot, lambda: left.region.height and right.region.height)
        if size[0] >= 110:
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


def kept(paths: SessionPaths) -> list[dict[str, object]]:
    files = sorted(paths.chats.iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


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
        first = chat(app).link._pipe
        assert first is not None
        await write(pilot, "One")
        await until(pilot, lambda: settled(app, 1))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: chat(app).choosing)
        await pilot.press("escape")
        assert not chat(app).choosing
        await pilot.press("ctrl+t", "down", "enter")
        await until(pilot, lambda: "○ base" in shown(app) and "● other-run" in shown(app))
        await until(pilot, lambda: chat(app).link.state.phase == "ready")
        assert not first.alive
        assert not chat(app).query(AnswerView)


async def test_the_worker_ends_with_the_app(root: Path, tuned: SessionPaths, fake: Path) -> None:
    async with talking(root, tuned) as (app, pilot):
        await until(pilot, lambda: chat(app).link.state.phase == "ready")
        pipe = chat(app).link._pipe
        assert pipe is not None
        await write(pilot, "slow")
        await until(pilot, lambda: answers(app) and answers(app)[0])
    assert pipe.process.wait(5) == 0


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


async def test_the_sampling_form_checks_and_keeps(
    root: Path, tuned: SessionPaths, fake: Path
) -> None:
    async with talking(root, tuned) as (app, pilot):
        await pilot.press("ctrl+g")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("9", "enter")
        await until(pilot, lambda: "✗ temperature is a number from 0 to 5." in shown(app))
        app.screen.query_one("#temperature", Input).value = "0.7"
        await pilot.press("down", "down", "down")
        await pilot.press(*"Be", "space", *"kind", "enter")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert chat(app).sampling.temperature == 0.7
        assert "temperature 0.700 · seed 7 · 256 tokens · system prompt" in shown(app)
        await write(pilot, "Hi")
        await until(pilot, lambda: settled(app, 1))
        assert answers(app) == ["(hi), 2"]


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
        pid = screen.link._pipe.process.pid if screen.link._pipe else 0
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
        assert screen.link._pipe is not None
        assert screen.link._pipe.process.pid == pid
        await pilot.press("ctrl+g")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        app.screen.query_one("#tokens", Input).value = "3000"
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
        process = screen.link._pipe.process
    assert process.wait(5) == 0
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
        await until(pilot, lambda: "Enter open   p by path" in keys(app))
        await pilot.press("down")
        targets = chat(app).query_one(TargetList)
        assert not targets.typing
        assert targets.query_one(Input).value == ""
