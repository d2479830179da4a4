"""resolved.yaml: what every 'auto' became and why, with the versions and the data it ran on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from tui_lora.core.events import Choice
from tui_lora.core.spec import RunSpec
from tui_lora.core.variants import BEGIN_OTHERWISE
from tui_lora.store.atomic import write_whole
from tui_lora.store.changed_since import card_name, to_write_down
from tui_lora.store.paths import SessionPaths
from tui_lora.store.patience import PatientSensors
from tui_lora.store.resolved import read_resolved

if TYPE_CHECKING:
    from tui_lora.worker.data import Prepared


def write_resolved(
    paths: SessionPaths,
    spec: RunSpec,
    choices: list[Choice],
    *,
    versions: dict[str, str],
    revision: str | None,
    start_revision: str,
    tokenizer: Any,
    data: Prepared,
    device: str,
    first_rows: int | None,
) -> None:
    """Write it whole; raises OSError. `revision` is the commit of a Hub model, `start_revision`
    that of the adapter of the Hub that the run started from, `first_rows` with how many of the
    longest rows it began. Reads the files of base and rows for their digests."""
    found: dict[str, Any] = {
        "spec": spec.model_dump(mode="json"),
        "chosen": {
            choice.setting: {"value": choice.value, "because": choice.reason} for choice in choices
        },
        "versions": versions,
        "model_revision": revision,
        "start_revision": start_revision or None,
        "tokens": {
            "template_sha256": template_hash(tokenizer.chat_template),
            "end": tokenizer.eos_token,
            "pad": tokenizer.pad_token,
        },
        "datasets": [
            {
                "name": name,
                "format": reading.format,
                "columns": dict(reading.columns),
                "because": reading.reason,
            }
            for name, reading in data.readings
        ],
        "dataset_sha256": data.fingerprint,
        "left_out_rows": data.left_out,
        "first_rows": first_rows,
        **to_write_down(spec, revision, _card(device)),
    }
    if data.labels:
        found["labels"] = list(data.labels)
    write_whole(paths.resolved, yaml.safe_dump(found, sort_keys=False, allow_unicode=True))


def _card(device: str) -> str | None:
    """As NVML calls it, which is whom a viewer asks; empty for the processor."""
    return "" if device == "cpu" else card_name(PatientSensors().read(), "auto")


def template_hash(template: object) -> str | None:
    """Of the text of the chat template, which is saved with the adapter; None where there is none.

    A tokenizer may have several, by name.
    """
    if not template:
        return None
    text = template if isinstance(template, str) else repr(template)
    return hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest()


@dataclass(frozen=True)
class Earlier:
    """What an earlier attempt ran on: the fingerprint of its rows, its labels, the commits of its
    model and of the adapter that it started from, whether it packed, how its adapter began, the
    hash of its chat template, its settings, with how many of the longest rows it began. None (or
    empty) where it is not known."""

    rows: str | None = None
    labels: list[str] | None = None
    model_commit: str | None = None
    start_commit: str = ""
    packed: bool | None = None
    beginning: Choice | None = None
    template: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    first_rows: int | None = None


def earlier(paths: SessionPaths) -> Earlier:
    """What stands in the session's resolved.yaml."""
    data = read_resolved(paths)
    texts = {
        name: value
        for name in ("dataset_sha256", "model_revision", "start_revision")
        if isinstance(value := data.get(name), str)
    }
    labels, tokens, settings = data.get("labels"), data.get("tokens"), data.get("spec")
    template = tokens.get("template_sha256") if isinstance(tokens, dict) else None
    first_rows = data.get("first_rows")
    packed, _ = _chosen(data, "training.packing")
    variant, why = _chosen(data, "lora.variant")
    return Earlier(
        texts.get("dataset_sha256"),
        labels if isinstance(labels, list) else None,
        texts.get("model_revision"),
        texts.get("start_revision", ""),
        packed == "yes" if packed in ("yes", "no") else None,
        Choice(setting="lora.variant", value=variant, reason=why)
        if variant in BEGIN_OTHERWISE
        else None,
        template if isinstance(template, str) else None,
        settings if isinstance(settings, dict) else {},
        first_rows if isinstance(first_rows, int) else None,
    )


def _chosen(data: dict[str, Any], setting: str) -> tuple[str, str]:
    """What a setting became and why; empty where that does not stand there."""
    chosen = data.get("chosen")
    found = chosen.get(setting) if isinstance(chosen, dict) else None
    found = found if isinstance(found, dict) else {}
    return str(found.get("value", "")), str(found.get("because", ""))
