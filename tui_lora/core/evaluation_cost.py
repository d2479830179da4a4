"""How long an evaluation takes, by one that was made before."""

from __future__ import annotations

from tui_lora.core.evaluation import Evaluation


def expected_s(
    earlier: Evaluation, loss_rows: int, answers: int, max_new_tokens: int
) -> tuple[float, float] | None:
    """At least and at most so many seconds for so many rows whose loss is measured and so many
    answers; None where the earlier one did nothing of the kind.

    Its seconds S were a R + b A: R rows, and A answers of at most so many tokens each, at speeds
    that nobody took down. r and n of them then take between S min(r/R, n/A) and S max(r/R, n/A),
    whatever a and b are; what it loaded counts as work, so few rows take longer than that.
    """
    rows = sum(part.rows for part in earlier.parts)
    asked = earlier.answers
    tokens = asked.rows * asked.max_new_tokens if asked is not None else 0
    if (loss_rows and not rows) or (answers and not tokens):
        return None
    ratios = [loss_rows / rows] if rows else []
    if tokens:
        ratios.append(answers * max_new_tokens / tokens)
    return (earlier.seconds * min(ratios), earlier.seconds * max(ratios)) if ratios else None
