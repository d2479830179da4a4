"""Who can be talked to: adapters, checkpoints and merged models of the sessions, their bases, and
anything by its path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input
from textual.worker import Worker, WorkerState, get_current_worker

from tui_lora.core.errors import UserError
from tui_lora.core.fetch import FetchPaused, FetchPlanned, FromFetch
from tui_lora.core.text import UNKNOWN, one_line, size
from tui_lora.store.adapters import ChatTarget, base_alone, target
from tui_lora.store.chat_targets import Listed, chat_targets
from tui_lora.ui.ink import ACCENT, BRIGHT, DIM, dim, ink, join
from tui_lora.ui.messages import Said
from tui_lora.ui.stored_choice import StoredChoice, precision_of
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.table import Column, Row, Table

COLUMNS = (
    Column("talk to", 0, middle=True),
    Column("base", 0, middle=True),
    Column("precision", 12, from_width=76),
    Column("adapter", 8, numeric=True),
)


class _CalledOff(Exception):
    """Nobody waits any more for what is fetched."""


class TargetList(Vertical):
    """A table of targets, of which several may be marked; reads them itself, and posts `Chosen`."""

    BINDINGS = [
        Binding("space", "mark", "mark", id="targets.mark", tooltip="mark it: several at once"),
        Binding(
            "f",
            "precision",
            "precision",
            False,
            id="targets.precision",
            tooltip="load the base in another precision than it was trained in",
        ),
        Binding(
            "d",
            "device",
            "device",
            False,
            id="targets.device",
            tooltip="load it on the CPU, or on a card; what stands beside it goes along",
        ),
    ]
    DEFAULT_CSS = """
    TargetList { height: 1fr; }
    TargetList > Table { margin: 0 1; }
    TargetList > .path { display: none; margin: 0 1; }
    TargetList > .where, TargetList > .how { padding: 0 2; }
    TargetList > Empty { display: none; height: 1fr; }
    TargetList.-empty > Table, TargetList.-empty > .where { display: none; }
    TargetList.-empty > .how { display: none; }
    TargetList.-empty > Empty { display: block; }
    TargetList.-path > .path { display: block; }
    """

    class Chosen(Message):
        """Enter was pressed on a target, or with some marked; they share one base. `placed`: it was
        said on which device, so a base that is in memory elsewhere is loaded anew."""

        def __init__(self, *targets: ChatTarget, placed: bool = False) -> None:
            self.targets, self.placed = targets, placed
            super().__init__()

    class Read(Message, bubble=False):
        """What there is in the sessions folder was read."""

        def __init__(self, found: list[Listed], wanted: str) -> None:
            self.found, self.wanted = found, wanted
            super().__init__()

    def __init__(self, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._root = root
        self._found: list[Listed] = []
        self._choice = StoredChoice()
        self._loaded: ChatTarget | None = None
        self._targets: dict[str, ChatTarget] = {}
        self._rows: list[Row] = []
        self._marked: list[str] = []
        self._there: frozenset[str] = frozenset()

    @property
    def targets(self) -> tuple[ChatTarget, ...]:
        return tuple(self._targets.values())

    @property
    def typing(self) -> bool:
        return self.has_class("-path")

    @property
    def finding(self) -> bool:
        """Whether it is being found out what a typed path or name means."""
        return any(w.node is self and w.group == "find" and w.is_running for w in self.workers)

    def compose(self) -> ComposeResult:
        yield Input(
            placeholder="a folder with an adapter, a model's folder or GGUF file, or a Hub id",
            classes="path",
            compact=True,
        )
        yield Table(*COLUMNS)
        yield Empty()
        yield Line(classes="where")
        yield Line(classes="how")

    @work(thread=True, exclusive=True, exit_on_error=False, group="list")
    def read(self, wanted: str = "") -> None:
        """List what there is anew; the cursor goes to the session called `wanted`."""
        self.post_message(self.Read(chat_targets(self._root), wanted))

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def _find(self, text: str) -> None:
        """Choose what a typed path, id or name means."""
        worker = get_current_worker()

        def fetching(said: FromFetch) -> None:
            if worker.is_cancelled:
                raise _CalledOff
            if isinstance(said, FetchPlanned):
                what = size(said.total_bytes - said.here_bytes)
                self.post_message(Said(f"fetching an adapter of the Hub, {what} …"))
            elif isinstance(said, FetchPaused):
                self.post_message(Said(one_line(said.why), "warning"))

        try:
            found = target(self._root, text, hear=fetching)
        except _CalledOff:
            return
        if not worker.is_cancelled:
            self._choose(found)

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        # It goes to whoever started the thread and no further, so that the page never hears of it.
        if event.state is not WorkerState.ERROR:
            return
        error = event.worker.error
        if isinstance(error, UserError):
            text = f"{error.what} {error.then or ''}".strip()
        else:
            text = f"this did not work ({type(error).__name__}: {error})."
        self.post_message(Said(text, "error"))

    def _choose(self, *found: ChatTarget) -> None:
        targets = [self._choice.of(one) for one in found]
        self.post_message(self.Chosen(*targets, placed=self._choice.placed))

    @on(Read)
    def _read(self, fact: Read) -> None:
        self.show(fact.found, fact.wanted)

    def action_precision(self) -> None:
        self._choice.next_precision()
        self.show(self._found)

    def action_device(self) -> None:
        self._choice.next_place()
        self.show(self._found)

    def show(self, found: Sequence[Listed], wanted: str = "") -> None:
        """What was found; the cursor goes to the session called `wanted`."""
        self._found = list(found)
        stored = [replace(one, target=self._choice.of(one.target)) for one in found]
        self._targets = {_key(one.target): one.target for one in stored}
        self._rows = [_row(_key(one.target), one) for one in stored]
        for alone in (base_alone(one.target) for one in stored):
            key = f"base {alone.base}"
            if key not in self._targets:
                self._targets[key] = alone
                self._rows.append(_row(key, Listed(alone, None)))
        self._marked = [key for key in self._marked if key in self._targets]
        table = self.query_one(Table)
        self._show_marks()
        for key, one in self._targets.items():
            if wanted and one.session is not None and one.session.name == wanted:
                table.point(key)
                break
        self.set_class(not self._rows, "-empty")
        if self._rows and self.display and self.screen.focused is None:
            # A table that was hidden has lost it.
            self.take_focus()
        self._show_where()

    def begin(self, there: Collection[str], loaded: ChatTarget | None = None) -> None:
        """Nothing is marked; those whose folders are `there` take part already, and the base of
        `loaded` is in memory."""
        self._marked, self._there, self._loaded = [], frozenset(there), loaded
        self._show_marks()
        self._show_where()

    def _show_marks(self) -> None:
        self.query_one(Table).show([self._with_mark(row) for row in self._rows])

    def _with_mark(self, row: Row) -> Row:
        mark = ("● ", ACCENT) if row.key in self._there else "  "
        if row.key in self._marked:
            mark = ("✓ ", ACCENT)
        return Row(row.key, (join(mark, row.cells[0]), *row.cells[1:]))

    def action_mark(self) -> None:
        key = self.query_one(Table).pointed
        if key is None:
            return
        if key in self._there:
            self.post_message(Said("it takes part already; outside the list, u removes it."))
        elif key in self._marked:
            self._marked.remove(key)
        elif any(self._targets[m].base != self._targets[key].base for m in self._marked):
            marked = [self._targets[m] for m in self._marked]
            labels = any(one.classifier for one in (self._targets[key], *marked))
            why = "what gives labels stands alone" if labels else "it is on another base"
            self.post_message(Said(f"not marked beside the others: {why}.", "warning"))
        else:
            self._marked.append(key)
        self._show_marks()
        self.query_one(Table).action_move(1)

    def show_empty(self, about: str, *keys: tuple[str, str]) -> None:
        self.query_one(Empty).show(about, *keys)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("precision", "device"):
            return bool(self._rows) and not self.typing
        return bool(self._rows) if action == "mark" else True

    def take_focus(self) -> None:
        self.query_one(Table).focus()

    def ask_path(self) -> None:
        self.add_class("-path")
        self.query_one(Input).focus()

    def leave_path(self) -> None:
        self.workers.cancel_group(self, "find")
        self.remove_class("-path")
        self.query_one(Input).value = ""
        self.take_focus()

    @on(Table.Pointed)
    def _show_where(self) -> None:
        here = self._targets.get(self.query_one(Table).pointed or "")
        where = Content("")
        if here is not None and here.adapter is not None:
            where = join(dim("adapter in "), ink(one_line(str(here.adapter))))
        elif here is not None and here.whole is not None:
            where = join(dim("merged model in "), ink(one_line(str(here.whole))))
        elif here is not None:
            where = dim("the model as it is, without any adapter")
        self.query_one(".where", Line).say(where)
        how = self._choice.row(here, self._loaded) if here is not None else Content("")
        self.query_one(".how", Line).say(how)

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        chosen = [self._targets[key] for key in self._marked or [event.key] if key in self._targets]
        if chosen:
            self._choose(*chosen)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self._find(event.value.strip())


def _key(one: ChatTarget) -> str:
    return str(one.adapter or one.whole)


def _row(key: str, listed: Listed) -> Row:
    one = listed.target
    kind = " (gives labels)" if one.classifier else " (a model)" if one.whole is not None else ""
    name = one_line(one.name) + kind
    look = BRIGHT if one.adapter is not None else DIM
    if listed.under:
        # The session stands above it.
        name = one_line(one.name) + (kind if one.whole is not None else "")
        name, look = f"  {name.removeprefix(listed.under).strip()}", DIM
    return Row(
        key,
        (
            ink(name, look),
            ink(one_line(one.model.id), DIM),
            dim(precision_of(one) or UNKNOWN),
            ink(size(listed.size_bytes) if key == _key(one) else "", BRIGHT),
        ),
    )
