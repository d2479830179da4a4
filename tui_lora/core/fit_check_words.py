"""A fit check in sentences, for the screen and the command line alike."""

from __future__ import annotations

from tui_lora.core.fit_check import FitBegun, FitFound, FitRanOut
from tui_lora.core.out_of_memory import DURING, asked_for, gib, shares
from tui_lora.core.text import duration, number, one_line


def batch_words(begun: FitBegun) -> str:
    """`4 rows of up to 498 tokens, your longest; 2 of 8 micro-batches a step`."""
    batch = begun.batch
    rows = "1 row of" if batch.rows == 1 else f"{batch.rows:,} rows of up to"
    said = f"{rows} {batch.longest:,} tokens, your longest"
    if begun.of_micro_batches > begun.micro_batches:
        said += f"; {begun.micro_batches} of {begun.of_micro_batches:,} micro-batches a step"
    return said


def place_words(begun: FitBegun) -> str:
    """Where it was measured."""
    if begun.device == "cpu":
        return "the processor, as resident memory"
    return one_line(begun.name)


NOTHING_PREDICTED = (
    "nothing is predicted: a forecast is about a card, and this ran on the processor"
)


def speed_words(found: FitFound) -> str:
    """How fast the second step was, and what that makes of a whole one."""
    checked, begun = found.checked, found.begun
    if checked is None or begun is None:
        return ""
    said = f"the second step took {_seconds(checked.step_s)}"
    if checked.tokens_per_s is not None:
        said += f" ({number(checked.tokens_per_s)} tokens a second)"
    if begun.of_micro_batches > begun.micro_batches:
        whole = checked.step_s * begun.of_micro_batches / begun.micro_batches
        said += f", so a whole step of such rows takes about {_seconds(whole)}"
    return f"{said}; shorter rows take less"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 0.1 else duration(seconds)


def ran_out_words(ran_out: FitRanOut) -> str:
    """Where memory ran out, in one or two sentences."""
    during = "while loading" if ran_out.phase == "loaded" else f"in the {ran_out.phase}"
    where = ran_out.where
    if "step" in ran_out.phase and where.phase in DURING:
        during += f", {DURING[where.phase]}"
    asked = asked_for(where) or one_line(where.message, max_chars=200)
    return f"memory ran out {during}. {asked}".strip()


def holders_words(ran_out: FitRanOut) -> str:
    """Who held how much then; empty where that is not known."""
    held = [f"{share.name} {gib(share.gib)}" for share in shares(ran_out.where)]
    return f"Held, in GiB: {', '.join(held)}." if held else ""
