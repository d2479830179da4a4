"""Each shipped preset loads and is a run spec once model and dataset are filled in."""

import pytest

from tui_lora.core.errors import UserError
from tui_lora.core.fields import put
from tui_lora.core.spec import check_spec
from tui_lora.store.paths import DEMO_MODEL
from tui_lora.store.presets import preset_names, read_preset
from tui_lora.store.sources import SHIPPED
from tui_lora.store.spec_file import spec_in


def test_there_are_presets() -> None:
    assert {"quickstart", "qlora-16gb", "lora-16bit"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_spec_with_a_reason(name: str) -> None:
    preset = read_preset(name)
    assert preset.about.count(".") >= 2
    data = preset.data
    for path, value in (("model.id", "a/b"), ("dataset.path", "d.jsonl")):
        section, field = path.split(".")
        if field not in (data.get(section) or {}):
            data = put(data, path, value)
    spec, problems = check_spec(data)
    assert problems == ()
    assert spec is not None


def test_the_quickstart_needs_nothing_more() -> None:
    spec = spec_in(read_preset("quickstart").data)
    assert spec.model.id == DEMO_MODEL
    assert {spec.dataset.path, spec.dataset.eval_path} == set(SHIPPED)


@pytest.mark.parametrize("name", ["quikstart", "../quickstart", "", "x\x1b[31m"])
def test_an_unknown_preset_names_the_nearest(name: str) -> None:
    with pytest.raises(UserError, match="there is no preset") as caught:
        read_preset(name)
    assert "lora-16bit, " in str(caught.value).partition("Known: ")[2]
    assert "\x1b" not in str(caught.value)
    assert name != "quikstart" or "Did you mean quickstart?" in str(caught.value)
