"""The verb that makes a new session from a checkpoint of another."""

from __future__ import annotations

from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.out_of_memory import changes_words
from tui_lora.core.text import clean
from tui_lora.headless.changes import changes_in
from tui_lora.headless.confirming import with_its_command
from tui_lora.headless.follow import to_stdout
from tui_lora.headless.verbs import follow_to_end, print_progress
from tui_lora.store import branch as branches
from tui_lora.store import runs, sessions
from tui_lora.store.checkpoints import newest_whole
from tui_lora.store.hooks import must_be_confirmed
from tui_lora.store.spec_now import spec_now


def branch(
    root: Path, source: str, *, name: str, at: int | None, changes: list[str], detach: bool
) -> int:
    """Make the session `name` from the checkpoint of step `at` (the newest whole one), say how it
    begins, start it, and follow it unless `detach`."""
    paths = sessions.find(root, source)
    if at is None:
        newest, _ = newest_whole(paths.checkpoints)
        if newest is None:
            raise UserError(
                f"{paths.name} has no whole checkpoint to branch from.",
                then=f"Begin a run like it: tui-lora train {paths.name} --name {name}",
            )
        at = newest.step
    now = spec_now(paths)
    wanted = changes_in(now, changes, root) if changes else {}
    plan = branches.plan_branch(paths, at, wanted)
    sessions.must_be_free(root, name)
    to_stdout(clean(f"{name}: from {paths.name} at step {at:,}. {plan.how.words(at)}"))
    if wanted:
        to_stdout(clean(f"{name}: {changes_words(now, wanted)}"))
    for note in plan.how.notes:
        to_stdout(clean(f"{name}: {note}."))
    # Before anything is made.
    with_its_command(lambda: must_be_confirmed(plan.spec))
    made = branches.branch(root, paths, at, name, wanted)
    runs.resume(made, on_progress=print_progress())
    if detach:
        to_stdout(f"{made.name} runs on its own. Watch it: tui-lora watch {made.name}")
        return 0
    return follow_to_end(made)
