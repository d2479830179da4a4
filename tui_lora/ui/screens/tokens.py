"""The tokens of an answer and of what it answers; opened over Chat."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding

from tui_lora.core.chat import LookAtTokens, TokensShown
from tui_lora.core.text import one_line
from tui_lora.core.token_figures import token_figures
from tui_lora.ui import token_text
from tui_lora.ui.chat_facts import AnswerOver, TokensCame
from tui_lora.ui.chat_link import ChatLink
from tui_lora.ui.ink import WRONG, dim, ink
from tui_lora.ui.page import Page
from tui_lora.ui.widgets.line import Block, Line
from tui_lora.ui.widgets.token_grid import TokenGrid
from tui_lora.ui.widgets.top_line import TopLine

OTHERS = 5


class TokensScreen(Page):
    """`label` is who gave the answer that `look` asks about."""

    TITLE_WORD = "Tokens"
    OF_DRAFT = True
    CSS_PATH = "tokens.tcss"
    AUTO_FOCUS = "TokenGrid"
    HELP = (
        "What the model read and wrote, token by token: · is a space, ⏎ a line break, ⟦…⟧ a "
        "special token by its name. The prompt is dim; of the answer what had less than 10% is "
        "underlined. Below stands the token under the cursor, and the likeliest ones in its place, "
        "as the model thought at temperature 1, whatever the sampling was: a sampled token may "
        "well be number four. Perplexity is exp of the mean of -ln p over the answer's tokens."
    )
    BINDINGS = [
        Binding("u", "unlikely", "next unlikely", id="tokens.unlikely",
                tooltip="the next token with less than 10%"),
        Binding("i", "ids", "ids", id="tokens.ids", tooltip="numbers, or texts"),
        Binding("escape,x", "back", "back", id="tokens.back", tooltip="back to the chat"),
    ]  # fmt: skip

    def __init__(self, link: ChatLink, look: LookAtTokens, label: str) -> None:
        super().__init__()
        self._link, self._look, self._label = link, look, label
        self._shown: TokensShown | None = None
        self._ids = False

    def compose_body(self) -> ComposeResult:
        yield Line(id="sum")
        yield TokenGrid(id="grid")
        yield Line(id="foot-rule")
        yield Block(1 + OTHERS, id="detail")

    def on_mount(self) -> None:
        self.call_after_refresh(self.query_one(TopLine).show_name, one_line(self._label))
        self.query_one("#sum", Line).say(dim("the model reads the answer again …"))
        self._link.tell(self)
        self._link.look_at_tokens(self._look)

    def on_unmount(self) -> None:
        self._link.forget(self)

    def on_resize(self) -> None:
        self.query_one("#foot-rule", Line).say(ink("─" * self.size.width, "$faint"))

    @on(TokensCame)
    def _came(self, fact: TokensCame) -> None:
        if fact.shown.id != self._look.id:
            return
        self._shown = shown = fact.shown
        prompt = sum(token.part == "prompt" for token in shown.tokens)
        self.query_one("#sum", Line).say(
            token_text.summary(
                token_figures(shown.tokens), prompt, shown.left_out, again=shown.again
            )
        )
        self._draw()
        self.refresh_bindings()

    @on(AnswerOver)
    def _failed(self, fact: AnswerOver) -> None:
        if fact.id == self._look.id:
            self.query_one("#sum", Line).say(ink(f"✗ {one_line(fact.problem)}", WRONG))

    def _draw(self) -> None:
        if self._shown is not None:
            self.query_one(TokenGrid).show(self._shown.tokens, ids=self._ids)
            self._show_detail()

    @on(TokenGrid.Pointed)
    def _pointed(self, event: TokenGrid.Pointed) -> None:
        event.stop()
        self._show_detail()

    def _show_detail(self) -> None:
        grid = self.query_one(TokenGrid)
        token = grid.token
        if token is None or self._shown is None:
            return
        head = token_text.about(token, grid.cursor, len(self._shown.tokens))
        self.query_one("#detail", Block).say([head, *token_text.other_rows(token)])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._shown is not None if action in ("unlikely", "ids") else True

    def action_unlikely(self) -> None:
        if not self.query_one(TokenGrid).next_unlikely():
            self.say("no token of the answer had less than 10%.")

    def action_ids(self) -> None:
        self._ids = not self._ids
        self._draw()

    def action_back(self) -> None:
        self.dismiss()
