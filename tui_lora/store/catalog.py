"""The models on this machine: what each is, and why one cannot be trained."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean
from tui_lora.store.paths import (
    DEMO_MODEL,
    cache_folder,
    expanded,
    hub_cache_folder,
    is_there,
    model_place,
)
from tui_lora.store.weights import (
    BadWeights,
    WeightFile,
    parameters_in,
    read_gguf,
    read_safetensors,
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_WRITES_TEXT = ("ForCausalLM", "LMHeadModel")
_MAX_JSON_BYTES = 64 << 20
_MAX_ENTRIES = 2000


@dataclass(frozen=True)
class ModelEntry:
    """A model. `id` goes into a spec's model.id, `place` is where it lies; unknown is None.

    `problem` is a sentence that says why it cannot be trained, empty when it can. `incomplete`:
    files are missing, which for a Hub model are fetched when a run starts.
    """

    id: str
    place: str
    kind: Literal["folder", "hub", "gguf"]
    architecture: str | None = None
    model_type: str | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    dtype: str | None = None
    context_tokens: int | None = None
    vocabulary: int | None = None
    hidden_size: int | None = None
    has_chat_template: bool | None = None
    quantization: str | None = None
    problem: str = ""
    incomplete: bool = False


def models(folders: list[Path]) -> list[ModelEntry]:
    """Every model in the Hugging Face cache, in our cache, and in `folders` and their subfolders.

    Never raises: what cannot be read is left out, or listed with its problem. Reads headers only,
    yet goes to the disk many times, so a UI asks in a thread.
    """
    found: dict[str, ModelEntry] = {}
    places = [cache_folder() / "models", *(expanded(str(folder)) for folder in folders)]
    for place in places:
        for entry in _in_folder(place.absolute()):
            found.setdefault(entry.place, entry)
    for entry in _in_hub_cache():
        found.setdefault(entry.place, entry)
    return sorted(found.values(), key=lambda entry: (bool(entry.problem), entry.id.lower()))


def describe(place: str) -> ModelEntry:
    """The model that a spec means by `place`: a folder, a GGUF file, a Hub id, the demo model.

    A Hub id that is not on this machine has nothing but its name. Raises UserError where there is
    no such path.
    """
    path = Path(model_place(place))
    if is_there(path):
        entry = _gguf(path) if path.is_file() else _folder(path)
        return replace(entry, id=DEMO_MODEL) if place == DEMO_MODEL else entry
    if place == DEMO_MODEL:
        raise UserError(
            "the demo model is not on this machine yet.",
            where="model.id",
            then="`make demo` fetches it (93 MB), and so does "
            "`tui-lora train --preset quickstart`.",
        )
    for entry in _in_hub_cache():
        if entry.id == place:
            return entry
    if looks_like_a_path(place):
        raise UserError(
            f"there is no model {clean(place, max_chars=200)}.",
            where="model.id",
            then="Give a folder with config.json and safetensors, a GGUF file, or a Hub id.",
        )
    if not _HUB_ID.fullmatch(place):
        raise UserError(
            f"{clean(place, max_chars=200)!r} is neither a folder nor a file here, nor the id of "
            "a Hub model.",
            where="model.id",
            then="A Hub id is owner/name, for instance Qwen/Qwen2.5-1.5B-Instruct; the demo model "
            f"is {DEMO_MODEL}.",
        )
    return ModelEntry(place, place, "hub", incomplete=True)


def check_model(model_id: str) -> ModelEntry:
    """The model, if it can be trained as far as this machine can tell; raises UserError.

    A Hub model that is not (wholly) here passes: the worker fetches it.
    """
    entry = describe(model_id)
    if entry.problem and not (entry.kind == "hub" and entry.incomplete):
        raise UserError(f"{clean(model_id)} {entry.problem}", where="model.id")
    return entry


def looks_like_a_path(model_id: str) -> bool:
    """Whether an id that names nothing here was surely meant as a path, not as a Hub id."""
    return (
        model_id.startswith(("/", ".", "~"))
        or model_id.count("/") > 1
        or model_id.endswith(("/", ".gguf"))
        or (model_id.count("/") == 1 and is_there(expanded(model_id).parent))
    )


def _in_folder(folder: Path) -> Iterator[ModelEntry]:
    """The model that `folder` is, or those directly in it and in its subfolders."""
    if _is_model(folder):
        yield _named(_folder(folder))
    seen = 0
    for child in _children(folder):
        if child.name.startswith("."):
            continue
        seen += 1
        if seen > _MAX_ENTRIES:
            return
        if child.is_dir():
            if _is_model(child):
                yield _named(_folder(child))
            yield from (_gguf(file) for file in _children(child) if _is_gguf(file))
        elif _is_gguf(child):
            yield _gguf(child)


def _named(entry: ModelEntry) -> ModelEntry:
    ours = entry.place == str(cache_folder().absolute() / "models" / DEMO_MODEL)
    return replace(entry, id=DEMO_MODEL) if ours else entry


def _in_hub_cache() -> list[ModelEntry]:
    """Models that huggingface_hub keeps, each in `main`'s revision or the newest."""
    if not hub_cache_folder().is_dir():
        return []
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(hub_cache_folder()).repos
    except (CacheNotFound, OSError, ValueError):
        return []
    found: list[ModelEntry] = []
    for repo in repos:
        revisions = sorted(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified))
        if repo.repo_type != "model" or not revisions:
            continue
        snapshot = Path(revisions[-1].snapshot_path)
        files = [file for file in _children(snapshot) if _is_gguf(file)]
        if files and not (snapshot / "config.json").exists():
            found.extend(_gguf(file) for file in files)
            continue
        entry = _folder(snapshot)
        found.append(replace(entry, id=clean(repo.repo_id), kind="hub"))
    return found


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf" and path.is_file()


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def _folder(folder: Path) -> ModelEntry:
    """What a folder holds, whatever is wrong with it."""
    place = str(folder.absolute())
    entry = ModelEntry(
        place,
        place,
        "folder",
        size_bytes=sum(_size(f) for f in _children(folder) if f.is_file()),
    )
    adapter = _json(folder / "adapter_config.json")
    if adapter is not None:
        base = clean(str(adapter.get("base_model_name_or_path") or "an unknown base"))
        return replace(
            entry,
            problem=f"is an adapter for {base}, not a model: choose that base, or merge them.",
        )
    config = _json(folder / "config.json")
    if config is None:
        what = (
            "a config.json that cannot be read"
            if (folder / "config.json").exists()
            else ("no config.json")
        )
        return replace(entry, problem=f"is no model: it has {what}.", incomplete=True)
    text = config.get("text_config")
    inner: dict[str, Any] = {**config, **text} if isinstance(text, dict) else config
    quantizer = config.get("quantization_config")
    quantizer = quantizer if isinstance(quantizer, dict) else None
    files, weight_problem = _weights(folder)
    architectures = config.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else None
    return replace(
        entry,
        architecture=clean(str(architecture)) if architecture else None,
        model_type=_text(config.get("model_type")),
        parameters=None if weight_problem else parameters_in(files, quantizer),
        dtype=_dtype(inner, files),
        context_tokens=_whole(
            inner, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length"
        ),
        vocabulary=_whole(inner, "vocab_size"),
        hidden_size=_whole(inner, "hidden_size", "n_embd", "d_model"),
        has_chat_template=_has_chat_template(folder),
        quantization=_text(quantizer.get("quant_method")) if quantizer else None,
        problem=_cannot_write(config, architecture) or weight_problem,
        incomplete=bool(weight_problem),
    )


def _weights(folder: Path) -> tuple[list[WeightFile], str]:
    """The headers of a folder's safetensors, and what is wrong with its weights, if anything."""
    names: list[str] = []
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        shards = (_json(folder / index) or {}).get("weight_map")
        if isinstance(shards, dict) and shards:
            names = sorted({str(name) for name in shards.values()})
            break
    else:
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (folder / name).exists():
                names = [name]
                break
    if not names:
        return [], "has no weights: no model.safetensors and no index of shards."
    gone = [name for name in names if not (folder / name).is_file()]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        return [], f"lacks {clean(gone[0])}{more}: its index names {len(names)} files of weights."
    files = []
    for name in names:
        if name.endswith(".safetensors"):
            try:
                files.append(read_safetensors(folder / name))
            except BadWeights as error:
                return files, f"is broken: {clean(name)} {error}."
    return files, ""


def _cannot_write(config: dict[str, Any], architecture: object) -> str:
    """Why a model of this config is none that continues text; empty when it is one."""
    kind = clean(str(config.get("model_type") or architecture or "unknown"))
    only = "only models that continue text can be trained so far."
    if config.get("is_encoder_decoder") is True:
        return f"is an encoder-decoder ({kind}): {only}"
    if any(isinstance(config.get(f"{sense}_config"), dict) for sense in ("vision", "audio")):
        return f"also reads images or sound ({kind}): {only}"
    if isinstance(architecture, str) and not architecture.endswith(_WRITES_TEXT):
        return f"is a {clean(architecture)}: {only}"
    if architecture is None and not config.get("model_type"):
        return "is no language model: its config.json names neither architecture nor model type."
    return ""


def _gguf(path: Path) -> ModelEntry:
    place = str(path.absolute())
    entry = ModelEntry(place, place, "gguf", size_bytes=_size(path))
    try:
        file = read_gguf(path)
    except BadWeights as error:
        return replace(entry, problem=f"{error}.", incomplete=True)
    data = file.metadata
    architecture = _text(data.get("general.architecture"))
    tokens = data.get("tokenizer.ggml.tokens")
    listed = tokens.get("length") if isinstance(tokens, dict) else None
    kinds = file.weights_by_dtype()
    problem = ""
    parts = data.get("split.count")
    if isinstance(parts, int) and parts > 1:
        problem = f"is one of {parts} parts: join them first (llama-gguf-split --merge)."
    elif data.get("general.type") not in (None, "model") or architecture in ("clip", None):
        problem = "is a GGUF file, but no language model."
    elif tokens is None:
        problem = "has no tokenizer in it."
    return replace(
        entry,
        architecture=architecture,
        model_type=architecture,
        parameters=sum(kinds.values()) or None,
        dtype=kinds.most_common(1)[0][0] if kinds else None,
        context_tokens=_whole(data, f"{architecture}.context_length"),
        vocabulary=_whole(data, f"{architecture}.vocab_size") or listed,
        hidden_size=_whole(data, f"{architecture}.embedding_length"),
        has_chat_template=bool(data.get("tokenizer.chat_template")),
        quantization=_gguf_type(data.get("general.file_type")),
        problem=problem,
    )


def _gguf_type(number: Any) -> str | None:
    """`Q4_K_M` for 15 and the like, as llama.cpp names its files."""
    from gguf.constants import LlamaFileType

    try:
        return str(LlamaFileType(number).name).removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return None


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    return bool((_json(folder / "tokenizer_config.json") or {}).get("chat_template"))


def _dtype(config: dict[str, Any], files: list[WeightFile]) -> str | None:
    named = config.get("dtype") or config.get("torch_dtype")
    if isinstance(named, str):
        return clean(named).removeprefix("torch.")
    counted: Counter[str] = Counter()
    for file in files:
        counted.update(file.weights_by_dtype())
    return counted.most_common(1)[0][0] if counted else None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            return None
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(value: Any) -> str | None:
    return clean(value, max_chars=80) if isinstance(value, str) and value else None


def _whole(data: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = data.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
