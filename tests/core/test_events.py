"""Every event goes out and comes back as it was."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui_lora.core.events import EVENTS, Event, Result, StepDone
from tui_lora.core.orders import ORDERS, SaveCheckpoint, Stop


@pytest.mark.parametrize("kind", EVENTS.types, ids=lambda kind: kind.type)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_event_survives_the_wire(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(st.builds(kind))
    decoded = EVENTS.decode(EVENTS.encode(event))
    assert decoded.unknown_fields == 0
    # repr, since NaN is not equal to itself and must arrive all the same.
    assert repr(decoded.message) == repr(event)


@pytest.mark.parametrize("kind", EVENTS.types, ids=lambda kind: kind.type)
def test_a_newer_worker_may_say_more(kind: type[Event]) -> None:
    needed: dict[str, Any] = {
        "int": 1,
        "float": 1.5,
        "str": "x",
        "bool": True,
    }
    values = {
        name: needed.get(getattr(info.annotation, "__name__", ""))
        for name, info in kind.model_fields.items()
        if info.is_required()
    }
    values |= {"level": "info"} if "level" in values else {}
    values |= {"verdict": "done"} if "verdict" in values else {}
    values |= {"choices": ()} if "choices" in values else {}
    values |= {"changes": {}} if "changes" in values else {}
    line = EVENTS.encode(kind(**values)).replace("{", '{"invented":{"deep":1},', 1)
    decoded = EVENTS.decode(line)
    assert type(decoded.message) is kind
    assert decoded.unknown_fields == 1


def test_a_loss_that_is_no_number_is_reported_as_such() -> None:
    decoded = EVENTS.decode(EVENTS.encode(StepDone(step=3, epoch=0.1, loss=float("nan")))).message
    assert isinstance(decoded, StepDone)
    assert decoded.loss is not None
    assert decoded.loss != decoded.loss


def test_orders_survive_the_wire() -> None:
    for order in (Stop(id="a", t=1.5), SaveCheckpoint(id="b", t=2.5)):
        assert ORDERS.decode(ORDERS.encode(order)).message == order


def test_a_result_of_a_newer_worker_can_be_read() -> None:
    text = '{"attempt":2,"verdict":"stopped","step":7,"loss":NaN,"mood":"fine"}'
    result = Result.model_validate_json(text)
    assert (result.attempt, result.verdict, result.step) == (2, "stopped", 7)
