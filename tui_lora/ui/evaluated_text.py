"""The rows of an evaluation as lists, and one row whole: pure functions to `Content`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from tui_lora.core.evaluated_rows import Kind, Measured, Outcome
from tui_lora.core.evaluation import AnswerRow, LossRow, MetricReport, Written
from tui_lora.core.text import UNKNOWN, number, one_line
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, GOOD, STRONG, WRONG, dim, fitting, ink, join
from tui_lora.ui.widgets.table import Column, Row

COLUMNS = (
    Column("change", 9, numeric=True),
    Column("base", 8, numeric=True),
    Column("tuned", 8, numeric=True),
    Column("came", 5),
    Column("tokens", 7, numeric=True, from_width=100),
    Column("where", 18, middle=True, from_width=110),
    Column("row", 0),
)
OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "gained": ("wrong → right", GOOD),
    "lost": ("right → wrong", WRONG),
    "both": ("right, both", DIM),
    "neither": ("wrong, both", DIM),
}
MARKS: dict[Outcome, str] = {
    "gained": "✗ → ✓",
    "lost": "✓ → ✗",
    "both": "✓ = ✓",
    "neither": "✗ = ✗",
}


def kind_words(kind: Kind) -> str:
    label = one_line(kind.label)
    return label if kind.part is not None else f"answers by {label}"


def kinds_row(kinds: Sequence[Kind], at: int, width: int) -> Content:
    """The lists beside each other, the one that is shown bright; on a narrow terminal alone."""
    pieces = [
        ink(f"[{kind_words(kind)}]", f"bold {ACCENT}") if index == at else dim(kind_words(kind))
        for index, kind in enumerate(kinds)
    ]
    whole = Content("   ").join(pieces)
    if whole.cell_length <= width:
        return whole
    return join(pieces[at], dim(f"   {at + 1} of {len(kinds)}")).truncate(width, ellipsis=True)


def table_row(one: Measured, kind: Kind) -> Row:
    row = one.row
    share = kind.right and kind.part is None
    tokens = row.tokens if isinstance(row, LossRow) else row.tuned.tokens
    came = dim("")
    if one.outcome is not None:
        came = ink(MARKS[one.outcome], OUTCOMES[one.outcome][1])
    return Row(
        one.key,
        (
            change_words(one),
            ink(_figure(one.base, right=share)),
            ink(_figure(one.tuned, right=share), STRONG),
            came,
            dim(f"{tokens:,}"),
            dim(place_words(row)),
            join(dim(_judged(one)), ink(one_line(one.text, max_chars=300))),
        ),
    )


def _judged(one: Measured) -> str:
    """Before an answer that somebody judged."""
    good = one.row.good if isinstance(one.row, LossRow) else None
    return "" if good is None else f"{'good' if good else 'bad'} answer · "


def change_words(one: Measured) -> Content:
    """▼ of a loss and ▲ of a score are better, and ▲ of a bad answer's loss; a mark and a colour
    say which."""
    change = one.change
    if change is None:
        return dim(UNKNOWN)
    if abs(change) < 5e-4:
        return dim("=")
    loss = isinstance(one.row, LossRow) and not one.bad
    mark = "▼" if (change > 0) == loss else "▲"
    return ink(f"{mark} {number(abs(change))}", GOOD if change > 0 else WRONG)


def _figure(value: float | None, *, right: bool) -> str:
    if value is None or not right:
        return number(value)
    return "right" if value == 1 else "wrong"


def place_words(row: LossRow | AnswerRow) -> str:
    if not row.line:
        return one_line(row.file)
    if not row.file:
        return f"line {row.line:,}"
    return f"{one_line(row.file)}:{row.line:,}"


# -- one row --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voice:
    """What one of the two did with a row."""

    head: Content
    text: Content
    foot: Content


def head_row(one: Measured, kind: Kind, at: int, of: int, width: int) -> Content:
    pieces = [
        join(dim("row "), ink(f"{at + 1:,}", STRONG), dim(f" of {of:,}")),
        dim(kind_words(kind)),
        change_words(one),
    ]
    if one.outcome is not None:
        pieces.append(ink(*OUTCOMES[one.outcome]))
    if judged := _judged(one):
        pieces.append(dim(judged.removesuffix(" · ")))
    if place := place_words(one.row):
        pieces.append(dim(place))
    return fitting(pieces, width)


def prompt_of(one: Measured, answer: AnswerRow | None) -> tuple[str, str]:
    """What stands above the two, with what it is called."""
    if answer is not None:
        return "prompt", answer.question
    return "begins, as it is fed", one.text


def reference_of(one: Measured, answer: AnswerRow | None) -> tuple[str, str]:
    if answer is not None:
        return "reference", answer.reference
    row = one.row
    return ("true label", row.label) if isinstance(row, LossRow) and row.label else ("", "")


def voices_of(
    one: Measured, answer: AnswerRow | None, metrics: Sequence[MetricReport]
) -> tuple[Voice, Voice]:
    """Base and tuned: losses where they were measured, answers where they were asked."""
    loss = one.row if isinstance(one.row, LossRow) else None
    base, tuned = (_voice(name, loss, answer, metrics) for name in ("base", "tuned"))
    return base, tuned


def _voice(
    name: str, loss: LossRow | None, answer: AnswerRow | None, metrics: Sequence[MetricReport]
) -> Voice:
    pieces = [ink(name, STRONG if name == "tuned" else BRIGHT)]
    foot: list[Content] = []
    text = Content("")
    if loss is not None:
        pieces += _loss_words(name, loss)
        label = getattr(loss, f"predicted_{name}")
        if label:
            text = ink(label, GOOD if label == loss.label else WRONG)
    if answer is not None:
        written: Written = getattr(answer, name)
        text = ink(written.text) if written.text else dim("(nothing)")
        pieces += [_score(written, metric) for metric in metrics if metric.name in written.scores]
        cut = "cut" if written.ended_by == "length" else "ended by itself"
        foot = [dim(f"{written.tokens:,} tokens, {cut}")]
    return Voice(Content("   ").join(pieces), text, Content("").join(foot))


def _loss_words(name: str, row: LossRow) -> list[Content]:
    tokens = max(1, row.tokens)
    loss = getattr(row, name) / tokens
    said = [join(dim("loss "), ink(number(loss)), dim(f" a token of {row.tokens:,}"))]
    if row.label:
        said = [join(dim("loss "), ink(number(getattr(row, name))))]
    elif math.isfinite(loss) and loss < 700:
        said.append(join(dim("perplexity "), ink(number(math.exp(loss)))))
    rejected = getattr(row, f"rejected_{name}")
    if rejected is not None:
        likelier = "chosen" if getattr(row, name) < rejected else "rejected"
        said.append(join(dim("likelier: "), ink(likelier, GOOD if likelier == "chosen" else WRONG)))
    return said


def _score(written: Written, metric: MetricReport) -> Content:
    value = written.scores.get(metric.name)
    label = one_line(metric.label)
    if value is None:
        return dim(f"{label} {UNKNOWN}")
    if metric.kind == "right":
        return ink(f"✓ {label}", GOOD) if value == 1 else ink(f"✗ {label}", WRONG)
    return join(dim(f"{label} "), ink(number(value)))
