"""Runs over each other as they are saved."""

from __future__ import annotations

from dataclasses import replace

from tests.core.test_run_curve import run
from tui_lora.core.run_curve import FIGURES
from tui_lora.ui.overlay_text import curves_of


def test_a_plot_names_what_its_tasks_count_the_loss_in() -> None:
    def axis(*tasks: str) -> str:
        runs = [(at, replace(run("a", 8), task=task)) for at, task in enumerate(tasks)]
        return curves_of(runs, FIGURES[0], "step", 0.0, False).y

    assert axis("sft", "sft") == "training loss, nats a token"
    assert axis("kto") == "training loss, as kto defines it"
    assert axis("sft", "kto") == "training loss"
    rate = curves_of([(0, run("a", 8))], FIGURES[2], "step", 0.0, False)
    assert rate.y == "learning rate"
