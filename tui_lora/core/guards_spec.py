"""What watches over a run, and what it does about what it sees; and what is run when it ends."""

from __future__ import annotations

from typing import Literal

from tui_lora.core.section import Section, setting

Action = Literal["off", "warn", "pause", "stop"]
"""warn: a line in the log. pause: checkpoint, exit, can be resumed. stop: save the adapter, end."""


class GuardsSpec(Section):
    nan: Action = setting(
        "stop",
        "NaN or infinity",
        "The loss or the gradient norm is no number any more. Nothing that is trained after that "
        "is worth anything, and the last good checkpoint is kept. Seen where the loss is logged: "
        "so many steps late as evaluation.log_every_steps says.",
    )
    loss_spike: Action = setting(
        "warn",
        "loss spike",
        "The loss lies far above its last 50 reports: beyond their median by 8 times their spread "
        "and by 30%.",
    )
    no_gradient: Action = setting(
        "stop",
        "no gradient",
        "The gradient norm is exactly 0 three reports in a row, so nothing is learned.",
    )
    plateau: Action = setting(
        "off",
        "plateau",
        "The median loss of the last 100 reports is no lower than that of the 100 before them.",
    )
    overfitting: Action = setting(
        "warn",
        "over-fitting",
        "The held-out loss was above its best by 2% or more three evaluations in a row.",
    )
    temperature: Action = setting(
        "warn", "temperature", "The card is hotter than the limit below for a minute."
    )
    temperature_celsius: int = setting(
        90, "heat limit", "Most cards slow down between 83 and 93.", unit="°C", ge=40, le=120
    )
    disk: Action = setting(
        "warn",
        "disk",
        "Less is free where the session lies than the limit below. A checkpoint that finds no room "
        "is left out, and the run goes on.",
    )
    disk_gib: float = setting(2.0, "disk limit", "Free space.", unit="GiB", ge=0, le=100_000)
    wall_clock: Action = setting(
        "off", "wall clock", "The attempt has run for longer than the limit below."
    )
    wall_clock_hours: float = setting(
        12.0, "wall clock limit", "Of one attempt.", unit="hours", gt=0, le=10_000
    )


class HooksSpec(Section):
    on_finish: str | None = setting(
        None,
        "when it ends",
        "A command that the worker runs in the session's folder when an attempt ends with a word: "
        "by /bin/sh, with TUI_LORA_SESSION, TUI_LORA_VERDICT and TUI_LORA_MESSAGE set, for a "
        "minute at most; not where the worker is killed or crashes. It runs as you, so each "
        "command is shown and confirmed once on each machine before a run starts with it.",
        min_length=1,
    )
