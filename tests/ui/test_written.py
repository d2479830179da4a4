"""A growing text: its Markdown drawn, nothing in it obeyed, and only its end painted again."""

from __future__ import annotations

import inspect
import re
import time
from functools import partial

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.widget import Widget

from tests.ui.conftest import until
from tui_lora.core.transcript import Answer, Exchange
from tui_lora.ui.markdown_text import AT_MOST, blocks
from tui_lora.ui.theming import DEFAULTS
from tui_lora.ui.widgets.answer import AnswerView
from tui_lora.ui.widgets.exchange import Talk
from tui_lora.ui.widgets.written import SHARE, STEP, Written


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Written()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DEFAULTS)


def drawn(text: str, width: int = 40) -> list[str]:
    return [row.plain for block in blocks(text) for row in block.rows(width)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("# A\ntext", ["A", "text"]),
        ("one\ntwo\n\nthree", ["one", "two", "", "three"]),
        ("- a\n- b\n  - c\n\n    more", ["• a", "• b", "  • c", "", "    more"]),
        ("3. a\n4. b", ["3. a", "4. b"]),
        ("> said\n> so", ["▏ said", "▏ so"]),
        ("a `b` *c* ~~d~~", ["a b c d"]),
        ("```x\n  [/b]\n```", ["    [/b]"]),
        ("|a|bb|\n|-|-|\n|ccc|d|", ["a    bb", "───  ──", "ccc  d "]),
        (r"\(x\) &amp; &#27; <i>", [r"\(x\) &amp; &#27; <i>"]),
        ("[a](http://b) ![c](d) <http://e>", ["[a](http://b) ![c](d) <http://e>"]),
        ("a\n---", ["a", "─" * 12]),
    ],
)
def test_blocks_are_drawn_and_nothing_is_hidden(text: str, rows: list[str]) -> None:
    assert drawn(text) == rows


def test_long_rows_keep_their_indentation_and_width() -> None:
    found = drawn("- " + "word " * 20 + "\n\n```\n" + "x" * 50 + "\n```", 30)
    assert all(len(row) <= 30 for row in found)
    assert all(row.startswith("  ") for row in found[1:] if row)


async def test_a_growing_text_paints_its_last_rows_only() -> None:
    app = Shown()
    async with app.run_test(size=(60, 30)) as pilot:
        written = app.query_one(Written)
        text = "\n\n".join(f"**paragraph** {n}" for n in range(4)) + "\n\nthe last"
        written.write(text, running=True, rendered=True)
        await pilot.pause()
        assert [row.plain for row in written.rows][:3] == ["paragraph 0", "", "paragraph 1"]
        assert written.region.height % max(STEP, 30 // SHARE) == 0
        painted: list[Region] = []
        really = Widget.refresh

        def refresh(self: Widget, *regions: Region, **more: bool) -> Widget:
            if isinstance(self, Written):
                painted.extend(regions or [self.region])
            return really(self, *regions, **more)

        Widget.refresh = refresh  # type: ignore[method-assign,assignment]
        try:
            written.write(text + " grows", running=True, rendered=True)
            await pilot.pause()
        finally:
            Widget.refresh = really  # type: ignore[method-assign]
        assert painted == [Region(0, 8, 60, 1)]
        assert written.rows[8].plain == "the last grows"


@pytest.mark.parametrize("rendered", [True, False])
async def test_what_grew_looks_like_what_came_at_once(rendered: bool) -> None:
    text = (
        "# Title\n\nA **bold** claim\nin two lines.\n\n1. one\n2. two\n\n   more\n\n"
        "```python\nfor x in y:\n\n    pass  # no\n```\n\n> said\n\n|a|b|\n|-|-|\n|1|2|\n\nend"
    )
    app = Shown()
    async with app.run_test(size=(50, 60)) as pilot:
        written = app.query_one(Written)
        for at in range(0, len(text), 7):
            written.write(text[:at], running=True, rendered=rendered)
            await pilot.pause()
        written.write(text, running=False, rendered=rendered)
        await pilot.pause()
        grown = [row.plain for row in written.rows]
        assert written.region.height == len(grown)
        written.write("", running=False, rendered=not rendered)
        written.write(text, running=False, rendered=rendered)
        await pilot.pause()
        assert [row.plain for row in written.rows] == grown


HOSTILE = ["[" * 40_000, "**a" * 13_000, "|a|b|\n|-|-|\n" + "|a|b|\n" * 6_000, "> " * 20_000]


@pytest.mark.parametrize("text", [*HOSTILE, "word " * 20_000, "x" * 100_000, "# a\n" * 25_000])
async def test_a_huge_answer_does_not_freeze(text: str) -> None:
    app = Shown()
    async with app.run_test(size=(100, 30)) as pilot:
        written = app.query_one(Written)
        began = time.process_time()
        for end in range(0, len(text), max(1, len(text) // 10)):
            written.write(text[:end], running=True, rendered=True)
            await pilot.pause()
        written.write(text, running=False, rendered=True)
        await pilot.pause()
        # Eleven looks at it, on a machine that may be slow.
        assert time.process_time() - began < 11 * 0.5
        assert len(text) > AT_MOST
        assert len(written.rows) >= len(text) // 100


def test_it_hides_nothing_of_textual() -> None:
    # `_running`, set to False, and nothing is painted any more.
    own = set(re.findall(r"self\.(_\w+) =", inspect.getsource(Written)))
    assert own
    assert not own & (set(vars(Widget())) | set(dir(Widget)))


class Talking(App[None]):
    def compose(self) -> ComposeResult:
        yield Talk()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(DEFAULTS)


def _is_in_sight(talk: Talk, view: AnswerView) -> bool:
    return talk.region.y <= view.end < talk.region.bottom + STEP


async def test_the_end_of_what_grows_beside_a_longer_answer_is_in_sight() -> None:
    app = Talking()
    async with app.run_test(size=(80, 20)) as pilot:
        talk = app.query_one(Talk)
        first, second = Answer("1", "base", "base"), Answer("2", "x", "x")
        talk.add(Exchange("question", [first, second]))
        await pilot.pause()
        lines = "\n".join(f"line {n}" for n in range(50))
        for answer, count in ((first, 50), (second, 45)):
            for end in range(1, count):
                answer.grow("\n".join(lines.split("\n")[:end]), end)
                talk.draw(answer)
                await pilot.pause()
                left, right = app.query(AnswerView)
                view = left if answer is first else right
                await until(pilot, partial(_is_in_sight, talk, view))
            answer.ended_by = "end"
            talk.draw(answer)
            await pilot.pause()
        # Whoever scrolls is left alone.
        second.ended_by = ""
        talk.scroll_relative(y=-10, animate=False)
        await pilot.pause()
        at = talk.scroll_y
        second.grow(lines, 50)
        talk.draw(second)
        await pilot.pause()
        assert talk.scroll_y == at
