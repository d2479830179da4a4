"""What the lines of a kept conversation say: who took part, and the transcript again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from tui_lora.core.chat import BASE, Chance, Turn
from tui_lora.core.sampling import SEEDS, Sampling
from tui_lora.core.sampling_set import SYSTEM, SamplingSet, read_set
from tui_lora.core.text import clean
from tui_lora.core.transcript import Answer, Ending, Exchange, Transcript

COMPLETE = ("end", "stop")
"""How answers end of which nothing is missing."""


@dataclass(frozen=True)
class KeptVoice:
    """Somebody who took part: `name` on the wire then, `label` on the screen.

    `folder` is the adapter's, or with `whole` a model's; `within` is the same from the folder of
    `session` on, which says where it is on another machine.
    """

    name: str
    label: str
    folder: str = ""
    session: str = ""
    within: str = ""
    whole: bool = False
    classifier: bool = False


@dataclass(frozen=True)
class KeptBase:
    """The model that all of them shared, and how it was loaded; `revision` is a Hub model's
    commit."""

    model: str
    revision: str = ""
    dtype: str = ""
    scheme: str = ""
    devices: str = ""


@dataclass
class KeptChat:
    """`sampled` is how the last message was answered, `began` and `touched` are unix seconds, `bad`
    counts the lines that could not be read."""

    transcript: Transcript = field(default_factory=Transcript)
    voices: dict[str, KeptVoice] = field(default_factory=dict)
    base: KeptBase | None = None
    sampled: Mapping[str, Any] = field(default_factory=dict)
    began: float | None = None
    touched: float | None = None
    bad: int = 0

    @property
    def first(self) -> str:
        """The first words that were said."""
        exchanges = self.transcript.exchanges
        return exchanges[0].question if exchanges else ""

    @property
    def labels(self) -> dict[str, str]:
        """Who answered, in the order of their first answers: names on the wire and labels."""
        found: dict[str, str] = {}
        for exchange in self.transcript.exchanges:
            for answer in exchange.answers:
                found.setdefault(answer.voice, answer.label)
        return found


def kept_chat(lines: Iterable[bytes]) -> KeptChat:
    """The conversation that these lines hold; what cannot be read is counted and left out."""
    chat = KeptChat()
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or not _take(chat, said, number):
            chat.bad += 1
    return chat


def _take(chat: KeptChat, said: Mapping[str, Any], number: int) -> bool:
    """Add what one line says; False where it says nothing that can be used."""
    role, content = said.get("role"), said.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        return False
    moment = _number(said.get("t"))
    if moment is not None:
        chat.began = moment if chat.began is None else chat.began
        chat.touched = moment
    _take_voices(chat, said)
    exchanges = chat.transcript.exchanges
    if role == "user":
        exchange = Exchange(
            clean(content),
            reference=_text(said, "reference"),
            plain=said.get("plain") is True,
            opening=_opening(said.get("opening")),
            sampling=_sampling(said),
        )
        exchanges.append(exchange)
        chat.sampled = said
        return True
    if role == "assistant":
        at = said.get("message", len(exchanges) - 1)
        if not isinstance(at, int) or not 0 <= at < len(exchanges):
            return False
        answer = _answer(said, clean(content), number, exchanges[at].sampling)
        answer.apart = chat.transcript.apart(exchanges[at], answer)
        exchanges[at].put(answer)
        return True
    if role == "cut":
        keep = said.get("keep")
        if not isinstance(keep, int) or not 0 <= keep <= len(exchanges):
            return False
        del exchanges[keep:]
        return True
    # A later version may keep more.
    return True


def _answer(said: Mapping[str, Any], text: str, number: int, asked: SamplingSet) -> Answer:
    label = _text(said, "name") or "—"
    ended = said.get("ended_by")
    answer = Answer(f"kept-{number}", _text(said, "voice") or label, label, text)
    answer.ended_by = ended if ended and ended in get_args(Ending) else "end"
    answer.tokens = int(_number(said.get("tokens")) or 0)
    answer.begun_tokens = int(_number(said.get("begun_tokens")) or 0)
    answer.seconds = _number(said.get("seconds"))
    answer.strength = _number(said.get("strength")) or (0.0 if said.get("strength") == 0 else 1.0)
    answer.problem = _text(said, "problem")
    seed, chances = said.get("seed"), said.get("chances")
    answer.seed = seed if isinstance(seed, int) and 0 <= seed < SEEDS else None
    sampled = said.get("sampled")
    answer.sampling = _sampling(sampled) if isinstance(sampled, dict) else asked
    if isinstance(chances, dict):
        answer.chances = tuple(
            Chance(label=clean(name), probability=float(share))
            for name, share in chances.items()
            if _number(share) is not None
        )
    return answer


def _sampling(said: Mapping[str, Any]) -> SamplingSet:
    try:
        return read_set("", said)
    except ValidationError:
        return SamplingSet("", Sampling(), _text(said, SYSTEM))


def _opening(turns: Any) -> tuple[Turn, ...] | None:
    if not isinstance(turns, list):
        return None
    try:
        read = (Turn.model_validate(turn) for turn in turns)
        return tuple(Turn(role=turn.role, content=clean(turn.content)) for turn in read)
    except ValidationError:
        return ()


def _take_voices(chat: KeptChat, said: Mapping[str, Any]) -> None:
    base, voices = said.get("base"), said.get("voices")
    if isinstance(base, dict) and _text(base, "model"):
        known = ("model", "revision", "dtype", "scheme", "devices")
        chat.base = KeptBase(**{name: _text(base, name) for name in known})
    for voice in voices if isinstance(voices, list) else ():
        if not isinstance(voice, dict) or not _text(voice, "name"):
            continue
        texts = ("name", "label", "folder", "session", "within")
        one = KeptVoice(
            **{name: _text(voice, name) for name in texts},
            whole=voice.get("whole") is True,
            classifier=voice.get("classifier") is True,
        )
        chat.voices[one.name] = one


def voice_lines(base: KeptBase, voices: Iterable[KeptVoice]) -> dict[str, Any]:
    """What a line says of those who take part, as `kept_chat` reads it."""
    told = []
    for voice in voices:
        if voice.name == BASE:
            continue
        known = {key: value for key, value in vars(voice).items() if value}
        told.append(known)
    return {"base": {k: v for k, v in vars(base).items() if v}, "voices": told}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return clean(value) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 else None
