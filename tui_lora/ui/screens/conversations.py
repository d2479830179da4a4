"""Conversations that were kept: found again, reopened, exported, deleted; opened over Chat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Input
from textual.worker import get_current_worker

from tui_lora.core.errors import UserError
from tui_lora.core.kept_chat import KeptChat
from tui_lora.core.text import UNKNOWN, one_line, shorten_middle
from tui_lora.store.chat_export import Kind, export, place_for
from tui_lora.store.kept_chats import Head, delete, heads, read_chat, search, snippet
from tui_lora.ui.conversation_rows import COLUMNS, conversation_row, moment_words
from tui_lora.ui.forms.ask_line import AskLine, Refused
from tui_lora.ui.ink import TIGHT, dim, ink, join
from tui_lora.ui.messages import Said
from tui_lora.ui.page import Page
from tui_lora.ui.screens.question import Question
from tui_lora.ui.widgets.empty import Empty
from tui_lora.ui.widgets.filter import Filter
from tui_lora.ui.widgets.line import Block, Line
from tui_lora.ui.widgets.table import Table
from tui_lora.ui.widgets.top_line import TopLine

Found = tuple[Path, KeptChat]


class Listed(Message, bubble=False):
    """The conversations that there are."""

    def __init__(self, found: list[Head]) -> None:
        self.found = found
        super().__init__()


class Searched(Message, bubble=False):
    """Those that hold what was typed."""

    def __init__(self, text: str, found: tuple[Head, ...]) -> None:
        self.text, self.found = text, found
        super().__init__()


class Looked(Message, bubble=False):
    """The conversation under the cursor was read."""

    def __init__(self, head: Head, chat: KeptChat) -> None:
        self.head, self.chat = head, chat
        super().__init__()


class Exported(Message, bubble=False):
    """A conversation was written, as these words say."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__()


class ConversationsScreen(Page):
    """Dismissed with the conversation to be reopened, or None; `now` is the one that is open."""

    TITLE_WORD = "Conversations"
    OF_DRAFT = True
    CSS_PATH = "conversations.tcss"
    HELP = (
        "Every conversation that was kept: in the chats/ folder of the first session that took "
        "part, or in your own where none did. / searches in everything that was said. Enter "
        "reopens one with those voices that can still be loaded, and what you write goes on in the "
        "same file. o writes one as Markdown; r as JSONL to be trained on, a row for each voice "
        "with what it answered whole, and another from where the system prompt is another one; v "
        "chooses one voice for that."
    )
    BINDINGS = [
        Binding("slash", "filter", "search", id="conversations.filter",
                tooltip="only those that hold some words"),
        Binding("o", "export('md')", "Markdown", id="conversations.markdown",
                tooltip="write it as Markdown"),
        Binding("r", "export('jsonl')", "rows", id="conversations.rows",
                tooltip="write it as JSONL that can be trained on"),
        Binding("v", "voice", "voice", id="conversations.voice",
                tooltip="whose answers become a row: everybody's, or one's"),
        Binding("d,x", "delete", "delete", id="conversations.delete",
                tooltip="delete it (asks first)"),
        Binding("escape", "leave", "back", id="conversations.leave",
                tooltip="show all again; back to the chat"),
    ]  # fmt: skip

    def __init__(self, root: Path, now: Path | None) -> None:
        super().__init__()
        self._root, self._now = root, now
        self._all: tuple[Head, ...] | None = None
        self._shown: dict[str, Head] = {}
        self._chat: tuple[Head, KeptChat] | None = None
        self._voice = ""

    def compose_body(self) -> ComposeResult:
        yield Filter("words that were said")
        yield ConversationTable(*COLUMNS, id="table")
        yield Empty(id="empty")
        yield AskLine(id="where")
        yield Line(id="foot-rule")
        yield Block(3, id="detail")

    def on_mount(self) -> None:
        self.call_after_refresh(self.query_one(TopLine).show_name, "")
        self.query_one(Table).focus()
        self.query_one("#detail", Block).say([dim("reading …")])
        self._list()

    def on_resize(self) -> None:
        self.query_one("#foot-rule", Line).say(ink("─" * self.size.width, "$faint"))
        self.call_after_refresh(self._show_detail)

    # What is there.

    @work(thread=True, exclusive=True, exit_on_error=False, group="list")
    def _list(self) -> None:
        worker = get_current_worker()
        known = {head.path: head for head in self._all or ()}
        found = heads(self._root, known, lambda: not worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(Listed(found))

    @on(Listed)
    def _listed(self, fact: Listed) -> None:
        self._all = tuple(fact.found)
        self._filter()

    @property
    def _words(self) -> str:
        return self.query_one("#filter", Input).value.strip()

    def _filter(self) -> None:
        if self._all is None:
            return
        if self._words:
            self._search(self._words, self._all)
        else:
            self.workers.cancel_group(self, "search")
            self._show(self._all)

    @work(thread=True, exclusive=True, exit_on_error=False, group="search")
    def _search(self, text: str, among: Sequence[Head]) -> None:
        worker = get_current_worker()
        found = tuple(search(among, text, lambda: not worker.is_cancelled))
        if not worker.is_cancelled:
            self.post_message(Searched(text, found))

    @on(Searched)
    def _searched(self, fact: Searched) -> None:
        if fact.text == self._words:
            self._show(fact.found)

    def _show(self, found: Sequence[Head]) -> None:
        self._shown = {str(head.path): head for head in found}
        table = self.query_one(Table)
        table.show([conversation_row(head, now=head.path == self._now) for head in found])
        self.set_class(not found, "-empty")
        if not found:
            self._show_empty()
        elif self.focused is None:
            table.focus()
        self._look()
        self.refresh_bindings()

    def _show_empty(self) -> None:
        about = "No conversation is kept yet. What is said on the Chat screen is, as it is said."
        if self._all:
            about = "No conversation has these words."
        self.query_one(Empty).show(about, ("Esc", "shows all again" if self._all else "back"))

    @property
    def _pointed(self) -> Head | None:
        return self._shown.get(self.query_one(Table).pointed or "")

    def _look(self) -> None:
        head = self._pointed
        if head is None:
            self.query_one("#detail", Block).say([])
        else:
            self._read(head)

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _read(self, head: Head) -> None:
        self.post_message(Looked(head, read_chat(head.path)))

    @on(Looked)
    def _looked(self, fact: Looked) -> None:
        if fact.head == self._pointed:
            self._chat = (fact.head, fact.chat)
            if self._voice not in fact.chat.labels:
                self._voice = ""
            self._show_detail()
            self.refresh_bindings()

    def _show_detail(self) -> None:
        if self._chat is None or self._pointed != self._chat[0]:
            return
        head, chat = self._chat
        width = max(20, self.size.width - 2)
        voices = ", ".join(one_line(label) for label in chat.labels.values()) or UNKNOWN
        told = chat.labels.get(self._voice, "everybody")
        first = join(dim("voices "), ink(shorten_middle(voices, max(20, width - 40))),
                     dim(f"   rows of {one_line(told, max_chars=24)}"))  # fmt: skip
        if chat.bad:
            lines = "1 line" if chat.bad == 1 else f"{chat.bad:,} lines"
            first = join(first, ink(f"   ! {lines} could not be read", TIGHT))
        second = dim(shorten_middle(one_line(str(head.path)), width))
        found = snippet(chat, self._words) if self._words else ""
        self.query_one("#detail", Block).say([first, second, ink(one_line(found))])

    @on(Table.Pointed)
    def _moved(self, event: Table.Pointed) -> None:
        event.stop()
        self._look()

    # Intents.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_attached or not self.query(Table):
            return True
        head = self._pointed
        if action in ("export", "delete"):
            return head is not None and not isinstance(self.focused, Input)
        if action == "voice":
            return self._chat is not None and len(self._chat[1].labels) > 1
        if action == "filter":
            return bool(self._all) and not isinstance(self.focused, Input)
        return True

    @on(Table.Opened)
    def _opened(self, event: Table.Opened) -> None:
        event.stop()
        if (head := self._pointed) is not None:
            self._open(head)

    @work(thread=True, exclusive=True, exit_on_error=False, group="open")
    def _open(self, head: Head) -> None:
        chat = read_chat(head.path)
        self.app.call_from_thread(self.dismiss, (head.path, chat))

    def action_leave(self) -> None:
        if self._words or self.has_class("-filter"):
            self.remove_class("-filter")
            self.query_one("#filter", Input).value = ""
            self.query_one(Table).focus()
            self.refresh_bindings()
        else:
            self.dismiss(None)

    def action_filter(self) -> None:
        self.add_class("-filter")
        self.query_one("#filter", Input).focus()
        self.refresh_bindings()

    @on(Input.Changed, "#filter")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._filter()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one(Table).focus()

    def action_voice(self) -> None:
        if self._chat is not None:
            names = ["", *self._chat[1].labels]
            self._voice = names[(names.index(self._voice) + 1) % len(names)]
            self._show_detail()

    def action_export(self, kind: Kind) -> None:
        if self._chat is None or self._pointed != self._chat[0]:
            return
        head, chat = self._chat
        hint = "Enter writes it here; a file that is there already is left alone, but for this one."
        label = "Markdown into" if kind == "md" else "rows into"
        place = str(place_for(head.path, chat, kind))
        self.query_one(AskLine).ask(kind, label, hint, value=place, completes=(f".{kind}",))

    @on(AskLine.Answered)
    def _place_given(self, event: AskLine.Answered) -> None:
        event.stop()
        if self._chat is None:
            return
        head, chat = self._chat
        kind: Kind = "md" if event.purpose == "md" else "jsonl"
        to = "" if event.text == str(place_for(head.path, chat, kind)) else event.text
        self._export(head, chat, kind, to)

    @work(thread=True, exclusive=True, exit_on_error=False, group="export")
    def _export(self, head: Head, chat: KeptChat, kind: Kind, to: str) -> None:
        try:
            done = export(head.path, chat, kind, to, self._voice if kind == "jsonl" else "")
        except UserError as error:
            self.post_message(Refused(f"{error.what} {error.then}".strip()))
            return
        rows = f"{done.rows} row{'s' * (done.rows != 1)}, " if kind == "jsonl" else ""
        self.post_message(Exported(f"saved: {rows}{done.size_bytes:,} bytes in {done.path}"))

    @on(Refused)
    def _refused(self, fact: Refused) -> None:
        fact.stop()
        self.query_one(AskLine).refuse(fact.why)

    @on(Exported)
    def _exported(self, fact: Exported) -> None:
        self.query_one(AskLine).close()
        self.say(fact.words, "good")

    def action_delete(self) -> None:
        head = self._pointed
        if head is None:
            return
        if head.path == self._now:
            self.say("this one is open; n begins another on the Chat screen first.", "warning")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._delete(head)

        turns = "1 message" if head.turns == 1 else f"{head.turns} messages"
        detail = f"{turns}, {moment_words(head.touched)}. Its file goes for good; its exports stay."
        first = one_line(head.first, max_chars=40) or "this empty conversation"
        self.app.push_screen(Question(f"Delete “{first}”?", detail, "delete it"), answered)

    @work(thread=True, exclusive=True, exit_on_error=False, group="delete")
    def _delete(self, head: Head) -> None:
        try:
            delete(head)
            self.post_message(Said("the conversation is deleted.", "good"))
        except UserError as error:
            self.post_message(Said(f"{error.what}", "error"))
        self.app.call_from_thread(self._list)


class ConversationTable(Table):
    BINDINGS = [
        Binding("enter", "open", "reopen", id="conversations.open", tooltip="go on with it"),
    ]
