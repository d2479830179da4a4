"""Who can be talked to: sessions' adapters, any PEFT folder, any model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.spec import ModelSpec, QuantizationSpec, parse_spec
from tui_lora.core.text import clean
from tui_lora.core.variants import CHANGE_THE_BASE
from tui_lora.store import sessions
from tui_lora.store.adapter_files import CONFIG, check_adapter_files
from tui_lora.store.adapter_labels import read_labels
from tui_lora.store.bring import Hear
from tui_lora.store.catalog import check_model, is_of_hub
from tui_lora.store.checkpoints import Checkpoint, checkpoints
from tui_lora.store.hub_adapter import hub_adapter
from tui_lora.store.inside import check_inside
from tui_lora.store.paths import SessionPaths, expanded, model_place
from tui_lora.store.resolved import model_commit
from tui_lora.store.spec_now import spec_now, with_changes

BASE_WORDS = "base alone"


@dataclass(frozen=True)
class ChatTarget:
    """A base model and, unless it is the base itself, an adapter folder to put on it.

    `classifier`: the adapter has a head of its own and gives labels instead of answers.
    `most_tokens` and `most_gib` hold a conversation and the worker's share of its card to what was
    counted, where something trains beside it. `whole`: the folder of a model of the base's shape, a
    merged one, that stands beside the base instead of an adapter on it.
    """

    name: str
    model: ModelSpec
    quantization: QuantizationSpec = QuantizationSpec()
    devices: str = "auto"
    adapter: Path | None = None
    session: SessionPaths | None = None
    classifier: bool = False
    whole: Path | None = None
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

    @property
    def loaded_as(self) -> tuple[object, ...]:
        """What must be equal for a base in memory to be the target's, where it wants it to be."""
        return (*self.base, self.devices)


def base_alone(one: ChatTarget) -> ChatTarget:
    """The base of a target, with nothing on it."""
    return ChatTarget(BASE_WORDS, one.model, one.quantization, one.devices)


def stored_as(
    one: ChatTarget,
    *,
    devices: str | None = None,
    quantization: str | None = None,
    dtype: str | None = None,
) -> ChatTarget:
    """The target elsewhere, or with its base in another precision than the run's, where one is
    given. Raises SpecError."""
    asked = {
        "hardware.devices": devices,
        "quantization.scheme": quantization,
        "model.dtype": dtype,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    if not changes:
        return one
    plain = with_changes(parse_spec({"model": "none", "dataset": "none"}), changes)
    stored = one.quantization.model_copy(update={"scheme": plain.quantization.scheme})
    return replace(
        one,
        devices=plain.hardware.devices if devices is not None else one.devices,
        quantization=stored if quantization is not None else one.quantization,
        model=one.model.model_copy(update={"dtype": plain.model.dtype}) if dtype else one.model,
    )


def target(
    root: Path, text: str, *, base: str | None = None, hear: Hear | None = None
) -> ChatTarget:
    """What `text` means: a session's name, `NAME@STEP` for a checkpoint of one, a PEFT folder (of a
    session's too), an adapter of the Hub, else a model. Raises UserError.

    `base` takes the place of the base that an adapter names, where no session says which it is.
    With `hear` the Hub is asked whether a name is an adapter's, and it is fetched; without, only
    what is on this machine counts, and other names are models.
    """
    try:
        here = _here(root, text, base)
    except OSError as error:
        # Such as a pasted text that is too long for a name.
        shown, why = clean(text, max_chars=60), clean(error.strerror or str(error))
        raise UserError(f"there is no folder {shown}: {why}.") from None
    if here is not None:
        return here
    if (adapter := hub_adapter(text, hear)) is not None:
        return replace(adapter_target(adapter, base), name=clean(text))
    from tui_lora.store.trusted_code import check_code

    check_model(text)
    check_code(ModelSpec(id=text))
    return ChatTarget(clean(expanded(text).name or text), ModelSpec(id=text))


def _here(root: Path, text: str, base: str | None) -> ChatTarget | None:
    """The session, checkpoint or adapter on this machine that `text` names; None where it is none.
    Raises UserError and OSError."""
    folder = expanded(text)
    name, at, step = text.rpartition("@")
    if "/" not in text and at and (root / name / "run.yaml").is_file():
        return _at_step(sessions.find(root, name), step)
    if "/" not in text and (root / text / "run.yaml").is_file():
        return session_target(sessions.find(root, text))
    if (folder / CONFIG).is_file():
        return _of_folder(folder.absolute(), base)
    if (folder / "run.yaml").is_file():
        return session_target(SessionPaths(folder.absolute()))
    return None


def _of_folder(folder: Path, base: str | None) -> ChatTarget:
    paths = session_of(folder)
    if paths is None or base is not None:
        return adapter_target(folder, base)
    if folder == paths.adapter:
        return session_target(paths)
    for checkpoint in checkpoints(paths.checkpoints):
        if checkpoint.folder == folder:
            return checkpoint_target(paths, checkpoint)
    raise UserError(
        "this checkpoint was never finished: it has no manifest.", where=clean(str(folder))
    )


def session_of(folder: Path) -> SessionPaths | None:
    """The session that a folder of an adapter is a part of: its adapter, or a checkpoint of it."""
    paths = SessionPaths(folder.parent if folder.name == "adapter" else folder.parent.parent)
    ours = folder in (paths.adapter, paths.checkpoints / folder.name)
    return paths if ours and paths.spec.is_file() else None


def _at_step(paths: SessionPaths, step: str) -> ChatTarget:
    there = checkpoints(paths.checkpoints)
    found = next((one for one in there if str(one.step) == step), None)
    if found is None:
        steps = ", ".join(f"{one.step}" for one in there[-8:])
        raise UserError(
            f"{paths.name} has no checkpoint of step {clean(step, max_chars=40)}.",
            then=f"It has those of: {steps}" if there else "It has none.",
        )
    return checkpoint_target(paths, found)


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


def adapter_target(folder: Path, base: str | None = None) -> ChatTarget:
    """Any PEFT folder, on the base that it names, at the revision that it names, or on `base`.
    Raises UserError."""
    config = check_adapter_files(folder)
    named = base or config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError(
            "the adapter does not say which base it is for.",
            where=clean(str(folder)),
            then="Say it: tui-lora chat ADAPTER --base MODEL",
        )
    revision = config.get("revision") if base is None and is_of_hub(named) else None
    try:
        check_model(named)
    except UserError as error:
        raise UserError(
            f"the base of this adapter cannot be used: {error.what}",
            where=clean(str(folder)),
            then=f"{error.then or ''} Another place of it can be given: --base MODEL.".strip(),
        ) from None
    return ChatTarget(
        clean(folder.name),
        ModelSpec(id=named, revision=revision if isinstance(revision, str) and revision else None),
        adapter=folder,
        # One that was not made here has no list of its labels.
        classifier=config.get("task_type") == "SEQ_CLS" or bool(read_labels(folder)),
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
