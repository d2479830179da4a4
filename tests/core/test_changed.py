"""What is otherwise than when a run was last at work, judged."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.changed import (
    EVERYTHING,
    ROWS,
    ChangedSince,
    Difference,
    FileMark,
    all_same,
    not_accepted,
    of_base,
    of_card,
    of_rows,
    of_spec,
    of_versions,
)
from tui_lora.core.fields import put
from tui_lora.core.spec import RunSpec, parse_spec


def spec(**changes: Any) -> RunSpec:
    data: dict[str, Any] = {"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}}
    for name, value in changes.items():
        data = put(data, name.replace("__", "."), value)
    return parse_spec(data)


def mark(name: str = "d.jsonl", size: int = 10, changed: int = 1, digest: str = "a") -> FileMark:
    return FileMark(name, size, changed, digest)


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, []),
        ({"evaluation__log_every_steps": 7}, ["note"]),
        ({"training__epochs": 9}, ["ask"]),
        ({"lora__r": 4}, ["refuse"]),
        ({"lora__r": 4, "training__epochs": 9}, ["refuse", "ask"]),
        # Half the micro-batch, twice as often: the same rows a step.
        ({"training__micro_batch": 1, "training__accumulation": 16}, ["note", "note"]),
        ({"training__micro_batch": 1}, ["refuse"]),
        ({"dataset__path": "e.jsonl"}, ["refuse"]),
    ],
)
def test_edited_settings(changes: dict[str, Any], how: list[str]) -> None:
    before = spec(training__micro_batch=2, training__accumulation=8)
    now = spec(**{"training__micro_batch": 2, "training__accumulation": 8, **changes})
    assert sorted(one.how for one in of_spec(before, now)) == sorted(how)


def test_the_same_files_elsewhere_are_no_edit() -> None:
    now = spec(dataset__path="/elsewhere/d.jsonl")
    assert of_spec(spec(), now, {"dataset.path"}) == []


def test_an_edit_says_was_and_now_in_one_clean_line() -> None:
    (found,) = of_spec(spec(lora__r=8), spec(lora__r=4))
    assert str(found) == "lora.r: 8 → 4 (the checkpoint holds the weights of another adapter)"
    assert Difference("a\x1b[2J", "b\nc", "d", "note", "e").was == "b⏎c"


@pytest.mark.parametrize(
    ("name", "was", "now", "how"),
    [
        ("torch", "2.8.0+cu126", "2.8.1+cu128", ["note"]),
        ("torch", "2.8.0", "2.9.0", ["ask"]),
        ("torch", "2.8.0", "3.0.0.dev1", ["ask"]),
        ("peft", "0.18.0", "0.17.1", ["ask"]),
        ("trl", "1.0.0", "", ["ask"]),
        ("python", "3.11.7", "3.12.1", ["note"]),
        ("tui-lora", "0.1.0", "0.2.0", ["note"]),
        ("cuda", "12.6", "12.8", ["note"]),
        ("cuda", "12.6", "", []),
        ("transformers", "5.1.0", "5.1.0", []),
    ],
)
def test_versions(name: str, was: str, now: str, how: list[str]) -> None:
    assert [one.how for one in of_versions({name: was}, {name: now} if now else {})] == how


def test_bitsandbytes_counts_where_it_has_a_part() -> None:
    was, now = {"bitsandbytes": "0.48.0"}, {"bitsandbytes": "0.50.0"}
    assert of_versions(was, now, eight_bits=True)[0].how == "ask"
    assert of_versions(was, now, eight_bits=False)[0].how == "note"


@pytest.mark.parametrize(
    ("was", "now", "on_purpose", "how"),
    [
        ("T4", "T4", False, []),
        ("T4", "L4", False, ["note"]),
        ("", "L4", False, ["note"]),
        ("T4", "", False, ["ask"]),
        ("T4", "", True, ["note"]),
    ],
)
def test_the_device(was: str, now: str, on_purpose: bool, how: list[str]) -> None:
    assert [one.how for one in of_card(was, now, on_purpose=on_purpose)] == how


@pytest.mark.parametrize(
    ("now", "how"),
    [
        ((mark(),), []),
        # A copy: another time, the same bytes.
        ((mark(changed=2),), []),
        ((mark(changed=2, digest="b"),), ["ask"]),
        ((mark(size=11),), ["ask"]),
        ((mark(changed=2, digest=""),), ["note"]),
        ((mark("renamed.jsonl", changed=2),), []),
        ((mark(), mark("more.jsonl")), ["ask"]),
        ((), ["ask"]),
    ],
)
def test_files_of_rows(now: tuple[FileMark, ...], how: list[str]) -> None:
    assert [one.how for one in of_rows("dataset.path", (mark(),), now)] == how
    assert all_same((mark(),), now) is (how == [])


def test_another_file_of_the_same_size_does_not_look_the_same() -> None:
    (found,) = of_rows("dataset.path", (mark(size=58_100),), (mark(size=58_100, digest="b"),))
    assert (found.was, found.now) == ("58.1 kB", "other bytes")


@pytest.mark.parametrize(
    ("name", "how"),
    [("model.safetensors", "refuse"), ("config.json", "ask"), ("tokenizer.json", "ask")],
)
def test_files_of_the_base(name: str, how: str) -> None:
    was = (mark("a.safetensors"), mark(name))
    assert of_base(was, (mark("a.safetensors", changed=2), mark(name))) == []
    (found,) = of_base(was, (mark("a.safetensors"), mark(name, size=12)))
    assert (found.what, found.how) == ("model.id", how)
    (found,) = of_base(was, (mark("a.safetensors"),))
    assert found.how == "ask"


def test_what_keeps_a_run_from_going_on() -> None:
    note, ask, refuse = (Difference(how, "1", "2", how, "so") for how in ("note", "ask", "refuse"))
    assert not_accepted((note,), ()) == ()
    assert not_accepted((note, ask), ()) == (ask,)
    assert not_accepted((note, ask), ("ask",)) == not_accepted((ask,), (EVERYTHING,)) == ()
    assert not_accepted((ask, refuse), (EVERYTHING,)) == (refuse,)
    assert ChangedSince("a", [note, ask]).acceptable
    assert "--accept-changes" in ChangedSince("a", [note, ask]).then
    refused = ChangedSince("a", [refuse, ask])
    assert not refused.acceptable
    assert "ask" not in refused.what
    assert "--accept-changes" not in refused.then


def test_with_a_file_go_its_rows() -> None:
    found = of_rows("dataset.path", (mark(),), (mark(size=11),))
    assert ChangedSince("a", found).keys == ("dataset.path", ROWS)
