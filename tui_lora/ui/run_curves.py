"""What of a run can be drawn: its loss, and the figures that its task has beside it."""

from __future__ import annotations

from tui_lora.core.metrics import BY_NAME, METRICS
from tui_lora.core.view import RunView
from tui_lora.ui.widgets.loss_plot import Curve, Drawn

REWARDS = ("chosen_reward", "rejected_reward")


def curves(view: RunView) -> tuple[Curve, ...]:
    """The loss first, then each metric that has been reported; both rewards share a curve."""
    loss = (Drawn("train", view.loss), Drawn("held-out", view.eval_loss, "marked"))
    found = [Curve("loss", loss, may_log=True)]
    for metric in METRICS:
        name = metric.name
        if name in REWARDS:
            continue
        parts = []
        if name in view.step_metrics:
            parts.append(Drawn("train", view.step_metrics[name]))
        if name in view.eval_metrics:
            parts.append(Drawn("held-out", view.eval_metrics[name], "marked"))
        if parts:
            found.append(Curve(metric.label, tuple(parts)))
        if name == "margin" and all(reward in view.step_metrics for reward in REWARDS):
            chosen, rejected = (view.step_metrics[reward] for reward in REWARDS)
            rewards = (
                Drawn(BY_NAME[REWARDS[0]].label, chosen),
                Drawn(BY_NAME[REWARDS[1]].label, rejected, "dots"),
            )
            found.append(Curve("rewards", rewards))
    return tuple(found)
