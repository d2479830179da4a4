"""Which settings a draft is shown: those that play a part in its task, and seldom ones if asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tui_lora.core.spec import RunSpec
from tui_lora.ui.forms.entry import Entry, title
from tui_lora.ui.forms.survey import Survey

SELDOM = frozenset(
    {
        "dataset.subset",
        "dataset.split",
        "dataset.revision",
        "dataset.streaming",
        "dataset.system",
        "dataset.mix",
        "dataset.eval_split",
        "dataset.eval_rows",
        "dataset.overlap",
        "quantization.threshold",
        "quantization.keep",
        "lora.exclude",
        "lora.layers",
        "lora.rank_pattern",
        "lora.alpha_pattern",
        "lora.bias",
        "lora.modules_to_save",
        "lora.new_tokens",
        "lora.plus_ratio",
        "lora.start_from",
        "model.trust_remote_code",
        "training.neftune",
        "training.checkpoint_layers",
        "experimental.lorentzian",
        "experimental.lorentzian_width",
        "experimental.four_bit_adapter",
        "evaluation.stop_by",
        "peek.every_steps",
        "peek.max_new_tokens",
        "guards.nan",
        "guards.loss_spike",
        "guards.no_gradient",
        "guards.plateau",
        "guards.overfitting",
        "guards.temperature",
        "guards.temperature_celsius",
        "guards.disk",
        "guards.disk_gib",
        "guards.wall_clock",
        "guards.wall_clock_hours",
        "hooks.on_finish",
    }
)
"""Settings that most runs leave alone. The Data screen has them in sight."""

_OF_TURNS = ("model.chat_template", "dataset.system")
_OF_SFT = ("dataset.loss_on", "training.packing")
_OF_HUB = ("dataset.subset", "dataset.split", "dataset.eval_split")
_OF_SPLITS = ("dataset.split", "dataset.eval_split")
_OF_PEEKS = ("peek.every_steps", "peek.max_new_tokens")
_OF_KTO = ("preference.desirable_weight", "preference.undesirable_weight")


def unused(spec: RunSpec, survey: Survey) -> dict[str, str]:
    """Why each setting that plays no part is unused, by its path."""
    task, format = spec.task, format_of(spec, survey)
    found: dict[str, str] = {}
    if task != "sft":
        found |= dict.fromkeys(_OF_SFT, f"unused: {task}")
    if task == "classification":
        found |= dict.fromkeys(_OF_TURNS, "unused: classification")
    if task not in ("dpo", "kto"):
        found |= dict.fromkeys(("preference.beta", "preference.loss", *_OF_KTO), f"unused: {task}")
    elif task == "dpo":
        found |= dict.fromkeys(_OF_KTO, "unused: dpo")
    else:
        found["preference.loss"] = "unused: kto"
    if not spec.peek.asks:
        found |= dict.fromkeys(_OF_PEEKS, "unused: nothing is asked")
    elif task == "classification":
        found["peek.max_new_tokens"] = "unused: classification"
    if not spec.experimental.lorentzian:
        found["experimental.lorentzian_width"] = "unused: no penalty"
    if format == "text" and task == "sft":
        found |= dict.fromkeys(_OF_TURNS, "unused: plain text")
        found["dataset.loss_on"] = "unused: all of a text is learned"
    elif format is not None:
        found["dataset.overlap"] = "unused: not plain text"
    return found


def format_of(spec: RunSpec, survey: Survey) -> str | None:
    """What the rows are: as the user says, else as it was found; None while that is not known."""
    return survey.format if spec.dataset.format == "auto" else spec.dataset.format


def wanted(spec: RunSpec, survey: Survey) -> frozenset[str]:
    """Seldom settings that this dataset asks for: splits where it has some, overlap of texts."""
    found: set[str] = set()
    if survey.kind == "hub":
        found.update(_OF_HUB)
    if survey.splits:
        found.update(_OF_SPLITS)
    if format_of(spec, survey) == "text":
        found.add("dataset.overlap")
    return frozenset(found)


def shown(
    entries: Sequence[Entry],
    without_part: Mapping[str, str],
    wanted_now: Collection[str],
    *,
    unfolded: bool,
    keep: str = "",
) -> tuple[tuple[Entry, ...], dict[str, int]]:
    """The rows to show, and how many seldom ones each group has folded away, by its title.

    What was changed or is wrong is always shown, and so is `keep`, which is being typed.
    """
    rows: list[Entry] = []
    folded: dict[str, int] = {}
    for entry in entries:
        if not (entry.changed or entry.problem or entry.path == keep):
            if entry.path in without_part:
                continue
            if entry.path in SELDOM and entry.path not in wanted_now:
                heading = title(entry.setting)
                folded[heading] = folded.get(heading, 0) + 1
                if not unfolded:
                    continue
        rows.append(entry)
    return tuple(rows), folded
