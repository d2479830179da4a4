"""The user's own ways of drawing answers, by name: `sampling.json` in the config folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tui_lora.core.errors import UserError
from tui_lora.core.sampling_set import BUILT_IN, SamplingSet, check_name, read_set
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.json_file import read_object
from tui_lora.store.paths import config_folder

_FILE = "sampling.json"


def own_sets() -> dict[str, SamplingSet]:
    """Those that the user saved; what cannot be read is left out."""
    data = read_object(config_folder() / _FILE) or {}
    sets = data.get("sets")
    found = {}
    for name, values in sets.items() if isinstance(sets, dict) else ():
        if isinstance(values, dict) and name not in (one.name for one in BUILT_IN):
            try:
                found[clean(name)] = read_set(clean(name), values)
            except ValidationError:
                continue
    return found


def all_sets() -> tuple[SamplingSet, ...]:
    """Those that come along, then the user's own."""
    return (*BUILT_IN, *own_sets().values())


def named(one: SamplingSet) -> SamplingSet:
    """The same under the name of the set that it equals, or under none."""
    found = next((known for known in all_sets() if known.same(one)), None)
    return found or SamplingSet("", one.values, one.system)


def as_kept(values: Mapping[str, Any]) -> SamplingSet | None:
    """Settings as they stand in a kept conversation; None where they cannot be read."""
    try:
        return named(read_set("", values)) if values else None
    except ValidationError:
        return None


def save_set(name: str, one: SamplingSet) -> SamplingSet:
    """Save settings under a name that is free. Raises UserError."""
    sets = own_sets()
    name = check_name(name, sets)
    sets[name] = SamplingSet(name, one.values, one.system)
    _write(sets)
    return _there(name)


def rename_set(before: str, name: str) -> SamplingSet:
    """Raises UserError, also for a set that comes along."""
    sets = own_sets()
    _own(before, sets)
    name = check_name(name, sets)
    moved = {name if known == before else known: one for known, one in sets.items()}
    moved[name] = SamplingSet(name, moved[name].values, moved[name].system)
    _write(moved)
    return _there(name)


def delete_set(name: str) -> None:
    """Raises UserError, also for a set that comes along."""
    sets = own_sets()
    _own(name, sets)
    del sets[name]
    _write(sets)


def _own(name: str, sets: dict[str, SamplingSet]) -> None:
    if name not in sets:
        raise UserError(f"{clean(name)} comes along, or is not there; it stays as it is.")


def _there(name: str) -> SamplingSet:
    found = own_sets().get(name)
    if found is None:
        raise UserError(f"{clean(name)} was written, but cannot be read again.")
    return found


def _write(sets: dict[str, SamplingSet]) -> None:
    file = config_folder() / _FILE
    text = json.dumps({"sets": {name: one.kept() for name, one in sets.items()}}, indent=2)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text + "\n")
    except OSError as error:
        raise UserError(
            f"the set could not be saved: {error.strerror}.", where=clean(str(file))
        ) from None
