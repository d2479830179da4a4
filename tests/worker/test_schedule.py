"""A run made longer follows its new course from its very first step on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import get_scheduler

from tui_lora.core.schedule_shape import Course
from tui_lora.worker.schedule import follow_course

pytestmark = pytest.mark.model

RATE = 5e-3


def scheduler_of(steps: int) -> Any:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    return get_scheduler("cosine", optimizer, num_warmup_steps=1, num_training_steps=steps)


@pytest.mark.parametrize(("taken", "length"), [(8, 8), (5, 8), (8, 16), (5, 16)])
def test_a_resumed_run_follows_its_new_course_at_once(taken: int, length: int) -> None:
    before = scheduler_of(8)
    for _ in range(taken):
        before.optimizer.step()
        before.step()
    after = scheduler_of(length)
    after.load_state_dict(before.state_dict())
    after.optimizer.load_state_dict(before.optimizer.state_dict())
    follow_course(after)
    (group,) = after.optimizer.param_groups
    assert after.get_last_lr() == [group["lr"]]
    assert group["lr"] == pytest.approx(Course("cosine", RATE, 1, length).at(taken))
    if length == 8:
        # Bit by bit, or an interrupted run would end elsewhere.
        assert group["lr"] == before.optimizer.param_groups[0]["lr"]
