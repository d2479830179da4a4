"""A session that was stopped at a checkpoint, with all that it wrote down of what it stood on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.models import write_model
from tests.recorded import finish, opening, steps, write
from tui_lora.core.fields import put
from tui_lora.core.spec import RunSpec, parse_spec
from tui_lora.store import sessions
from tui_lora.store.changed_since import to_write_down
from tui_lora.store.checkpoints import seal
from tui_lora.store.paths import SessionPaths
from tui_lora.store.resolved import read_resolved
from tui_lora.store.spec_file import read_spec, to_yaml
from tui_lora.store.versions import versions


def stopped_session(root: Path, name: str = "run", **changes: Any) -> SessionPaths:
    """At step 200 of 400, on a model and rows beside it; `changes` as `lora__r=4`."""
    model = write_model(root / "base")
    rows = root / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {at}"}) + "\n" for at in range(20)))
    data: dict[str, Any] = {"model": {"id": str(model)}, "dataset": {"path": str(rows)}}
    for path, value in changes.items():
        data = put(data, path.replace("__", "."), value)
    paths = sessions.create(root, name, parse_spec(data))
    write(paths, opening(400), steps(1, 200, 400))
    beside = paths.checkpoints / ".new"
    beside.mkdir()
    (beside / "weights").write_bytes(b"x")
    seal(beside, paths.checkpoints / "step-000200", step=200, tokens_seen=1)
    finish(paths, 200, "stopped")
    spec = read_spec(paths.spec)
    resolve(
        paths,
        spec=spec.model_dump(mode="json"),
        versions=versions(),
        **to_write_down(spec, None, ""),
    )
    return paths


def resolve(paths: SessionPaths, **found: Any) -> None:
    """Write into resolved.yaml what a worker would have."""
    paths.resolved.write_text(yaml.safe_dump({**read_resolved(paths), **found}))


def edit(paths: SessionPaths, setting: str, value: Any) -> RunSpec:
    """Change run.yaml by hand."""
    data = put(read_spec(paths.spec).model_dump(mode="json"), setting, value)
    spec = parse_spec(data)
    paths.spec.write_text(to_yaml(spec))
    return spec
