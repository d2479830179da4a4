"""The verbs about runs: train, resume, watch, ls. Each returns an exit code."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tui_lora.core.errors import UserError
from tui_lora.core.out_of_memory import changes_words
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.core.text import UNKNOWN, clean, number, shorten_middle, size
from tui_lora.headless.changes import changed, changes_in
from tui_lora.headless.confirming import with_its_command
from tui_lora.headless.follow import follow, to_stdout
from tui_lora.headless.out_of_memory import ran_out_lines
from tui_lora.headless.queue import put_in
from tui_lora.headless.start_again import start_again
from tui_lora.store import runs, sessions
from tui_lora.store.paths import SessionPaths
from tui_lora.store.presets import read_preset
from tui_lora.store.spec_file import read_data, spec_in
from tui_lora.store.spec_file import read_spec as read_spec_file
from tui_lora.store.spec_now import spec_now, with_changes
from tui_lora.store.sudden_end import why_it_ended

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
    queued: bool = False,
    accept: bool = False,
) -> int:
    """Start a new session from a spec or a preset, or resume the session `what`, with other
    settings from there on; with a `name`, a new session is made that is like it. `queued`: when its
    card is free. `accept`: also where something is otherwise than when it was last at work."""
    if (what is None) == (preset is None):
        raise UserError(
            "give one of: a run spec, a session, or --preset.",
            then="For example: tui-lora train --preset quickstart",
        )
    if what is not None and not _is_spec(what):
        paths = sessions.find(root, what)
        if name:
            paths = _begin_like(root, paths, name, changes, queued=queued)
        elif not queued:
            _resume(root, paths, changes, accept)
        elif changes and changes_in(spec_now(paths), changes, root):
            # A setting that it has may be given: its command is confirmed by that.
            raise UserError(
                f"{paths.name} would wait with the settings that it has.",
                then="Give --set with --name NEW for a new session like it, or start it now.",
            )
    else:
        paths = _begin(root, what, preset, name, changes, queued=queued)
    if queued:
        put_in(root, paths)
        return 0
    return _followed(paths, detach)


def resume(
    root: Path,
    name: str,
    *,
    changes: list[str],
    detach: bool,
    accept: bool = False,
    anew: bool = False,
) -> int:
    """Start a session's worker again, with other settings from there on, and follow it; `accept`:
    also where something is otherwise than when it was last at work; `anew`: from its first step
    where none of its checkpoints is whole."""
    paths = sessions.find(root, name)
    _resume(root, paths, changes, accept, anew)
    return _followed(paths, detach)


def _followed(paths: SessionPaths, detach: bool) -> int:
    if detach:
        to_stdout(f"{paths.name} runs on its own. Watch it: tui-lora watch {paths.name}")
        return 0
    return follow_to_end(paths)


def follow_to_end(paths: SessionPaths, *, raw: bool = False) -> int:
    """Follow a run; Ctrl-C detaches, which is no failure."""
    ran = sessions.status_of(paths).alive
    try:
        status = follow(paths, to_stdout, raw=raw)
    except KeyboardInterrupt:
        to_stdout(f"\ndetached; the run goes on. Watch it: tui-lora watch {paths.name}")
        return 0
    if not raw:
        # Of a worker that died on the way the result is an earlier attempt's.
        interrupted = status is Status.INTERRUPTED
        result = None if interrupted else sessions.read_result(paths)
        message = f" ({clean(result.message)})" if result and result.message else ""
        to_stdout(f"{paths.name}: {status}{message}")
        if interrupted:
            to_stdout(clean(why_it_ended(paths)))
        if status is Status.OUT_OF_MEMORY:
            for line in ran_out_lines(paths):
                to_stdout(line)
        elif status.resumable:
            to_stdout(f"resume it: tui-lora resume {paths.name}")
    if ran and sys.stdout.isatty():
        # Whoever waits for it may look elsewhere.
        sys.stdout.write("\a")
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


def _resume(
    root: Path, paths: SessionPaths, texts: list[str], accept: bool, anew: bool = False
) -> None:
    if sessions.status_of(paths).alive:
        if texts:
            raise UserError(
                f"{paths.name} is running, and its settings can change when it has stopped.",
                then=f"Stop it first: tui-lora stop {paths.name}. Made longer it can be while it "
                f"runs: tui-lora extend {paths.name}",
            )
        to_stdout(f"{paths.name} is already running.")
        return
    now = spec_now(paths)
    changes = changes_in(now, texts, root) if texts else {}
    if texts and not changes:
        to_stdout(f"{paths.name} has these settings already.")
    start_again(
        *(paths, changes, "as asked when it was started", print_progress()),
        accept=accept,
        anew=anew,
    )
    if changes:
        to_stdout(f"{paths.name} goes on with {changes_words(now, changes)}")


def _begin_like(
    root: Path, like: SessionPaths, name: str, texts: list[str], *, queued: bool
) -> SessionPaths:
    """A new session with another's spec as it holds now."""
    now = spec_now(like)
    spec = with_changes(now, changes_in(now, texts, root))
    return _started(root, name, spec, Path.cwd(), queued=queued)


def _begin(
    root: Path,
    spec_file: str | None,
    preset: str | None,
    name: str | None,
    changes: list[str],
    *,
    queued: bool,
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
    return _started(root, name or sessions.free_name(root, wanted), spec, base, queued=queued)


def _started(root: Path, name: str, spec: RunSpec, base: Path, *, queued: bool) -> SessionPaths:
    make = runs.prepare if queued else runs.begin
    paths = with_its_command(
        lambda: make(root, name, spec, base=base, on_progress=print_progress())
    )
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
        "parent": _parent(summary),
    }


def _parent(summary: sessions.Summary) -> dict[str, Any] | None:
    """The checkpoint that a branch was made from."""
    parent = summary.parent
    return {"session": parent.session, "step": parent.step} if parent is not None else None


def _finite(value: float | None) -> float | None:
    """JSON has no NaN; the event log has it in full."""
    return value if value is not None and value - value == 0 else None
