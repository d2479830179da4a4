"""From the list of checkpoints on: to a chat with one, or to a branch from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_lora.ui.chat_holds import before_a_run
from tui_lora.ui.messages import Said

if TYPE_CHECKING:
    from tui_lora.store.checkpoints import Checkpoint
    from tui_lora.store.paths import SessionPaths
    from tui_lora.ui.page import Page
    from tui_lora.ui.screens.checkpoints import Chosen
    from tui_lora.ui.state import RunNow


def show_checkpoints(page: Page) -> None:
    """The list of the chosen session's checkpoints, over a page."""
    from tui_lora.ui.screens.checkpoints import CheckpointList

    run = page.bench.run_now
    if run is None:
        return

    def chosen(what: Chosen | None) -> None:
        if what is not None and what.what == "chat":
            _chat(page, run.paths, what.checkpoint)
        elif what is not None:
            _branch(page, run, what.checkpoint)

    page.app.push_screen(CheckpointList(run), chosen)


def _chat(page: Page, paths: SessionPaths, checkpoint: Checkpoint) -> None:
    from tui_lora.core.errors import UserError
    from tui_lora.store.adapters import checkpoint_target
    from tui_lora.ui.widgets.target_list import TargetList

    try:
        target = checkpoint_target(paths, checkpoint)
    except UserError as error:
        page.say(f"{error.what} {error.then}".strip(), "warning")
        return
    page.bench.go("chat")
    page.app.screen_stack[0].post_message(TargetList.Chosen(target))


def _branch(page: Page, run: RunNow, checkpoint: Checkpoint) -> None:
    from tui_lora.store.sessions import free_name
    from tui_lora.ui.screens.branch import BranchForm

    if run.spec is None:
        page.say(f"run.yaml: {run.problem}", "error")
        return
    became = {choice.setting: choice.value for choice in run.view.choices}
    name = free_name(page.bench.root, run.paths.name)

    def answered(found: tuple[str, dict[str, Any]] | None) -> None:
        if found is not None:
            before_a_run(page, lambda: _make(page, run.paths, checkpoint.step, *found))

    form = BranchForm(run.paths.name, checkpoint.step, name, run.spec, became)
    page.app.push_screen(form, answered)


def _make(page: Page, source: SessionPaths, step: int, name: str, changes: dict[str, Any]) -> None:
    def make() -> None:
        from tui_lora.core.errors import UserError
        from tui_lora.store.branch import branch

        page.post_message(Said(f"{name}: copying the checkpoint of step {step:,} …"))
        try:
            made = branch(page.bench.root, source, step, name, changes)
        except UserError as error:
            page.post_message(Said(str(error).replace("\n", " "), "error"))
            return
        page.app.call_from_thread(page.resume_run, made)

    page.run_worker(make, thread=True, exclusive=True, exit_on_error=False, group="disk")
