"""What makes a run fit that ran out of memory: a list, and one key that goes on with the choice."""

from __future__ import annotations

from pathlib import Path

from textual.content import Content

from tui_lora.core.advice import Advice, RowLengths
from tui_lora.core.inspect import MemoryAdvised
from tui_lora.core.memory import headroom_gib
from tui_lora.core.out_of_memory import Mend, advised_mends, changes_words, gib, plain_mends
from tui_lora.core.sensors import SensorReading
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import UNKNOWN, one_line
from tui_lora.ui.headroom_text import card_words, verdict_word
from tui_lora.ui.ink import BRIGHT, TIGHT, dim, ink, keys_row
from tui_lora.ui.inspector import Inspector
from tui_lora.ui.memory_asked import asked_with, card_seen
from tui_lora.ui.screens.changes_list import ChangesList
from tui_lora.ui.state import CardSeen, MemorySeen, RunNow
from tui_lora.ui.widgets.line import Line, Lines
from tui_lora.ui.widgets.table import Column, Row, Table

MORE_GIB = 0.01
"""By so much a run counts as too large that ran out of memory and should not have."""


def card_of(run: RunNow, reading: SensorReading | None) -> CardSeen | None:
    """The card that the run had, and what others hold of it; None for a run on the processor."""
    event, told, plan = run.view.ran_out, run.view.forecast, run.view.plan
    assert run.spec is not None
    on_cpu = plan is not None and plan.device == "cpu"
    if on_cpu or run.spec.hardware.devices == "cpu" or (event and event.device == "cpu"):
        return None
    here = card_seen(reading, run.spec.hardware.devices)
    if here is not None:
        return here
    total = (event.total_gib if event else None) or (told.total_gib if told else None)
    if total is None:
        return None
    others = sum(holder.gib for holder in event.others) if event else 0.0
    return CardSeen(one_line(told.card) if told and told.card else "its card", total, others)


class MendList(ChangesList[Mend]):
    """Dismissed with what was chosen, or with None.

    `run` has a spec; `like` is the name of the new session that a change would begin which its
    checkpoint does not survive.
    """

    COLUMNS = (
        Column("", 0),
        Column("GiB", 6, numeric=True),
        Column("saves", 6, numeric=True, from_width=90),
        Column("", 14),
        Column("from", 13),
    )
    AROUND_ROWS = 14
    MOST_ROWS = 10
    DEFAULT_CSS = """
    MendList #so-far { height: 2; }
    """

    def __init__(
        self,
        run: RunNow,
        root: Path,
        inspector: Inspector,
        *,
        card: CardSeen | None,
        lengths: RowLengths | None,
        like: str,
    ) -> None:
        super().__init__(inspector)
        assert run.spec is not None
        self._spec: RunSpec = run.spec
        self._name, self._like = run.paths.name, like
        self._became = {choice.setting: choice.value for choice in run.view.choices}
        steps = run.view.checkpoint_steps
        self._step = steps[-1] if steps else None
        self._card, self._lengths = card, lengths
        self._root = root
        self._more_gib = 0.0
        self._mends: dict[str, Mend] = {}
        self._plain = plain_mends(
            self._spec,
            self._became,
            checkpoint=bool(steps),
            event=run.view.ran_out,
            lengths=lengths,
        )

    def begin(self) -> None:
        card = self._card
        if card is not None and card.total_gib is not None and card.others_gib is not None:
            self._ask()
            return
        self.done = True
        self.trouble = (
            "only cards are simulated, so what each saves is not known"
            if self._card is None
            else "the card does not tell its memory, so what each saves is not known"
        )

    def _ask(self) -> None:
        assert self._card is not None
        asked = asked_with(MemorySeen(self._card, self._spec), self._root)
        assert self._card.others_gib is not None
        others = self._card.others_gib + self._more_gib
        self.ask({**asked, "others_gib": others, "lengths": self._lengths})

    def found(self, answer: MemoryAdvised) -> None:
        if self._fits_by_itself(answer.advice):
            self._ask()
            return
        super().found(answer)
        if self.advice is not None and self.advice.largest:
            # All changes are there; what else would be told is not shown.
            self.drop()
            self.done = True

    def _fits_by_itself(self, found: Advice | None) -> bool:
        """Whether the simulation says that the run fits, which it did not: from then on it counts
        as too large by a little, so that what makes it smaller is looked for."""
        if found is None or found.verdict != "fits" or self._more_gib:
            return False
        assert self._card is not None
        total, others = self._card.total_gib, self._card.others_gib
        assert total is not None
        assert others is not None
        self._more_gib = headroom_gib(found.forecast, total, others) + MORE_GIB
        return True

    def chosen(self, key: str) -> Mend | None:
        return self._mends.get(key)

    def show(self) -> None:
        self._mends = {mend.title: mend for mend in self._known()}
        self.query_one("#so-far", Lines).say(self._so_far())
        self.query_one(Table).show([self._row(mend) for mend in self._mends.values()])
        self.show_below()

    def _known(self) -> list[Mend]:
        """What was simulated, then what is still to be; all of it plain where nothing can be."""
        advised: list[Mend] = []
        if self.advice is not None:
            advised = list(
                advised_mends(
                    self.advice, self._spec, self._became, checkpoint=self._step is not None
                )
            )
        if self.done and advised:
            return advised
        titles = {mend.title for mend in advised}
        return [*advised, *(mend for mend in self._plain if mend.title not in titles)]

    def _so_far(self) -> Content:
        if self.trouble:
            return ink(f"! {self.trouble}; the mildest come first.", TIGHT)
        assert self._card is not None
        words = card_words(self._card)
        if self.advice is None:
            return dim(f"what makes it fit {words}: simulating …")
        found = self.advice
        peak = gib(found.forecast.peak_process_gib)
        said = f"{words}: simulated {peak} GiB"
        if self._more_gib:
            said += f", which fits; it took more, so {gib(self._more_gib)} GiB are counted as held"
        if found.nothing:
            said = f"{said}. {one_line(found.nothing)}"
        return dim(said if self.done else f"{said}; simulating more …")

    def _row(self, mend: Mend) -> Row:
        title = one_line(f"{mend.title} ({mend.cuts})" if mend.cuts else mend.title)
        peak = ink(gib(mend.peak_process_gib)) if mend.peak_process_gib else dim(UNKNOWN)
        saves = dim(gib(mend.saves_gib))
        fits = verdict_word(mend.verdict) if mend.verdict != "unknown" else dim(UNKNOWN)
        return Row(mend.title, (ink(title, BRIGHT), peak, saves, fits, dim(self._then(mend))))

    def _then(self, mend: Mend) -> str:
        if not mend.resumes:
            return "a new session"
        return "the start" if self._step is None else f"step {self._step:,}"

    def show_below(self) -> None:
        mend = self._mends.get(self.query_one(Table).pointed or "")
        keys = [("Esc", "leaves")]
        if mend is None:
            self.query_one("#about-change", Lines).say(dim("Nothing about it can be made smaller."))
        else:
            words = changes_words(self._spec, mend.changes)
            rows = [ink(f"{words}.")]
            rows += [ink(f"! {one_line(note)}.", TIGHT) for note in mend.judged.notes]
            if mend.resumes:
                where = "the start" if self._step is None else f"step {self._step:,}"
                keys.insert(0, ("Enter", f"goes on with it from {where}"))
            else:
                rows += [ink(f"! {one_line(str(mend.judged.refused[0]))}", TIGHT)]
                keys.insert(0, ("Enter", f"begins a new session, {self._like}, at step 0"))
            rows.append(dim(one_line(mend.cost)))
            self.query_one("#about-change", Lines).say(*rows)
        row = self.query_one("#picker-keys", Line)
        row.say(keys_row(keys, row.size.width))
