"""Who takes part in a conversation: one base, and whatever is loaded beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from textual.content import Content

from tui_lora.core.chat import BASE
from tui_lora.core.text import one_line, shorten_middle, size
from tui_lora.store.adapters import ChatTarget
from tui_lora.store.paths import SessionPaths
from tui_lora.ui.chat_facts import voice_of
from tui_lora.ui.ink import ACCENT, DIM, FAINT, STRONG, dim, join

MOST_STRENGTH = 1.5
GIB = 2**30
SHORTEST = 10
"""Cells of a name, however many there are beside it."""


@dataclass(frozen=True)
class Voice:
    """Somebody who answers: `name` on the wire, `label` on the screen.

    A `classifier` is given a text and says which label it has; `whole` is a model of its own beside
    the base. A `muted` one does not answer when everybody does.
    """

    name: str
    label: str
    session: SessionPaths | None = None
    classifier: bool = False
    whole: bool = False
    strength: float = 1.0
    muted: bool = False

    @property
    def adapter(self) -> bool:
        """Whether it is an adapter on the base, which can be made stronger and weaker."""
        return self.name != BASE and not self.whole and not self.classifier

    def key(self, model: str) -> str:
        """Who it is in votes, wherever it is met again; `model` is the base's id."""
        if self.name == BASE:
            return f"base {model}"
        # A session's name says who it is on another machine too, where its folder is another.
        who = self.label if self.session is not None else self.name
        return who if self.strength == 1 else f"{who} × {self.strength:.0%}"


class Voices:
    """The voices of one base, the base first; `at` points at the one that answers next."""

    def __init__(self) -> None:
        self.all: list[Voice] = []
        self.at = 0

    def __len__(self) -> int:
        return len(self.all)

    @property
    def next(self) -> Voice | None:
        return self.all[self.at] if self.all else None

    @property
    def heard(self) -> list[Voice]:
        """Those who answer when everybody does."""
        return [voice for voice in self.all if not voice.muted]

    @property
    def sessions(self) -> list[SessionPaths]:
        """The sessions whose adapters take part, each once."""
        return list(dict.fromkeys(v.session for v in self.all if v.session is not None))

    def begin(self, classifier: bool) -> None:
        """Only the base; a classifier's has an untrained head, which has nothing to say."""
        self.all = [] if classifier else [Voice(BASE, BASE)]
        self.at = 0

    def join(self, target: ChatTarget) -> None:
        """Let a target take part and answer next."""
        name = voice_of(target)
        known = [voice.name for voice in self.all]
        if name not in known:
            whole = target.whole is not None
            self.all.append(Voice(name, target.name, target.session, target.classifier, whole))
            known.append(name)
        self.at = known.index(name)

    def leave(self) -> None:
        """The voice that answers next takes part no more."""
        self.drop(self.all[self.at].name)

    def drop(self, name: str) -> Voice | None:
        """A voice takes part no more, whichever answers next; returns it, if it did."""
        at = next((n for n, voice in enumerate(self.all) if voice.name == name), None)
        if at is None:
            return None
        gone = self.all.pop(at)
        self.at = max(0, min(self.at - (at < self.at), len(self.all) - 1))
        return gone

    def step(self, by: int) -> None:
        """Point at the next voice that is not muted, or the one before."""
        for _ in self.all:
            self.at = (self.at + by) % len(self.all)
            if not self.all[self.at].muted:
                return

    def mute(self) -> None:
        """Mute the voice that answers next, or let it speak again."""
        self._change(muted=not self.all[self.at].muted)

    def strengthen(self, by: float) -> float:
        """Scale what the adapter of the next voice adds; returns its strength."""
        now = self.all[self.at].strength
        strength = round(min(MOST_STRENGTH, max(0.0, now + by)), 2)
        self._change(strength=strength)
        return strength

    def _change(self, **changes: object) -> None:
        self.all[self.at] = replace(self.all[self.at], **changes)  # type: ignore[arg-type]


def labelled(label: str, strength: float) -> str:
    """A voice's name, with how strong its adapter is where that is not as trained."""
    return one_line(label) if strength == 1 else f"{one_line(label)} {strength:.0%}"


def voices_row(
    voices: Voices, width: int, *, everybody: bool, does: str, gib: Mapping[str, float]
) -> Content:
    """Everybody who takes part, those marked who answer the next message; `gib` is what each holds
    in memory, shown where there is room."""
    start = dim(f"{does}  ")
    room = width - start.cell_length
    names = [_name(voice) for voice in voices.all]
    held = [_held(voice, gib) for voice in voices.all]
    for with_held in (True, False):
        taken = sum(
            len(n) + 5 + (len(h) if with_held else 0) for n, h in zip(names, held, strict=True)
        )
        if taken <= room:
            break
    if not with_held:
        names = shortened(names, room)
    pieces = []
    for at, (voice, name, has) in enumerate(zip(voices.all, names, held, strict=True)):
        here = not voice.muted if everybody else at == voices.at
        look = DIM if not here else STRONG if voice.name == BASE else f"bold {ACCENT}"
        if voice.muted:
            look = FAINT
        # Where everybody answers, keys still go to the one that is underlined.
        pointed = f"{look} underline" if everybody and at == voices.at else look
        piece = join(("● " if here else "○ ", look), (name, pointed))
        pieces.append(join(piece, dim(has)) if with_held else piece)
    return join(start, Content("   ").join(pieces))


def _name(voice: Voice) -> str:
    return labelled(voice.label, voice.strength) + (" (muted)" if voice.muted else "")


def _held(voice: Voice, gib: Mapping[str, float]) -> str:
    return f" {size(gib[voice.name] * GIB)}" if voice.name in gib else ""


def shortened(names: list[str], room: int) -> list[str]:
    """Names cut in the middle until all of them fit beside each other with five cells between, the
    longest first."""
    names = list(names)
    while sum(len(name) + 5 for name in names) > room:
        longest = max(range(len(names)), key=lambda at: len(names[at]))
        if len(names[longest]) <= SHORTEST:
            break
        names[longest] = shorten_middle(names[longest], len(names[longest]) - 1)
    return names
