"""Who can be talked to: the sessions' adapters, their bases, and anything by its path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from tui_lora.core.errors import UserError
from tui_lora.core.text import UNKNOWN, one_line, size
from tui_lora.store.adapters import ChatTarget, session_targets, target
from tui_lora.store.sessions import adapter_bytes
from tui_lora.ui.ink import BRIGHT, DIM, dim, ink, join
from tui_lora.ui.messages import Said
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.table import Column, Row, Table

COLUMNS = (
    Column("talk to", 0, middle=True),
    Column("base", 0, middle=True),
    Column("quantization", 12, from_width=76),
    Column("adapter", 8, numeric=True),
)
BASE_WORDS = "base alone"


class TargetList(Vertical):
    """A table of targets; reads them itself, and posts `Chosen`."""

    DEFAULT_CSS = """
    TargetList { height: 1fr; }
    TargetList > Table { margin: 0 1; }
    TargetList > .path { display: none; margin: 0 1; }
    TargetList > .where { padding: 0 2; }
    TargetList > Empty { display: none; height: 1fr; }
    TargetList.-empty > Table, TargetList.-empty > .where { display: none; }
    TargetList.-empty > Empty { display: block; }
    TargetList.-path > .path { display: block; }
    """

    class Chosen(Message):
        """Enter was pressed on a target."""

        def __init__(self, target: ChatTarget) -> None:
            self.target = target
            super().__init__()

    class Listed(Message, bubble=False):
        """The adapters in the sessions folder were read, with their sizes in bytes."""

        def __init__(self, found: list[tuple[ChatTarget, int | None]], wanted: str) -> None:
            self.found, self.wanted = found, wanted
            super().__init__()

    def __init__(self, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._root = root
        self._targets: dict[str, ChatTarget] = {}

    @property
    def targets(self) -> tuple[ChatTarget, ...]:
        return tuple(self._targets.values())

    @property
    def typing(self) -> bool:
        return self.has_class("-path")

    def compose(self) -> ComposeResult:
        yield Input(
            placeholder="a folder with an adapter, a model's folder or GGUF file, or a Hub id",
            classes="path",
            compact=True,
        )
        yield Table(*COLUMNS)
        yield Empty()
        yield Line(classes="where")

    @work(thread=True, exclusive=True, exit_on_error=False, group="list")
    def read(self, wanted: str = "") -> None:
        """List the sessions' adapters anew; the cursor goes to the session called `wanted`."""
        targets = session_targets(self._root)
        found = [(t, adapter_bytes(t.adapter) if t.adapter else None) for t in targets]
        self.post_message(self.Listed(found, wanted))

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def _find(self, text: str) -> None:
        """Choose what a typed path, id or name means."""
        try:
            self.post_message(self.Chosen(target(self._root, text)))
        except UserError as error:
            self.post_message(Said(f"{error.what} {error.then}".strip(), "error"))

    @on(Listed)
    def _listed(self, fact: Listed) -> None:
        self.show(fact.found, fact.wanted)

    def show(self, found: Sequence[tuple[ChatTarget, int | None]], wanted: str = "") -> None:
        """Adapters with their size in bytes; the cursor goes to the session called `wanted`."""
        self._targets = {str(one.adapter): one for one, _ in found}
        rows = [_row(str(one.adapter), one, taken) for one, taken in found]
        for alone in (_alone(one) for one, _ in found):
            key = f"base {alone.base}"
            if key not in self._targets:
                self._targets[key] = alone
                rows.append(_row(key, alone, None))
        table = self.query_one(Table)
        table.show(rows)
        for key, one in self._targets.items():
            if wanted and one.session is not None and one.session.name == wanted:
                table.point(key)
                break
        self.set_class(not rows, "-empty")
        if rows and self.display and self.screen.focused is None:
            # A table that was hidden has lost it.
            self.take_focus()
        self._show_where()

    def show_empty(self, about: str, *keys: tuple[str, str]) -> None:
        self.query_one(Empty).show(about, *keys)

    def take_focus(self) -> None:
        self.query_one(Table).focus()

    def ask_path(self) -> None:
        self.add_class("-path")
        self.query_one(Input).focus()

    def leave_path(self) -> None:
        self.remove_class("-path")
        self.query_one(Input).value = ""
        self.take_focus()

    @on(Table.Pointed)
    def _show_where(self) -> None:
        here = self._targets.get(self.query_one(Table).pointed or "")
        where = Content("")
        if here is not None and here.adapter is not None:
            where = join(dim("adapter in "), ink(one_line(str(here.adapter))))
        elif here is not None:
            where = dim("the model as it is, without any adapter")
        self.query_one(".where", Line).say(where)

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        if (chosen := self._targets.get(event.key)) is not None:
            self.post_message(self.Chosen(chosen))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self._find(event.value.strip())


def _alone(adapter: ChatTarget) -> ChatTarget:
    return ChatTarget(BASE_WORDS, adapter.model, adapter.quantization, adapter.devices)


def _row(key: str, one: ChatTarget, taken: int | None) -> Row:
    kind = " (gives labels)" if one.classifier else ""
    name = ink(one_line(one.name) + kind, BRIGHT if one.adapter is not None else DIM)
    scheme = one.quantization.scheme
    return Row(
        key,
        (
            name,
            ink(one_line(one.model.id), DIM),
            dim(UNKNOWN if scheme == "none" else scheme),
            ink(size(taken) if one.adapter is not None else "", BRIGHT),
        ),
    )
