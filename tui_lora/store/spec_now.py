"""A session's run spec as it holds now: run.yaml, and what was changed since the run began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_lora.core.events import SpecChanged
from tui_lora.core.fields import put
from tui_lora.core.spec import RunSpec
from tui_lora.store.paths import SessionPaths
from tui_lora.store.sessions import events_of
from tui_lora.store.spec_file import read_spec, spec_in


def spec_now(paths: SessionPaths, changes: Mapping[str, Any] | None = None) -> RunSpec:
    """The spec that the next attempt trains with, `changes` made on top of it; reads the whole
    log. Raises UserError."""
    spec = read_spec(paths.spec)
    for event in events_of(paths, SpecChanged):
        spec = with_changes(spec, event.changes)
    return with_changes(spec, changes or {})


def with_changes(spec: RunSpec, changes: Mapping[str, Any]) -> RunSpec:
    """The spec with other values by setting (`training.micro_batch`). Raises SpecError."""
    if not changes:
        return spec
    data: dict[str, Any] = spec.model_dump(mode="json")
    for path, value in changes.items():
        data = put(data, path, value)
    return spec_in(data)
