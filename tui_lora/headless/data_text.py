"""What `tui-lora data` prints: the dataset in facts, its problems, a row token by token."""

from __future__ import annotations

import shutil
import sys
from itertools import groupby
from typing import Any

from tui_lora.core.check import Checked, RowProblem
from tui_lora.core.columns import show_columns
from tui_lora.core.inspect import LengthsMeasured, RowFed, Sequence
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import clean, one_line, size

SHOWN_PROBLEMS = 20
SHOWN_LABELS = 12
_LABEL = 11
_PIPE_COLUMNS = 100
_DIM, _MARKED, _PLAIN = "\x1b[2m", "\x1b[1;4m", "\x1b[0m"


def report_lines(spec: RunSpec, checked: Checked, lengths: LengthsMeasured | None) -> list[str]:
    """What was found, a fact a line."""
    lines = [one_line(spec.dataset.path)]
    lines.append(_fact("format", f"{checked.format or 'unknown'}: {one_line(checked.reason)}"))
    lines.append(_fact("task", checked.task))
    if checked.columns:
        lines.append(_fact("columns", one_line(", ".join(checked.columns), max_chars=400)))
    if checked.parts:
        parts = show_columns(checked.parts)
        lines.append(_fact("parts", one_line(parts, max_chars=400)))
    if checked.splits:
        lines.append(_fact("splits", one_line(", ".join(checked.splits), max_chars=400)))
    lines.append(_fact("rows", _rows(checked)))
    if checked.labels:
        lines.append(_fact("labels", _labels(checked)))
    if checked.held_out_rows is not None:
        lines.append(_fact("held out", rows_of(checked.held_out_rows)))
    if checked.duplicates:
        lines.append(_fact("duplicates", f"{rows_of(checked.duplicates)} stood there before"))
    if checked.also_held_out:
        lines.append(_fact("", f"{rows_of(checked.also_held_out)} held out too, so not trained on"))
    if lengths is not None:
        lines += _lengths(spec, checked, lengths)
    return lines + _problems(checked)


def rows_of(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _fact(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _rows(checked: Checked) -> str:
    rows = f"{checked.rows:,}   usable {checked.usable_rows:,}"
    files = f"   in {checked.files:,} files" if checked.files > 1 else ""
    taken = f"   {size(checked.size_bytes)}" if checked.size_bytes is not None else ""
    return f"{rows}{files}{taken}"


def _labels(checked: Checked) -> str:
    most = sorted(checked.labels.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{one_line(label)} {count:,}" for label, count in most[:SHOWN_LABELS])
    more = f" and {len(most) - SHOWN_LABELS:,} more" if len(most) > SHOWN_LABELS else ""
    over = "over " if "labels" in checked.kinds and len(most) > 1 else ""
    return f"{over}{len(most):,}: {shown}{more}"


def _lengths(spec: RunSpec, checked: Checked, found: LengthsMeasured) -> list[str]:
    measured = "" if found.rows >= checked.usable_rows else f"   ({rows_of(found.rows)} measured)"
    longest = f"mean {found.mean:,.1f}   p50 {found.p50:,}   p95 {found.p95:,}"
    share = f" ({found.trained_tokens / found.tokens:.0%})" if found.tokens else ""
    trained = f", {found.trained_tokens:,} of them trained{share}"
    if checked.task == "classification":
        trained = ", read to learn the labels"
    lost = f", {found.cut_tokens:,} tokens lost" if found.cut_tokens else ""
    lines = [
        _fact("tokens", f"{longest}   longest {found.longest:,}{measured}"),
        _fact("", f"{found.tokens:,} in all{trained}"),
        _fact("max length", f"{found.max_length:,} cuts {rows_of(found.cut_rows)}{lost}"),
    ]
    if found.untrained_rows:
        lines.append(_fact("untrained", f"{rows_of(found.untrained_rows)} without a trained token"))
    return lines + [_fact("", f"! {one_line(problem)}") for problem in found.problems]


def _problems(checked: Checked) -> list[str]:
    if not checked.problems:
        return []
    total = max(sum(checked.kinds.values()), len(checked.problems))
    lines = ["", f"{total:,} {'problem' if total == 1 else 'problems'}"]
    lines += [f"  {problem_line(problem)}" for problem in checked.problems[:SHOWN_PROBLEMS]]
    more = total - min(SHOWN_PROBLEMS, len(checked.problems))
    if checked.listed_in:
        lines.append(f"  all of them are in {clean(checked.listed_in)}")
    elif more:
        lines.append(f"  and {more:,} more; --list FILE writes down all of them")
    return lines


def problem_line(problem: RowProblem) -> str:
    """`rows.jsonl:17: messages[1].role: unknown role …`"""
    line = f":{problem.line}" if problem.line else ""
    field = f"{problem.field}: " if problem.field else ""
    kept = "" if problem.left_out else "   (used all the same)"
    return one_line(f"{problem.file}{line}: {field}{problem.message}{kept}", max_chars=400)


# -- a row ---------------------------------------------------------------------------------------


def row_lines(spec: RunSpec, fed: RowFed) -> list[str]:
    """The row as the model is fed it. A bar stands beside what is trained, a cross beside what is
    cut off; a dot parts the tokens. On a terminal what is trained is underlined too."""
    colours = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if colours else _PIPE_COLUMNS
    counted = f"{fed.tokens:,} tokens, {fed.trained_tokens:,} trained, {fed.cut_tokens:,} cut off"
    lines = ["", f"row {fed.row + 1:,}: {counted}"]
    if fed.label:
        lines.append(_fact("label", one_line(fed.label)))
    lines += [_fact("", one_line(note)) for note in (*fed.notes, *fed.choices)]
    for sequence in fed.sequences:
        if sequence.name or len(fed.sequences) > 1:
            lines.append(f"  {one_line(sequence.name)}: {sequence.tokens:,} tokens")
        lines += _sequence(sequence, columns - 4, colours)
    return lines


def _sequence(sequence: Sequence, width: int, colours: bool) -> list[str]:
    lines = []
    fates = groupby(sequence.pieces, key=lambda piece: (piece.trained and not piece.cut, piece.cut))
    for (trained, cut), pieces in fates:
        sign = _sign("✗", "x") if cut else _sign("▌", "|") if trained else " "
        style = _MARKED if trained else _DIM
        texts = [text for piece in pieces for text in piece.texts]
        lines += [
            f"  {sign} {style}{row}{_PLAIN}" if colours else f"  {sign} {row}"
            for row in _wrapped(texts, width)
        ]
    return lines


def _sign(good: str, plain: str) -> str:
    """`good`, unless what reads our output knows no such character."""
    try:
        good.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return plain
    return good


def _wrapped(texts: list[str], width: int) -> list[str]:
    """Tokens in rows of at most `width` characters; a token that ends a line ends the row."""
    rows = [""]
    for text in texts:
        shown = one_line(text) or "∅"
        if rows[-1] and len(rows[-1]) + 1 + len(shown) > width:
            rows.append("")
        rows[-1] += f"·{shown}" if rows[-1] else shown
        while len(rows[-1]) > width:
            rows[-1:] = [rows[-1][:width], rows[-1][width:]]
        if text.endswith("\n"):
            rows.append("")
    return [row for row in rows if row]


# -- JSON ----------------------------------------------------------------------------------------


def as_json(
    checked: Checked, lengths: LengthsMeasured | None, fed: RowFed | None
) -> dict[str, Any]:
    """What `--json` prints; unknown is null. Rows count from 1, as --row takes them."""
    tokens = None
    # A classifier learns labels, and no token of its own.
    learned = lengths if checked.task != "classification" else None
    if lengths is not None:
        tokens = {
            "mean": lengths.mean,
            "p50": lengths.p50,
            "p95": lengths.p95,
            "max": lengths.longest,
        }
    found: dict[str, Any] = {
        "format": checked.format,
        "task": checked.task,
        "rows": checked.rows,
        "usable_rows": checked.usable_rows,
        "splits": list(checked.splits),
        "columns": list(checked.columns),
        "tokens": tokens,
        "truncated_rows": lengths.cut_rows if lengths is not None else None,
        "trained_tokens": learned.trained_tokens if learned is not None else None,
        "problems": [
            {
                "file": problem.file,
                "line": problem.line or None,
                "row": problem.row + 1 or None,
                "field": problem.field or None,
                "message": problem.message,
                "left_out": problem.left_out,
            }
            for problem in checked.problems
        ],
        "problem_kinds": checked.kinds,
        "reason": checked.reason,
        "parts": checked.parts,
        "held_out_rows": checked.held_out_rows,
        "labels": checked.labels,
        "duplicates": checked.duplicates,
        "also_held_out": checked.also_held_out,
        "files": checked.files,
        "size_bytes": checked.size_bytes,
        "listed_in": checked.listed_in,
        "measured_rows": lengths.rows if lengths is not None else None,
        "lost_tokens": lengths.cut_tokens if lengths is not None else None,
        "untrained_rows": lengths.untrained_rows if lengths is not None else None,
    }
    if fed is not None:
        found["row"] = fed.model_dump(mode="json", exclude={"id"}) | {"row": fed.row + 1}
    return found
