"""What pages that talk to a model share: the one chat worker, and the look for room before it is
started.

Nothing is loaded that was not found to fit, or that the user was not asked about.
"""

from __future__ import annotations

from dataclasses import replace

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.timer import Timer

from tui_lora.core.chat import BASE
from tui_lora.core.chat_memory import Place
from tui_lora.core.sensors import SensorReading
from tui_lora.core.text import duration, number, one_line, shorten_middle
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.chat_room import ChatRoom, held_to
from tui_lora.ui.chat_facts import LinkChanged, LinkState, voice_of
from tui_lora.ui.chat_link import ChatLink, link_of
from tui_lora.ui.ink import ACCENT, DIM, STRONG, WRONG, bar, dim, ink, join
from tui_lora.ui.messages import Said
from tui_lora.ui.page import Page
from tui_lora.ui.screens.no_room import NoRoom
from tui_lora.ui.screens.question import Question

WAIT_EVERY_S = 3.0
OF_ITSELF = ("name", "adapter", "session", "classifier", "whole")
"""What a target is beside its base."""
LOOKS_AFTER = 4
"""Looks once what was waited for has ended: its memory is free a moment later, and read later."""


class TalkingPage(Page):
    """`talk_to` a target; `opened` is called when its base is there or on its way."""

    BINDINGS = [
        Binding(
            "w",
            "stop_waiting",
            "stop waiting",
            False,
            id="talk.stop_waiting",
            tooltip="no longer wait for room to load a model",
        ),
    ]

    class Looked(Message, bubble=False):
        """It is known whether there is room for some targets of one base."""

        def __init__(self, asked: tuple[ChatTarget, ...], room: ChatRoom) -> None:
            self.asked, self.room = asked, room
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._clock: Timer | None = None
        self._patience: Timer | None = None
        self._awaited: tuple[ChatTarget, ...] = ()
        self._looks_after = 0

    @property
    def link(self) -> ChatLink:
        return link_of(self.app)

    def on_mount(self) -> None:
        self.link.tell(self)
        self._clock = self.set_interval(1.0, self.show_link, pause=True)
        self._patience = self.set_interval(WAIT_EVERY_S, self._look_again, pause=True)

    def on_unmount(self) -> None:
        self.link.forget(self)

    def opened(self, target: ChatTarget) -> None:
        """The target's base is in memory or being loaded, its adapter beside it; called for each
        target that was asked for."""

    def show_link(self) -> None:
        """Draw what the worker does; called once a second while it loads."""

    def talk_to(self, *targets: ChatTarget) -> None:
        """Load targets of one base where there is room for them; else say so, and what else could
        be done."""
        self._wait_no_more()
        state, loaded = self.link.state, self.link.holds(targets[0])
        new = tuple(t for t in targets if not (loaded and self._is_there(t)))
        for target in targets:
            if target not in new:
                self._open((target,), ChatRoom.of_loaded(target))
        if not new:
            return
        # What the base in memory takes is free once it was put away for another. It must be in the
        # reading then, which may be from before it was loaded.
        held = {} if loaded else state.held
        self._look_around(new, None if held else self.bench.sensors, held, loaded)

    def _is_there(self, target: ChatTarget) -> bool:
        voice = voice_of(target)
        return voice == BASE or voice in self.link.state.voices

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look_around(
        self,
        targets: tuple[ChatTarget, ...],
        reading: SensorReading | None,
        held: dict[Place, float],
        loaded: bool,
    ) -> None:
        from tui_lora.store.chat_room import look_for_room

        room = look_for_room(self.bench.root, targets, reading, gained=held, loaded=loaded)
        self.post_message(self.Looked(targets, room))

    @on(Looked)
    def _looked(self, fact: Looked) -> None:
        asked, room, fit = fact.asked, fact.room, fact.room.fit
        if self._awaited:
            self._looked_while_waiting(asked, room)
        elif fit.verdict == "does_not_fit":
            self._refuse(asked, room)
        elif fit.verdict == "fits" or room.target.base in self.link.agreed:
            self._open(asked, room)
        elif fit.beside:
            self._ask(asked, room)
        else:
            # Nobody but the chat itself can come to harm.
            self._open(asked, room)
            words = "tight" if fit.verdict == "tight" else "whether it fits is not known"
            self.say(f"{words}: {fit.sentence}", "warning")

    def _ask(self, asked: tuple[ChatTarget, ...], room: ChatRoom) -> None:
        tight = room.fit.verdict == "tight"
        detail = f"{room.fit.sentence} " + (
            "That is tight: less than 5% would be left."
            if tight
            else "Whether it fits is not known. If memory runs out, the run may fail."
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self.link.agreed.add(room.target.base)
                self._open(asked, room)

        title = f"Load a model beside {room.beside}?"
        self.app.push_screen(Question(title, detail, "load it", "leave it"), answered)

    def _refuse(self, asked: tuple[ChatTarget, ...], room: ChatRoom) -> None:
        def chosen(kind: str | None) -> None:
            if kind == "wait":
                self._wait_for(asked, room)
            for way in room.ways:
                if way.kind == kind:
                    self._open(asked, ChatRoom(way.target, way.fit))

        self.app.push_screen(NoRoom(room), chosen)

    def _open(self, asked: tuple[ChatTarget, ...], room: ChatRoom) -> None:
        """Load them as room was found for the first of them: on one base, in one place."""
        for target in asked:
            own = {name: getattr(target, name) for name in OF_ITSELF}
            found = replace(room.target, **own)
            self.link.open(held_to(found, room.fit), room.fit)
            self.opened(found)

    # Waiting until there is room.

    def _wait_for(self, asked: tuple[ChatTarget, ...], room: ChatRoom) -> None:
        self.link.wait(room.target, f"waits for {room.beside} to end, and opens then")
        self._awaited, self._looks_after = asked, 0
        if self._patience is not None:
            self._patience.resume()

    def _wait_no_more(self) -> None:
        self._awaited = ()
        if self._patience is not None:
            self._patience.pause()
        if self.link.state.phase == "waiting":
            self.link.close()

    def _look_again(self) -> None:
        if not self._awaited or self.link.state.phase != "waiting":
            # Another page has had something loaded.
            self._awaited = ()
            if self._patience is not None:
                self._patience.pause()
            return
        self._look_around(self._awaited, self.bench.sensors, {}, False)

    def _looked_while_waiting(self, asked: tuple[ChatTarget, ...], room: ChatRoom) -> None:
        if asked is not self._awaited or self.link.state.phase != "waiting":
            return
        if room.fit.verdict in ("fits", "tight"):
            self._wait_no_more()
            self._open(asked, room)
            name = one_line(asked[0].name)
            self.post_message(Said(f"there is room now: loading {name}.", "good"))
        elif not room.fit.beside:
            self._looks_after += 1
            if self._looks_after == LOOKS_AFTER:
                self._wait_no_more()
                self.post_message(Said(f"there is no room yet: {room.fit.sentence}", "warning"))

    def action_stop_waiting(self) -> None:
        if self.link.state.phase == "waiting":
            self._wait_no_more()
            self.say("no longer waiting; nothing was loaded.")

    @on(LinkChanged)
    def _link_changed(self) -> None:
        self.set_class(self.link.state.phase == "waiting", "-waiting")
        self._run_clock()
        self.show_link()
        self.refresh_bindings()

    def on_screen_resume(self) -> None:
        self._run_clock()
        self.show_link()

    def on_screen_suspend(self) -> None:
        if self._clock is not None:
            self._clock.pause()

    def _run_clock(self) -> None:
        if self._clock is None:
            return
        if self.link.state.label and self.link.state.alive and self.is_current:
            self._clock.resume()
        else:
            self._clock.pause()


def link_row(state: LinkState, width: int, now: float) -> Content:
    """What the chat worker does, in one row: loading with seconds, ready with where it runs."""
    model = one_line(state.target.model.id) if state.target is not None else ""
    short = shorten_middle(model, 40)
    if state.phase == "waiting" and state.target is not None:
        who = shorten_middle(one_line(state.target.name), 24)
        stops = join("   ", ("w", STRONG), dim(" stops waiting"))
        return join(("○ ", ACCENT), ink(f"{who} {one_line(state.label)}"), stops)
    if state.phase == "ended":
        again = join("   ", ("r", STRONG), dim(" or "), ("^r", STRONG), dim(" loads it again"))
        return join(ink(f"✗ {one_line(state.problem)}", WRONG), again)
    if state.alive and state.label:
        gone = int(max(0.0, now - state.since))
        row = join(("● ", ACCENT), dim(f"{short}   "), ink(one_line(state.label)))
        took = join("   ", ink(f"{gone} s"))
        if state.expect_s:
            took = join(took, dim(f" of about {duration(state.expect_s)}"))
            room = width - row.cell_length - took.cell_length - 3
            if room >= 6:
                row = join(row, "   ", bar(min(0.99, gone / state.expect_s), min(room, 40)))
        return join(row, took)
    if state.problem:
        return ink(f"✗ {one_line(state.problem)}", WRONG)
    if state.ready is not None:
        scheme = state.target.quantization.scheme if state.target is not None else "none"
        device, dtype = one_line(state.ready.device), one_line(state.ready.dtype)
        where = f"{device} · {dtype}"
        if scheme != "none":
            where = f"{device} · {scheme}, computed in {dtype}"
        said = f"   {where} · loaded in {duration(state.ready.seconds)}"
        return join((short, DIM), dim(said), held_words(state))
    return Content("")


def held_words(state: LinkState) -> Content:
    """` · holds 1.21 GiB`: what the worker takes up; nothing where it did not say."""
    if state.memory is None:
        return Content("")
    memory = state.memory
    held = memory.reserved_gib if memory.reserved_gib is not None else memory.allocated_gib
    return join(dim(" · holds "), ink(number(held)), dim(" GiB"))
