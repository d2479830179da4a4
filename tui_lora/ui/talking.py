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
LEAST_NAME = 16
"""Cells of a model's name, however much stands beside it."""
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
        Binding(
            "U",
            "put_away",
            "put away",
            False,
            id="talk.put_away",
            tooltip="put the model away, also while it loads: all that it held is free",
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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("put_away", "stop_waiting") and self.is_attached:
            state = self.link.state
            return state.alive if action == "put_away" else state.phase == "waiting"
        return super().check_action(action, parameters)

    def opened(self, target: ChatTarget) -> None:
        """The target's base is in memory or being loaded, its adapter beside it; called for each
        target that was asked for."""

    def show_link(self) -> None:
        """Draw what the worker does; called once a second while it loads."""

    def talk_to(self, *targets: ChatTarget, moved: bool = False) -> None:
        """Load targets of one base where there is room for them; else say so, and what else could
        be done. A base that is in memory stays where it is, unless it is `moved`."""
        self._wait_no_more()
        state = self.link.state
        if not moved and state.alive and state.target is not None:
            there = state.target
            targets = tuple(
                replace(t, devices=there.devices) if t.base == there.base else t for t in targets
            )
        loaded = self.link.holds(targets[0])
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
        elif fit.verdict == "fits" or room.target.loaded_as in self.link.agreed:
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
                self.link.agreed.add(room.target.loaded_as)
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

    def action_put_away(self) -> None:
        if self.link.state.alive:
            self.link.close()
            self.say("put away; what the model held is free in a moment.")

    @on(LinkChanged)
    def _link_changed(self) -> None:
        state = self.link.state
        self.set_class(state.phase == "waiting", "-waiting")
        self.set_class(state.alive, "-held")
        self._run_clock()
        self.show_link()
        self.refresh_bindings()

    def on_screen_resume(self) -> None:
        self._run_clock()
        self.show_link()

    def on_screen_suspend(self) -> None:
        if self._clock is not None:
            self._clock.pause()
        if not isinstance(self.app.screen_stack[0], TalkingPage):
            self._tell_what_stays()

    def _tell_what_stays(self) -> None:
        """On the screen that one went to, once of each base: loading anew would take long."""
        state = self.link.state
        if not state.alive or state.target is self.link.told_of:
            return
        self.link.told_of = state.target
        what = "stays in memory" if state.phase == "ready" else "goes on loading"
        gib = held_gib(state)
        held = f" ({number(gib)} GiB)" if gib is not None else ""
        self.bench.say(f"the chat's model {what}{held}; U in Chat puts it away.")

    def _run_clock(self) -> None:
        if self._clock is None:
            return
        if self.link.state.label and self.link.state.alive and self.is_current:
            self._clock.resume()
        else:
            self._clock.pause()


def link_row(
    state: LinkState, width: int, now: float, ends: tuple[str, str] | None = None
) -> Content:
    """What the chat worker does, in one row: loading with seconds, ready with where it runs; in one
    more what could not be loaded beside it. `ends`: the key that puts an end to it, and words."""
    model = one_line(state.target.model.id) if state.target is not None else ""
    problem = one_line(" ".join(state.problem.split()))
    away = join("   ", (ends[0], STRONG), dim(f" {ends[1]}")) if ends else Content("")
    if state.phase == "waiting" and state.target is not None:
        who = shorten_middle(one_line(state.target.name), 24)
        stops = join("   ", ("w", STRONG), dim(" stops waiting"))
        return join(("○ ", ACCENT), ink(f"{who} {one_line(state.label)}"), stops)
    if state.phase == "ended":
        again = join("   ", ("r", STRONG), dim(" or "), ("^r", STRONG), dim(" loads it again"))
        return join(ink(f"✗ {problem}", WRONG), again)
    if state.alive and state.label:
        gone = int(max(0.0, now - state.since))
        took = join("   ", ink(f"{gone} s"))
        if state.expect_s:
            took = join(took, dim(f" of about {duration(state.expect_s)}"))
        # Once is enough, and a path is long.
        label = one_line(state.label).removesuffix(f" of {model}")
        room = width - len(label) - took.cell_length - away.cell_length - 5
        row = join(("● ", ACCENT), dim(f"{_short(model, room)}   "), ink(label))
        if state.expect_s:
            room = width - row.cell_length - took.cell_length - away.cell_length - 3
            if room >= 6:
                row = join(row, "   ", bar(min(0.99, gone / state.expect_s), min(room, 40)))
        return join(row, took, away)
    wrong = ink(f"✗ {problem}", WRONG) if state.problem else Content("")
    if state.ready is not None:
        scheme = state.target.quantization.scheme if state.target is not None else "none"
        device, dtype = one_line(state.ready.device), one_line(state.ready.dtype)
        where = f"{device} · {dtype}"
        if scheme != "none":
            where = f"{device} · {scheme}, computed in {dtype}"
        # Where there is no room for all of it, the seconds are what one can do without.
        for seconds in (f" · loaded in {duration(state.ready.seconds)}", ""):
            said = join(dim(f"   {where}{seconds}"), held_words(state), away)
            room = width - said.cell_length
            if room >= LEAST_NAME:
                break
        row = join((_short(model, room), DIM), said)
        return join(wrong, "\n", row) if state.problem else row
    return wrong


def _short(model: str, room: int) -> str:
    """A model's name or path, which gives way to what stands beside it."""
    return shorten_middle(model, min(40, max(LEAST_NAME, room)))


def held_words(state: LinkState) -> Content:
    """` · holds 1.21 GiB`: what the worker takes up; nothing where it did not say."""
    held = held_gib(state)
    if held is None:
        return Content("")
    return join(dim(" · holds "), ink(number(held)), dim(" GiB"))


def held_gib(state: LinkState) -> float | None:
    """What the worker takes up, as it said last."""
    memory = state.memory
    if memory is None:
        return None
    return memory.reserved_gib if memory.reserved_gib is not None else memory.allocated_gib
