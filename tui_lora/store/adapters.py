"""Who can be talked to: sessions' adapters, any PEFT folder, any model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.core.text import clean
from tui_lora.core.variants import CHANGE_THE_BASE
from tui_lora.store import sessions
from tui_lora.store.adapter_labels import read_labels
from tui_lora.store.checkpoints import Checkpoint
from tui_lora.store.inside import check_inside
from tui_lora.store.paths import SessionPaths, model_place
from tui_lora.store.resolved import model_commit
from tui_lora.store.spec_now import spec_now


@dataclass(frozen=True)
class ChatTarget:
    """A base model and, unless it is the base itself, an adapter folder to put on it.

    `classifier`: the adapter has a head of its own and gives labels instead of answers.
    `most_tokens` and `most_gib` hold a conversation and the worker's share of its card to what was
    counted, where something trains beside it.
    """

    name: str
    model: ModelSpec
    quantization: QuantizationSpec = QuantizationSpec()
    devices: str = "auto"
    adapter: Path | None = None
    session: SessionPaths | None = None
    classifier: bool = False
    most_tokens: int | None = None
    most_gib: float | None = None

    @property
    def base(self) -> tuple[str, str | None, str | None, str, str, str]:
        """What must be equal for two targets to share one loaded base.

        A classifier's has as many outputs as it has labels, so nobody shares it.
        """
        place, alone = model_place(self.model.id), str(self.adapter) if self.classifier else ""
        model = self.model
        code = model.trust_remote_code
        stored = self.quantization
        # What else is set says nothing where nothing is quantized.
        how = "" if stored.scheme == "none" else stored.model_dump_json()
        return place, model.revision, code, model.dtype, how, alone


def target(root: Path, text: str) -> ChatTarget:
    """What `text` means: a session's name, a PEFT folder, else a model. Raises UserError."""
    folder = Path(text).expanduser()
    if "/" not in text and (root / text / "run.yaml").is_file():
        return session_target(sessions.find(root, text))
    if (folder / "adapter_config.json").is_file():
        return adapter_target(folder.absolute())
    if (folder / "run.yaml").is_file():
        return session_target(SessionPaths(folder.absolute()))
    from tui_lora.store.catalog import check_model
    from tui_lora.store.trusted_code import check_code

    check_model(text)
    check_code(ModelSpec(id=text))
    return ChatTarget(clean(folder.name or text), ModelSpec(id=text))


def session_target(paths: SessionPaths) -> ChatTarget:
    """A session's adapter, on the very weights that it was trained on: a Hub model at the commit of
    the run, whatever `main` is by now. Raises UserError when it has none yet."""
    spec = spec_now(paths)
    check_inside(paths.folder)
    if sessions.adapter_bytes(paths.adapter) is None:
        raise UserError(
            f"{paths.name} has no adapter yet.",
            then=f"It is saved when the run ends or is stopped: tui-lora stop {paths.name}",
        )
    commit = model_commit(paths)
    return ChatTarget(
        paths.name,
        spec.model.model_copy(update={"revision": commit}) if commit else spec.model,
        spec.quantization,
        spec.hardware.devices,
        paths.adapter,
        paths,
        spec.task == "classification" or bool(read_labels(paths.adapter)),
    )


def checkpoint_target(paths: SessionPaths, checkpoint: Checkpoint) -> ChatTarget:
    """The adapter as it was at a checkpoint of a session. Raises UserError where it means nothing
    on the base alone, and where its files are not there."""
    spec = spec_now(paths)
    if spec.lora.variant in CHANGE_THE_BASE:
        raise UserError(
            f"{spec.lora.variant} takes a part out of the base's weights, so a checkpoint's "
            "adapter answers wrongly on the base as it is.",
            then="Talk to the adapter that is saved when the run ends or is stopped.",
        )
    of_folder = adapter_target(checkpoint.folder)
    commit = model_commit(paths)
    return ChatTarget(
        f"{paths.name} at step {checkpoint.step:,}",
        spec.model.model_copy(update={"revision": commit}) if commit else spec.model,
        spec.quantization,
        spec.hardware.devices,
        checkpoint.folder,
        paths,
        spec.task == "classification" or of_folder.classifier,
    )


def adapter_target(folder: Path) -> ChatTarget:
    """Any PEFT folder, on the base that it names. Raises UserError."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            "adapter_config.json cannot be read or names no base.", where=clean(str(folder))
        ) from None
    if not isinstance(base, str) or not base:
        raise UserError("the adapter does not say which base it is for.", where=clean(str(folder)))
    if sessions.adapter_bytes(folder) is None:
        raise UserError(
            "there is no adapter_model.safetensors (pickles are not loaded).",
            where=clean(str(folder)),
        )
    return ChatTarget(
        clean(folder.name),
        ModelSpec(id=base),
        adapter=folder,
        classifier=bool(read_labels(folder)),
    )


def session_targets(root: Path) -> list[ChatTarget]:
    """Every session in `root` that has an adapter, the last touched first."""
    found = []
    for paths in sessions.listed(root):
        try:
            found.append(session_target(paths))
        except UserError:
            continue
    return found
