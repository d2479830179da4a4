"""Ways of drawing answers under names, and prompts of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.sampling_set import BUILT_IN, SETTINGS, SamplingSet, shown, stops, typed
from tui_lora.headless.prompt_file import read_prompts
from tui_lora.store.prompts import keep_prompt, own_prompts, prompts_file
from tui_lora.store.sampling_sets import (
    all_sets,
    as_kept,
    delete_set,
    named,
    own_sets,
    rename_set,
    save_set,
)


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("TUI_LORA_CONFIG", str(folder))
    return folder


def test_every_setting_has_a_sentence() -> None:
    assert {one.name for one in SETTINGS} == {*Sampling.model_fields, "system"}
    assert all(one.help.endswith(".") for one in SETTINGS)


def test_a_set_is_saved_renamed_and_deleted(config: Path) -> None:
    mine = SamplingSet("", Sampling(temperature=0.9, stop=("\n###", "a|b")), "Be kind")
    assert save_set(" mine ", mine).name == "mine"
    assert [one.name for one in all_sets()][-2:] == ["creative", "mine"]
    assert named(mine).name == "mine"
    assert own_sets()["mine"].values == mine.values
    assert rename_set("mine", "ours").system == "Be kind"
    assert named(mine).name == "ours"
    delete_set("ours")
    assert all_sets() == BUILT_IN


def test_what_comes_along_stays() -> None:
    for do in (
        lambda: save_set("greedy", SamplingSet()),
        lambda: rename_set("greedy", "mine"),
        lambda: delete_set("balanced"),
        lambda: save_set("", SamplingSet()),
        lambda: save_set("x" * 40, SamplingSet()),
    ):
        with pytest.raises(UserError):
            do()
    assert all_sets() == BUILT_IN


def test_a_file_that_was_spoiled_spoils_no_set(config: Path) -> None:
    save_set("mine", SamplingSet("", Sampling(temperature=0.5)))
    file = config / "sampling.json"
    data = json.loads(file.read_text())
    data["sets"] |= {"bad": {"temperature": 99}, "worse": 3, "greedy": {"temperature": 2}}
    file.write_text(json.dumps(data))
    assert [one.name for one in all_sets()] == [*(one.name for one in BUILT_IN), "mine"]
    file.write_text("no json")
    assert all_sets() == BUILT_IN


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("temperature", "9", "temperature is a number from 0 to 5."),
        ("temperature", "warm", "temperature is a number from 0 to 5."),
        ("temperature", "nan", "temperature is a number from 0 to 5."),
        ("top_p", "0", "top-p is a number above 0, up to 1."),
        ("top_k", "2.5", "top-k is a whole number from 0 to 100,000."),
        ("max_new_tokens", "", "tokens is a whole number from 1 to 100,000."),
        ("seed", "-1", "seed is a whole number from 0 to 2,147,483,647."),
    ],
)
def test_what_is_typed_is_held_against_the_bounds(name: str, text: str, wanted: str) -> None:
    with pytest.raises(UserError) as found:
        typed(name, text, SamplingSet())
    assert found.value.what == wanted


def test_what_is_typed_again_is_the_same() -> None:
    one = SamplingSet("mine", Sampling(temperature=0.25, stop=("\n", "a|b", "\\n")), "x")
    for setting in SETTINGS:
        assert typed(setting.name, shown(setting.name, one), one) == one
    assert typed("top_k", "1,000", one) == SamplingSet(
        "", one.values.model_copy(update={"top_k": 1000}), "x"
    )
    assert stops(r"\n###|User:||User:") == ("\n###", "User:")


def test_a_conversation_brings_its_sampling_back() -> None:
    one = BUILT_IN[2]
    assert as_kept({"role": "user", "t": 1.5, **one.kept()}) == one
    assert as_kept({"temperature": "x"}) is None


def test_own_prompts_are_kept_once_and_a_shell_reads_them(config: Path) -> None:
    assert own_prompts() == ()
    assert (keep_prompt("Why?\nTell me."), keep_prompt("How?")) == (1, 2)
    assert keep_prompt("How? ") is None
    with prompts_file().open("a") as file:
        file.write("no json\n3\n")
    assert own_prompts() == ("Why?\nTell me.", "How?")
    prompts_file().write_text("\n".join(prompts_file().read_text().splitlines()[:2]) + "\n")
    assert [one.turns[0].content for one in read_prompts(str(prompts_file()))] == [*own_prompts()]
