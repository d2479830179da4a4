"""Starting, resuming and repeating a run: the one way, for the screens and the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tui_lora.core.errors import Problem, SpecError, UserError
from tui_lora.core.events import RunPlanned
from tui_lora.core.extension import goes_further
from tui_lora.core.resumable import as_it_ran, as_options, judged
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import launch, sessions
from tui_lora.store.changed_since import goes_on, must_be_as_it_was, spec_at_work
from tui_lora.store.checkpoints import Checkpoint, checkpoints
from tui_lora.store.hooks import must_be_confirmed
from tui_lora.store.paths import DEMO_MODEL, SessionPaths, check_name
from tui_lora.store.preflight import anchored, preflight
from tui_lora.store.queue_file import forget
from tui_lora.store.resolved import became
from tui_lora.store.spec_now import spec_now
from tui_lora.store.writable import must_take_files

OnProgress = Callable[[str, float | None], None]


def begin(
    root: Path,
    name: str,
    spec: RunSpec,
    *,
    base: Path | None = None,
    on_progress: OnProgress | None = None,
) -> SessionPaths:
    """Check a spec against this machine, make its session, start its worker; see `prepare`."""
    paths = prepare(root, name, spec, base=base, on_progress=on_progress)
    launch.start_training(paths, devices=spec.hardware.devices)
    return paths


def prepare(
    root: Path,
    name: str,
    spec: RunSpec,
    *,
    base: Path | None = None,
    on_progress: OnProgress | None = None,
) -> SessionPaths:
    """Check a spec against this machine and make its session, without starting it.

    Relative paths in the spec are taken from `base` (the current folder). Nothing is made when
    something is wrong: raises UserError with every problem, and Unconfirmed for a command that
    nobody has confirmed. `on_progress` hears what takes longer
    (fetching the demo model), with the share done where known.
    """
    check_name(name)
    sessions.make_root(root)
    sessions.must_be_free(root, name)
    spec = anchored(spec, base or Path.cwd(), root)
    get_model(spec, on_progress)
    problems = preflight(spec, root)
    if problems:
        raise SpecError(problems)
    must_be_confirmed(spec)
    paths = sessions.create(root, name, spec)
    # One of that name may have waited and gone.
    forget(root, name)
    return paths


def check(paths: SessionPaths) -> None:
    """Raises UserError with every problem that would keep a session from starting here."""
    resumed = goes_on(paths)
    if resumed:
        must_be_as_it_was(paths)
    spec = spec_now(paths)
    problems = preflight(spec, paths.folder.parent, resumed=resumed)
    if problems:
        raise SpecError(problems, where=str(paths.spec))
    must_be_confirmed(spec)


def resume(
    paths: SessionPaths,
    *,
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
    accept: Collection[str] = (),
    card: str | None = None,
    on_progress: OnProgress | None = None,
) -> int:
    """Start a session's worker again, from its last whole checkpoint if it has one; with other
    settings from there on, where `changes` names some, for a `reason`.

    A finished one goes on where the changes make it longer; one that waited in the queue does not
    wait any more. `accept` names what is otherwise than when it was last at work, and may be (that
    no checkpoint is whole any more, too): without that ChangedSince is raised, a UserError that
    says what. `card` is the one that it gets, where that is not for the spec and this process's
    environment to say. Returns the worker's pid. Raises UserError when it runs already, is finished
    or cannot start, or for changes that its checkpoint does not survive.
    """
    status = sessions.status_of(paths)
    spec = spec_now(paths, changes)
    there = checkpoints(paths.checkpoints)
    if status is Status.DONE:
        _must_go_further(paths, spec, there)
    if not status.alive:
        must_take_files(paths)
    get_model(spec, on_progress)
    resumed = goes_on(paths, accept)
    if resumed and changes:
        refused = judged(as_it_ran(spec_at_work(paths), became(paths)), changes).refused
        if refused:
            raise _needs_a_new_session(paths, there[-1].step, refused, changes)
    problems = preflight(spec, paths.folder.parent, resumed=resumed)
    if problems:
        raise SpecError(problems, where=str(paths.spec))
    must_be_confirmed(spec)
    if resumed:
        must_be_as_it_was(paths, changes, accepted=accept, devices=card)
    pid = launch.start_training(
        paths,
        devices=card or spec.hardware.devices,
        changes=changes,
        reason=reason,
        accept=accept,
    )
    forget(paths.folder.parent, paths.name)
    return pid


def duplicate(
    root: Path,
    source: SessionPaths,
    *,
    changes: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> SessionPaths:
    """A new draft with a session's run spec as it holds now, and `changes` made in it, under
    `name` or the next free one. Raises UserError."""
    spec = spec_now(source, changes)
    return sessions.create(root, name or sessions.free_name(root, source.name), spec)


def _must_go_further(paths: SessionPaths, later: RunSpec, there: Sequence[Checkpoint]) -> None:
    """Raises UserError unless a finished run would go on as `later`."""
    plan = next(reversed([*sessions.events_of(paths, RunPlanned)]), None)
    if plan is None or not there or not goes_further(spec_now(paths), plan, there[-1].step, later):
        gone = "" if there else " Its checkpoints are gone, so it cannot be made longer either."
        raise UserError(
            f"{paths.name} is finished, so there is nothing to resume.{gone}",
            then="Make it longer: "
            f"tui-lora extend {paths.name} --epochs N. Or run it again with other settings: "
            f"tui-lora train {paths.name} --name NEW --set ...",
        )


def _needs_a_new_session(
    paths: SessionPaths, step: int, refused: tuple[Problem, ...], changes: Mapping[str, Any]
) -> UserError:
    return UserError(
        f"{paths.name} cannot go on from step {step:,} with that: "
        + "; ".join(str(problem).rstrip(".") for problem in refused)
        + ".",
        then="Begin a new run with it instead: tui-lora train "
        f"{paths.name} --name NEW {as_options(changes)}",
    )


def get_model(spec: RunSpec, on_progress: OnProgress | None) -> None:
    """Fetch the demo model if this spec wants it and it is not here yet."""
    if spec.model.id == DEMO_MODEL:
        from tui_lora.store import demo_model

        demo_model.ensure(on_progress or (lambda label, done: None))
