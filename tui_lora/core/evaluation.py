"""What an evaluation found: base against tuned, on the very same rows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.events import Choice

Part = Literal["train", "eval", "general"]
"""Rows that were trained on, rows that were not, and a general text that nothing is about."""

PARTS: tuple[Part, ...] = ("eval", "train", "general")

PART_NAMES: dict[Part, str] = {
    "eval": "held-out rows",
    "train": "trained rows",
    "general": "general text",
}
GIVEN = "given rows"
"""Those of a file that took the place of the held-out ones: the run may have been trained on it."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Figure(_Told):
    """A figure with its 95% interval; None is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Loss(_Told):
    """`loss` in nats a trained token (or a row, see `PartReport.counted_by`); `perplexity` is its
    exponential, None where rows are counted."""

    loss: Figure = Figure()
    perplexity: Figure = Figure()


class LossRow(_Told):
    """A row's own loss: nats over its trained tokens, or over the row where rows are counted.

    `line` from 1 in `file`, 0 where it stands in none; `begin` is its beginning, as it was fed.
    `predicted_…` and `label` of a classifier; `rejected_…` of a pair, whose loss is the chosen's.
    """

    part: Part
    at: int
    file: str = ""
    line: int = 0
    begin: str = ""
    tokens: int
    base: float
    tuned: float
    label: str = ""
    predicted_base: str = ""
    predicted_tuned: str = ""
    rejected_tokens: int = 0
    rejected_base: float | None = None
    rejected_tuned: float | None = None
    good: bool | None = None

    @property
    def change(self) -> float:
        """Of the loss a token, tuned less base: below 0 it is better."""
        return (self.tuned - self.base) / max(1, self.tokens)


class PartReport(_Told):
    """The loss over a part's rows.

    `rows` were measured `of` so many, in `unit`s; `tokens` are those that the loss counts. Beyond
    max length lie `cut_tokens` of the tokens that would be trained, of `cut_rows` rows; `left_out`
    rows could not be fed. `cut_of` is all that would be trained, cut or not, of pairs in both of
    their answers; 0 where nobody wrote it down. `change` is tuned less base, over the same rows
    drawn again. `fed` is the sha256 of the rows as the model was fed them, masks and all; empty
    where nobody wrote it down.
    """

    part: Part
    source: str
    unit: Literal["rows", "passages", "pairs", "answers", "texts"]
    counted_by: Literal["tokens", "rows"] = "tokens"
    rows: int
    of: int
    tokens: int
    cut_rows: int = 0
    cut_tokens: int = 0
    cut_of: int = 0
    left_out: int = 0
    why_left_out: str = ""
    fed: str = ""
    base: Loss
    tuned: Loss
    change: Figure
    improved: int = 0
    worsened: int = 0
    most_improved: tuple[LossRow, ...] = ()
    most_worsened: tuple[LossRow, ...] = ()

    @property
    def cut_share(self) -> float:
        """Of the trained tokens that these rows would have."""
        whole = self.cut_of or self.tokens + self.cut_tokens
        return self.cut_tokens / whole if whole else 0.0


class Written(_Told):
    """An answer to a row; `scores` by metric, None where it could not be scored."""

    text: str
    tokens: int
    ended_by: Literal["end", "length"]
    scores: dict[str, float | None] = {}


class AnswerRow(_Told):
    """A row that was answered by both; `question` is the last turn that was asked."""

    at: int
    file: str = ""
    line: int = 0
    question: str
    reference: str
    base: Written
    tuned: Written


class AnswersReport(_Told):
    """Greedy answers of at most `max_new_tokens`; `cut_…` of them did not come to an end. `fed` as
    of a part, with the references."""

    source: str
    rows: int
    of: int
    max_new_tokens: int
    cut_base: int = 0
    cut_tuned: int = 0
    left_out: int = 0
    why_left_out: str = ""
    fed: str = ""


class MetricReport(_Told):
    """A metric over the rows that both were scored on.

    `name` as it was asked for; `why` it was chosen. `kind` right: each row is right or wrong, the
    values are shares. `test` names the paired test of `p`; `only_…` were right alone. `failures`
    are the first of `failed` rows that could not be scored, in words.
    """

    name: str
    label: str
    why: str
    kind: Literal["right", "score"]
    unit: str = ""
    rows: int
    base: Figure
    tuned: Figure
    change: Figure
    test: str = ""
    p: float | None = None
    only_base: int | None = None
    only_tuned: int | None = None
    failed: int = 0
    failures: tuple[str, ...] = ()


class ClassTable(_Told):
    """`confusion[true][predicted]` counts rows, in the order of the labels."""

    confusion: tuple[tuple[int, ...], ...]
    accuracy: float
    macro_f1: float


class ClassesReport(_Told):
    """How a classifier sorts the rows of a part. `base` has a head that was never trained;
    `most_frequent` is the share of the label that most rows have: what a guess would reach."""

    part: Part
    labels: tuple[str, ...]
    base: ClassTable
    tuned: ClassTable
    most_frequent: float


class Evaluation(_Told):
    """All that one evaluation found. `t` unix seconds at its beginning; `step` of the checkpoint
    that was taken, None for the session's own adapter; `complete`: every row was measured.

    `adapter` is the mark of the files that were measured, and `adapter_step` the step that they
    were trained to; empty and None where that is not known. A session's own adapter may be another
    one by now.

    `same_rows`: the rows are those that the run was trained on, by their fingerprint; None where
    the run did not write one down.
    """

    v: int = 1
    t: float
    session: str
    task: str
    step: int | None = None
    adapter: str = ""
    adapter_step: int | None = None
    model: str
    revision: str | None = None
    device: str
    dtype: str
    quantization: str
    seed: int
    test_file: str = ""
    same_rows: bool | None = None
    complete: bool = True
    seconds: float
    parts: tuple[PartReport, ...] = ()
    answers: AnswersReport | None = None
    metrics: tuple[MetricReport, ...] = ()
    classes: ClassesReport | None = None
    choices: tuple[Choice, ...] = ()
    notices: tuple[str, ...] = ()

    def part(self, name: Part) -> PartReport | None:
        return next((part for part in self.parts if part.part == name), None)

    def called(self, part: Part) -> str:
        """What the rows of a part are."""
        return GIVEN if part == "eval" and self.test_file else PART_NAMES[part]

    def as_json(self) -> dict[str, Any]:
        """Base and tuned by perplexity and metrics, with everything else beside them."""

        def side(name: Literal["base", "tuned"]) -> dict[str, Any]:
            perplexity: dict[str, float | None] = {"train": None, "eval": None}
            for part in self.parts:
                perplexity[part.part] = getattr(part, name).perplexity.value
            metrics = {metric.name: getattr(metric, name).value for metric in self.metrics}
            return {"perplexity": perplexity, "metrics": metrics}

        return {"base": side("base"), "tuned": side("tuned"), **self.model_dump(mode="json")}
