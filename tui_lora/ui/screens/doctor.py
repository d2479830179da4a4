"""Doctor: what this machine can do, what is wrong with it, and each mend, ready to be copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.message import Message

from tui_lora.core.doctor import Check
from tui_lora.core.text import clean, one_line
from tui_lora.ui.ink import BRIGHT, DIM, GOOD, STRONG, WRONG, dim, ink, join
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Row, Table
from tui_lora.ui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from tui_lora.ui.app import TuiLora

MARKS = {True: ("✓", GOOD), False: ("✗", WRONG), None: ("·", DIM)}


class CheckFound(Message):
    """One more thing was looked at; None when that was all."""

    def __init__(self, check: Check | None) -> None:
        self.check = check
        super().__init__()


class CheckTable(Table):
    """Rows to be read: there is nothing behind them to open."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "open"


class DoctorScreen(Page):
    """Lies over the screen that one came from; Esc goes back to it."""

    TITLE_WORD = "Doctor"
    CSS_PATH = "doctor.tcss"
    AUTO_FOCUS = "CheckTable"
    OF_DRAFT = True
    HELP = (
        "What this machine can do, and what is wrong with it. ✓ is well, ✗ is wrong and has its "
        "mend below, · could not be told or does not matter here. A worker tries torch and "
        "bitsandbytes on the card, which takes some seconds. `tui-lora doctor` prints the same, "
        "and with --report writes a file for a bug report, without keys and names."
    )
    BINDINGS = [
        Binding("c", "copy", "copy the mend", id="doctor.copy", tooltip="copy what mends it"),
        Binding("w", "only_wrong(True)", "wrong only", id="doctor.wrong", tooltip="what is wrong"),
        Binding("w", "only_wrong(False)", "all", id="doctor.all", tooltip="all that was looked at"),
        Binding("r", "again", "again", id="doctor.again", tooltip="look at everything again"),
        Binding("escape", "back", "back", id="doctor.back", tooltip="back to where you were"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, Check] = {}
        self._done = True
        self._only_wrong = False

    def compose_body(self) -> ComposeResult:
        yield Line(id="so-far")
        yield CheckTable(Column("", 1), Column("", 21), Column("", 0), id="checks")
        yield Line(id="foot-rule")
        yield Lines(id="detail")

    def on_mount(self) -> None:
        # Neither the draft nor a session is what is shown; the page would name one.
        self.call_after_refresh(self.query_one(TopLine).show_name, "")
        self.action_again()

    def on_resize(self) -> None:
        self.query_one("#foot-rule", Line).say(ink("─" * self.size.width, "$faint"))

    def action_again(self) -> None:
        self._found, self._done = {}, False
        self._show()
        self.refresh_bindings()
        self._look()

    @work(thread=True, exclusive=True, exit_on_error=False, group="doctor")
    def _look(self) -> None:
        from tui_lora.store.doctor import checks

        checks(self.bench.root, on_found=lambda check: self._post(CheckFound(check)))
        self._post(CheckFound(None))

    def _post(self, fact: CheckFound) -> None:
        if self.is_attached:
            self.post_message(fact)

    @on(CheckFound)
    def _heard(self, fact: CheckFound) -> None:
        fact.stop()
        if fact.check is None:
            self._done = True
            self.refresh_bindings()
        else:
            # Two cards may have one name.
            name = one_line(fact.check.name)
            while name in self._found:
                name += " "
            self._found[name] = fact.check
        self._show()

    @on(Table.Pointed)
    def _pointed(self) -> None:
        self._show_detail()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "copy":
            check = self._at_hand()
            return check is not None and bool(check.fix)
        if action == "only_wrong":
            return parameters != (self._only_wrong,)
        return self._done if action == "again" else True

    def action_copy(self) -> None:
        check = self._at_hand()
        if check is not None and check.fix:
            self.app.copy_to_clipboard(clean(check.fix))
            self.say("the mend was handed to the terminal to copy (OSC 52); some do not take it.")

    def action_only_wrong(self, only: bool) -> None:
        self._only_wrong = only
        self._show()
        self.refresh_bindings()

    def action_back(self) -> None:
        self.dismiss()

    def topic(self) -> str:
        return ""

    def _at_hand(self) -> Check | None:
        return self._found.get(self.query_one(CheckTable).pointed or "")

    def _show(self) -> None:
        shown = {
            name: check
            for name, check in self._found.items()
            if not self._only_wrong or check.ok is False
        }
        self.query_one(CheckTable).show([_row(name, check) for name, check in shown.items()])
        self.query_one("#so-far", Line).say(self._so_far())
        self._show_detail()

    def _so_far(self) -> Content:
        wrong = sum(1 for check in self._found.values() if check.ok is False)
        count = dim(f"{len(self._found)} checks   ")
        if wrong:
            said = ink(f"✗ {wrong} wrong", WRONG)
        else:
            said = ink("✓ nothing is wrong", GOOD) if self._done else dim("nothing wrong so far")
        return join(count, said, dim("" if self._done else "   looking …"))

    def _show_detail(self) -> None:
        check = self._at_hand()
        if check is None:
            self.query_one("#detail", Lines).say()
            return
        rows = [join((one_line(check.name), STRONG), dim("   "), ink(one_line(check.detail)))]
        if check.fix:
            rows.append(join(dim("mend   "), ink(one_line(check.fix), BRIGHT)))
        self.query_one("#detail", Lines).say(*rows)


def _row(name: str, check: Check) -> Row:
    mark, style = MARKS[check.ok]
    bright = WRONG if check.ok is False else BRIGHT
    detail = ink(one_line(check.detail), DIM if check.ok is None else BRIGHT)
    return Row(name, (ink(mark, style), ink(name, bright), detail))


def open_doctor(app: TuiLora) -> None:
    """The doctor over the screen at hand, or a new look where it is open already."""
    if isinstance(app.screen, DoctorScreen):
        app.screen.action_again()
    else:
        app.push_screen(DoctorScreen())
