"""A session trained in the test's own process, so that the trained model can be looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tui_lora.core.events import AttemptStarted
from tui_lora.core.spec import RunSpec
from tui_lora.core.view import RunView
from tui_lora.store import sessions
from tui_lora.store.paths import SessionPaths


def trained(root: Path, name: str, spec: RunSpec) -> tuple[Any, SessionPaths]:
    """The model as it was when its adapter was saved. Raises what training raises."""
    from tui_lora.worker import lora, train
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.outcome import Outcome
    from tui_lora.worker.reporter import Reporter

    paths = sessions.create(root, name, spec)
    models: list[Any] = []

    def save(model: Any, *arguments: Any, **named: Any) -> Any:
        models.append(model)
        return really(model, *arguments, **named)

    really = lora.save_adapter
    reporter = Reporter(paths.events)
    reporter.begin(AttemptStarted(attempt=1, pid=os.getpid(), resumed_from=None, versions={}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora, "save_adapter", save)
        try:
            train._train(paths, spec, None, reporter, Inbox(paths.orders), Outcome(1, 0))
        finally:
            reporter.close()
    return models[0], paths


def chosen(paths: SessionPaths) -> dict[str, str]:
    """What was decided for the run, by setting."""
    from tui_lora.store.journal import Tail

    view = sessions.fold(Tail(paths.events).read(1 << 26), RunView())
    return {choice.setting: choice.value for choice in view.choices}
