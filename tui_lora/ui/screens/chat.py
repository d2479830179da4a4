"""Chat: talk to a base and what stands beside it. Layout and choosing; the rest is in
`chat_answers` and `chat_voices`, the worker in `ui/chat_link`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal

from tui_lora.core.chat import BASE
from tui_lora.core.text import one_line
from tui_lora.store.adapters import ChatTarget
from tui_lora.ui.blind import TIE
from tui_lora.ui.chat_facts import voice_of
from tui_lora.ui.ink import ACCENT, DIM, STRONG, between, dim, ink, join, right
from tui_lora.ui.keymap import place
from tui_lora.ui.messages import Said
from tui_lora.ui.screens.chat_kept import KeptPage
from tui_lora.ui.screens.chat_keys import KEYS, TYPING
from tui_lora.ui.talking import link_row
from tui_lora.ui.voices import voices_row
from tui_lora.ui.widgets.composer import Composer
from tui_lora.ui.widgets.exchange import Prose, Talk
from tui_lora.ui.widgets.line import Line
from tui_lora.ui.widgets.target_list import TargetList

HINTS = (
    ("Enter", "sends; Esc leaves the writing, and single keys hold"),
    ("Tab", "switches who answers next; nothing is loaded again"),
    ("^s", "everybody answers, side by side; also the last message again"),
    ("t", "outside the writing: more voices; Space marks several"),
    ("B", "outside the writing: nobody is named, and you vote for the best"),
    ("h", "outside the writing: the next held-out question"),
    ("U", "outside the writing: puts the model away; elsewhere it stays loaded"),
)
PREDICT_HINTS = (
    ("Enter", "says which label the text has; Esc leaves the writing, and single keys hold"),
    ("h", "outside the writing: the next held-out text, with its true label"),
    ("↑", "what you asked before"),
    ("U", "outside the writing: puts the model away; elsewhere it stays loaded"),
)
NOTHING_LOADED = join(
    dim("○ nothing is loaded"),
    "   ",
    ("r", STRONG),
    dim(" or "),
    ("^r", STRONG),
    dim(" loads it again"),
)
NO_TEMPLATE = (
    "this model has no chat template, so a plain one is used; c carries a text on instead."
)


class ChatScreen(KeptPage):
    TITLE_WORD = "Chat"
    CSS_PATH = "chat.tcss"
    HELP = (
        "Talk to a model, and to adapters on it. The base is loaded once; Tab switches who answers "
        "next, without loading again. t lists what can stand beside it: adapters, checkpoints, "
        "merged models, several at once marked with Space; there f sets the precision of the base "
        "and d where it goes. Each voice reads its own earlier "
        "answers, and another's only where it gave none. Blind, nobody is named until you have "
        "voted, and the texts come all at once, since their speed would tell who writes; votes are "
        "kept in the sessions' notes. Below an answer stand its tokens, how many a second, after "
        "how long the first came, and how many the context has left. The conversation is kept in "
        "the first session's chats/ folder. A classifier gives labels instead: each with its "
        "probability, the likeliest first. The model stays in memory while you look at other "
        "screens, so that nothing is loaded twice; U puts it away, which frees the card, and Esc "
        "calls its loading off. It ends with this viewer."
    )
    BINDINGS = KEYS

    def __init__(self) -> None:
        super().__init__()
        self._warned = ""
        self._rules = self._when()

    def compose_body(self) -> ComposeResult:
        yield TargetList(self.bench.root, id="targets")
        yield Line(id="voices")
        yield Prose(id="link")
        yield Line(id="score")
        yield Talk(id="talk")
        with Horizontal(id="ask"):
            yield Line(id="prompt")
            yield Composer(id="composer")

    def on_mount(self) -> None:
        keys = [("p", "an adapter's folder or a model, by its path")]
        keys += [("2", "put a run together; its adapter appears here")] if place("model") else []
        keys += [("1", "look at the sessions")]
        about = "Here you talk to a model and to the adapters on it. No session has an adapter yet."
        self.query_one(TargetList).show_empty(about, *keys)
        self._choose()

    def on_screen_resume(self) -> None:
        if self.choosing:
            self._list()
        elif (
            chosen := self.bench.session
        ) is not None and chosen not in self.conversation.voices.sessions:
            self.say(f"t talks to {chosen.name}, which is chosen now.")

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_link)
        self.call_after_refresh(self.show_score)

    def on_descendant_focus(self) -> None:
        self._show_prompt()

    def on_descendant_blur(self) -> None:
        self._show_prompt()

    @property
    def choosing(self) -> bool:
        return self.has_class("-choosing")

    @property
    def writing(self) -> bool:
        return isinstance(self.focused, Composer)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached or not self.query(Composer) or not self.is_mounted:
            return True
        if parameters == (TYPING,) and not self.writing:
            return False
        if action == "vote":
            letters = self.blind.letters
            return not self.choosing and bool(letters) and parameters[0] in (TIE, *letters)
        rule = self._rules.get(action)
        return rule() if rule is not None else super().check_action(action, parameters)

    def _when(self) -> dict[str, Callable[[], bool]]:
        """When each intent makes sense."""

        def talking() -> bool:
            return not self.choosing

        def several() -> bool:
            return talking() and len(self.conversation.voices) > 1

        def told() -> bool:
            """Whether what is done to one voice would not tell which it is."""
            return talking() and not self.blind.hiding

        def still() -> bool:
            return told() and not self.conversation.running

        def next_is_adapter() -> bool:
            voice = self.conversation.voices.next
            return told() and voice is not None and voice.adapter

        def next_goes() -> bool:
            voice = self.conversation.voices.next
            return still() and voice is not None and voice.name != BASE

        def cut() -> bool:
            found = self.conversation.at_hand()
            return still() and self.link.state.alive and found is not None and found[1].cut

        def leaves() -> bool:
            open_now = bool(self.conversation.voices.all) or self._has_said()
            choice = self.query_one(TargetList).typing or open_now
            return self.writing or (self.choosing and choice) or self.editing is not None

        def loads() -> bool:
            free = not self.writing and self.editing is None
            return talking() and free and self.link.state.phase == "loading"

        def gone() -> bool:
            return self.link.state.phase == "ended" or self._is_away

        return {
            "stop": lambda: self.conversation.running and talking(),
            "call_off": loads,
            "leave": leaves,
            "path": lambda: self.choosing and not self.query_one(TargetList).typing,
            "load_again": lambda: gone() and talking(),
            "regenerate": lambda: still() and self.link.state.alive and self._has_said(),
            "carry_on": cut,
            "edit": lambda: still() and self._has_said(),
            "switch": lambda: several() and not self.blind.on,
            "together": lambda: several() and not self.blind.on,
            "everybody": lambda: several() and not self.blind.on,
            "mute": lambda: several() and told(),
            "unload": next_goes,
            "strength": next_is_adapter,
            "blind": several,
            "completion": lambda: told() and not self.conversation.predicting,
            "markdown": lambda: talking() and not self.conversation.predicting,
            "sampling": lambda: talking() and not self.conversation.predicting,
            "write": lambda: talking() and not self.writing,
            "held_out": talking,
            "new": talking,
            "targets": told,
            "page": talking,
            **self.rules_of_kept(),
        }

    def _has_said(self) -> bool:
        return self.conversation.transcript.last is not None

    @property
    def _is_away(self) -> bool:
        """Whether somebody could answer, and nothing is in memory."""
        return self.link.state.phase == "off" and bool(self.conversation.targets)

    def show_link(self) -> None:
        width = self.size.width - 2
        voices, state = self.conversation.voices, self.link.state
        does = "predicts" if self.conversation.predicting else "answers"
        how = "  completion" if self.completing else ""
        sampled = "" if self.conversation.predicting else f"{how}  {self.sampling.words()}"
        room = max(20, width - len(sampled) - 2)
        everybody = self.everybody or self.blind.on
        row = voices_row(voices, room, everybody=everybody, does=does, gib=state.gib)
        self.query_one("#voices", Line).say(between(row, dim(sampled), width))
        if not self.blind.hiding or state.label or not state.alive:
            # What the worker holds changes with who answers.
            row = link_row(state, width, time.monotonic(), self._ends())
            self.query_one("#link", Prose).say(NOTHING_LOADED if self._is_away else row)
        if state.warning and state.warning != self._warned:
            self.say(state.warning, "warning")
        self._warned = state.warning
        self.query_one(Composer).placeholder = self._hint()

    def _ends(self) -> tuple[str, str] | None:
        """The key that puts an end to what is in memory, where one may press it now."""
        if self.link.state.phase != "loading" or self.choosing:
            return None if self.writing else ("U", "puts it away")
        if self.conversation.running or self.editing is not None:
            return None
        return ("Esc Esc" if self.writing else "Esc", "calls it off")

    def _hint(self) -> str:
        voice = self.conversation.voices.next
        to = one_line(voice.label) if voice is not None else ""
        if self.blind.on or (self.everybody and len(self.conversation.voices) > 1):
            to = "everybody"
        if self.conversation.predicting:
            return f"a text for {to} to label" if self.writing else "Enter writes a text"
        if self.completing:
            return f"a text that {to} carries on" if self.writing else "Enter writes a text"
        return f"a message to {to}" if self.writing else "Enter writes a message"

    def show_score(self) -> None:
        row = self.query_one("#score", Line)
        row.display = self.blind.on and not self.choosing
        row.say(self.score_content(self.size.width - 2))

    def _show_prompt(self) -> None:
        self.query_one("#prompt", Line).say(ink("›", ACCENT if self.writing else DIM))
        self.show_link()
        self.refresh_bindings()

    # Choosing.

    def _choose(self) -> None:
        self.add_class("-choosing")
        targets = self.query_one(TargetList)
        state = self.link.state
        loaded = state.target if state.alive else None
        if loaded is not None and state.ready is not None:
            loaded = replace(loaded, devices=state.ready.device)
        targets.begin([voice.name for voice in self.conversation.voices.all], loaded)
        targets.take_focus()
        self.show_score()
        self._list()

    def _list(self) -> None:
        chosen = self.bench.session
        self.query_one(TargetList).read(chosen.name if chosen is not None else "")

    @on(TargetList.Chosen)
    def _chosen(self, fact: TargetList.Chosen) -> None:
        if len(fact.targets) > 1:
            self.everybody = True
        first, state = fact.targets[0], self.link.state
        held = state.target is not None and state.alive and state.target.base == first.base
        # Such as on the CPU, where `auto` brought it.
        there = state.ready is not None and state.ready.device == first.devices
        moved = fact.placed and not there
        anew = moved or not held
        self.talk_to(*(self._along(fact.targets) if anew else fact.targets), moved=moved)

    def _along(self, chosen: Sequence[ChatTarget]) -> Sequence[ChatTarget]:
        """Targets whose base is loaded anew, and before them those that stood beside it."""
        first, names = chosen[0], {BASE, *(voice_of(target) for target in chosen)}
        others = [
            replace(target, devices=first.devices)
            for target in self.conversation.targets
            if target.base == first.base and voice_of(target) not in names
        ]
        return (*others, *chosen)

    def opened(self, target: ChatTarget) -> None:
        if self.conversation.join(target):
            self.reveal()
            self.say("another base, so a new conversation begins.")
        if not self.conversation.transcript.exchanges:
            self.begin()
        if self.blind.on:
            self.read_votes()
        self._chat()
        self._look_at_template(target)

    @work(thread=True, exclusive=True, exit_on_error=False, group="template")
    def _look_at_template(self, target: ChatTarget) -> None:
        from tui_lora.store.chat_targets import has_template

        if not target.classifier and has_template(target) is False:
            self.post_message(Said(NO_TEMPLATE))

    def _chat(self) -> None:
        self.query_one(TargetList).leave_path()
        self.remove_class("-choosing")
        self.query_one(Composer).focus()
        self.show_link()
        self.show_score()

    def begin(self) -> None:
        known = PREDICT_HINTS if self.conversation.predicting else HINTS
        hints = [join(right((key, STRONG), 5), dim(f"   {words}")) for key, words in known]
        self.query_one(Talk).clear(*hints)

    # Intents.

    def action_write(self) -> None:
        self.query_one(Composer).focus()

    def action_leave(self) -> None:
        targets = self.query_one(TargetList)
        if targets.typing:
            if targets.finding:
                self.say("called off; nothing is loaded.")
            targets.leave_path()
        elif self.choosing:
            self._chat()
        elif self.writing:
            self.query_one(Talk).focus()
        else:
            self.leave_editing()

    def action_targets(self, where: str = "") -> None:
        self._choose()

    def action_path(self) -> None:
        self.query_one(TargetList).ask_path()

    def action_call_off(self) -> None:
        self.link.close()
        self.say("called off; nothing is in memory.")

    def send(self, *, together: bool) -> None:
        if self._is_away:
            self.say("nothing is loaded that could answer; ^r loads it again.", "warning")
        else:
            super().send(together=together)

    def action_together(self, where: str = "") -> None:
        if self._is_away:
            self.send(together=True)
        else:
            super().action_together(where)

    def action_load_again(self, where: str = "") -> None:
        targets = self.conversation.targets
        if targets:
            self.talk_to(*targets)
