"""What is to be known before an evaluation begins: looked at in a thread, nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import ANSWER_ROWS, Evaluate
from tui_lora.core.task_metrics import NONE, metric_of, suited
from tui_lora.core.text import UNKNOWN, one_line, shorten_middle
from tui_lora.store.evaluation_order import Wanted, order_of, target_of

if TYPE_CHECKING:
    from tui_lora.core.chat_memory import Place
    from tui_lora.core.spec import RunSpec
    from tui_lora.store.adapters import ChatTarget
    from tui_lora.store.chat_room import ChatRoom
    from tui_lora.store.paths import SessionPaths

AND = " and "
"""Between metrics: a comma may belong to one of them."""


@dataclass(frozen=True)
class Chosen:
    """What is to be measured and where there is room for it; `closes_chat`: only once the chat is
    put away."""

    asked: Evaluate
    room: ChatRoom
    closes_chat: bool = False


class RoomLooked(Message, bubble=False):
    """Whether what is wanted can be measured: room for it, or `problem`."""

    def __init__(
        self,
        wanted: Wanted,
        room: ChatRoom | None,
        problem: str = "",
        *,
        closes_chat: bool = False,
    ) -> None:
        self.wanted, self.room, self.problem = wanted, room, problem
        self.closes_chat = closes_chat
        super().__init__()


class MetricsLooked(Message, bubble=False):
    """Which metrics suit the rows, in words, and why; whether rows are `answered` for them."""

    def __init__(self, words: str, why: str, *, answered: bool = False) -> None:
        self.words, self.why, self.answered = words, why, answered
        super().__init__()


class OrderMade(Message, bubble=False):
    """It can begin, or `problem` says why not."""

    def __init__(self, chosen: Chosen | None, problem: str = "") -> None:
        self.chosen, self.problem = chosen, problem
        super().__init__()


def look_for(paths: SessionPaths, wanted: Wanted, held: Mapping[Place, float]) -> RoomLooked:
    """Blocks on the disk and the driver. `held`: GiB that the chat would give back."""
    from tui_lora.store.chat_room import look_for_room

    root = paths.folder.parent
    try:
        target = target_of(paths, wanted)
    except UserError as error:
        return RoomLooked(wanted, None, told(error))
    room = look_for_room(root, [target])
    if room.fit.verdict == "does_not_fit" and held:
        without = look_for_room(root, [target], gained=held)
        if without.fit.verdict != "does_not_fit":
            return RoomLooked(wanted, without, closes_chat=True)
    return RoomLooked(wanted, room)


def look_at_metrics(paths: SessionPaths, spec: RunSpec) -> MetricsLooked:
    """What the worker will choose where no metric is named, as far as files of here tell."""
    from tui_lora.store.heldout import held_out

    if spec.task == "classification":
        return MetricsLooked("accuracy, macro F1", "the task is classification")
    if spec.task != "sft":
        return MetricsLooked("of preferences", f"the task is {spec.task}")
    data = spec.dataset
    if data.eval_path is None and data.eval_split is None and not data.eval_share:
        return MetricsLooked(NONE, "no rows were held out; name one, or a file of rows")
    try:
        found = held_out(spec, ANSWER_ROWS)
    except UserError as error:
        return MetricsLooked(UNKNOWN, told(error))
    if not found.questions:
        return MetricsLooked("chosen by the rows", "when it begins", answered=True)
    if found.questions[0].shape == "text":
        return MetricsLooked(NONE, "plain text has no answers to compare with")
    names, why = suited([one.reference for one in found.questions], data.format)
    words = AND.join(metric_of(name).label for name in names) or NONE
    return MetricsLooked(words, why, answered=bool(names))


def make_order(paths: SessionPaths, wanted: Wanted, found: RoomLooked) -> OrderMade:
    """Blocks on the disk."""
    from tui_lora.store.chat_room import held_to

    if found.room is None:
        return OrderMade(None, found.problem)
    target: ChatTarget = held_to(found.room.target, found.room.fit)
    try:
        asked = order_of(paths, target, wanted)
    except UserError as error:
        return OrderMade(None, told(error))
    return OrderMade(Chosen(asked, found.room, found.closes_chat))


def told(error: UserError) -> str:
    """An error in one line, what is wrong before where; flags are not spoken of here."""
    where = error.where if error.where and not error.where.startswith("--") else ""
    place = f" ({shorten_middle(one_line(where), 40)})" if where else ""
    return f"{error.what}{place} {error.then or ''}".strip()


def metrics_in(text: str) -> tuple[str, ...] | None:
    """The metrics in what was typed; None: those that suit the rows. Raises UserError."""
    names = tuple(name.strip() for name in text.split(AND) if name.strip())
    for name in names:
        if name != NONE:
            metric_of(name)
    return names or None


def wanted_again(asked: Evaluate, spec: RunSpec | None) -> Wanted:
    """What was asked for, as a person would ask for it again."""
    devices = spec.hardware.devices if spec is not None else None
    stored = spec.quantization.scheme if spec is not None else None
    scheme = asked.quantization.scheme if asked.quantization is not None else None
    return Wanted(
        checkpoint=asked.step,
        parts=asked.parts,
        metrics=asked.metrics,
        rows=asked.rows,
        data=asked.data,
        max_tokens=asked.max_new_tokens,
        batch=asked.batch,
        seed=asked.seed,
        devices=None if asked.devices == devices else asked.devices,
        quantization=None if scheme == stored else scheme,
    )
