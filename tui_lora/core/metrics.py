"""The figures that a task has beside its loss: their names in events, on screens and in results."""

from __future__ import annotations

from dataclasses import dataclass

from tui_lora.core.text import number


@dataclass(frozen=True)
class Metric:
    """`name` in events, `label` on screens; `help` says what it is and which way is better."""

    name: str
    label: str
    help: str
    share: bool = False


METRICS: tuple[Metric, ...] = (
    Metric("accuracy", "accuracy", "share of held-out rows with the right label", share=True),
    Metric("macro_f1", "macro F1", "F1 of each label, averaged; rare labels count as much"),
    Metric("margin", "margin", "how much more the chosen answers are rewarded than the rejected"),
    Metric("chosen_reward", "chosen", "beta times the log ratio of adapter to base on good ones"),
    Metric("rejected_reward", "rejected", "the same on bad answers; it should fall behind chosen"),
    Metric("preferred", "preferred", "share of pairs whose chosen answer is rewarded more", True),
    Metric("kl", "KL", "how far the adapter's answers have moved from the base's (KTO)"),
    Metric("penalty", "penalty", "what the Lorentzian penalty adds; the loss is shown without it"),
)
"""In the order in which they are shown; the first that a run has is drawn as its curve."""

IN_SHORT = ("accuracy", "macro_f1", "margin", "preferred", "kl", "penalty")
"""Those that a line has room for."""

BY_NAME = {metric.name: metric for metric in METRICS}


def known(metrics: dict[str, float]) -> dict[str, float]:
    """Those that have a name here, in the order in which they are shown; a log may say anything."""
    return {name: metrics[name] for name in BY_NAME if name in metrics}


def figure(name: str, value: float | None) -> str:
    """A metric as people read it: shares in per cent, the rest in three figures."""
    if value is None or value != value or name not in BY_NAME or not BY_NAME[name].share:
        return number(value)
    return f"{100 * value:.1f}%"
