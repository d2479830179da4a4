"""The Data screen's keys; those that move in a list or a form are their own."""

from __future__ import annotations

from textual.binding import Binding, BindingType


def _key(
    key: str, action: str, name: str, tip: str, *, id: str = "", shown: bool = True
) -> Binding:
    verb = id or action.partition("(")[0]
    return Binding(key, action, name, shown, id=f"data.{verb}", tooltip=tip)


def _arrow(key: str, by: int, tip: str) -> Binding:
    # Before the widgets that scroll, which would take them.
    return Binding(key, f"arrow({by})", "", False, id=f"data.{key}", tooltip=tip, priority=True)


HELP = (
    "What the run learns from. A row is shown as you wrote it and as the model will be fed it, "
    "token by token, from the trainer's own batch: what has the margin ▌ and is underlined is "
    "learned, the dim part is only read, and what lies behind max length is struck out below the "
    "line. o changes how rows are read, e checks all of them. Tab gives the arrow keys to a pane."
)

EMPTY = (
    "Nothing chosen to learn from. Rows can be questions and answers, conversations, preferences, "
    "labelled texts or plain documents; in JSON, CSV, Parquet or text, or from the Hub.",
    ("Enter", "chooses the one under the cursor"),
    ("t", "types a file, a folder, a pattern or a Hub id"),
)

KEYS: list[BindingType] = [
    _key("n", "deck('row', 1)", "next", "the next row", id="next"),
    _key("escape", "back", "back", "back to the list", id="list"),
    _key("p", "deck('row', -1)", "previous", "the row before", id="previous", shown=False),
    _arrow("right", 1, "the next row"),
    _arrow("left", -1, "the row before"),
    _key("o", "reading", "reading", "format, columns, template, task: how rows are read"),
    _key("e", "deck('problems')", "check", "check every row; what is wrong", id="problems"),
    _key("f", "deck('only')", "only these", "only rows with a problem, or all again", id="only"),
    _key("w", "ask('list')", "write list", "write every problem to a file", id="write"),
    _key("slash", "ask('find')", "find", "find a text in the rows", id="find"),
    _key("l", "deck('lengths')", "lengths", "lengths in tokens, in full", id="lengths"),
    _key("m", "deck('lossless')", "cut nothing", "max length that loses nothing", id="lossless"),
    _key("x", "deck('boundaries')", "tokens", "tell each token from the next", id="boundaries"),
    _key("v", "deck('turn')", "as written", "as written, or as fed", id="turn"),
    _key("t", "ask('path')", "path or id", "a file, a folder, a pattern or a Hub id", id="type"),
    _key("s", "splits", "splits", "choose the subset and the split"),
    _key("h", "ask('held-out')", "held-out", "rows never trained on", id="held_out"),
    _key("g", "ask('row')", "go to", "go to a row by its number", id="jump"),
    _key(
        "right_square_bracket", "deck('page', 1)", "", "next passage", id="next_page", shown=False
    ),
    _key("left_square_bracket", "deck('page', -1)", "", "passage before", id="page", shown=False),
    _key("r", "rescan", "look again", "read the files again; start the worker again"),
]
