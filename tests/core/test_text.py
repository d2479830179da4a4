"""Text from outside is harmless afterwards, and numbers read as people write them."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui_lora.core.errors import Problem, SpecError, UserError
from tui_lora.core.text import (
    clean,
    count,
    duration,
    escaped,
    number,
    one_line,
    rate,
    shorten_middle,
    size,
)

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
NASTY = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs"]),
        st.sampled_from("\x1b\x9b\r\n\t\u202e\u2066\u200f\u061c\u2028"),
    )
)


@settings(max_examples=300)
@given(text=NASTY)
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    out = clean(text)
    for char in out:
        assert char == "\n" or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in BIDI
        assert char not in "\u200e\u200f\u061c"
    assert clean(out) == out
    assert len(one_line(text).splitlines()) <= 1


@given(text=NASTY, width=st.integers(1, 30))
def test_limits_hold(text: str, width: int) -> None:
    assert len(clean(text, max_chars=width)) <= width
    assert len(one_line(text, max_chars=width)) <= width
    assert len(shorten_middle(text, width)) <= max(width, 0)


def test_what_people_write_is_left_alone() -> None:
    for text in ("naïve 日本 🦙‍❄️ שלום", "[/INST] [@click=app.quit]x[/]", "a\nb"):
        assert clean(text) == text
    assert clean("a\tb\r\nc") == "a    b\nc"
    assert one_line("a\nb") == "a⏎b"


def test_names_lose_their_middle() -> None:
    assert shorten_middle("abcdefghij", 5) == "ab…ij"
    assert shorten_middle("abc", 3) == "abc"
    assert shorten_middle("abc", 1) == "a"


def test_errors_are_clean_wherever_they_come_from() -> None:
    error = UserError("no \x1b[2J", where="f\x9b", then="d\u202e")
    assert str(error) == "f: no [2J\n  d"
    assert str(Problem("a\x1b", "b\x1b", mend="c\x1b")) == "b: a c"
    assert "\x1b" not in str(SpecError((Problem("x\x1b", line=2),), where="f\x1b"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (float("nan"), "NaN"),
        (float("-inf"), "-inf"),
        (0, "0"),
        (0.0123456, "0.0123"),
        (0.5, "0.500"),
        (9.996, "10.0"),
        (99.96, "100"),
        (12.345, "12.3"),
        (-1.5, "-1.50"),
        (1234.6, "1,235"),
        (0.00001, "1.00e-05"),
        (1e20, "1.00e+20"),
    ],
)
def test_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


@given(value=st.floats(1e-4, 1e14))
def test_numbers_are_right_to_half_a_percent(value: float) -> None:
    assert abs(float(number(value).replace(",", "")) / value - 1) <= 0.0051


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0, "0"),
        (2e-4, "2.00e-4"),
        (1.0, "1.00e0"),
        (float("nan"), "NaN"),
        (float("inf"), "inf"),
    ],
)
def test_rate(value: float | None, shown: str) -> None:
    assert rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0, "0"),
        (9999, "9,999"),
        (12345, "12.3 k"),
        (136_957_248, "137 M"),
        (7.24e9, "7.24 B"),
        (3e12, "3e+12"),
    ],
)
def test_count(value: float | None, shown: str) -> None:
    assert count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (float("nan"), "—"),
        (float("inf"), "—"),
        (-1, "—"),
        (0, "0.0 s"),
        (4.25, "4.2 s"),
        (41.4, "41 s"),
        (370, "6 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (300_000, "3 d 11 h"),
    ],
)
def test_duration(value: float | None, shown: str) -> None:
    assert duration(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "—"), (0, "0 B"), (999, "999 B"), (84_000_000, "84.0 MB"), (2.5e15, "2,500 TB")],
)
def test_size(value: float | None, shown: str) -> None:
    assert size(value) == shown


@given(text=NASTY)
def test_a_line_of_json_says_the_same_when_it_is_escaped(text: str) -> None:
    line = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(escaped(line)) == {"text": text}
    assert clean(escaped(line)) == escaped(line)
