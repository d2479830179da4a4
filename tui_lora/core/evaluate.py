"""What viewer and evaluate worker say to each other over pipes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tui_lora.core.evaluation import PARTS, Evaluation, Part
from tui_lora.core.events import Choice
from tui_lora.core.quantization_spec import QuantizationSpec
from tui_lora.core.wire import Message, Wire

PERPLEXITY_ROWS = 500
"""Of each part, where no number of rows is asked for."""

ANSWER_ROWS = 100
"""The same of rows that are answered, which takes much longer."""

MAX_NEW_TOKENS = 256


class ToEvaluate(Message):
    pass


class FromEvaluate(Message):
    pass


class Evaluate(ToEvaluate):
    """Measure the adapter in the folder `adapter` of the session in the folder `session`.

    `step` is that of a checkpoint. `parts` are those whose loss is measured; `metrics` by name,
    None: those that suit the rows. `rows` of each at most, drawn by `seed`; `data` is a file that
    takes the place of the held-out rows. `batch`: rows at once, None: what seems safe. `anew`: what
    an evaluation that was cancelled left behind is not gone on with.
    """

    type: ClassVar[str] = "evaluate"
    session: str
    adapter: str
    step: int | None = None
    parts: tuple[Part, ...] = PARTS
    metrics: tuple[str, ...] | None = None
    rows: int | None = None
    data: str | None = None
    max_new_tokens: int = MAX_NEW_TOKENS
    batch: int | None = None
    seed: int = 0
    devices: str = "auto"
    quantization: QuantizationSpec | None = None
    most_gib: float | None = None
    anew: bool = False


class CancelEvaluation(ToEvaluate):
    """End after what is being computed; what was measured stays and can be gone on with."""

    type: ClassVar[str] = "cancel"


class Preparing(FromEvaluate):
    """A phase before anything is measured, in words, with seconds to expect where known."""

    type: ClassVar[str] = "preparing"
    label: str
    expect_s: float | None = None


class PlannedPart(BaseModel):
    """`part` of rows, or answers; `done` of its rows stand in what an earlier evaluation left."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    part: Literal["train", "eval", "general", "answers"]
    rows: int
    of: int
    batches: int
    done: int = 0


class EvaluationPlanned(FromEvaluate):
    """What will be measured, in this order, and why so."""

    type: ClassVar[str] = "planned"
    parts: tuple[PlannedPart, ...]
    metrics: tuple[str, ...]
    choices: tuple[Choice, ...]
    notices: tuple[str, ...] = ()
    device: str
    dtype: str


class EvaluationProgressed(FromEvaluate):
    """`done` rows of `total`, over all parts, those of earlier among them; `part` is the one at
    work, and `now` tells of its batch. `rows_per_s` and `eta_s` are of that part."""

    type: ClassVar[str] = "progressed"
    part: str
    part_done: int
    part_rows: int
    done: int
    total: int
    rows_per_s: float | None = None
    eta_s: float | None = None
    now: str = ""


class FigureSoFar(FromEvaluate):
    """A figure over the rows measured so far, which were drawn in no order: perplexity of a part
    (loss where it has none), or a metric of the answers."""

    type: ClassVar[str] = "so_far"
    name: str
    rows: int
    base: float | None
    tuned: float | None


class EvaluationNotice(FromEvaluate):
    type: ClassVar[str] = "notice"
    text: str


class EvaluationEnded(FromEvaluate):
    """The result. `path` is its file, empty where nothing could be written; of one that was
    cancelled the file of what was measured so far."""

    type: ClassVar[str] = "ended"
    evaluation: Evaluation
    path: str


class EvaluationFailed(FromEvaluate):
    """Why there is no result, and what to do. `kept`: the file with what was measured, empty where
    nothing was."""

    type: ClassVar[str] = "failed"
    message: str
    then: str = ""
    exit_code: int = 1
    kept: str = ""


TO_EVALUATE: Wire[ToEvaluate] = Wire(Evaluate, CancelEvaluation)
FROM_EVALUATE: Wire[FromEvaluate] = Wire(
    Preparing,
    EvaluationPlanned,
    EvaluationProgressed,
    FigureSoFar,
    EvaluationNotice,
    EvaluationEnded,
    EvaluationFailed,
)
