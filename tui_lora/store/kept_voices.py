"""Who took part in a kept conversation, as targets that can be loaded again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tui_lora.core.errors import UserError
from tui_lora.core.kept_chat import KeptBase, KeptChat, KeptVoice
from tui_lora.core.text import one_line
from tui_lora.store.adapter_files import CONFIG
from tui_lora.store.adapters import ChatTarget, session_of, stored_as, target
from tui_lora.store.inside import check_inside
from tui_lora.store.paths import SessionPaths, is_name


@dataclass(frozen=True)
class Reopened:
    """`targets` share one base; `missing` says of each voice that cannot be loaded why."""

    targets: tuple[ChatTarget, ...]
    missing: tuple[str, ...]


def kept_base(one: ChatTarget) -> KeptBase:
    model = one.model
    return KeptBase(
        model.id, model.revision or "", model.dtype, one.quantization.scheme, one.devices
    )


def kept_voice(
    name: str, label: str, session: SessionPaths | None, *, whole: bool, classifier: bool
) -> KeptVoice:
    """A voice whose `name` on the wire is its folder."""
    within = ""
    if session is not None and Path(name).is_relative_to(session.folder):
        within = str(Path(name).relative_to(session.folder))
    of = session.name if session is not None else ""
    return KeptVoice(name, label, name, of, within, whole, classifier)


def reopened(root: Path, chat: KeptChat) -> Reopened:
    """The targets of those who took part and are there; the base alone where nobody else is.

    What a file says is only looked for: which model code may run is decided as ever, and the base
    of an adapter is the one that its session or its folder names, stored as it was then.
    """
    targets: list[ChatTarget] = []
    missing: list[str] = []
    voices = list(chat.voices.values())
    for voice in sorted(voices, key=lambda one: one.whole):
        try:
            found = _found(root, voice, chat.base, targets)
            if targets and found.base != targets[0].base:
                raise UserError("its base is another one now.")
            targets.append(found)
        except UserError as error:
            missing.append(f"{one_line(voice.label, max_chars=40)}: {one_line(error.what)}")
    if not targets and chat.base is not None:
        try:
            targets.append(_alone(root, chat.base))
        except UserError as error:
            missing.append(f"{one_line(chat.base.model, max_chars=60)}: {one_line(error.what)}")
    return Reopened(tuple(targets), tuple(missing))


def _found(
    root: Path, voice: KeptVoice, base: KeptBase | None, others: list[ChatTarget]
) -> ChatTarget:
    folder = _folder(root, voice)
    if not voice.whole:
        return _stored(_adapter(root, folder), base)
    if not (folder / "config.json").is_file():
        raise UserError("the merged model is not there any more.")
    if others:
        beside = others[0]
    elif (session := folder.parent.parent / "run.yaml").is_file():
        beside = _stored(target(root, str(session.parent)), base)
    elif base is not None:
        beside = _alone(root, base)
    else:
        raise UserError("nothing says which base it stands beside.")
    return replace(beside, name=voice.label, adapter=None, whole=folder)


def _adapter(root: Path, folder: Path) -> ChatTarget:
    paths = session_of(folder.absolute())
    if paths is not None and folder.absolute() == paths.adapter:
        return target(root, str(paths.folder))
    if not (folder / CONFIG).is_file():
        # It would be taken for a model.
        raise UserError("its files are not there any more.")
    return target(root, str(folder))


def _folder(root: Path, voice: KeptVoice) -> Path:
    """Where its files are: in the session of its name first, which may be on another machine."""
    if voice.within and is_name(voice.session):
        paths = SessionPaths(root / voice.session)
        folder = paths.folder / voice.within
        if folder.resolve().is_relative_to(paths.folder.resolve()) and folder.is_dir():
            check_inside(paths.folder)
            return folder
    folder = Path(voice.folder or voice.name)
    if not folder.is_dir():
        raise UserError("its files are not there any more.")
    return folder


def _alone(root: Path, base: KeptBase) -> ChatTarget:
    """The base at the commit that it had, whatever `main` is by now."""
    one = target(root, base.model)
    if base.revision:
        one = replace(one, model=one.model.model_copy(update={"revision": base.revision}))
    return _stored(one, base)


def _stored(one: ChatTarget, base: KeptBase | None) -> ChatTarget:
    if base is None:
        return one
    try:
        return stored_as(
            one,
            devices=base.devices or None,
            quantization=base.scheme or None,
            dtype=base.dtype or None,
        )
    except UserError:
        # A file that says nonsense is no reason not to talk.
        return one
