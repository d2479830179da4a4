"""The curves of one run as a figure that can be saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tui_lora.core.figures import Curve, Curves
from tui_lora.core.series import Series
from tui_lora.core.view import RunView

_LOSSES = {"sft": "nats a token", "classification": "nats a row"}


def loss_title(title: str, tasks: Iterable[str]) -> str:
    """`title` of a loss with what it is counted in, as `loss, nats a token`; without, where runs of
    several tasks share it."""
    kinds = set(tasks)
    if len(kinds) != 1:
        return title
    task = kinds.pop()
    return f"{title}, {_LOSSES.get(task, f'as {task} defines it')}"


def loss_curves(name: str, view: RunView, task: str) -> Curves:
    """Training and held-out loss by step."""
    series = (("train", view.loss, False), ("held-out", view.eval_loss, True))
    return series_curves(f"{name}: loss", loss_title("loss", [task]), series)


def series_curves(
    title: str, y: str, series: Sequence[tuple[str, Series, bool]], *, log: bool = False
) -> Curves:
    """Each series by name; the last says whether its values are few and marked. Of a long run a
    point is the mean of some steps, at their middle."""
    curves = []
    joined = False
    for name, values, marked in series:
        buckets = values.buckets
        joined |= any(bucket.values > 1 for bucket in buckets)
        x = tuple((bucket.first + bucket.last) / 2 for bucket in buckets)
        if x:
            curves.append(Curve(name, x, tuple(bucket.mean for bucket in buckets), marked))
    note = "a point is the mean of neighbouring steps" if joined else ""
    return Curves(title, "step", y, tuple(curves), log, note)
