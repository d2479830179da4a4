"""Starting and resuming a run: the one way, for the screens and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tui_lora.core.errors import SpecError, UserError
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import launch, sessions
from tui_lora.store.checkpoints import checkpoints
from tui_lora.store.paths import DEMO_MODEL, SessionPaths, check_name
from tui_lora.store.preflight import anchored, preflight
from tui_lora.store.spec_now import spec_now

OnProgress = Callable[[str, float | None], None]


def begin(
    root: Path,
    name: str,
    spec: RunSpec,
    *,
    base: Path | None = None,
    on_progress: OnProgress | None = None,
) -> SessionPaths:
    """Check a spec against this machine, make its session, start its worker.

    Relative paths in the spec are taken from `base` (the current folder). Nothing is made when
    something is wrong: raises UserError with every problem. `on_progress` hears what takes longer
    (fetching the demo model), with the share done where known.
    """
    check_name(name)
    sessions.make_root(root)
    if (root / name).exists():
        raise UserError(
            f"there is already a session {name}.",
            then=f"Choose another name, for instance {sessions.free_name(root, name)}.",
        )
    spec = anchored(spec, base or Path.cwd(), root)
    get_model(spec, on_progress)
    problems = preflight(spec, root)
    if problems:
        raise SpecError(problems)
    paths = sessions.create(root, name, spec)
    launch.start_training(paths, devices=spec.hardware.devices)
    return paths


def resume(
    paths: SessionPaths,
    *,
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
    on_progress: OnProgress | None = None,
) -> int:
    """Start a session's worker again, from its last whole checkpoint if it has one; with other
    settings from there on, where `changes` names some, for a `reason`.

    Returns the worker's pid. Raises UserError when it runs already, is finished or cannot start.
    """
    status = sessions.status_of(paths)
    if status is Status.DONE:
        raise UserError(
            f"{paths.name} is finished, so there is nothing to resume.",
            then="Duplicate it to run it again with other settings.",
        )
    spec = spec_now(paths, changes)
    get_model(spec, on_progress)
    resumed = bool(checkpoints(paths.checkpoints))
    problems = preflight(spec, paths.folder.parent, resumed=resumed)
    if problems:
        raise SpecError(problems, where=str(paths.spec))
    return launch.start_training(
        paths, devices=spec.hardware.devices, changes=changes, reason=reason
    )


def get_model(spec: RunSpec, on_progress: OnProgress | None) -> None:
    """Fetch the demo model if this spec wants it and it is not here yet."""
    if spec.model.id == DEMO_MODEL:
        from tui_lora.store import demo_model

        demo_model.ensure(on_progress or (lambda label, done: None))
