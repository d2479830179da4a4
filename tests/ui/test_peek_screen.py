"""What a model says on the way: its steps, what changed, and a message to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests import peeked
from tests.obedient import worker
from tests.recorded import done_session, make_session, opening, steps, write
from tests.ui.conftest import keys, picture, run_of, show, until
from tui_lora.core.orders import ORDERS, ChangeSpec, Peek
from tui_lora.core.status import Status
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.app import TuiLora
from tui_lora.ui.screens.intervals import IntervalsForm
from tui_lora.ui.screens.peek import PeekScreen
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Table

pytestmark = pytest.mark.screens


@pytest.fixture
def done(root: Path) -> SessionPaths:
    paths = done_session(root)
    write(paths, iter(peeked.asked(paths)), first=5000)
    return paths


@pytest.fixture
def live(root: Path) -> SessionPaths:
    paths = make_session(root, "live")
    write(paths, opening(400), steps(1, 250, 400), start=time.time() - 300)
    return paths


async def opened(pilot: Pilot[None], app: TuiLora, paths: SessionPaths, status: Status) -> None:
    await show(pilot, run_of(paths, status))
    await pilot.press("t")
    await until(pilot, lambda: isinstance(app.screen, PeekScreen) and app.screen.is_mounted)
    await pilot.pause()


def shown(app: TuiLora) -> str:
    return "\n".join(row.rstrip() for row in picture(app))


def bright(app: TuiLora) -> str:
    """The words that are marked as new."""
    text = app.screen.query_one("#voice-0 .text", Lines).said[0]
    new = [span for span in text.spans if "bold" in str(span.style)]
    return " ".join(text.plain[span.start : span.end].strip() for span in new)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_one_goes_through_steps_and_questions(
    root: Path, done: SessionPaths, size: tuple[int, int]
) -> None:
    app = TuiLora(root, session=done, start="train", live=False)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app, done, Status.DONE)
        await until(pilot, lambda: "step 200" in shown(app))
        assert "3 of 3   2 words are new since step 100" in shown(app)
        assert bright(app) == "bench note."
        await pilot.press("left")
        assert "I am a small helpful note taker." in shown(app)
        assert "◂ step 100 ▸   2 of 3   3 words are new since step 0" in shown(app)
        assert "I am a helpful assistant." in shown(app)
        await pilot.press("down")
        assert app.screen.query_one(Table).pointed != ""
        await until(pilot, lambda: "After 100." in shown(app))
        for words in ("What is [/INST] alpha?", "A letter.", "It scales the adapter.", "reference"):
            assert words in shown(app)
        await pilot.press("left", "left", "left")
        assert "step 0 ▸   1 of 3" in shown(app)
        assert "ask" not in keys(app)
        assert "the run has ended: its answers stay" in shown(app)
        assert all(len(row) <= size[0] for row in picture(app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, PeekScreen))


async def test_an_empty_one_says_how_to_begin(root: Path) -> None:
    paths = done_session(root)
    app = TuiLora(root, session=paths, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, paths, Status.DONE)
        assert "Nothing was asked of this run." in shown(app)
        assert "'ask on the way' in Settings" in shown(app)
        assert "answered at the end of the step" not in shown(app)
        await show(pilot, run_of(paths, Status.RUNNING))
        assert "ask something now: it is answered at the end of the step" in shown(app)


async def test_a_message_waits_for_a_step_and_its_answer_comes(
    root: Path, live: SessionPaths
) -> None:
    app = TuiLora(root, session=live, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        with worker(live):
            await opened(pilot, app, live, Status.RUNNING)
            await pilot.press("a", *"Who?", "enter")
            await until(pilot, lambda: live.orders.exists() and live.orders.stat().st_size)
            order = ORDERS.decode(live.orders.read_bytes().splitlines()[0]).message
            assert isinstance(order, Peek)
            assert order.prompt == "Who?"
            waiting = run_of(live, Status.RUNNING)
            waiting.view.answers.clear()
            object.__setattr__(waiting, "asked", (order,))
            await show(pilot, waiting)
            line = app.screen.query_one("#waiting", Line).said.plain
            assert line == "◌ waits for step 251   Who?"
            await until(pilot, lambda: order.id in run_of(live).view.answers)
        await show(pilot, run_of(live, Status.RUNNING))
        await until(pilot, lambda: "I am tuned." in shown(app))
        assert "I am the base." in shown(app)
        await pilot.press("enter")
        assert app.screen.query_one(Composer).text == "Who?"
        await pilot.press("escape")
        assert isinstance(app.screen.focused, Table)


async def test_a_question_is_asked_again_as_it_was(root: Path, live: SessionPaths) -> None:
    whole = peeked.answer("Who?\nReally? ", 100, "A poem.", system="You are a poet.")
    longer = peeked.answer("And then?", 100, "More.", key="of earlier turns")
    peeked.keep(live, [whole, longer])
    app = TuiLora(root, session=live, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        with worker(live):
            await opened(pilot, app, live, Status.RUNNING)
            await until(pilot, lambda: "A poem." in shown(app))
            await pilot.press("enter")
            assert app.screen.query_one(Composer).text == "Who?\nReally?"
            assert "its system prompt goes with it: You are a poet." in shown(app)
            await pilot.press("enter")
            await until(pilot, lambda: live.orders.exists() and live.orders.stat().st_size)
            order = ORDERS.decode(live.orders.read_bytes().splitlines()[0]).message
            assert isinstance(order, Peek)
            assert (order.prompt, order.system) == (whole.prompt, whole.system)
            await until(pilot, lambda: order.id in run_of(live).view.answers)
            await show(pilot, run_of(live, Status.RUNNING))
            await until(pilot, lambda: "I am tuned." in shown(app))
            assert "step 250     2 of 2" in shown(app)
            table = app.screen.query_one(Table)
            assert table.pointed == whole.key
            await pilot.press("down", "enter")
            assert table.pointed == longer.key
            assert isinstance(app.screen.focused, Table)
            assert "earlier turns or a part of its text are not kept." in shown(app)
            # One's own begins with nothing of it.
            await pilot.press("up", "enter")
            assert isinstance(app.screen.focused, Composer)
            await pilot.press("escape")
            await pilot.press("a", *"Me?", "enter")
            await until(pilot, lambda: live.orders.read_bytes().count(b"\n") == 2)
    order = ORDERS.decode(live.orders.read_bytes().splitlines()[1]).message
    assert isinstance(order, Peek)
    assert (order.prompt, order.system) == ("Me?", "")


async def test_what_is_asked_by_itself_is_set_here(root: Path, live: SessionPaths) -> None:
    app = TuiLora(root, session=live, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        with worker(live):
            await opened(pilot, app, live, Status.RUNNING)
            await pilot.press("f")
            await until(pilot, lambda: isinstance(app.screen, IntervalsForm))
            await pilot.press("enter", *"Why, then? | And r?", "enter", "a")
            await until(pilot, lambda: live.orders.exists() and live.orders.stat().st_size)
    order = ORDERS.decode(live.orders.read_bytes().splitlines()[0]).message
    assert isinstance(order, ChangeSpec)
    assert order.changes == {"peek.prompts": ("Why, then?", "And r?")}


async def test_a_classifier_says_labels(root: Path) -> None:
    paths = done_session(root, task="classification")
    first = peeked.sorted_into(100, ("negative", 0.75), ("positive", 0.25))
    second = peeked.sorted_into(200, ("positive", 0.5), ("negative", 0.5))
    peeked.keep(paths, [first, second])
    app = TuiLora(root, session=paths, start="train", live=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, paths, Status.DONE)
        await until(pilot, lambda: "It is [bold]fine." in shown(app))
        assert "✓ the true label" in shown(app)
        assert "negative at step 100" in shown(app)
        await pilot.press("left")
        assert "75.0%" in shown(app)
