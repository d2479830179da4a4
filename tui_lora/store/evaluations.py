"""Evaluations of a session, in its evaluations/: what was found, row by row, and what an evaluation
that did not come to its end had measured.

Three files by the time of the beginning: `<stamp>-eval.json` is the result, written whole, and
counts alone; `<stamp>-eval.rows.jsonl` are its rows, there before it; `<stamp>-eval.partial.jsonl`
grows while it is measured, and is gone once all of it is in a result.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tui_lora.core.errors import UserError
from tui_lora.core.evaluate import Evaluate
from tui_lora.core.evaluation import AnswerRow, Evaluation, LossRow, Written
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.journal import Appender
from tui_lora.store.lock import alone
from tui_lora.store.measured_adapter import folder_of, mark_of
from tui_lora.store.paths import SessionPaths

RESULT, ROWS, PARTIAL = "-eval.json", "-eval.rows.jsonl", "-eval.partial.jsonl"
_MAX_BYTES = 64 << 20
_KEPT_PARTIALS = 5

Line = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """An evaluation on disk; `earlier`: of an adapter in whose place there is another by now."""

    path: Path
    evaluation: Evaluation
    earlier: bool = False

    @property
    def current(self) -> bool:
        """Of the session's own adapter, as it stands there now."""
        return self.evaluation.step is None and not self.earlier

    @property
    def rows_path(self) -> Path:
        return self.path.with_name(self.path.name.removesuffix(RESULT) + ROWS)


@dataclass(frozen=True)
class Unfinished:
    """An evaluation that did not come to its end: begun at `t` (unix seconds), with `rows` that
    were measured, of what was `asked`; None where that cannot be read."""

    path: Path
    t: float
    rows: int
    asked: Evaluate | None


class Partial:
    """What is measured, line by line, so that it can be gone on with. Raises OSError.

    The first line is what was asked, under `key`: only the very same is gone on with. `lines` are
    those that an earlier evaluation left, `rows` those that stand in it by now. Until `close` no
    other evaluation goes on with it; one without a row is gone then.
    """

    def __init__(
        self, path: Path, lines: list[Line], key: str, about: Line, held: ExitStack
    ) -> None:
        self.path, self.lines = path, lines
        self.rows = len(lines) - 1
        self._held = held
        self._out = Appender(path)
        if not lines:
            self.add({"kind": "asked", "v": 1, "key": key, **about})

    def add(self, line: Line) -> None:
        """Raises OSError where the disk does not take it."""
        if not self._out.append(json.dumps(line, ensure_ascii=True) + "\n"):
            raise OSError("what was measured cannot be written down")
        self.rows += 1

    def close(self) -> None:
        self._out.close()
        if not self.rows:
            self.path.unlink(missing_ok=True)
        self._held.close()


def open_partial(
    paths: SessionPaths, key: str, about: Line, t: float, *, anew: bool = False
) -> Partial:
    """The newest unfinished evaluation that was asked under the same key and that nobody is at work
    with, or a new one of time `t` (unix seconds). Raises OSError."""
    paths.evaluations.mkdir(mode=0o700, exist_ok=True)
    for path in () if anew else partials(paths):
        if next(_lines(path), {}).get("key") == key and (held := _alone_with(path)) is not None:
            return Partial(path, list(_lines(path)), key, about, held)
    for old in partials(paths)[_KEPT_PARTIALS:]:
        if (held := _alone_with(old)) is not None:
            with held:
                old.unlink(missing_ok=True)
    while True:
        path = paths.evaluations / f"{_free_stamp(paths.evaluations, t)}{PARTIAL}"
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            continue
        if (held := _alone_with(path)) is not None:
            return Partial(path, [], key, about, held)


def partials(paths: SessionPaths) -> list[Path]:
    """The files of evaluations that did not come to their end, the newest first."""
    return sorted(_named(paths, PARTIAL), reverse=True)


def unfinished(paths: SessionPaths) -> Unfinished | None:
    """The newest evaluation that did not come to its end; None without one."""
    for path in partials(paths):
        lines = list(_lines(path))
        if not lines or len(lines) < 2:
            continue
        t = lines[0].get("t")
        try:
            asked = Evaluate.model_validate(lines[0].get("asked"))
        except ValidationError:
            asked = None
        if isinstance(t, int | float):
            return Unfinished(path, float(t), len(lines) - 1, asked)
    return None


def drop(left: Unfinished) -> None:
    """Delete what it had measured. Raises UserError, also where it is being gone on with."""
    try:
        held = _alone_with(left.path)
        if held is None:
            raise UserError("it is being measured now, so it stays.", where=clean(str(left.path)))
        with held:
            left.path.unlink(missing_ok=True)
    except OSError as error:
        where = clean(str(left.path))
        raise UserError(f"it could not be deleted: {error.strerror}.", where=where) from None


def keep(
    paths: SessionPaths,
    partial: Partial,
    evaluation: Evaluation,
    rows: Iterable[LossRow | AnswerRow],
    *,
    whole: bool = True,
) -> Path:
    """Write rows and result, then take the partial file away; raises OSError and leaves it then.

    Not `whole`: the partial holds more than the result, which stays to be gone on with.
    """
    stamp = partial.path.name.removesuffix(PARTIAL)
    if not whole:
        stamp = _free_stamp(paths.evaluations, evaluation.t)
    lines = [
        json.dumps(
            {"kind": "loss" if isinstance(row, LossRow) else "answer", **row.model_dump()},
            ensure_ascii=True,
        )
        for row in rows
    ]
    write_whole(paths.evaluations / f"{stamp}{ROWS}", "".join(f"{line}\n" for line in lines))
    path = paths.evaluations / f"{stamp}{RESULT}"
    write_whole(path, json.dumps(evaluation.model_dump(mode="json"), indent=1) + "\n")
    if whole:
        partial.path.unlink(missing_ok=True)
    return path


def listed(paths: SessionPaths) -> list[Kept]:
    """Every evaluation that can be read, the newest first."""
    found = ((path, _read(path)) for path in _named(paths, RESULT))
    kept = [
        Kept(path, evaluation, _is_earlier(paths, evaluation))
        for path, evaluation in found
        if evaluation is not None
    ]
    return sorted(kept, key=lambda one: (one.evaluation.t, one.path.name), reverse=True)


def _is_earlier(paths: SessionPaths, found: Evaluation) -> bool:
    if not found.adapter:
        return False
    now = mark_of(folder_of(paths, found.step))
    return bool(now) and now != found.adapter


def newest(paths: SessionPaths) -> Kept | None:
    """The evaluation that was begun last; one that cannot be read is passed over."""
    return next(iter(listed(paths)), None)


def rows_of(kept: Kept) -> Iterator[LossRow | AnswerRow]:
    """The rows of an evaluation, losses first, with clean texts; bad lines are passed over."""
    for line in _lines(kept.rows_path):
        try:
            if line.get("kind") == "loss":
                loss = LossRow.model_validate(line)
                told = ("file", "begin", "label", "predicted_base", "predicted_tuned")
                yield loss.model_copy(update={name: clean(getattr(loss, name)) for name in told})
            elif line.get("kind") == "answer":
                answer = AnswerRow.model_validate(line)
                yield answer.model_copy(
                    update={
                        **{name: clean(getattr(answer, name)) for name in _TEXTS},
                        "base": _clean_written(answer.base),
                        "tuned": _clean_written(answer.tuned),
                    }
                )
        except ValidationError:
            continue


_TEXTS = ("file", "question", "reference")


def _clean_written(written: Written) -> Written:
    return written.model_copy(update={"text": clean(written.text)})


def _alone_with(path: Path) -> ExitStack | None:
    """Holds the file until it is closed; None where another process is at work with it."""
    held = ExitStack()
    try:
        held.enter_context(alone(path, patience_s=0.0))
    except TimeoutError:
        return None
    return held


def _named(paths: SessionPaths, end: str) -> list[Path]:
    try:
        return [path for path in paths.evaluations.iterdir() if path.name.endswith(end)]
    except OSError:
        return []


def _lines(path: Path) -> Iterator[Line]:
    """The objects in a file, a line each; what is torn or no object is passed over."""
    try:
        opened = path.open("rb")
    except OSError:
        return
    with opened:
        for line in opened:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def _read(path: Path) -> Evaluation | None:
    """The evaluation in a file, every text in it clean."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        return Evaluation.model_validate(_clean(json.loads(path.read_bytes())))
    except (OSError, ValueError, RecursionError):
        return None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, dict):
        return {name: _clean(one) for name, one in value.items()}
    return value


def _free_stamp(folder: Path, t: float) -> str:
    stamp = name = time.strftime("%Y%m%d-%H%M%S", time.localtime(t))
    number = 2
    while any((folder / f"{name}{end}").exists() for end in (RESULT, ROWS, PARTIAL)):
        name = f"{stamp}-{number}"
        number += 1
    return name
