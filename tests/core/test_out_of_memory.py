"""Memory ran out: which changes are offered, in which order."""

from __future__ import annotations

import pytest

from tui_lora.core.advice import RowLengths
from tui_lora.core.events import MemoryRanOut
from tui_lora.core.out_of_memory import asked_for, happened, plain_mends, shares
from tui_lora.core.spec import RunSpec, parse_spec

RAN_OUT = MemoryRanOut(phase="forward", device="cuda:0")


def spec(**training: object) -> RunSpec:
    return parse_spec(
        {"model": "m", "dataset": "d.jsonl", "training": {"micro_batch": 4, **training}}
    )


def test_what_leaves_the_run_as_it_is_comes_first() -> None:
    found = plain_mends(spec(), {"training.gradient_checkpointing": "no"}, checkpoint=True)
    kinds = [mend.judged.kind for mend in found]
    assert kinds == sorted(kinds, key=["free", "noted", "fixed"].index)
    assert [mend.title for mend in found][:2] == ["checkpointing", "micro-batch 2, accumulation 16"]


def test_without_a_checkpoint_nothing_needs_a_new_session() -> None:
    found = plain_mends(spec(), {}, checkpoint=False)
    assert any("lora.r" in mend.changes for mend in found)
    assert all(mend.resumes for mend in found)


@pytest.mark.parametrize(
    ("event", "first"),
    [
        (RAN_OUT, "micro-batch 2, accumulation 16"),
        (RAN_OUT.model_copy(update={"phase": "loading"}), "nf4"),
        (RAN_OUT.model_copy(update={"device": "cpu"}), "checkpointing"),
    ],
)
def test_it_depends_on_where_it_ran_out(event: MemoryRanOut, first: str) -> None:
    assert plain_mends(spec(), {}, checkpoint=True, event=event)[0].title == first


def test_how_many_rows_a_shorter_max_length_cuts() -> None:
    lengths = RowLengths(edges=(0, 100, 900), lengths=(90, 10), p95=400, longest=899)
    measured = plain_mends(spec(), {}, checkpoint=True, lengths=lengths)
    shorter = next(mend for mend in measured if mend.title == "max length 512")
    assert shorter.cuts == "cuts 5 of 100 measured rows"
    plain = plain_mends(spec(), {}, checkpoint=True)
    assert next(m for m in plain if m.title == "max length 512").cuts == "rows not measured"


def test_nothing_known_is_nothing_said() -> None:
    assert happened(RAN_OUT) == "In the forward pass."
    assert asked_for(RAN_OUT) == ""
    assert shares(RAN_OUT) == ()
