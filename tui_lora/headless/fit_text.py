"""The answer of `tui-lora fit`, as JSON and in 80 columns."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from tui_lora.core.advice import LARGEST, Advice
from tui_lora.core.candidates import of_largest
from tui_lora.core.cards import Card
from tui_lora.core.measured_runs import ASSUMED, Context
from tui_lora.core.memory import PARTS, Forecast, Verdict, headroom_gib, verdict
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import UNKNOWN, one_line, shorten_middle

WIDTH = 80
_BAR = 76
_MARKS = {
    "weights": "█",
    "adapter": "▓",
    "gradients": "▓",
    "optimizer": "▓",
    "activations": "▒",
    "workspace": "░",
    "loss": "░",
    "context": "╱",
    "others": "╲",
}
_FREE = "─"
VERDICTS: dict[Verdict, str] = {
    "fits": "it fits",
    "tight": "it fits, but tightly: less than 5% of the card is left",
    "does_not_fit": "it does not fit",
    "unknown": "unknown",
}
_METHODS = {"simulated": "simulated", "formula": "by a formula"}


@dataclass(frozen=True)
class AskedCard:
    """The card that is asked about; `card` is None where there is none. `others_gib` is what stands
    on it now, None where the driver does not tell; `source` says how it is known. `context` is
    CUDA's own share of it."""

    card: Card | None
    others_gib: float | None = 0.0
    source: str = ""
    context: Context = ASSUMED


@dataclass(frozen=True)
class Answer:
    """What is said of a run and a card; `forecast` is None where nothing is known, and the reasons
    say why. `advice` is there where it does not fit, and where `more` was asked for."""

    spec: RunSpec
    asked: AskedCard
    forecast: Forecast | None
    reasons: tuple[str, ...]
    advice: Advice | None = None
    more: bool = False

    @property
    def headroom(self) -> float | None:
        if self.forecast is None or self.asked.card is None or self.asked.others_gib is None:
            return None
        return headroom_gib(self.forecast, self.asked.card.total_gib, self.asked.others_gib)

    @property
    def verdict(self) -> Verdict:
        total = self.asked.card.total_gib if self.asked.card is not None else None
        return verdict(self.headroom, total)


def as_json(answer: Answer) -> dict[str, Any]:
    """The answer for programs: sizes in GiB, unknown is null."""
    found, card = answer.forecast, answer.asked.card
    others = answer.asked.others_gib if card is not None else None
    return {
        "peak_allocated_gib": found and round(found.peak_allocated_gib, 4),
        "peak_reserved_gib": found and round(found.peak_reserved_gib, 4),
        "peak_process_gib": found and round(found.peak_process_gib, 4),
        "parts": {
            **{name: found and round(getattr(found.parts, name), 4) for name in PARTS},
            "others": others,
        },
        "card_gib": card and card.total_gib,
        "headroom_gib": None if answer.headroom is None else round(answer.headroom, 4),
        "verdict": answer.verdict,
        "method": found and found.method,
        "reasons": [*answer.reasons, *_no_verdict(answer)],
        "advice": [
            {
                "change": change.title,
                "peak_process_gib": round(change.peak_process_gib, 4),
                "saves_gib": round(change.saves_gib, 4),
                "verdict": change.verdict,
                "cost": change.cost,
                "set": change.changes,
            }
            for change in (answer.advice.changes if answer.advice else ())
        ],
        "largest": [
            {
                "setting": largest.setting,
                "value": largest.value,
                "peak_process_gib": largest.peak_process_gib and round(largest.peak_process_gib, 4),
                "why_no_larger": largest.said,
                "set": of_largest(answer.spec, largest),
            }
            for largest in (answer.advice.largest if answer.advice and answer.more else ())
        ],
        "ways": [
            {
                "way": way.name,
                "recipe": way.recipe,
                "peak_process_gib": way.forecast and round(way.forecast.peak_process_gib, 4),
                "verdict": way.verdict,
                "why_not": way.why_not,
            }
            for way in (answer.advice.ways if answer.advice else ())
        ],
        "phase": found and found.phase,
        "card": card and card.name,
        "model": answer.spec.model.id,
    }


def report_lines(answer: Answer) -> list[str]:
    """The answer for people."""
    found, asked = answer.forecast, answer.asked
    lines = [shorten_middle(one_line(answer.spec.model.id), WIDTH), settings_line(answer.spec)]
    if found is None:
        return [*lines, "", f"unknown{_of(asked.card)}", *because(answer.reasons)]
    sizes = [(name, float(getattr(found.parts, name))) for name in PARTS]
    if asked.card is not None:
        sizes.append(("others", asked.others_gib or 0.0))
        lines += ["", _bar(sizes, asked.card.total_gib), *_scale(asked.card, asked.source)]
    lines.append("")
    lines += [_line(_MARKS[name], name, size) for name, size in sizes if size >= 0.005]
    lines.append(_line(" ", "peak of the process", found.peak_process_gib, _how(found)))
    if answer.headroom is None:
        lines += ["", *(line for why in _no_verdict(answer) for line in textwrap.wrap(why, WIDTH))]
    else:
        word = "headroom" if answer.headroom >= 0 else "too much by"
        lines += [_line(" ", word, abs(answer.headroom))]
        lines += ["", VERDICTS[answer.verdict] + _of(asked.card)]
    return [*lines, *because(answer.reasons), *_help(answer)]


def _help(answer: Answer) -> list[str]:
    """What would help, the best first; what it costs stands under what is enough."""
    advice = answer.advice
    if advice is None:
        told = answer.verdict == "fits" and not answer.more
        return ["", "--more says what else fits: longer rows, other ranks, other ways."] * told
    lines = [""] * bool(advice.changes or advice.nothing)
    for change in advice.changes:
        lines.append(_figure(change.title, change.peak_process_gib, change.verdict))
        if change.verdict == "fits":
            lines += _below(change.cost)
    lines += textwrap.wrap(advice.nothing, WIDTH)
    return [*lines, *_more(advice)] if answer.more else lines


def _more(advice: Advice) -> list[str]:
    lines = ["", "the largest that fits, each alone"] * bool(advice.largest)
    for largest in advice.largest:
        value = "none" if largest.value is None else f"{largest.value:,}"
        label = f"{LARGEST.get(largest.setting, largest.setting)}: {value}"
        fits: Verdict = "does_not_fit" if largest.value is None else "fits"
        lines += [_figure(label, largest.peak_process_gib, fits), *_below(largest.said)]
    lines += ["", "the same rows in other ways"] * bool(advice.ways)
    for way in advice.ways:
        peak = way.forecast.peak_process_gib if way.forecast is not None else None
        lines.append(_figure(way.name, peak, way.verdict))
        lines += _below(way.why_not)
    return lines


def _figure(title: str, peak_gib: float | None, says: Verdict) -> str:
    size = UNKNOWN if peak_gib is None else f"{peak_gib:.2f}"
    return f"{shorten_middle(one_line(title), 40):<42}{size:>8} GiB  {says.replace('_', ' ')}"


def _below(text: str) -> list[str]:
    indent = "  "
    return textwrap.wrap(one_line(text), WIDTH, initial_indent=indent, subsequent_indent=indent)


def settings_line(spec: RunSpec) -> str:
    training, scheme = spec.training, spec.quantization.scheme
    double = " double" if scheme in ("nf4", "fp4") and spec.quantization.double_quant else ""
    stored = "16 bits" if scheme == "none" else scheme + double
    rows = "row" if training.micro_batch == 1 else "rows"
    return (
        f"{spec.task}, {stored}, rank {spec.lora.r}, {training.micro_batch:,} {rows} of "
        f"{training.max_length:,} tokens"
    )


def _bar(sizes: list[tuple[str, float]], total_gib: float) -> str:
    """The card from left to right; what is too much is cut at its end."""
    cells, filled = "", 0.0
    for name, size in sizes:
        filled += size
        cells += _MARKS[name] * (round(_BAR * filled / total_gib) - len(cells))
    if len(cells) > _BAR:
        return f"[{cells[: _BAR - 1]}▶]"
    return f"[{cells:{_FREE}<{_BAR}}]"


def _scale(card: Card, source: str) -> list[str]:
    end = f"{card.total_gib:.2f} GiB"
    left = shorten_middle(f"{one_line(card.name)}, {source}", _BAR - len(end))
    return [f" {left:<{_BAR - len(end)}}{end}"]


def _line(mark: str, name: str, size_gib: float, note: str = "") -> str:
    return f"{mark} {name:<20}{size_gib:8.2f} GiB{note and '  ' + note}"


def _how(found: Forecast) -> str:
    return f"{_METHODS[found.method]}, in the {found.phase} pass" if found.phase else ""


def _no_verdict(answer: Answer) -> list[str]:
    card, why = answer.asked.card, answer.asked.source
    if card is not None:
        held = answer.asked.others_gib
        why = "" if held is not None else f"what others hold of {one_line(card.name)} is not known"
    return [f"no verdict: {why}"] if why else []


def _of(card: Card | None) -> str:
    return "" if card is None else f" ({one_line(card.name)})"


def because(reasons: tuple[str, ...]) -> list[str]:
    lines = []
    for reason in reasons:
        lines += textwrap.wrap(
            one_line(reason) or UNKNOWN, WIDTH, initial_indent="- ", subsequent_indent="  "
        )
    return lines
