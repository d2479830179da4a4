"""The facts worker, for real: it imports torch and bitsandbytes and tries four bits."""

import pytest

from tui_lora.store.doctor_libraries import torch_build
from tui_lora.store.doctor_torch import STAGES, ask_worker, at_work

pytestmark = pytest.mark.model


def test_every_stage_is_reached_and_the_checks_say_so() -> None:
    facts = ask_worker()
    assert facts.ended == ""
    assert tuple(facts.stages) == STAGES
    assert facts.stages["four_bit"]["error"] < 0.1
    # What is read from torch's files without importing it is what it says of itself.
    build = torch_build()
    said = facts.stages["torch"]
    assert build is not None
    assert (build.version, build.cuda, build.hip) == (said["version"], said["cuda"], said["hip"])
    found = list(at_work(facts, card_here=False))
    assert all(check.ok is not False for check in found), found
