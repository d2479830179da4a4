"""Sessions on disk: made, found, listed, copied, deleted; and what each is doing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tui_lora.core.errors import UserError
from tui_lora.core.events import EVENTS, AttemptStarted, Evaluated, Event, Result
from tui_lora.core.orders import ORDERS, Order, SaveCheckpoint, Stop
from tui_lora.core.queue import Turn
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Evidence, Status, derive
from tui_lora.core.text import clean
from tui_lora.core.view import RunView
from tui_lora.store import lock
from tui_lora.store.atomic import write_whole
from tui_lora.store.journal import Tail, append_line
from tui_lora.store.log_ends import LogEnds
from tui_lora.store.parent import Parent, read_parent
from tui_lora.store.paths import SessionPaths, check_name, is_name, stays_in
from tui_lora.store.queue_file import forget, read_queue
from tui_lora.store.spec_file import read_spec, to_yaml

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Summary:
    """A session in a line. Losses in nats a token, memory in GiB, times in unix seconds.

    `problem` says why the spec could not be read; the other figures may still stand. `metrics` are
    those of the latest evaluation of the adapter, `base_metrics` the base's. `turn` and `refused`
    (why it could not be started) are those of the queue, where they were asked for. `parent` is the
    checkpoint that it was branched from.
    """

    name: str
    folder: Path
    status: Status
    model: str | None
    dataset: str | None
    step: int | None
    total_steps: int | None
    loss: float | None
    eval_loss: float | None
    base_eval_loss: float | None
    tokens_per_s: float | None
    eta_s: float | None
    peak_vram_gib: float | None
    adapter_bytes: int | None
    created: float | None
    updated: float | None
    recent_losses: tuple[float, ...] = ()
    problem: str = ""
    task: str | None = None
    base_metrics: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    turn: Turn | None = None
    refused: str = ""
    parent: Parent | None = None


def make_root(root: Path) -> Path:
    """`root`, existing and writable; raises UserError."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unwritable(root, error) from None
    if not os.access(root, os.W_OK | os.X_OK):
        why = errno.EROFS if os.statvfs(root).f_flag & os.ST_RDONLY else errno.EACCES
        raise _unwritable(root, OSError(why, os.strerror(why)))
    return root


def create(
    root: Path, name: str, spec: RunSpec, fill: Callable[[Path], None] | None = None
) -> SessionPaths:
    """A new session with its run.yaml and what `fill` puts into its folder, in place at once or not
    at all. Raises UserError."""
    check_name(name)
    make_root(root)
    must_be_free(root, name)
    paths = SessionPaths(root / name)
    beside = root / f".new-{uuid.uuid4().hex[:12]}"
    try:
        beside.mkdir(mode=0o700)
        for folder in ("checkpoints", "evaluations", "chats", "exports"):
            (beside / folder).mkdir(mode=0o700)
        write_whole(beside / "run.yaml", to_yaml(spec))
        if fill is not None:
            fill(beside)
        beside.rename(paths.folder)
    except UserError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if paths.folder.exists():
            raise UserError(f"there is already a session {name}.") from None
        raise _unwritable(root, error) from None
    return paths


def must_be_free(root: Path, name: str) -> None:
    """Raises UserError where a session in `root` is called `name`."""
    if (root / name).exists():
        raise UserError(
            f"there is already a session {name}.",
            then=f"Choose another name, for instance {free_name(root, name)}.",
        )


def free_name(root: Path, wanted: str) -> str:
    """`wanted`, or `wanted-2`, `wanted-3` … whichever no session in `root` has yet."""
    wanted = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in wanted)
    wanted = wanted.lstrip(".-")[:58].rstrip("-") or "run"
    if not (root / wanted).exists():
        return wanted
    number = 2
    while (root / f"{wanted}-{number}").exists():
        number += 1
    return f"{wanted}-{number}"


def find(root: Path, name: str) -> SessionPaths:
    """The session called `name`; raises UserError listing those that exist."""
    check_name(name)
    paths = SessionPaths(root / name)
    if not paths.spec.is_file():
        known = [p.name for p in listed(root)]
        more = f" and {len(known) - 8:,} more: tui-lora ls" if len(known) > 8 else "."
        then = f"There are: {', '.join(known[:8])}{more}" if known else "There are none yet."
        raise UserError(f"there is no session {name} in {clean(str(root))}.", then=then)
    if not stays_in(root, paths.folder):
        raise UserError(f"the session {name} is a link that leads out of {clean(str(root))}.")
    return paths


def listed(root: Path) -> list[SessionPaths]:
    """Every session in `root`, the last touched first; an unreadable root has none.

    What has a name that no session may have, or is a link that leads out, is none of them.
    """
    try:
        folders = [f for f in root.iterdir() if is_name(f.name) and stays_in(root, f)]
    except OSError:
        return []
    found = [SessionPaths(f) for f in folders if (f / "run.yaml").is_file()]
    return sorted(found, key=lambda paths: (-(touched(paths) or 0), paths.name))


def running(root: Path) -> list[SessionPaths]:
    """Every session in `root` whose worker lives now."""
    return [paths for paths in listed(root) if lock.holder(paths.lock) is not None]


def touched(paths: SessionPaths) -> float | None:
    """When the session last changed, in unix seconds."""
    times = []
    for path in (paths.events, paths.result, paths.spec):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)


def delete(root: Path, paths: SessionPaths) -> None:
    """Remove a session and all in it. Raises UserError while its worker lives."""
    check_name(paths.name)
    if lock.holder(paths.lock) is not None:
        raise UserError(
            f"{paths.name} is running.", then=f"Stop it first: tui-lora stop {paths.name}"
        )
    gone = root / f".deleted-{uuid.uuid4().hex[:12]}"
    try:
        if paths.folder.is_symlink():
            paths.folder.unlink()
            forget(root, paths.name)
            return
        # Renamed first, so that a half-deleted session is never listed.
        paths.folder.rename(gone)
    except OSError as error:
        raise UserError(
            f"{paths.name} could not be deleted: {error.strerror}.", where=str(paths.folder)
        ) from None
    forget(root, paths.name)
    shutil.rmtree(gone, ignore_errors=True)


def read_result(paths: SessionPaths) -> Result | None:
    """The attempt's last word; None where there is none that can be read."""
    try:
        return Result.model_validate_json(paths.result.read_bytes())
    except (OSError, ValueError):
        return None


def status_of(paths: SessionPaths, view: RunView | None = None) -> Status:
    """What the session is doing now; `view` saves reading its events again."""
    seen = view if view is not None else _glance(paths)
    promised = None
    if seen.last_t is not None and seen.next_sign_s is not None:
        promised = seen.last_t + seen.next_sign_s
    held = lock.holder(paths.lock) is not None
    queued = read_queue(paths.folder.parent).entry(paths.name) is not None
    evidence = Evidence(held, seen.attempt, read_result(paths), promised, seen.holding, queued)
    return derive(evidence, time.time())


def last_attempt(paths: SessionPaths) -> int:
    """The number of the latest attempt, 0 before the first; reads the whole log."""
    started = (event for event in events_of(paths, AttemptStarted))
    return max((event.attempt for event in started if isinstance(event, AttemptStarted)), default=0)


def evaluations(paths: SessionPaths) -> list[Evaluated]:
    """What was measured on the way to where the latest attempt stands; reads the whole log.

    What an earlier attempt measured beyond the step from which a later one resumed is left out.
    """
    found: list[Evaluated] = []
    for event in events_of(paths, AttemptStarted, Evaluated):
        if isinstance(event, AttemptStarted):
            back_to = event.resumed_from or 0
            found = [earlier for earlier in found if (earlier.step or 0) <= back_to]
        elif isinstance(event, Evaluated):
            found.append(event)
    return found


def events_of(paths: SessionPaths, *kinds: type[E]) -> Iterator[E]:
    """Every event of these kinds; of the other lines none is decoded."""
    needles = [f'"{kind.type}"'.encode() for kind in kinds]
    tail = Tail(paths.events)
    while lines := tail.read():
        for line in lines:
            if any(needle in line for needle in needles):
                event = EVENTS.decode(line).message
                if isinstance(event, kinds):
                    yield event


def summarize(paths: SessionPaths, ends: LogEnds | None = None) -> Summary:
    """The session in a line, from the first and the last of its events; never raises.

    Who asks again and again keeps the `ends`, and gives them each time.
    """
    view = _glance(paths, ends)
    spec: RunSpec | None = None
    problem = ""
    try:
        spec = read_spec(paths.spec)
    except UserError as error:
        problem = clean(str(error).splitlines()[0])
    result = read_result(paths)
    status = status_of(paths, view)
    step: int | None = view.step if view.attempt is not None else None
    tuned = view.tuned_eval
    eval_loss = tuned.loss if tuned else (result.eval_loss if result else None)
    return Summary(
        name=paths.name,
        folder=paths.folder,
        status=status,
        model=clean(spec.model.id) if spec else None,
        dataset=clean(spec.dataset.path) if spec else None,
        step=step,
        total_steps=view.total_steps,
        loss=view.loss.latest,
        eval_loss=eval_loss,
        base_eval_loss=view.base_eval.loss if view.base_eval else None,
        tokens_per_s=view.last_step.tokens_per_s if view.last_step and status.alive else None,
        eta_s=view.eta_s if status.alive else None,
        peak_vram_gib=view.highest_reserved_gib,
        adapter_bytes=adapter_bytes(paths.adapter),
        created=view.started or _changed(paths.spec),
        updated=touched(paths),
        recent_losses=tuple(view.loss.tail(24)),
        problem=problem,
        task=spec.task if spec else view.task,
        base_metrics=view.base_metrics or (result.base_metrics if result else {}),
        metrics=view.metrics or (result.metrics if result else {}),
        parent=read_parent(paths),
    )


def adapter_bytes(folder: Path) -> int | None:
    """Size of the adapter's weights in bytes; None where there is no adapter."""
    try:
        return (folder / "adapter_model.safetensors").stat().st_size
    except OSError:
        return None


def give(paths: SessionPaths, kind: type[Order], **fields: Any) -> Order:
    """Append an order for the session's worker, with what else it says; raises UserError when there
    is none to hear it."""
    if lock.holder(paths.lock) is None:
        raise UserError(f"{paths.name} is not running, so there is nobody to ask.")
    order = kind(id=str(uuid.uuid4()), t=time.time(), **fields)
    try:
        append_line(paths.orders, ORDERS.encode(order))
    except OSError as error:
        raise UserError(
            f"the order could not be written: {error.strerror}.", where=str(paths.orders)
        ) from None
    return order


def order_stop(paths: SessionPaths) -> Order:
    return give(paths, Stop)


def order_checkpoint(paths: SessionPaths) -> Order:
    return give(paths, SaveCheckpoint)


def fold(lines: Iterable[bytes], view: RunView) -> RunView:
    """Apply each readable line to `view`; what cannot be read is counted in it."""
    for line in lines:
        decoded = EVENTS.decode(line)
        view.unknown_fields += decoded.unknown_fields
        if decoded.message is None:
            view.unreadable += 1
        else:
            view.apply(decoded.message)
    return view


def first_and_last(paths: SessionPaths) -> tuple[list[bytes], int]:
    """Enough lines to paint from, and how many bytes were skipped between them."""
    return LogEnds(paths.events).read()


def _glance(paths: SessionPaths, ends: LogEnds | None = None) -> RunView:
    lines, _ = (ends or LogEnds(paths.events)).read()
    return fold(lines, RunView())


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _unwritable(root: Path, error: OSError) -> UserError:
    why = f": {error.strerror}" if error.strerror else ""
    return UserError(
        f"sessions cannot be written to {clean(str(root))}{why}.",
        then="Choose another place with --sessions FOLDER or $TUI_LORA_SESSIONS.",
    )


def read_worker(paths: SessionPaths) -> dict[str, object]:
    """What the latest worker said of itself (pid, start time, boot id); empty if unreadable."""
    try:
        data = json.loads(paths.worker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
