"""How answers are drawn: a form over the Chat screen, with sets under names."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input

from tui_lora.core.errors import UserError
from tui_lora.core.sampling_set import (
    BUILT_IN,
    GREEDY,
    SETTINGS,
    SYSTEM,
    SamplingSet,
    Setting,
    shown,
    typed,
)
from tui_lora.core.text import one_line
from tui_lora.store.sampling_sets import (
    all_sets,
    delete_set,
    named,
    rename_set,
    save_set,
)
from tui_lora.ui.ink import ACCENT, DIM, FAINT, STRONG, WRONG, dim, ink, join, keys_row
from tui_lora.ui.screens.panel import Panel
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.line import Line, Lines

NAME = "name"
"""The field that asks for the name of a set."""
UNNAMED = "(no name)"


class SetRow(Line, can_focus=True):
    """The set that is chosen; its keys save, rename and delete."""

    BINDINGS = [
        Binding("left", "screen.next_set(-1)", "set", False, id="sampling.set_before",
                tooltip="the set before"),
        Binding("right,space", "screen.next_set(1)", "set", False, id="sampling.set_after",
                tooltip="the next set"),
        Binding("s", "screen.name('save')", "save", False, id="sampling.save",
                tooltip="save these settings under a name"),
        Binding("r", "screen.name('rename')", "rename", False, id="sampling.rename",
                tooltip="give this set another name"),
        Binding("d", "screen.delete", "delete", False, id="sampling.delete",
                tooltip="delete this set"),
        Binding("enter", "screen.keep", "keep", False, id="sampling.keep",
                tooltip="answer so from now on"),
    ]  # fmt: skip


class SamplingForm(Panel[SamplingSet | None]):
    """Arrows move, Enter keeps, Esc leaves everything as it was. Dismissed with the settings."""

    BINDINGS = [
        Binding("up,shift+tab", "move(-1)", "up", id="sampling.up", tooltip="one field up"),
        Binding("down,tab", "move(1)", "down", id="sampling.down", tooltip="one field down"),
        Binding("escape", "leave", "leave", id="sampling.leave", tooltip="change nothing"),
    ]
    DEFAULT_CSS = """
    SamplingForm .row { height: 1; width: 100%; }
    SamplingForm .label { width: 14; }
    SamplingForm #name-row { display: none; }
    SamplingForm.-naming #name-row { display: block; }
    SamplingForm #form-help { height: 3; }
    """
    CSS = """
    SamplingForm Input { background: $panel; }
    SamplingForm Input:focus, SamplingForm SetRow:focus { background: $cursor; }
    """

    def __init__(self, sampling: SamplingSet) -> None:
        super().__init__()
        self._now = sampling
        self._wrong: dict[str, str] = {}
        self._naming = ""
        self._said: Content | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="panel"):
            with Horizontal(classes="row"):
                yield Line(classes="label", id="label-set")
                yield SetRow(id="set")
            with Horizontal(classes="row", id="name-row"):
                yield Line(classes="label", id=f"label-{NAME}")
                yield Input(id=NAME, compact=True)
            for setting in SETTINGS:
                with Horizontal(classes="row"):
                    yield Line(classes="label", id=f"label-{setting.name}")
                    if setting.name == SYSTEM:
                        yield Composer(id=SYSTEM)
                    else:
                        yield Input(id=setting.name, compact=True)
            yield Lines(id="form-help")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        self._now = self._with_name()
        self._fill()
        self.query_one("#temperature", Input).focus()

    # Drawing.

    def on_descendant_focus(self) -> None:
        if not isinstance(self.focused, SetRow):
            self._said = None
        if self.focused is not None and self.focused.id != NAME:
            self._stop_naming()
        self._draw()

    def _fill(self) -> None:
        """Put the values of the set into the fields."""
        self._wrong.clear()
        with self.prevent(Input.Changed):
            for setting in SETTINGS:
                text = shown(setting.name, self._now)
                field = self.query_one(f"#{setting.name}", Input)
                if isinstance(field, Composer):
                    field.write(text)
                else:
                    field.value = text
        self._draw()

    def _draw(self) -> None:
        focused = self.focused.id if self.focused is not None else ""
        name = one_line(self._now.name) or UNNAMED
        stated = self._now.stated() if self._now.stated() != name else ""
        self.query_one("#set", SetRow).say(join(("‹ ", DIM), (name, STRONG), (" ›  ", DIM),
                                                dim(stated)))  # fmt: skip
        self._label("set", "set", ACCENT if focused == "set" else DIM)
        self._label(NAME, "its name", ACCENT)
        for setting in SETTINGS:
            look = ACCENT if focused == setting.name else FAINT if self._idle(setting) else DIM
            look = WRONG if setting.name in self._wrong else look
            self._label(setting.name, setting.label, look)
            field = self.query_one(f"#{setting.name}", Input)
            field.styles.text_opacity = 0.5 if self._idle(setting) else 1.0
        self.query_one("#form-help", Lines).say(self._help(focused or ""))
        keys = [("↑↓", "moves"), ("Enter", "keeps"), ("Esc", "leaves it as it was")]
        if focused == "set":
            own = self._now.name and all(self._now.name != one.name for one in BUILT_IN)
            keys = [("←→", "chooses"), ("s", "saves")]
            keys += [("r", "renames"), ("d", "deletes")] if own else []
            keys += [("Enter", "keeps"), ("Esc", "leaves")]
        self.query_one("#form-keys", Line).say(keys_row(keys))

    def _label(self, name: str, text: str, look: str) -> None:
        self.query_one(f"#label-{name}", Line).say(ink(text, look))

    def _help(self, name: str) -> Content:
        if self._said is not None:
            return self._said
        if name in self._wrong:
            return ink(f"✗ {self._wrong[name]}", WRONG)
        if name == NAME:
            return dim("What the set is called; Enter saves it, Esc leaves that.")
        setting = next((one for one in SETTINGS if one.name == name), None)
        if setting is None:
            return dim("Settings under a name; s saves these, all below included.")
        if self._idle(setting):
            return join(dim(setting.help), (f" It plays {GREEDY}", ACCENT))
        return dim(setting.help)

    def _idle(self, setting: Setting) -> bool:
        return not setting.greedy and self._now.values.greedy

    # Changing.

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        name = event.input.id or ""
        if name == NAME:
            return
        field = event.input
        text = field.text if isinstance(field, Composer) else field.value
        try:
            self._now = typed(name, text, self._now)
        except UserError as error:
            self._wrong[name] = error.what
        else:
            self._wrong.pop(name, None)
            if not self._now.name:
                self._now = self._with_name()
        self._draw()

    def _with_name(self) -> SamplingSet:
        """The settings under the name of the set that they are, if they are one."""
        return self._now if self._now.name else named(self._now)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input.id == NAME:
            self._take_name(event.value)
        else:
            self.action_keep()

    def action_keep(self) -> None:
        if self._wrong:
            self.query_one(f"#{next(iter(self._wrong))}", Input).focus()
            return
        self.dismiss(self._now)

    def action_move(self, step: int) -> None:
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_leave(self) -> None:
        if self._naming:
            self._stop_naming()
            self.query_one(SetRow).focus()
        else:
            self.dismiss(None)

    # Sets.

    def action_next_set(self, by: int) -> None:
        sets = all_sets()
        names = [one.name for one in sets]
        at = names.index(self._now.name) + by if self._now.name in names else 0
        self._now = sets[at % len(sets)]
        self._said = None
        self._fill()

    def action_name(self, what: str) -> None:
        if self._wrong:
            self.action_keep()
            return
        self._naming = what
        self.add_class("-naming")
        field = self.query_one(f"#{NAME}", Input)
        field.value = self._now.name if what == "rename" else ""
        field.focus()

    def _stop_naming(self) -> None:
        self._naming = ""
        self.remove_class("-naming")

    def _take_name(self, name: str) -> None:
        def do() -> str:
            if self._naming == "rename":
                self._now = rename_set(self._now.name, name)
                return f"it is called {self._now.name} now."
            self._now = save_set(name, self._now)
            return f"{self._now.name} is saved."

        if self._done(do):
            self._stop_naming()
            self.query_one(SetRow).focus()

    def action_delete(self) -> None:
        name = self._now.name

        def do() -> str:
            delete_set(name)
            self._now = named(SamplingSet("", self._now.values, self._now.system))
            return f"{name} is deleted; its settings stand here until you choose others."

        self._done(do)

    def _done(self, do: Callable[[], str]) -> bool:
        """Do what is done to a file of some hundred bytes, and say what came of it."""
        try:
            self._said = ink(f"✓ {do()}", ACCENT)
        except UserError as error:
            self._said = ink(f"✗ {error.what} {error.then}".strip(), WRONG)
            self._draw()
            return False
        self._draw()
        return True
