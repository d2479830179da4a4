"""`tui-lora export`: merge an adapter into its base, and say what was verified."""

from __future__ import annotations

import json
import queue
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.export import (
    FROM_MERGE,
    PRECISIONS,
    TO_MERGE,
    FromMerge,
    Merged,
    MergeFailed,
    MergePlanned,
    MergeProgressed,
    Precision,
    ToMerge,
)
from tui_lora.core.export_text import far_words, merged_lines, planned_lines
from tui_lora.core.text import clean
from tui_lora.headless.follow import to_stdout
from tui_lora.store.adapters import ChatTarget, stored_as, target
from tui_lora.store.exports import (
    check_out,
    default_out,
    estimate,
    order_of,
    step_of,
    with_room,
)
from tui_lora.store.launch import start_pipe_worker
from tui_lora.store.paths import expanded
from tui_lora.store.pipe import PipeWorker

TARGETS = ("merged",)
_LINE_S = 5.0


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    to: str
    checkpoint: int | None = None
    out: str | None = None
    dtype: str = "auto"
    devices: str | None = None
    base: str | None = None
    force: bool = False


@dataclass(frozen=True)
class _Gone:
    code: int
    words: str


def export(root: Path, what: str, wanted: Wanted, *, as_json: bool) -> int:
    """Merge, follow it, and print what came of it; the exit code. Raises UserError for what cannot
    be merged, before anything is loaded as far as files tell. Ctrl-C ends it and leaves nothing."""
    precision = _checked(wanted)
    at = f"{what}@{wanted.checkpoint}" if wanted.checkpoint is not None else what
    if wanted.checkpoint is not None and "/" in what:
        raise UserError(
            "--checkpoint is a step of a session, and this is a folder.",
            then="Give the session's name, or the checkpoint's folder by itself.",
        )
    found = target(root, at, base=wanted.base)
    if found.adapter is None:
        raise UserError(
            f"{clean(what)} is a whole model; there is no adapter to merge.",
            then="Give a session, or an adapter's folder.",
        )
    found = stored_as(found, devices=wanted.devices)
    step = step_of(found)
    out = expanded(wanted.out).absolute() if wanted.out else default_out(found, step)
    check_out(out, replace_it=wanted.force)
    guess = estimate(found, out, precision)
    if guess.dtype is not None:
        found = with_room(root, found, guess.dtype)
    return _followed(found, out, precision, step, wanted, as_json)


def _checked(wanted: Wanted) -> Precision:
    if wanted.to not in TARGETS:
        raise UserError(
            f"{clean(wanted.to, max_chars=40)} is nothing that can be exported to.",
            where="--to",
            then=f"There is: {', '.join(TARGETS)}.",
        )
    for precision in PRECISIONS:
        if precision == wanted.dtype:
            return precision
    raise UserError(
        f"{clean(wanted.dtype, max_chars=40)} is no precision.",
        where="--dtype",
        then=f"Choose of: {', '.join(PRECISIONS)}.",
    )


def _followed(
    found: ChatTarget,
    out: Path,
    precision: Precision,
    step: int | None,
    wanted: Wanted,
    as_json: bool,
) -> int:
    heard: queue.SimpleQueue[FromMerge | _Gone] = queue.SimpleQueue()
    worker: PipeWorker[ToMerge, FromMerge] = PipeWorker(
        start_pipe_worker("merge", devices=found.devices),
        sends=TO_MERGE,
        hears=FROM_MERGE,
        on_message=heard.put,
        on_end=lambda code, words: heard.put(_Gone(code, words)),
    )
    try:
        worker.send(
            order_of(found, out=out, precision=precision, replace_it=wanted.force, step=step)
        )
        merged = _until_merged(heard)
    finally:
        worker.close(patience_s=10.0)
    if as_json:
        to_stdout(json.dumps(merged.model_dump(mode="json")))
        return 0
    for line in merged_lines(merged):
        to_stdout(line)
    return 0


def _until_merged(heard: queue.SimpleQueue[FromMerge | _Gone]) -> Merged:
    said, last = "", 0.0
    while True:
        message = heard.get()
        if isinstance(message, Merged):
            return message
        if isinstance(message, MergeFailed):
            raise UserError(message.message, then=message.then, exit_code=message.exit_code)
        if isinstance(message, _Gone):
            words = message.words.splitlines()[-1] if message.words else "it said nothing"
            raise UserError(
                f"the merge worker ended (exit code {message.code}): {words}",
                then="Nothing was put in place.",
                exit_code=1,
            )
        if isinstance(message, MergePlanned):
            for line in planned_lines(message):
                _say(line)
        elif isinstance(message, MergeProgressed):
            now = time.monotonic()
            if message.label == said and now - last < _LINE_S:
                continue
            said, last = message.label, now
            far = far_words(message)
            _say(f"{message.label}{'   ' if far else ''}{far} …")


def _say(words: str) -> None:
    sys.stderr.write(f"{clean(words)}\n")
    sys.stderr.flush()
