"""resolved.yaml: what every 'auto' became and why, with the versions and the data it ran on."""

from __future__ import annotations

from typing import Any

import yaml

from tui_lora.core.events import Choice
from tui_lora.core.spec import RunSpec
from tui_lora.store.atomic import write_whole
from tui_lora.store.paths import SessionPaths


def write_resolved(
    paths: SessionPaths,
    spec: RunSpec,
    choices: list[Choice],
    *,
    versions: dict[str, str],
    revision: str | None,
    fingerprint: str,
) -> None:
    """Write it whole; raises OSError.

    `revision` is the commit of a Hub model, `fingerprint` the sha256 of the rows used.
    """
    data: dict[str, Any] = {
        "spec": spec.model_dump(mode="json"),
        "chosen": {
            choice.setting: {"value": choice.value, "because": choice.reason} for choice in choices
        },
        "versions": versions,
        "model_revision": revision,
        "dataset_sha256": fingerprint,
    }
    write_whole(paths.resolved, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def earlier_fingerprint(paths: SessionPaths) -> str | None:
    """The rows that an earlier attempt used; None where there is none or it cannot be read."""
    try:
        data = yaml.safe_load(paths.resolved.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    found = data.get("dataset_sha256") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None
