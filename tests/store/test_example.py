"""The recorded session that we ship: today's reader must read it, whatever becomes of the code."""

from __future__ import annotations

import re

from tui_lora.core.status import Status
from tui_lora.core.view import RunView, perplexity
from tui_lora.store import sessions
from tui_lora.store.adapters import session_target
from tui_lora.store.journal import Tail
from tui_lora.store.paths import DEMO_MODEL, SessionPaths, example_session

PATHS = SessionPaths(example_session())


def test_every_line_of_it_is_read() -> None:
    lines = Tail(PATHS.events).read()
    view = sessions.fold(lines, RunView())
    assert view.unreadable == 0
    assert view.unknown_fields == 0
    assert view.events == len(lines) > 60
    # Stopped at 10 and resumed: one curve without a gap.
    assert view.attempt == 2
    assert view.resumed_from == 10
    assert next(bucket.first for bucket in view.loss.buckets) == 1
    assert view.step == view.total_steps == 30
    base, tuned = view.base_eval, view.last_eval
    assert base is not None
    assert tuned is not None
    assert (perplexity(tuned.loss) or 0) < (perplexity(base.loss) or 0) * 2 / 3


def test_it_is_listed_and_can_be_talked_to() -> None:
    summary = sessions.summarize(PATHS)
    assert summary.status is Status.DONE
    assert summary.problem == ""
    assert summary.model == DEMO_MODEL
    assert (summary.step, summary.total_steps) == (30, 30)
    assert session_target(PATHS).adapter == PATHS.adapter
    assert 0 < (summary.adapter_bytes or 0) < 1_000_000


def test_it_names_no_machine() -> None:
    for path in PATHS.folder.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            assert not re.search(r"/(root|home|work|tmp)/", path.read_text()), path
