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
    fingerprint: str,
) -> None:
    """Write it whole; raises OSError. `fingerprint`: sha256 of the rows used."""
    data: dict[str, Any] = {
        "spec": spec.model_dump(mode="json"),
        "chosen": {
            choice.setting: {"value": choice.value, "because": choice.reason} for choice in choices
        },
        "versions": versions,
        "dataset_sha256": fingerprint,
    }
    write_whole(paths.resolved, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
