"""What a run needs of the Hub, brought to this machine before anything is loaded.

The fetch worker does it, in a process of its own: it goes on where a line broke, and whoever calls
it off need not wait for a line that is silent. What is whole in the cache is taken as it is there,
and nobody is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.events import Choice
from tui_lora.core.fetch import FetchPaused, FetchPlanned, FetchProgressed, FromFetch
from tui_lora.core.spec import ModelSpec, RunSpec
from tui_lora.core.text import clean
from tui_lora.store.bring import LookUp, bring
from tui_lora.store.catalog import is_of_hub
from tui_lora.store.checkpoints import Checkpoint
from tui_lora.store.hub_snapshots import whole_snapshot
from tui_lora.store.paths import SessionPaths
from tui_lora.store.start_adapter import WHERE, check_start, start_place
from tui_lora.worker.reference import MEASURED_AGAINST_A_REFERENCE, check_kept
from tui_lora.worker.reporter import Teller
from tui_lora.worker.resolved import Earlier

_MB = 1e6


@dataclass(frozen=True)
class Brought:
    """`spec` with its model at the commit that is on this machine. `start` is the folder of the
    adapter that it starts from, of a run that goes on its checkpoint; `start_commit` that of an
    adapter of the Hub."""

    spec: RunSpec
    start: Path | None = None
    start_commit: str = ""
    choices: tuple[Choice, ...] = ()

    @property
    def model_commit(self) -> str | None:
        """None for a model that is no Hub's."""
        return self.spec.model.revision if is_of_hub(self.spec.model.id) else None


def bring_all(
    paths: SessionPaths,
    spec: RunSpec,
    checkpoint: Checkpoint | None,
    before: Earlier,
    reporter: Teller,
    look_up: LookUp,
) -> Brought:
    """Everything that a session's run needs of the Hub, and the adapter that it starts from, looked
    at as far as files tell. Raises UserError.

    A run that goes on keeps the commits that it began with, `before`.
    """
    start, commit, of_start = _bring_start(paths, spec, checkpoint, before, reporter, look_up)
    model, of_model = _bring_model(spec.model, before.model_commit, reporter, look_up)
    spec = spec.model_copy(update={"model": model})
    return Brought(spec, start, commit, (*of_model, *of_start))


def missing_model(model: ModelSpec) -> bool:
    """Whether `model` is one of the Hub that is not wholly on this machine."""
    return is_of_hub(model.id) and whole_snapshot(model.id, model.revision) is None


def _bring_start(
    paths: SessionPaths,
    spec: RunSpec,
    checkpoint: Checkpoint | None,
    before: Earlier,
    reporter: Teller,
    look_up: LookUp,
) -> tuple[Path | None, str, tuple[Choice, ...]]:
    """Before the model, which takes much longer: the adapter may be refused."""
    if spec.lora.start_from is None:
        return None, "", ()
    if checkpoint is not None:
        if spec.task in MEASURED_AGAINST_A_REFERENCE:
            check_kept(paths.reference)
        return checkpoint.folder, before.start_commit, ()
    place = start_place(spec.lora.start_from, paths.folder.parent)
    folder = place.folder or _reported(
        place.hub_id, place.revision, reporter, look_up, where=WHERE, adapter=True
    )
    check_start(spec, folder)
    if not place.hub_id:
        return folder, "", ()
    commit = folder.name
    reason = f"what {clean(place.revision or 'main')} is on this machine"
    pinned = Choice(setting=WHERE, value=f"{place.hub_id}@{commit}", reason=reason)
    return folder, commit, (pinned,)


def _bring_model(
    model: ModelSpec, pinned: str | None, reporter: Teller, look_up: LookUp
) -> tuple[ModelSpec, tuple[Choice, ...]]:
    if not is_of_hub(model.id):
        return model, ()
    wanted = pinned or model.revision
    folder = whole_snapshot(model.id, wanted)
    if folder is None:
        folder = _reported(model.id, wanted, reporter, look_up, where="model.id")
    reason = (
        "what this run began with"
        if pinned
        else f"what {clean(model.revision or 'main')} is on this machine"
    )
    found = model.model_copy(update={"revision": folder.name})
    return found, (Choice(setting="model.revision", value=folder.name, reason=reason),)


def _reported(
    hub_id: str,
    revision: str | None,
    reporter: Teller,
    look_up: LookUp,
    *,
    where: str,
    adapter: bool = False,
) -> Path:
    """Fetch it, and tell the run's log how that goes."""
    total: float | None = None

    def hear(message: FromFetch) -> None:
        nonlocal total
        if isinstance(message, FetchPlanned):
            total = message.total_bytes / _MB
        elif isinstance(message, FetchProgressed):
            reporter.progress("fetching", message.done_bytes / _MB, total, "MB")
        elif isinstance(message, FetchPaused):
            wait = f"; tried again in {message.retry_s:.0f} s" if message.retry_s else ""
            reporter.notice(f"fetching {clean(hub_id)}: {message.why}{wait}", "warning")

    with reporter.phase("fetching", f"fetching {clean(hub_id)}"):
        try:
            return bring(hub_id, revision, hear, look_up, adapter=adapter)
        except UserError as error:
            raise UserError(
                error.what, where=where, then=error.then, exit_code=error.exit_code
            ) from None
