"""How answers are drawn: a small form over the Chat screen."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tui_lora.core import sampling as core
from tui_lora.core.text import number
from tui_lora.ui.ink import ACCENT, DIM, STRONG, WRONG, dim, ink, join
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.line import Line

MAX_TEMPERATURE = 5.0
MAX_TOKENS = 100_000
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy: always the likeliest token, so the seed plays no part."""

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 7
    system: str = ""

    def drawn(self) -> core.Sampling:
        """The same for the worker; the system prompt goes with the turns."""
        return core.Sampling(
            temperature=self.temperature, max_new_tokens=self.max_new_tokens, seed=self.seed
        )

    def words(self) -> str:
        how = "greedy"
        if self.temperature > 0:
            how = f"temperature {number(self.temperature)} · seed {self.seed}"
        system = " · system prompt" if self.system else ""
        return f"{how} · {self.max_new_tokens:,} tokens{system}"


FIELDS = (
    ("temperature", "0 always takes the likeliest token; 1 draws as the model was trained"),
    ("tokens", "the longest answer"),
    ("seed", "the same seed draws the same answer; without effect at temperature 0"),
    ("system", "what the model is told before the conversation; empty for nothing"),
)


class SamplingForm(ModalScreen[Sampling | None]):
    """Arrows move, Enter keeps, Esc leaves everything as it was."""

    BINDINGS = [
        Binding("up,shift+tab", "move(-1)", "up", id="sampling.up", tooltip="one field up"),
        Binding("down,tab", "move(1)", "down", id="sampling.down", tooltip="one field down"),
        Binding("escape", "leave", "leave", id="sampling.leave", tooltip="change nothing"),
    ]
    DEFAULT_CSS = """
    SamplingForm .row { height: 1; width: 100%; }
    SamplingForm .label { width: 14; }
    SamplingForm #form-help { margin: 1 0 0 0; }
    """
    CSS = """
    SamplingForm Input { background: $panel; }
    SamplingForm Input:focus { background: $cursor; }
    """

    def __init__(self, sampling: Sampling) -> None:
        super().__init__()
        self._before = sampling

    def compose(self) -> ComposeResult:
        before = self._before
        values = (f"{before.temperature:g}", str(before.max_new_tokens), str(before.seed))
        with Vertical(classes="panel"):
            for (name, _), value in zip(FIELDS, (*values, ""), strict=True):
                with Horizontal(classes="row"):
                    yield Line(classes="label")
                    if name == "system":
                        yield Composer(id=name)
                    else:
                        yield Input(value, id=name, compact=True)
            yield Line(id="form-help")
            yield Line(id="form-keys")

    def on_mount(self) -> None:
        self.query_one("#system", Composer).write(self._before.system)
        keys = (("↑↓", "moves"), ("Enter", "keeps"), ("Esc", "leaves it as it was"))
        row = [join((key, STRONG), dim(f" {words}")) for key, words in keys]
        self.query_one("#form-keys", Line).say(join(row[0], "   ", row[1], "   ", row[2]))
        self.query_one("#temperature", Input).focus()

    def on_descendant_focus(self) -> None:
        focused = self.focused
        for (name, help), label in zip(FIELDS, self.query(".label").results(Line), strict=True):
            here = focused is not None and focused.id == name
            label.say(ink(name, ACCENT if here else DIM))
            if here:
                self.query_one("#form-help", Line).say(dim(help))

    def action_move(self, step: int) -> None:
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_leave(self) -> None:
        self.dismiss(None)

    def on_input_submitted(self) -> None:
        texts = {name: self.query_one(f"#{name}", Input).value.strip() for name, _ in FIELDS}
        temperature = _number(texts["temperature"], MAX_TEMPERATURE)
        tokens = _number(texts["tokens"], MAX_TOKENS)
        seed = _number(texts["seed"], MAX_SEED)
        if temperature is None:
            self._refuse("temperature", f"is a number from 0 to {MAX_TEMPERATURE:g}")
        elif tokens is None or tokens < 1 or tokens != int(tokens):
            self._refuse("tokens", f"is a whole number from 1 to {MAX_TOKENS:,}")
        elif seed is None or seed != int(seed):
            self._refuse("seed", f"is a whole number from 0 to {MAX_SEED:,}")
        else:
            system = self.query_one("#system", Composer).text
            self.dismiss(Sampling(temperature, int(tokens), int(seed), system))

    def _refuse(self, name: str, why: str) -> None:
        self.query_one(f"#{name}", Input).focus()
        say = self.query_one("#form-help", Line).say
        self.call_after_refresh(say, ink(f"✗ {name} {why}.", WRONG))


def _number(text: str, most: float) -> float | None:
    """The number, from 0 to `most`; None for anything else."""
    try:
        value = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        return None
    return value if 0 <= value <= most else None
