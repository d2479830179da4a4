"""The run spec: types, unknown keys, every problem at once, and what fields.py makes of it."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tui_lora.core import fields
from tui_lora.core.columns import PARTS
from tui_lora.core.errors import SpecError
from tui_lora.core.spec import RunSpec, check_spec, parse_spec
from tui_lora.store.spec_file import parse_data, spec_in, to_yaml

LEAST: dict[str, Any] = {"model": "m", "dataset": "d.jsonl"}

# What a setting may do without naming a library argument: our own code does it.
OURS = {
    "task",
    "dataset.path",
    "dataset.format",
    "dataset.columns",
    "dataset.system",
    "dataset.mix",
    "dataset.eval_path",
    "dataset.eval_split",
    "dataset.eval_share",
    "dataset.eval_rows",
    "dataset.max_rows",
    "dataset.overlap",
    "evaluation.keep",
    "evaluation.early_stopping",
    "evaluation.stop_by",
    "peek.prompts",
    "peek.held_out",
    "peek.every_steps",
    "peek.max_new_tokens",
    "hardware.on_oom",
    "guards.nan",
    "guards.loss_spike",
    "guards.no_gradient",
    "guards.plateau",
    "guards.overfitting",
    "guards.temperature",
    "guards.temperature_celsius",
    "guards.disk",
    "guards.disk_gib",
    "guards.wall_clock",
    "guards.wall_clock_hours",
    "hooks.on_finish",
    "experimental.lorentzian",
    "experimental.lorentzian_width",
    "experimental.four_bit_adapter",
}


def spec_with(path: str, value: Any) -> Any:
    """The value of `path` in a spec where it was set."""
    data = fields.put({"model": {"id": "m"}, "dataset": {"path": "d.jsonl"}}, path, value)
    spec: Any = RunSpec.model_validate(data)  # types only, no rules across settings
    for name in path.split("."):
        spec = getattr(spec, name)
    return spec


def problems_of(data: dict[str, Any]) -> dict[str, str]:
    _, problems = check_spec(data)
    return {problem.field: str(problem) for problem in problems}


def test_model_and_dataset_are_all_that_is_needed() -> None:
    spec = parse_spec(LEAST)
    assert (spec.model.id, spec.dataset.path, spec.task) == ("m", "d.jsonl", "sft")


def test_what_is_missing_is_named() -> None:
    assert set(problems_of({})) == {"model", "dataset"}
    assert set(problems_of({"model": {}, "dataset": {}})) == {"model.id", "dataset.path"}


def test_the_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_spec(LEAST).lora.r = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("lora.r", 0),
        ("lora.r", 1.5),
        ("lora.r", "many"),
        ("lora.r", True),
        ("lora.r", None),
        ("lora.alpha", math.nan),
        ("lora.alpha", math.inf),
        ("lora.alpha", 0),
        ("lora.dropout", 1),
        ("lora.target_modules", []),
        ("lora.variant", "qlora"),
        ("training.epochs", False),
        ("training.max_steps", True),
        ("training.learning_rate", 0),
        ("training.learning_rate", "0,0002"),
        ("training.packing", "sometimes"),
        ("training.seed", 2**32),
        ("training.warmup", -1),
        ("dataset.eval_share", 0.6),
        ("dataset.path", ""),
        ("model.id", 7),
        ("quantization.scheme", "int4"),
        ("dataset.columns", "question"),
        ("dataset.columns", {"promt": "question"}),
        ("dataset.columns", {"prompt": 3}),
        ("dataset.columns", {"prompt": "{question"}),
        ("dataset.mix", [3]),
        ("lora.target_modules", "*_proj"),
        ("lora.rank_pattern", {"q_proj": 0}),
        ("lora.rank_pattern", {"q_proj": 2.5}),
        ("lora.rank_pattern", "q_proj"),
        ("lora.alpha_pattern", {"q_proj": math.nan}),
        ("lora.alpha_pattern", {"(q_proj": 2}),
    ],
)
def test_a_bad_value_is_refused_and_its_field_named(path: str, value: Any) -> None:
    section, name = path.split(".")
    base = {"model": {"id": "m"}, "dataset": {"path": "d"}}
    found = problems_of(fields.put(base, path, value))
    assert list(found) == [f"{section}.{name}"]


def test_yaml_numbers_and_words_become_what_was_meant() -> None:
    assert spec_with("training.learning_rate", "2e-4") == 2e-4
    assert spec_with("training.packing", True) is True
    assert spec_with("hardware.devices", 0) == "0"
    assert spec_with("lora.target_modules", "q_proj") == ("q_proj",)
    assert spec_with("lora.target_modules", "all-linear") == "all-linear"
    assert spec_with("lora.target_modules", r".*\.q_proj") == r".*\.q_proj"


@pytest.mark.parametrize(
    ("data", "field", "hint"),
    [
        ({"lora": {"rnk": 8}}, "lora.rnk", "Known here: r, alpha"),
        ({"lora": {"alhpa": 8}}, "lora.alhpa", "Did you mean alpha?"),
        ({"lora": {"learning_rate": 8}}, "lora.learning_rate", "training.learning_rate?"),
        ({"trainig": {}}, "trainig", "Did you mean training?"),
        ({"epochs": 3}, "epochs", "Did you mean training.epochs?"),
    ],
)
def test_an_unknown_key_names_the_right_one(data: dict[str, Any], field: str, hint: str) -> None:
    found = problems_of({**LEAST, **data})
    assert hint in found[field]


def test_every_problem_comes_at_once() -> None:
    data = {
        "dataset": {"path": "d", "eval_share": 2},
        "lora": {"r": -1, "alpha": math.nan, "colour": 1},
        "training": {"epochs": "three"},
    }
    assert set(problems_of(data)) == {
        "model",
        "dataset.eval_share",
        "lora.r",
        "lora.alpha",
        "lora.colour",
        "training.epochs",
    }
    with pytest.raises(SpecError, match="6 problems"):
        parse_spec(data)


def test_what_others_wrote_is_clean_in_problems() -> None:
    for problem in check_spec({**LEAST, "lo\x1b[31mra": 1, "model": {"id": "m", "x\x9b": 1}})[1]:
        assert "\x1b" not in str(problem)
        assert "\x9b" not in str(problem)


def test_aliases_in_yaml_cannot_blow_up_a_message() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    text += "model: {id: *i}\ndataset: d\n"
    assert any("model.id" in str(p) for p in check_spec(parse_data(text, where=""))[1])


# -- what form, --set, README and help are made from -------------------------------------------


def test_every_setting_says_what_it_is() -> None:
    for one in fields.settings():
        assert one.label, one.path
        assert one.help.endswith("."), one.path
        assert bool(one.argument) != (one.path in OURS) or one.path == "hardware.devices", one.path


def test_labels_are_unique_in_their_section() -> None:
    seen = [(one.section, one.label) for one in fields.settings()]
    assert len(seen) == len(set(seen))


def test_ranges_are_as_the_spec_enforces_them() -> None:
    assert fields.setting_at("lora.r").range_text == "1 to 1,024"
    assert fields.setting_at("training.learning_rate").range_text == "above 0 to 1"
    assert fields.setting_at("lora.dropout").range_text == "0 to below 1"
    assert fields.setting_at("training.warmup").range_text == "0 or more"
    assert fields.setting_at("quantization.double_quant").range_text == "yes, no"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (1e-3, "0.001"), (0.0, "0"), (1 / 3000, repr(1 / 3000))],
)
def test_small_numbers_are_shown_as_rates_are_written(value: float, text: str) -> None:
    assert fields.show(value) == text
    assert float(text) == value


def values_of(one: fields.Setting) -> st.SearchStrategy[Any]:
    """Values that the spec takes for one setting."""
    low, high = one.minimum, one.maximum
    text = st.text(min_size=1, max_size=20).map(str.strip).filter(bool)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "yes_no": st.booleans(),
        "choice": st.sampled_from([c for c in one.choices if c not in ("yes", "no")] or ["x"]),
        "whole": st.integers(int(low or 0), int(high - one.below) if high else 10**9),
        "number": st.floats(
            low or 0.0,
            high if high is not None else 1e6,
            exclude_min=one.above,
            exclude_max=one.below,
            allow_subnormal=False,
        ),
        "names": st.lists(
            st.text("abc_.012", min_size=1, max_size=8).filter(lambda n: n.strip("'\" ")),
            min_size=1,
            max_size=4,
        ).map(tuple),
        "columns": st.dictionaries(
            st.sampled_from(PARTS),
            st.one_of(
                st.sampled_from(["{a}\n{b}", "Q: {a}, and {b}", "{{literally}} {a}"]),
                st.text("abc _.012", min_size=1, max_size=8).map(str.strip).filter(bool),
            ),
            max_size=4,
        ),
        "text": text.filter(lambda t: t.lower() not in ("none", "null", "~")),
        "texts": st.lists(text, min_size=1, max_size=4).map(tuple),
    }
    kinds["pairs"] = st.dictionaries(
        st.sampled_from(["q_proj", r".*\.v_proj", "mlp.up=x"]),
        st.integers(1, 4096) if one.path == "lora.rank_pattern" else st.floats(0.5, 4096),
    )
    values = kinds[one.kind]
    if one.kind == "choice" and "yes" in one.choices:
        values = st.one_of(values, st.booleans())
    return st.one_of(st.none(), values) if one.optional else values


@pytest.mark.parametrize("one", fields.settings(), ids=lambda one: one.path)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_is_shown_can_be_typed_again(one: fields.Setting, data: st.DataObject) -> None:
    value = spec_with(one.path, data.draw(values_of(one)))
    typed = fields.read(one.path, fields.typed(one, value))
    assert spec_with(one.path, typed) == value


def test_defaults_can_be_shown_and_typed_again() -> None:
    for one in fields.settings():
        if one.default is not ...:
            assert fields.read(one.path, fields.show(one.default)) == one.default


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("training.max_length", "1,024", 1024),
        ("training.max_length", "1_024", 1024),
        ("training.learning_rate", "2e-4", 2e-4),
        ("lora.dropout", "0,05", "0,05"),
        ("training.epochs", "2,5", "2,5"),
        ("training.epochs", "three", "three"),
        ("training.max_steps", "", None),
        ("training.max_steps", "none", None),
        ("training.packing", "YES", True),
        ("training.packing", "auto", "auto"),
        ("quantization.double_quant", "false", False),
        ("lora.target_modules", "[q_proj, 'v_proj']", ("q_proj", "v_proj")),
        ("hardware.devices", "0", "0"),
        ("task", "dpo", "dpo"),
        (
            "dataset.columns",
            "prompt={question}\\n{context}, as asked, completion = answer",
            {"prompt": "{question}\n{context}, as asked", "completion": "answer"},
        ),
        ("dataset.columns", "", {}),
        ("dataset.columns", "question", "question"),
        ("dataset.mix", "more.jsonl*0.5, other/*.md", ("more.jsonl*0.5", "other/*.md")),
        ("dataset.mix", "", ()),
        ("peek.prompts", "What, and why? | Who?", ("What, and why?", "Who?")),
        ("peek.prompts", '["a | b", "c\\nd"]', ("a | b", "c\nd")),
        ("peek.prompts", "", ()),
        ("lora.rank_pattern", "q_proj=8, .*mlp.*=4", {"q_proj": 8, ".*mlp.*": 4}),
        ("lora.alpha_pattern", "q_proj=2.5", {"q_proj": 2.5}),
        ("lora.alpha_pattern", "q_proj", "q_proj"),
        ("lora.rank_pattern", "", {}),
        ("lora.target_modules", "", ""),
    ],
)
def test_typed_text_becomes_a_value(path: str, text: str, value: Any) -> None:
    assert fields.read(path, text) == value


def test_get_and_put_leave_the_rest_alone() -> None:
    data = {"lora": {"r": 4}, "other": 1}
    assert fields.put(data, "lora.alpha", 8) == {"lora": {"r": 4, "alpha": 8}, "other": 1}
    assert data == {"lora": {"r": 4}, "other": 1}
    assert fields.get(data, "lora.r") == 4
    assert fields.get(data, "training.seed") == 42
    assert fields.get(data, "task") == "sft"
    assert fields.put(data, "task", "kto")["task"] == "kto"


def test_the_short_form_of_a_section_is_changed_as_what_it_stands_for() -> None:
    assert fields.get(LEAST, "dataset.path") == "d.jsonl"
    assert fields.put(LEAST, "dataset.max_rows", 5) == {
        "model": "m",
        "dataset": {"path": "d.jsonl", "max_rows": 5},
    }


# -- YAML --------------------------------------------------------------------------------------


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    data: dict[str, Any] = {}
    for one in fields.settings():
        if one.default is ... or draw(st.booleans()):
            data = fields.put(data, one.path, draw(values_of(one)))
    return RunSpec.model_validate(data)


@settings(max_examples=30, deadline=None)
@given(spec=specs())
def test_yaml_out_and_in_is_the_same_spec(spec: RunSpec) -> None:
    text = to_yaml(spec, header="made here\nfor a test")
    assert RunSpec.model_validate(parse_data(text, where="run.yaml")) == spec
    assert list(yaml.safe_load(text)) == list(RunSpec.model_fields)


def test_a_file_name_that_is_no_utf8_is_refused_or_survives_yaml() -> None:
    assert list(problems_of({"model": "m", "dataset": "\udcff.jsonl"})) == ["dataset.path"]
    spec = spec_in({"model": "m", "dataset": {"path": "d", "eval_path": "\udcff\x85\x00"}})
    text = to_yaml(spec)
    text.encode("utf-8")
    assert spec_in(parse_data(text, where="")) == spec


def test_target_names_in_one_text_are_a_list() -> None:
    assert spec_with("lora.target_modules", "q_proj, v_proj") == ("q_proj", "v_proj")
    assert spec_with("lora.target_modules", "q_proj") == ("q_proj",)
    assert spec_with("lora.target_modules", "all-linear") == "all-linear"
