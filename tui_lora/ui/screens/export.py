"""The adapter merged into its base: where to and how large, how far it is, what was verified."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input

from tui_lora.core.export import (
    PRECISIONS,
    Merged,
    MergeFailed,
    MergePlanned,
    MergeProgressed,
)
from tui_lora.core.export_text import far_words, merged_lines, planned_lines
from tui_lora.core.text import one_line, size
from tui_lora.store.paths import SessionPaths, expanded
from tui_lora.ui.export_link import (
    ExportEnded,
    ExportHeard,
    ExportLink,
    ExportLooked,
    Ready,
    look,
)
from tui_lora.ui.fit_check_text import in_room
from tui_lora.ui.ink import ACCENT, GOOD, STRONG, TIGHT, WRONG, bar, dim, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.widgets.line import Line, Lines

if TYPE_CHECKING:
    from tui_lora.ui.page import Page

PANEL_SHARE = 0.8
AROUND_ROWS = 9
"""Border, padding, what stands above and below what is told, and the gaps between."""

_WHY = {
    "auto": "as the base's files have it",
    "bfloat16": "16 bits with float32's range",
    "float16": "16 bits for cards without bfloat16",
    "float32": "nothing is rounded, twice the room",
}


def open_export(page: Page) -> None:
    if page.bench.session is not None:
        page.app.push_screen(ExportScreen(page.bench.session, page.bench.root))


class ExportScreen(Panel[None]):
    """Merges the adapter of a session; leaving it ends the worker."""

    BINDINGS: ClassVar = [
        Binding("enter", "go", "merge", id="export.go", tooltip="merge it", show=False),
        Binding("up", "precision(-1)", "precision", id="export.up", tooltip="another precision"),
        Binding("down", "precision(1)", "precision", id="export.down", tooltip="another precision"),
        Binding("escape", "leave", "leave", id="export.leave", tooltip="end it and leave"),
    ]
    DEFAULT_CSS = """
    ExportScreen .row { height: 1; width: 100%; margin: 1 0 0 0; }
    ExportScreen .label { width: 11; }
    ExportScreen #told { margin: 1 0; }
    """
    CSS = """
    ExportScreen Input { background: $panel; }
    ExportScreen Input:focus { background: $cursor; }
    """

    def __init__(self, paths: SessionPaths, root: Path) -> None:
        super().__init__()
        self._paths, self._root = paths, root
        self._ready: Ready | None = None
        self._problem = ""
        self._at = 0
        self._link: ExportLink | None = None
        self._planned: MergePlanned | None = None
        self._now: MergeProgressed | None = None
        self._ended: Merged | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            yield Line(id="whose")
            with Horizontal(classes="row"):
                yield Line(classes="label")
                yield Input(id="out", compact=True)
            yield Lines(id="told")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        name = one_line(self._paths.name, max_chars=40)
        words = dim(f" {name}: a whole model that needs no peft")
        self.query_one("#whose", Line).say(join(ink("merge", STRONG), words))
        self.query_one(".label", Line).say(dim("folder"))
        self._look()
        self._show()

    def on_unmount(self) -> None:
        self._end()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    # Before it begins.

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look(self) -> None:
        self.post_message(look(self._paths))

    @on(ExportLooked)
    def _looked(self, fact: ExportLooked) -> None:
        self._ready, self._problem = fact.ready, fact.problem
        if fact.ready is not None:
            self.query_one("#out", Input).value = str(fact.ready.out)
            self.query_one("#out", Input).focus()
        self._show()

    @property
    def _asks(self) -> bool:
        return self._ready is not None and self._link is None and self._ended is None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._asks if action in ("go", "precision") else True

    def action_precision(self, by: int) -> None:
        self._at = (self._at + by) % len(PRECISIONS)
        self._show()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_go()

    def action_go(self) -> None:
        typed = self.query_one("#out", Input).value.strip()
        if not self._asks or self._ready is None or not typed:
            return
        self._problem, self._planned, self._now = "", None, None
        out = expanded(typed).absolute()
        post = self.post_message
        self._link = ExportLink(self._root, self._ready, out, PRECISIONS[self._at], post)
        self._show()

    # While it goes on.

    @on(ExportHeard)
    def _heard(self, fact: ExportHeard) -> None:
        said = fact.said
        if self._link is None:
            return
        if isinstance(said, MergePlanned):
            self._planned = said
        elif isinstance(said, MergeProgressed):
            self._now = said
        elif isinstance(said, Merged):
            self._ended = said
            self._end()
        elif isinstance(said, MergeFailed):
            self._fail(f"{said.message} {said.then}")
        self._show()

    @on(ExportEnded)
    def _is_over(self, fact: ExportEnded) -> None:
        if self._link is not None:
            self._fail(fact.words)
            self._show()

    def _fail(self, words: str) -> None:
        self._end()
        self._problem = one_line(words).replace("⏎", " ")

    def _end(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def action_leave(self) -> None:
        if self._link is not None:
            # What it wrote goes with it; the folder can be changed, or left with another Escape.
            self._end()
            self._problem = "cancelled; nothing is left of it."
            self._show()
            return
        self.dismiss(None)

    # What is shown.

    def _show(self) -> None:
        self.query_one("#out", Input).disabled = not self._asks
        told = self.query_one("#told", Lines)
        width = max(40, self.app.size.width - 8)
        told.say(*self._rows(width))
        row = self.query_one("#form-keys", Line)
        row.say(keys_row(self._keys(), row.size.width))
        self.refresh_bindings()

    def _rows(self, width: int) -> list[Content]:
        wrap = partial(_wrapped, width=width)
        if self._ended is not None:
            # Where it is stands above, in the field.
            first, *others = merged_lines(self._ended)[:-1]
            rows = wrap(first, style=STRONG)
            for line in others:
                rows += wrap(line, style=GOOD if "✓" in line else "")
            return in_room(rows, max(3, int(PANEL_SHARE * self.app.size.height) - AROUND_ROWS))
        if self._link is not None:
            planned = planned_lines(self._planned) if self._planned is not None else []
            rows = [row for line in planned for row in wrap(line, style=_style(line))]
            return [*rows, self._progress()]
        wrong = wrap(f"✗ {self._problem}", style=WRONG) if self._problem else []
        if self._ready is None:
            return wrong or [dim("looking at adapter, base and disk …")]
        return [*self._choice(self._ready, wrap), *wrong]

    def _choice(self, ready: Ready, wrap: partial[list[Content]]) -> list[Content]:
        name = PRECISIONS[self._at]
        found = ready.sizes[name]
        shown = name if found.dtype in (None, name) else f"{name}: {found.dtype}"
        enough = found.size_bytes is None or (found.free_bytes or 0) > found.size_bytes
        rows = [
            join(dim("precision  "), ink(shown, ACCENT), dim(f"   {_WHY[name]}")),
            join(
                dim("size       "),
                ink(size(found.size_bytes)),
                dim("   free "),
                ink(size(found.free_bytes), "" if enough else WRONG),
            ),
        ]
        for words in ready.notices:
            rows += wrap(f"! {words}.", style=TIGHT)
        return rows

    def _progress(self) -> Content:
        now = self._now
        if now is None:
            return dim("starting …")
        far = far_words(now)
        if not far or now.done is None or not now.total:
            return dim(f"{one_line(now.label)} …")
        share = now.done / now.total
        return join(dim(f"{one_line(now.label)}  "), bar(share, 20), dim(f"  {far}"))

    def _keys(self) -> tuple[tuple[str, str], ...]:
        if self._asks:
            return (("Enter", "merges"), ("↑↓", "precision"), ("Esc", "leaves"))
        if self._link is not None:
            return (("Esc", "cancels; nothing is left of it"),)
        return (("Esc", "leaves"),)


def _style(line: str) -> str:
    return TIGHT if line.startswith("!") else ""


def _wrapped(text: str, *, width: int, style: str = "") -> list[Content]:
    indent = " " * (len(text) - len(text.lstrip()))
    lines = textwrap.wrap(one_line(text), width, subsequent_indent=indent)
    return [ink(line, style) if style else dim(line) for line in lines]
