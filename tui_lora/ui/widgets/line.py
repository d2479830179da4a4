"""One row of text that costs ink only when it says something else."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static


class Line(Static):
    """A row; `say` repaints it only when the text or its colours differ."""

    ALLOW_SELECT = True
    DEFAULT_CSS = """
    Line {
        height: 1;
        width: 1fr;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", markup=False, id=id, classes=classes)
        self._said = Content("")

    @property
    def said(self) -> Content:
        return self._said

    def say(self, text: Content | str) -> None:
        content = text if isinstance(text, Content) else Content(text)
        if content.is_same(self._said):
            return
        self._said = content
        self.update(content, layout=False)


class Lines(Static):
    """A few rows that change seldom and together; their number may change."""

    DEFAULT_CSS = "Lines { height: auto; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", markup=False, id=id, classes=classes)
        self._said: tuple[Content, ...] = ()

    @property
    def said(self) -> tuple[Content, ...]:
        return self._said

    def say(self, *rows: Content | str) -> None:
        contents = tuple(row if isinstance(row, Content) else Content(row) for row in rows)
        same = len(contents) == len(self._said) and all(
            a.is_same(b) for a, b in zip(contents, self._said, strict=True)
        )
        if same:
            return
        taller = len(contents) != len(self._said)
        self._said = contents
        self.update(Content("\n").join(contents), layout=taller or self.styles.text_wrap == "wrap")


class Block(Vertical):
    """A fixed number of rows, each repainted by itself: for figures that move on their own."""

    DEFAULT_CSS = "Block { height: auto; width: 1fr; }"

    def __init__(self, rows: int, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines = tuple(Line() for _ in range(rows))

    def compose(self) -> ComposeResult:
        yield from self._lines

    def say(self, rows: Sequence[Content]) -> None:
        """Fill the rows from the top; what is left over is empty."""
        for index, line in enumerate(self._lines):
            line.say(rows[index] if index < len(rows) else Content(""))

    @property
    def said(self) -> tuple[Content, ...]:
        return tuple(line.said for line in self._lines)
