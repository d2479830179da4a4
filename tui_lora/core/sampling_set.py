"""Ways of drawing answers under a name, and what each of their settings means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from tui_lora.core.errors import UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.text import clean, number, one_line

SYSTEM, STOP = "system", "stop"


@dataclass(frozen=True)
class Setting:
    """`name` in `Sampling`; `help` is the sentence under it, `greedy` whether it plays a part
    where the likeliest token is always taken."""

    name: str
    label: str
    help: str
    greedy: bool = True


SETTINGS = (
    Setting("temperature", "temperature", "0 always takes the likeliest token; 1 draws as the "
            "model was trained to; above 1 it gets wild."),
    Setting("top_p", "top-p", "Draws among the likeliest tokens that together have this "
            "probability; 1 among all.", greedy=False),
    Setting("top_k", "top-k", "Draws among this many of the likeliest tokens; 0 among all.",
            greedy=False),
    Setting("min_p", "min-p", "Leaves out tokens with less than this share of the likeliest one's "
            "probability; 0 none.", greedy=False),
    Setting("repetition_penalty", "penalty", "Above 1 tokens that stand there already, question "
            "included, become less likely; 1 changes nothing."),
    Setting("max_new_tokens", "tokens", "The longest answer; what is cut there can be carried on."),
    Setting("seed", "seed", "The same seed draws the same answer.", greedy=False),
    Setting(STOP, "stop", "An answer ends before any of these: separated by |, \\n is a line break "
            "and \\| the bar itself; empty for none."),
    Setting(SYSTEM, "system", "What the model is told before the conversation; empty for nothing."),
)  # fmt: skip
GREEDY = "no part at temperature 0, which always takes the likeliest token."


@dataclass(frozen=True)
class SamplingSet:
    """`name` is empty for settings that were never saved under one."""

    name: str = "greedy"
    values: Sampling = field(default_factory=Sampling)
    system: str = ""

    def words(self) -> str:
        """In a few words, for the line above a conversation."""
        values = self.values
        how = "greedy"
        if self.name:
            how = one_line(self.name)
        elif not values.greedy:
            how = f"temperature {number(values.temperature)} · seed {values.seed}"
        system = " · system prompt" if self.system else ""
        return f"{how} · {values.max_new_tokens:,} tokens{system}"

    def stated(self) -> str:
        """What is set otherwise than a model draws by itself."""
        values, plain = self.values, Sampling()
        told = ["greedy" if values.greedy else f"temperature {values.temperature:g}"]
        for setting in SETTINGS[1:]:
            value = getattr(values, setting.name, None)
            idle = values.greedy and not setting.greedy
            if value is not None and value != getattr(plain, setting.name) and not idle:
                told.append(f"{setting.label} {shown(setting.name, self)}")
        return ", ".join(told)

    def seeded(self, seed: int) -> SamplingSet:
        """The same, drawn from another seed."""
        return replace(self, values=self.values.model_copy(update={"seed": seed}))

    def kept(self) -> dict[str, Any]:
        """As it stands in files; what changes nothing is left out, but for the usual four."""
        values = self.values
        usual = ("temperature", "max_new_tokens", "seed")
        told = values.model_dump(mode="json", exclude_defaults=True)
        return {SYSTEM: self.system, **{name: getattr(values, name) for name in usual}, **told}

    def same(self, other: SamplingSet) -> bool:
        return self.values == other.values and self.system == other.system

    def apart(self, other: SamplingSet) -> str:
        """What draws otherwise here than in `other`, in words: `greedy, another system prompt`."""
        told = []
        for setting in SETTINGS:
            idle = self.values.greedy and not setting.greedy
            if idle or shown(setting.name, self) == shown(setting.name, other):
                continue
            if setting.name == SYSTEM:
                told.append("another system prompt" if self.system else "no system prompt")
            elif setting.name == "temperature" and self.values.greedy:
                told.append("greedy")
            else:
                told.append(f"{setting.label} {shown(setting.name, self) or 'none'}")
        return ", ".join(told)


BUILT_IN = (
    SamplingSet("greedy"),
    SamplingSet("precise", Sampling(temperature=0.3, top_p=0.9)),
    SamplingSet("balanced", Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.05)),
    SamplingSet("creative", Sampling(temperature=1.1, min_p=0.05)),
)
MOST_NAME = 32


def read_set(name: str, values: Mapping[str, Any]) -> SamplingSet:
    """A set as `SamplingSet.kept` wrote it. Raises ValidationError."""
    system = values.get(SYSTEM)
    known = {key: value for key, value in values.items() if key in Sampling.model_fields}
    system = clean(system) if isinstance(system, str) else ""
    return SamplingSet(name, Sampling.model_validate(known), system)


def check_name(name: str, others: Mapping[str, SamplingSet]) -> str:
    """`name` where a set may be called so. Raises UserError."""
    name = one_line(name).strip()
    if not name or len(name) > MOST_NAME:
        raise _refused("name", f"has 1 to {MOST_NAME} characters.")
    if name in (one.name for one in BUILT_IN):
        raise _refused("name", f"{name} is that of one that comes along; take another.")
    if name in others:
        raise _refused("name", f"{name} is taken already.")
    return name


def shown(name: str, one: SamplingSet) -> str:
    """A setting as one types it."""
    if name == SYSTEM:
        return one.system
    if name == STOP:
        return "|".join(_escaped(text) for text in one.values.stop)
    value = getattr(one.values, name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def typed(name: str, text: str, one: SamplingSet) -> SamplingSet:
    """The set with a setting as it was typed, and without a name where that changes it. Raises
    UserError with the setting's label and what it may be."""
    if name == SYSTEM:
        made = replace(one, system=clean(text).strip())
    else:
        value: Any = text.strip().replace(",", "").replace("_", "")
        if name == STOP:
            value = stops(text)
        values = {**one.values.model_dump(), name: value}
        try:
            made = replace(one, values=Sampling.model_validate(values))
        except ValidationError as error:
            raise _refused(label(name), _wanted(name, error)) from None
    return made if made.same(one) else replace(made, name="")


def label(name: str) -> str:
    return next(setting.label for setting in SETTINGS if setting.name == name)


def stops(text: str) -> tuple[str, ...]:
    """Stop strings from one row: `\\n###|User:`."""
    found = [""]
    taken = iter(clean(text))
    for sign in taken:
        if sign == "\\":
            after = next(taken, "\\")
            found[-1] += {"n": "\n", "t": "\t"}.get(after, after)
        elif sign == "|":
            found.append("")
        else:
            found[-1] += sign
    return tuple(dict.fromkeys(one for one in found if one))


def _escaped(text: str) -> str:
    for plain, written in (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("|", "\\|")):
        text = text.replace(plain, written)
    return text


def _wanted(name: str, error: ValidationError) -> str:
    """What a setting may be, from the bounds that its field has."""
    bounds: dict[str, Any] = {}
    for known in Sampling.model_fields[name].metadata:
        for sign in ("ge", "gt", "le"):
            if (value := getattr(known, sign, None)) is not None:
                bounds[sign] = value
    kind = "a whole number" if Sampling.model_fields[name].annotation is int else "a number"
    if "gt" in bounds:
        return f"is {kind} above {bounds['gt']:g}, up to {bounds['le']:,}."
    if "ge" in bounds:
        return f"is {kind} from {bounds['ge']:g} to {bounds['le']:,}."
    return f"cannot be this: {clean(str(error.errors()[0]['msg']), max_chars=120)}."


def _refused(field: str, why: str) -> UserError:
    return UserError(f"{field} {why}")
