"""What may be changed about a run: each change is one, keeps the rules and says what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from tui_lora.core.advice import Largest, RowLengths, changed
from tui_lora.core.candidates import ROOM, SMALLER, Candidate, of_largest
from tui_lora.core.rules import broken_rules
from tui_lora.core.spec import RunSpec, parse_spec

LENGTHS = RowLengths(edges=(0, 500, 1000, 2001), lengths=(100, 60, 40), p95=1500, longest=1900)

SPECS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "16 bits, nothing saved": {
        "training": {
            "micro_batch": 6,
            "accumulation": 3,
            "gradient_checkpointing": False,
            "max_length": 2048,
        }
    },
    "int8": {"quantization": {"scheme": "int8", "threshold": 4.0}},
    "nf4": {
        "quantization": {
            "scheme": "nf4",
            "double_quant": False,
            "compute_dtype": "float16",
            "keep": ["down_proj"],
        },
        "training": {"gradient_checkpointing": True, "checkpoint_layers": 2},
    },
    "loftq": {"quantization": {"scheme": "nf4"}, "lora": {"variant": "loftq"}},
    "pissa": {"lora": {"variant": "pissa"}},
    "lora-fa": {"lora": {"variant": "lora-fa"}},
    "kto": {"task": "kto"},
    "started": {"lora": {"start_from": "some/adapter"}},
    "odd": {"training": {"micro_batch": 5, "accumulation": 2, "max_length": 1000}},
}


def spec_of(name: str) -> RunSpec:
    return parse_spec({"model": "m", "dataset": "d", **SPECS[name]})


def every(spec: RunSpec, lengths: RowLengths | None = None) -> dict[str, tuple[Candidate, ...]]:
    return {
        f"{way} {kind.name}": kind.rungs(spec, lengths)
        for way, kinds in (("smaller", SMALLER), ("room", ROOM))
        for kind in kinds
    }


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["unmeasured", "measured"])
def test_candidates_are_changes_that_keep_the_rules(name: str, lengths: RowLengths | None) -> None:
    spec = spec_of(name)
    found = [one for rungs in every(spec, lengths).values() for one in rungs]
    assert found
    for one in found:
        assert one.spec == changed(spec, one.changes) != spec, one.title
        assert broken_rules(one.spec) == (), one.title
        assert one.cost.endswith("."), one.title
        before, now = spec.training, one.spec.training
        assert now.micro_batch * now.accumulation == before.micro_batch * before.accumulation
        assert one.spec.lora.alpha / one.spec.lora.r == spec.lora.alpha / spec.lora.r
    for rungs in every(spec, lengths).values():
        assert len({str(one.changes) for one in rungs}) == len(rungs)


@pytest.mark.parametrize(
    ("name", "kind", "titles"),
    [
        ("16 bits, nothing saved", "smaller nf4", ["nf4"]),
        ("nf4", "smaller nf4", []),
        ("nf4", "smaller double quantization", ["double quantization"]),
        ("nf4", "smaller checkpointing", ["checkpointing of every layer"]),
        ("16 bits, nothing saved", "smaller checkpointing", ["checkpointing"]),
        ("as it comes", "smaller checkpointing", []),
        (
            "16 bits, nothing saved",
            "smaller micro-batch",
            ["micro-batch 3, accumulation 6", "micro-batch 1, accumulation 18"],
        ),
        (
            "odd",
            "smaller micro-batch",
            ["micro-batch 2, accumulation 5", "micro-batch 1, accumulation 10"],
        ),
        ("kto", "smaller micro-batch", []),
        ("odd", "room micro-batch", ["micro-batch 10, accumulation 1"]),
        ("as it comes", "smaller max length", ["max length 512", "max length 256"]),
        ("as it comes", "smaller rank", ["rank 8", "rank 4"]),
        ("started", "smaller rank", []),
        ("started", "smaller targets", []),
        ("lora-fa", "smaller 8-bit optimizer", []),
        ("pissa", "smaller nf4", []),
        ("loftq", "room 16 bits", []),
        ("nf4", "room 16 bits", ["16 bits instead of nf4"]),
        ("as it comes", "room checkpointing", ["selective checkpointing", "no checkpointing"]),
    ],
)
def test_what_is_offered(name: str, kind: str, titles: list[str]) -> None:
    assert [one.title for one in every(spec_of(name))[kind]] == titles


def test_what_does_not_go_with_another_quantization_is_taken_back() -> None:
    (plain,) = every(spec_of("nf4"))["room 16 bits"]
    assert plain.changes == {
        "quantization.scheme": "none",
        "quantization.compute_dtype": "auto",
        "quantization.keep": (),
    }
    (nf4,) = every(spec_of("int8"))["smaller nf4"]
    assert nf4.changes == {"quantization.scheme": "nf4", "quantization.threshold": 6.0}


def test_max_length_says_how_many_rows_it_cuts() -> None:
    spec = spec_of("16 bits, nothing saved")
    measured = every(spec, LENGTHS)
    (longest,) = measured["smaller longest row"]
    assert longest.changes == {"training.max_length": 1920}
    assert (longest.cut_rows, longest.measured_rows) == (0, 200)
    cuts = {one.spec.training.max_length: one.cut_rows for one in measured["smaller max length"]}
    # 1,536 is the 95th percentile in whole steps; a bucket's rows are taken to lie evenly in it.
    assert cuts == {1536: 19, 1024: 39, 512: 98, 256: 149}
    assert "98 of 200" in measured["smaller max length"][2].cost
    # Rows that are all short enough want no longer ones.
    assert measured["room max length"] == ()
    short = spec_of("as it comes")
    assert [one.title for one in every(short, LENGTHS)["room max length"]] == [
        "max length 1,536",
        "max length 1,920",
    ]
    assert [one.cut_rows for one in every(short)["smaller max length"]] == [None, None]


def test_a_rule_that_was_broken_before_does_not_forbid_a_change() -> None:
    spec = RunSpec.model_validate(
        {
            "model": {"id": "m"},
            "dataset": {"path": "d", "eval_path": "d"},
            "quantization": {"scheme": "nf4"},
        }
    )
    assert broken_rules(spec)
    assert changed(spec, {"lora.r": 8}) is not None
    assert changed(spec, {"lora.variant": "pissa"}) is None
    assert changed(spec, {"lora.r": 0}) is None
    assert changed(spec, {"lora.r": spec.lora.r}) is None


@pytest.mark.parametrize(
    ("given", "setting", "value", "changes"),
    [
        ({}, "lora.r", 512, {"lora.r": 512, "lora.alpha": 1024}),
        ({"lora": {"r": 16, "alpha": 8}}, "lora.r", 64, {"lora.r": 64, "lora.alpha": 32}),
        (
            {"lora": {"r": 16, "alpha": 32, "variant": "rslora"}},
            "lora.r",
            64,
            {"lora.r": 64, "lora.alpha": 32},
        ),
        # A step of 2 x 8 rows stays one of 16.
        ({}, "training.micro_batch", 12, {"training.micro_batch": 8, "training.accumulation": 2}),
        ({}, "training.micro_batch", 900, {"training.micro_batch": 16, "training.accumulation": 1}),
        ({}, "training.max_length", 4096, {"training.max_length": 4096}),
        # Nothing to change, or nothing that fits.
        ({}, "training.micro_batch", 3, {}),
        ({"training": {"micro_batch": 2, "accumulation": 1}}, "training.micro_batch", 9, {}),
        ({}, "lora.r", 16, {}),
        ({}, "lora.r", None, {}),
    ],
)
def test_the_largest_is_taken_on_and_the_rest_of_the_run_stays(
    given: dict[str, Any], setting: str, value: int | None, changes: dict[str, Any]
) -> None:
    spec = parse_spec({"model": "m", "dataset": "d", **given})
    largest = Largest(setting=setting, value=value, peak_process_gib=1, limit="memory", said="")
    assert of_largest(spec, largest) == changes
    if changes:
        new = changed(spec, changes)
        assert new is not None
        assert new.training.micro_batch * new.training.accumulation == (
            spec.training.micro_batch * spec.training.accumulation
        )
