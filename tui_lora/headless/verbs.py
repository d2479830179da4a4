"""The verbs about runs: train, watch, ls, stop, checkpoint, doctor. Each returns an exit code."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.status import Status
from tui_lora.core.text import UNKNOWN, clean, number, shorten_middle, size
from tui_lora.headless.changes import changed
from tui_lora.headless.follow import follow, to_stdout
from tui_lora.store import runs, sessions
from tui_lora.store.journal import Tail
from tui_lora.store.paths import SessionPaths
from tui_lora.store.presets import read_preset
from tui_lora.store.spec_file import read_data, spec_in
from tui_lora.store.spec_file import read_spec as read_spec_file

LS_FIXED = 56
"""Columns of a line of `ls` that are neither the name nor the model."""

EXIT_CODES = {
    Status.DONE: 0,
    Status.STOPPED: 0,
    Status.PAUSED: 0,
    Status.FAILED: 1,
    Status.INTERRUPTED: 1,
    Status.OUT_OF_MEMORY: 3,
}


def train(
    root: Path,
    *,
    what: str | None,
    preset: str | None,
    name: str | None,
    changes: list[str],
    detach: bool,
) -> int:
    """Start a new session from a spec or a preset, or resume the session `what`."""
    if (what is None) == (preset is None):
        raise UserError(
            "give one of: a run spec, a session, or --preset.",
            then="For example: tui-lora train --preset quickstart",
        )
    if what is not None and not _is_spec(what):
        paths = sessions.find(root, what)
        if changes or name:
            raise UserError(
                f"{what} is a session, and its settings are fixed.",
                then="--set and --name are for a run spec or a preset.",
            )
        status = sessions.status_of(paths)
        if status.alive:
            to_stdout(f"{paths.name} is already running.")
        else:
            runs.resume(paths, on_progress=print_progress())
    else:
        paths = _begin(root, what, preset, name, changes)
    if detach:
        to_stdout(f"{paths.name} runs on its own. Watch it: tui-lora watch {paths.name}")
        return 0
    return follow_to_end(paths)


def follow_to_end(paths: SessionPaths, *, raw: bool = False) -> int:
    """Follow a run; Ctrl-C detaches, which is no failure."""
    try:
        status = follow(paths, to_stdout, raw=raw)
    except KeyboardInterrupt:
        to_stdout(f"\ndetached; the run goes on. Watch it: tui-lora watch {paths.name}")
        return 0
    if not raw:
        result = sessions.read_result(paths)
        message = f" ({clean(result.message)})" if result and result.message else ""
        to_stdout(f"{paths.name}: {status}{message}")
        if status in (Status.INTERRUPTED, Status.STOPPED, Status.FAILED):
            to_stdout(f"resume it: tui-lora train {paths.name}")
    return EXIT_CODES.get(status, 0)


def watch(root: Path, name: str, *, raw: bool) -> int:
    """Follow a session that runs, or print what a finished one did."""
    return follow_to_end(sessions.find(root, name), raw=raw)


def ls(root: Path, *, as_json: bool) -> int:
    """Every session in a line, or as JSON."""
    found = [sessions.summarize(paths) for paths in sessions.listed(root)]
    if as_json:
        to_stdout(json.dumps([_as_json(summary) for summary in found], indent=1))
        return 0
    if not found:
        to_stdout(
            f"no sessions in {clean(str(root))} yet. Begin: tui-lora train --preset quickstart"
        )
        return 0
    # In a pipe there is no edge, and a name that is cut is of no use to a program.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    width, left = _ls_widths(max(7, *(len(summary.name) for summary in found)), columns)
    to_stdout(
        f"{'session':<{width}}  {'status':<13}  {'step':>13}  {'loss':>6}  {'eval':>6}  "
        f"{'adapter':>8}{'  model' if left else ''}"
    )
    for s in found:
        step = UNKNOWN if s.step is None else f"{s.step:,}"
        total = f" of {s.total_steps:,}" if s.total_steps else ""
        to_stdout(
            f"{shorten_middle(s.name, width):<{width}}  {s.status:<13}  {step + total:>13}  "
            f"{number(s.loss):>6}  {number(s.eval_loss):>6}  {size(s.adapter_bytes):>8}"
            f"{_ls_end(s, left)}"
        )
    return 0


def _ls_widths(longest: int, columns: int) -> tuple[int, int]:
    """The columns of the name and of the model, 0 where it has no room; `columns` 0: no edge."""
    if not columns:
        return longest, 400
    room = columns - LS_FIXED
    if room < 12 + 2 + 16:
        return max(7, min(longest, room)), 0
    width = min(longest, 32, room - 2 - 16)
    return width, room - 2 - width


def _ls_end(summary: sessions.Summary, left: int) -> str:
    """What is wrong with a session, or its model."""
    if summary.problem:
        return f"  {summary.problem}"
    return f"  {shorten_middle(summary.model or UNKNOWN, left)}" if left else ""


def stop(root: Path, name: str) -> int:
    """Order the stop and wait until the worker is gone."""
    paths = sessions.find(root, name)
    sessions.order_stop(paths)
    to_stdout(f"{name}: asked to stop; it finishes its step and saves.")
    began = time.monotonic()
    while sessions.status_of(paths).alive:
        if time.monotonic() - began > 600:
            raise UserError(
                f"{name} has not stopped after ten minutes.",
                where=str(paths.log),
                then="It may still be loading or in a long step; the order stands.",
                exit_code=1,
            )
        time.sleep(0.1)
    status = sessions.status_of(paths)
    # Of a worker that died on the way the result is an earlier attempt's.
    result = None if status is Status.INTERRUPTED else sessions.read_result(paths)
    said = f": {clean(result.message)}" if result and result.message else ""
    to_stdout(f"{name}: {status}{said}")
    return EXIT_CODES.get(status, 0)


def checkpoint(root: Path, name: str) -> int:
    """Order a checkpoint and wait for the worker's answer."""
    paths = sessions.find(root, name)
    tail = Tail(paths.events, paths.events.stat().st_size if paths.events.exists() else 0)
    order = sessions.order_checkpoint(paths)
    to_stdout(f"{name}: asked for a checkpoint; it comes at the end of the step.")
    from tui_lora.core.view import RunView

    view = RunView()
    while True:
        sessions.fold(tail.read(), view)
        answer = view.answers.get(order.id)
        if answer is not None:
            to_stdout(f"{name}: {clean(answer.message)}")
            return 0 if answer.ok else 1
        if not sessions.status_of(paths).alive:
            raise UserError(f"{name} ended before it could save a checkpoint.", exit_code=1)
        time.sleep(0.1)


def doctor(root: Path, *, as_json: bool) -> int:
    """Print what was checked; exit 1 when something is wrong."""
    from tui_lora.store.doctor import checks

    found = checks(root)
    if as_json:
        to_stdout(json.dumps({"checks": [asdict(check) for check in found]}, indent=1))
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            mark = {True: "ok", False: "!!", None: "--"}[check.ok]
            to_stdout(f"{mark}  {check.name:<{width}}  {clean(check.detail)}")
            if check.fix and check.ok is not True:
                to_stdout(f"    {'':<{width}}  → {clean(check.fix)}")
    return 1 if any(check.ok is False for check in found) else 0


def _begin(
    root: Path, spec_file: str | None, preset: str | None, name: str | None, changes: list[str]
) -> SessionPaths:
    if preset is not None:
        data, base, where = read_preset(preset).data, Path.cwd(), f"preset {preset}"
        wanted = preset
    else:
        assert spec_file is not None
        path = Path(spec_file)
        data, base, where, wanted = read_data(path), path.absolute().parent, spec_file, path.stem
        if not changes:
            read_spec_file(path)  # for errors that name the line
    spec = spec_in(changed(data, changes), where=where)
    name = name or sessions.free_name(root, wanted)
    paths = runs.begin(root, name, spec, base=base, on_progress=print_progress())
    to_stdout(
        f"session {paths.name}: {clean(spec.model.id)} learns from {clean(spec.dataset.path)}"
    )
    return paths


def _is_spec(what: str) -> bool:
    return what.endswith((".yaml", ".yml")) or (Path(what).is_file())


def print_progress() -> runs.OnProgress:
    """Prints a label when it changes, and a share every ten per cent."""
    last: list[Any] = ["", -1]

    def say(label: str, done: float | None) -> None:
        tenth = int(done * 10) if done is not None else -1
        if [label, tenth] != last:
            last[:] = [label, tenth]
            to_stdout(label + (f"  {done:.0%}" if done is not None else " …"))

    return say


def _as_json(summary: sessions.Summary) -> dict[str, Any]:
    return {
        "name": summary.name,
        "status": str(summary.status),
        "step": summary.step,
        "total_steps": summary.total_steps,
        "loss": _finite(summary.loss),
        "eval_loss": _finite(summary.eval_loss),
        "tokens_per_s": summary.tokens_per_s,
        "eta_s": summary.eta_s,
        "peak_vram_gib": summary.peak_vram_gib,
        "model": summary.model,
        "dataset": summary.dataset,
        "task": summary.task,
        "metrics": {name: _finite(value) for name, value in summary.metrics.items()},
        "created": summary.created,
        "updated": summary.updated,
        "problem": summary.problem or None,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN; the event log has it in full."""
    return value if value is not None and value - value == 0 else None
