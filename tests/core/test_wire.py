"""Lines between processes: a strict writer, and a reader that nothing in a line can stop."""

import json
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui_lora.core.chat import FROM_CHAT, TO_CHAT
from tui_lora.core.events import EVENTS
from tui_lora.core.inspect import FROM_INSPECT, TO_INSPECT
from tui_lora.core.orders import ORDERS
from tui_lora.core.wire import WIRE_VERSION, Message, Wire

WIRES = [EVENTS, ORDERS, TO_CHAT, FROM_CHAT, TO_INSPECT, FROM_INSPECT]


class Said(Message):
    type: ClassVar[str] = "said"
    text: str
    number: float | None = None


class Unknown(Message):
    type: ClassVar[str] = "unknown"


WIRE: Wire[Message] = Wire(Said)


def test_a_line_carries_version_and_type_and_one_newline() -> None:
    line = WIRE.encode(Said(text="two\nlines"))
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert json.loads(line) == {
        "v": WIRE_VERSION,
        "type": "said",
        "text": "two\nlines",
        "number": None,
    }


@given(text=st.text())
def test_any_text_arrives_as_it_was(text: str) -> None:
    assert WIRE.decode(WIRE.encode(Said(text=text))).message == Said(text=text)


def test_a_lone_surrogate_survives_the_disk_as_a_question_mark() -> None:
    raw = WIRE.encode(Said(text="a\udcffb")).encode("utf-8", "replace")
    assert WIRE.decode(raw).message == Said(text="a?b")


def test_not_a_number_and_infinity_arrive() -> None:
    nan = WIRE.decode(WIRE.encode(Said(text="", number=float("nan")))).message
    assert isinstance(nan, Said)
    assert nan.number != nan.number
    assert WIRE.decode(WIRE.encode(Said(text="", number=float("inf")))).message == Said(
        text="", number=float("inf")
    )


def test_the_writer_refuses_what_does_not_travel_here() -> None:
    with pytest.raises(TypeError, match="Unknown does not travel"):
        WIRE.encode(Unknown())


def test_unknown_fields_are_skipped_and_counted() -> None:
    decoded = WIRE.decode('{"v":9,"type":"said","text":"x","mood":1,"more":[2]}')
    assert decoded.message == Said(text="x")
    assert decoded.unknown_fields == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\x00" * 100,
        "{",
        '{"type":"said","text":"torn',
        "[1,2]",
        "null",
        '"said"',
        "{}",
        '{"type":["said"]}',
        '{"type":"sung","text":"x"}',
        '{"type":"said"}',
        '{"type":"said","text":7}',
        '{"type":"said","text":"x","number":"much"}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"type":"said","text":' + "9" * 10_000 + "}",
        b"\xff\xfe\x00garbage",
        b"\xef\xbb\xbf{",
        "x" * 5_000_000,
    ],
    ids=range(19),
)
def test_a_bad_line_is_told_and_never_raises(line: str | bytes) -> None:
    decoded = WIRE.decode(line)
    assert decoded.message is None
    assert decoded.problem


@settings(max_examples=200)
@given(line=st.one_of(st.binary(), st.text()))
def test_no_garbage_raises(line: str | bytes) -> None:
    assert WIRE.decode(line).message is None


@pytest.mark.parametrize("wire", WIRES)
def test_no_two_messages_of_a_wire_share_a_name_or_hide_the_envelope(wire: Wire[Message]) -> None:
    names = [message.type for message in wire.types]
    assert len(names) == len(set(names)) > 0
    for message in wire.types:
        assert not {"v", "type"} & set(message.model_fields)
