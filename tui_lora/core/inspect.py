"""What viewer and inspect worker say to each other over pipes: rows, and what becomes of them.

Every question carries the run spec (as `RunSpec.model_dump(mode="json")` gives it), so that what
is shown is made from the very object that training reads.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from tui_lora.core.advice import Advice, RowLengths
from tui_lora.core.chat import Turn
from tui_lora.core.formats import Shape
from tui_lora.core.memory import Forecast
from tui_lora.core.model_shape import AdapterShape, ModelShape, Wrong
from tui_lora.core.wire import Message, Wire

Part = str
"""`train`, or `held_out` for the spec's held-out file or split."""


class ToInspect(Message):
    pass


class FromInspect(Message):
    pass


class FeedRow(ToInspect):
    """Show row `row` (from 0) of the dataset as training would feed it to the model."""

    type: ClassVar[str] = "feed_row"
    id: str
    spec: dict[str, Any]
    row: int
    part: Part = "train"


class ReadRow(ToInspect):
    """Give row `row` (from 0) of a dataset that a viewer cannot read itself (Parquet, Hub)."""

    type: ClassVar[str] = "read_row"
    id: str
    spec: dict[str, Any]
    row: int
    part: Part = "train"


class LookAt(ToInspect):
    """Look at the first rows of a dataset that a viewer cannot read itself."""

    type: ClassVar[str] = "look_at"
    id: str
    spec: dict[str, Any]
    rows: int = 200
    part: Part = "train"


class FindText(ToInspect):
    """Find the next row from `start` (from 0) on that holds a text, in whatever case, of a dataset
    that a viewer cannot read itself."""

    type: ClassVar[str] = "find_text"
    id: str
    spec: dict[str, Any]
    text: str
    start: int = 0
    part: Part = "train"


class ReadHeldOut(ToInspect):
    """Give up to `limit` held-out questions of a dataset that a viewer cannot read itself."""

    type: ClassVar[str] = "read_held_out"
    id: str
    spec: dict[str, Any]
    limit: int


class MeasureLengths(ToInspect):
    """Tokenize up to `rows` rows, spread over the dataset, and count; answers as it goes."""

    type: ClassVar[str] = "measure_lengths"
    id: str
    spec: dict[str, Any]
    rows: int = 2000


class LookAtModel(ToInspect):
    """What the spec's model is made of, and what the spec's adapter would train of it."""

    type: ClassVar[str] = "look_at_model"
    id: str
    spec: dict[str, Any]


class ForecastMemory(ToInspect):
    """How much of a card a run of the spec would take at its peak.

    `card` is a name or a size as `core.cards` knows them, `total_gib` and `capability` are those of
    a card that is there, where they are known. `context_gib` is CUDA's own share, where it was
    measured on that card.
    """

    type: ClassVar[str] = "forecast_memory"
    id: str
    spec: dict[str, Any]
    card: str
    total_gib: float | None = None
    capability: tuple[int, int] | None = None
    context_gib: float | None = None


class AdviseMemory(ForecastMemory):
    """What would make a run of the spec fit the card, or what else would fit; answers as it goes.

    `others_gib` is what other processes hold of the card. `lengths` of the rows, where they were
    measured; not of plain text, whose passages are cut nowhere.
    """

    type: ClassVar[str] = "advise_memory"
    others_gib: float = 0.0
    lengths: RowLengths | None = None


class CancelInspect(ToInspect):
    """Leave off what is being done for question `id`."""

    type: ClassVar[str] = "cancel"
    id: str


class Piece(BaseModel):
    """A run of tokens of one kind; `texts` is what each of them adds to the text.

    `trained`: the loss counts them. `special`: control tokens of the vocabulary. `cut`: lost
    behind max length, so neither read nor trained.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    texts: tuple[str, ...]
    trained: bool
    special: bool = False
    cut: bool = False

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Sequence(BaseModel):
    """One sequence that the model is fed; `name` says which where a row becomes several.

    `tokens` are those fed, padding not counted; `cut_tokens` were lost behind max length.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str = ""
    pieces: tuple[Piece, ...]
    tokens: int
    trained_tokens: int
    cut_tokens: int = 0


class RowFed(FromInspect):
    """A row becomes one sequence, the passages of a long text, or a chosen and a rejected answer.

    `label` is what a classifier or KTO is to learn. `notes` say what is wrong with the row, or odd;
    `choices` what was chosen for every row, such as a template.
    """

    type: ClassVar[str] = "row_fed"
    id: str
    row: int
    sequences: tuple[Sequence, ...]
    label: str = ""
    template: str = ""
    notes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(sequence.tokens for sequence in self.sequences)

    @property
    def trained_tokens(self) -> int:
        return sum(sequence.trained_tokens for sequence in self.sequences)

    @property
    def cut_tokens(self) -> int:
        return sum(sequence.cut_tokens for sequence in self.sequences)


class RowRead(FromInspect):
    """A row as it stands in its file; `there` is false behind the last, `rows` once it is known."""

    type: ClassVar[str] = "row_read"
    id: str
    row: int
    there: bool
    value: Any = None
    line: int = 0
    file: str = ""
    problem: str = ""
    rows: int | None = None


class Looked(FromInspect):
    """What a look at the first rows found. `rows` is the whole dataset's number where known."""

    type: ClassVar[str] = "looked"
    id: str
    format: str | None
    reason: str
    columns: tuple[str, ...]
    splits: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    seen: int
    usable: int
    rows: int | None = None
    first_problem: str = ""


class TextFound(FromInspect):
    """The row that holds the text; None where no row from there on does."""

    type: ClassVar[str] = "text_found"
    id: str
    row: int | None


class HeldOutQuestion(BaseModel):
    """As `store.heldout.Question` has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    text: str
    turns: tuple[Turn, ...]
    reference: str
    shape: Shape


class HeldOutRead(FromInspect):
    """The questions, and in words where they are from or why there are none."""

    type: ClassVar[str] = "held_out_read"
    id: str
    questions: tuple[HeldOutQuestion, ...]
    source: str


class LengthsMeasured(FromInspect):
    """Lengths in tokens, as fed and before anything is cut, of the rows measured so far.

    `lengths[i]` sequences lie in the bucket from `edges[i]` to below `edges[i + 1]`. `cut_rows`
    and `cut_tokens` at the spec's max length; `padded_share` is the share of computed positions
    that is padding with micro-batches as they come, `packed_share` the same with packing.
    `untrained_rows` keep no trained token. `passages`: they are those of plain text, of which
    nothing is cut.
    """

    type: ClassVar[str] = "lengths_measured"
    id: str
    rows: int
    of_rows: int | None = None
    done: bool
    edges: tuple[int, ...]
    lengths: tuple[int, ...]
    mean: float
    p50: int
    p95: int
    longest: int
    tokens: int
    trained_tokens: int
    max_length: int
    cut_rows: int
    cut_tokens: int
    untrained_rows: int
    padded_share: float | None = None
    packed_share: float | None = None
    passages: bool = False
    problems: tuple[str, ...] = ()


class ModelLooked(FromInspect):
    """The model's structure with the adapter's layers marked in it; `adapter` is None where there
    is something wrong, which `problems` say, or where it starts from one that is not here yet."""

    type: ClassVar[str] = "model_looked"
    id: str
    shape: ModelShape
    adapter: AdapterShape | None = None
    problems: tuple[Wrong, ...] = ()


class MemoryForecast(FromInspect):
    """The forecast; None where there is no figure, and `unknown` says why.

    One that is not `exact` comes at once from sizes that were simulated before, and is followed by
    the one that was simulated for this very size.
    """

    type: ClassVar[str] = "memory_forecast"
    id: str
    forecast: Forecast | None = None
    exact: bool = True
    unknown: str = ""


class MemoryAdvised(FromInspect):
    """What was found so far, and at last with `done`; None where there is no figure for the spec
    as it is, and `unknown` says why."""

    type: ClassVar[str] = "memory_advised"
    id: str
    done: bool
    advice: Advice | None = None
    unknown: str = ""


class InspectWorking(FromInspect):
    """Something takes a while: loading a tokenizer, fetching a dataset."""

    type: ClassVar[str] = "working"
    id: str
    label: str
    done: float | None = None
    total: float | None = None


class InspectReady(FromInspect):
    """All that is needed was imported, `models` alone: what is needed to look at a model."""

    type: ClassVar[str] = "ready"
    seconds: float
    models: bool = False


class InspectFailed(FromInspect):
    type: ClassVar[str] = "failed"
    id: str | None = None
    message: str


TO_INSPECT: Wire[ToInspect] = Wire(
    FeedRow,
    ReadRow,
    LookAt,
    FindText,
    ReadHeldOut,
    MeasureLengths,
    LookAtModel,
    ForecastMemory,
    AdviseMemory,
    CancelInspect,
)
FROM_INSPECT: Wire[FromInspect] = Wire(
    RowFed,
    RowRead,
    Looked,
    TextFound,
    HeldOutRead,
    LengthsMeasured,
    ModelLooked,
    MemoryForecast,
    MemoryAdvised,
    InspectWorking,
    InspectReady,
    InspectFailed,
)
