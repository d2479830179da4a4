"""An adapter of the Hub by its id, as somebody to talk to: found in the cache, or fetched."""

from __future__ import annotations

from pathlib import Path

from tui_lora.store.adapter_files import CONFIG
from tui_lora.store.bring import Hear, bring
from tui_lora.store.catalog import is_hub_id, looks_like_a_path
from tui_lora.store.hub_client import api_path, ask, is_offline, refusal
from tui_lora.store.hub_snapshots import snapshot_at, whole_snapshot
from tui_lora.store.model_folder import is_model


def hub_adapter(text: str, hear: Hear | None) -> Path | None:
    """The folder of the adapter that `text` (`owner/name`, or `owner/name@revision`) is on the Hub;
    None where it is none. Raises UserError.

    With `hear`, which is told how it goes, the Hub is asked about a name that is not here, and an
    adapter is fetched: its safetensors, never a pickle.
    """
    hub_id, _, given = text.partition("@")
    revision = given or None
    if not is_hub_id(hub_id) or looks_like_a_path(hub_id):
        return None
    part = snapshot_at(hub_id, revision)
    if part is not None:
        if is_model(part) and not (part / CONFIG).is_file():
            return None
        whole = whole_snapshot(hub_id, revision)
        if whole is not None:
            return whole if (whole / CONFIG).is_file() else None
    if hear is None or is_offline() or not _has_config(hub_id, revision):
        return None
    return bring(hub_id, revision, hear, adapter=True)


def _has_config(hub_id: str, revision: str | None) -> bool:
    try:
        found = ask(api_path(hub_id, revision))
        return any(file.get("rfilename") == CONFIG for file in found["siblings"])
    except Exception as error:
        raise refusal(error, hub_id) from error
