"""What viewer and inspect worker say to each other over pipes: rows, and what becomes of them.

Every question carries the run spec (as `RunSpec.model_dump(mode="json")` gives it), so that what
is shown is made from the very object that training reads.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

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


class MeasureLengths(ToInspect):
    """Tokenize up to `rows` rows, spread over the dataset, and count; answers as it goes."""

    type: ClassVar[str] = "measure_lengths"
    id: str
    spec: dict[str, Any]
    rows: int = 2000


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


class LengthsMeasured(FromInspect):
    """Lengths in tokens, as fed and before anything is cut, of the rows measured so far.

    `lengths[i]` sequences lie in the bucket from `edges[i]` to below `edges[i + 1]`. `cut_rows`
    and `cut_tokens` at the spec's max length; `padded_share` is the share of computed positions
    that is padding with micro-batches as they come, `packed_share` the same with packing.
    `untrained_rows` keep no trained token.
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
    problems: tuple[str, ...] = ()


class InspectWorking(FromInspect):
    """Something takes a while: loading a tokenizer, fetching a dataset."""

    type: ClassVar[str] = "working"
    id: str
    label: str
    done: float | None = None
    total: float | None = None


class InspectReady(FromInspect):
    type: ClassVar[str] = "ready"
    seconds: float


class InspectFailed(FromInspect):
    type: ClassVar[str] = "failed"
    id: str | None = None
    message: str


TO_INSPECT: Wire[ToInspect] = Wire(
    FeedRow, ReadRow, LookAt, FindText, MeasureLengths, CancelInspect
)
FROM_INSPECT: Wire[FromInspect] = Wire(
    RowFed,
    RowRead,
    Looked,
    TextFound,
    LengthsMeasured,
    InspectWorking,
    InspectReady,
    InspectFailed,
)
