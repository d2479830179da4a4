"""How large the weights are that an adapter changes: their norms, read from the base's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tui_lora.core.adapter_figures import AdapterFigures
from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec
from tui_lora.core.text import clean, one_line
from tui_lora.store.adapter_files import CONFIG
from tui_lora.store.adapter_spectrum import AdapterPlace, OnProgress, Stopped
from tui_lora.store.catalog import is_of_hub
from tui_lora.store.hub_snapshots import snapshot_at
from tui_lora.store.json_file import read_object
from tui_lora.store.model_weights import shard_files
from tui_lora.store.paths import model_place
from tui_lora.store.resolved import model_commit
from tui_lora.store.spec_now import spec_now
from tui_lora.store.tensors import TensorFile
from tui_lora.store.weights import BadWeights


def with_base(
    place: AdapterPlace, found: AdapterFigures, on_progress: OnProgress, go_on: Callable[[], bool]
) -> AdapterFigures:
    """The figures with ‖W‖ of every layer whose weights the base's files hold as plain numbers.
    Raises UserError where none does, and Stopped once `go_on` is false. Reads every one of them."""
    folder = _base_folder(place)
    files = {}
    try:
        for shard in shard_files(folder):
            file = TensorFile(shard)
            files.update({name: file for name in file.shapes if file.is_float(name)})
        names = _matched([one.path for cell in found.cells.values() for one in cell.changes], files)
        norms = {}
        for done, (path, name) in enumerate(names.items()):
            if not go_on():
                raise Stopped
            norms[path] = files[name].norm(name)
            on_progress(done + 1, len(names))
    except BadWeights as error:
        raise UserError(
            f"the base's weights cannot be read: a file {error}.", where=clean(str(folder))
        ) from None
    if not norms:
        raise UserError(
            "the base's files do not hold these layers' weights as plain numbers.",
            where=clean(str(folder)),
            then="A quantized model, a GGUF file and stacks of experts are not read.",
        )
    return found.with_base(norms)


def _base_folder(place: AdapterPlace) -> Path:
    model = _base(place)
    folder = Path(model_place(model.id))
    if is_of_hub(model.id):
        folder = snapshot_at(model.id, model.revision) or folder
    if not folder.is_dir() or not shard_files(folder):
        raise UserError(
            f"the base {one_line(model.id, max_chars=120)} is not on this machine as safetensors.",
            then="Its weights are needed to say how much of them the adapter changes.",
        )
    return folder


def _base(place: AdapterPlace) -> ModelSpec:
    if place.session is not None:
        model = spec_now(place.session).model
        commit = model_commit(place.session)
        return model.model_copy(update={"revision": commit}) if commit else model
    named = (read_object(place.folder / CONFIG) or {}).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError("the adapter does not say which base it is for.")
    return ModelSpec(id=named)


def _matched(paths: list[str], names: dict[str, TensorFile]) -> dict[str, str]:
    """The tensor of each path. Files leave out what all paths begin with, or have more of it."""
    ends: dict[str, list[str]] = {}
    for name in names:
        ends.setdefault(_numbered_end(name), []).append(name)
    found = {}
    for path in dict.fromkeys(paths):
        exact = f"{path}.weight"
        alike = ends.get(_numbered_end(exact), [])
        if exact in names:
            found[path] = exact
        elif len(alike) == 1:
            found[path] = alike[0]
    return found


def _numbered_end(name: str) -> str:
    """From the word before the first number on: `layers.3.mlp.up_proj.weight`."""
    parts = name.split(".")
    at = next((at for at, part in enumerate(parts) if part.isdecimal()), None)
    return name if at is None else ".".join(parts[max(0, at - 1) :])
