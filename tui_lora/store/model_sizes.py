"""A model's sizes from what lies on this machine, and what is fetched to know them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from tui_lora.core.errors import UserError
from tui_lora.core.model_facts import ModelFacts, facts_of, facts_of_gguf
from tui_lora.core.spec import ModelSpec
from tui_lora.core.text import clean
from tui_lora.store.catalog import is_of_hub
from tui_lora.store.hub_client import ask, endpoint, library, refusal
from tui_lora.store.json_file import read_object
from tui_lora.store.local_model import local_place
from tui_lora.store.paths import hub_cache_folder
from tui_lora.store.quantized import quantized
from tui_lora.store.weights import BadWeights, read_gguf


def facts_at(model: ModelSpec) -> ModelFacts | None:
    """The sizes of a model that is here; None where it is not, where they are not told, and where
    its files are quantized already, since the sizes do not tell which of its layers are."""
    try:
        place = local_place(model)
    except UserError:
        return None
    if place.is_file():
        try:
            return facts_of_gguf(read_gguf(place).metadata)
        except BadWeights:
            return None
    return _facts(read_object(place / "config.json"))


def facts_on_hub(hub_id: str) -> ModelFacts | None:
    """The same of a model of the Hub, by asking it; nothing is kept here. Never raises."""
    try:
        config = ask(f"{quote(hub_id)}/resolve/main/config.json")
    except Exception:  # noqa: BLE001 - whoever asked knows by now that the Hub does not answer
        return None
    return _facts(config if isinstance(config, dict) else None)


def _facts(config: dict[str, Any] | None) -> ModelFacts | None:
    if config is None or quantized(config) is not None:
        return None
    return facts_of(config)


def is_here(model: ModelSpec) -> bool:
    """Whether its config is on this machine."""
    try:
        local_place(model)
    except UserError:
        return False
    return True


def is_to_be_had(model: ModelSpec) -> bool:
    """Whether its config is not on this machine, and the Hub may have it."""
    return not is_here(model) and is_of_hub(model.id)


def fetch_config(model: ModelSpec, timeout_s: float = 10.0) -> Path:
    """Fetch a Hub model's config.json alone, into the Hub's cache. Raises UserError."""
    from huggingface_hub import errors, hf_hub_download

    library()  # which keeps it from printing
    try:
        found = hf_hub_download(
            model.id,
            "config.json",
            revision=model.revision,
            cache_dir=hub_cache_folder(),
            endpoint=endpoint(),
            etag_timeout=timeout_s,
        )
    except Exception as error:  # the Hub, the network, the disk
        # What it says of its own cache hides why the Hub was not reached.
        hidden = isinstance(error, errors.LocalEntryNotFoundError)
        why = refusal((error.__cause__ if hidden else None) or error, model.id)
        raise UserError(
            f"the config.json of {clean(model.id)} could not be fetched: {why.what.rstrip('.')}.",
            where="model.id",
            then=f"{why.then} Or name a folder with its config.json.".strip(),
        ) from error
    return Path(found)
