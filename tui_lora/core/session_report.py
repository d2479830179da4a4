"""A session on one page of Markdown: what was trained on what, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tui_lora.core.adapter_figures import MEASURES, AdapterFigures, rank_words
from tui_lora.core.evaluation import GIVEN, PART_NAMES, Evaluation, Figure, MetricReport, PartReport
from tui_lora.core.evaluation_lost import lost_of_metric, lost_of_part
from tui_lora.core.events import Choice, Result
from tui_lora.core.fields import show
from tui_lora.core.figures import Value, markdown_rows
from tui_lora.core.measured_runs import difference
from tui_lora.core.metrics import BY_NAME, figure
from tui_lora.core.run_figures import loss_title
from tui_lora.core.spec import RunSpec
from tui_lora.core.text import UNKNOWN, count, duration, number, one_line, size
from tui_lora.core.view import RunView, perplexity

_PARTS = {**PART_NAMES, "general": "general text (forgetting)"}
_MOST_CHOICES = 30


@dataclass(frozen=True)
class Facts:
    """All that a report is made of. `spec` as the run has it by now; `evaluations` of the session's
    own adapter, the newest first, each with its day; `curve` is the file of the picture beside.
    `scrub` takes out of a text what nobody else should read, before Markdown's own signs are
    marked in it: a key with a backslash in it would no longer look like one."""

    name: str
    status: str
    day: str
    view: RunView
    spec: RunSpec
    scrub: Callable[[str], str]
    commit: str | None = None
    result: Result | None = None
    seconds: float | None = None
    evaluations: tuple[tuple[str, Evaluation], ...] = ()
    adapter: AdapterFigures | None = None
    adapter_bytes: int | None = None
    why_no_adapter: str = ""
    curve: str = ""


def report(facts: Facts) -> str:
    """The page; what is not known stands as —."""
    blocks = (
        _head(facts),
        _trained(facts),
        _choices(facts),
        _curve(facts),
        _before_after(facts),
        _memory(facts),
        _adapter(facts),
        _versions(facts),
        _loading(facts),
    )
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _head(facts: Facts) -> Iterator[str]:
    view = facts.view
    of = f" of {view.total_steps:,}" if view.total_steps is not None else ""
    yield f"# {facts.name}"
    yield ""
    ended = f", {facts.day}" if facts.day else ""
    yield (
        f"{facts.status.replace('_', ' ')} at step {view.step:,}{of}{ended}; "
        f"{duration(facts.seconds)} at work."
    )
    if facts.result is not None and facts.result.message:
        yield f"{_quoted(facts, facts.result.message)}"


def _trained(facts: Facts) -> Iterator[str]:
    spec, plan, last = facts.spec, facts.view.plan, facts.view.last_step
    lora, training = spec.lora, spec.training
    commit = f" at {facts.commit[:12]}" if facts.commit else ""
    named = lora.target_modules
    targets = named if isinstance(named, str) else ", ".join(named)
    share = 100 * plan.trainable_parameters / max(1, plan.total_parameters) if plan else None
    rows: list[tuple[Value, Value]] = [
        ("base", f"{place_name(spec.model.id)}{commit}"),
        ("stored as", _stored(facts)),
        ("rows", _rows(facts)),
        ("task", spec.task),
        (
            "adapter",
            f"{lora.variant}, r {lora.r:,}, alpha {show(lora.alpha)}, dropout "
            f"{show(lora.dropout)}, on {targets}",
        ),
        (
            "trainable",
            f"{count(plan.trainable_parameters)} of {count(plan.total_parameters)} parameters, "
            f"{number(share)}%"
            if plan
            else None,
        ),
        (
            "training",
            f"{training.micro_batch:,} x {training.accumulation:,} rows a step, learning rate "
            f"{_became(facts, 'training.learning_rate', training.learning_rate)}, "
            f"{training.scheduler}, at most {training.max_length:,} "
            f"tokens a row, seed {training.seed}",
        ),
        (
            "so far" if facts.view.verdict is None else "in all",
            f"{number(last.epoch)} epochs, {count(last.tokens_seen)} tokens" if last else None,
        ),
        ("device", plan.device if plan else None),
    ]
    yield "## What was trained"
    yield ""
    yield from _table(facts, ("", ""), rows)


def _became(facts: Facts, setting: str, value: object) -> str:
    """A setting, or what the run made of it where it was left open."""
    became = {choice.setting: choice.value for choice in facts.view.choices}
    return became.get(setting) or show(value) or UNKNOWN


def _stored(facts: Facts) -> str:
    scheme = facts.spec.quantization.scheme
    dtype = _became(facts, "model.dtype", facts.spec.model.dtype)
    return f"{scheme}, computed in {dtype}" if scheme != "none" else f"not quantized, {dtype}"


def _rows(facts: Facts) -> str:
    plan = facts.view.plan
    name = place_name(facts.spec.dataset.path)
    if plan is None:
        return name
    return f"{name}: {plan.train_rows:,} to train on, {plan.eval_rows:,} held out"


def _choices(facts: Facts) -> Iterator[str]:
    choices: Sequence[Choice] = facts.view.choices
    if not choices:
        return
    yield "## Chosen where it was left open"
    yield ""
    rows = [(one.setting, one.value, one.reason) for one in choices[:_MOST_CHOICES]]
    yield from _table(facts, ("setting", "became", "because"), rows)


def _curve(facts: Facts) -> Iterator[str]:
    if not facts.curve:
        return
    yield "## Loss"
    yield ""
    yield f"![training and held-out loss by step](<{facts.curve}>)"


def _before_after(facts: Facts) -> Iterator[str]:
    yield "## Before and after"
    yield ""
    yield from _during(facts)
    parts, metrics = newest_figures(facts.evaluations, facts.spec.quantization.scheme)
    if not parts and not metrics:
        yield ""
        yield f"Intervals, task metrics and forgetting: {UNKNOWN} (`tui-lora eval {facts.name}`)"
        return
    if parts:
        yield ""
        yield from _table(
            facts,
            ("measured on", "rows", "base", "tuned", "change of the loss"),
            [_part(name, part) for name, part in parts],
        )
        yield ""
        yield "Perplexity, or loss where rows are counted; 95% intervals by bootstrap over rows."
    if metrics:
        yield ""
        yield from _table(
            facts,
            ("metric", "rows", "base", "tuned", "change", "p"),
            [_metric(name, metric) for name, metric in metrics],
        )
        yield ""
        tests = ", ".join(dict.fromkeys(metric.test for _, metric in metrics if metric.test))
        yield f"95% intervals; p by {tests}." if tests else "95% intervals."
    lost = [(name, lost_of_part(part)) for name, part in parts]
    lost += [(name, lost_of_metric(metric)) for name, metric in metrics]
    told = [f"{name}: {words}" for name, words in lost if words]
    yield from _notes(facts, (*told, *(n for _, one in facts.evaluations for n in one.notices)))


def _notes(facts: Facts, notices: Iterable[str]) -> Iterator[str]:
    told = list(dict.fromkeys(notices))
    if told:
        yield ""
    yield from (f"- {_quoted(facts, notice)}" for notice in told)


def newest_figures(
    evaluations: Sequence[tuple[str, Evaluation]], stored: str
) -> tuple[list[tuple[str, PartReport]], list[tuple[str, MetricReport]]]:
    """Each part and each metric as it was measured last, by what it was measured on: the rows, and
    the base where it was not `stored` as the run had it."""
    parts: dict[str, tuple[str, PartReport]] = {}
    metrics: dict[str, tuple[str, MetricReport]] = {}
    for day, found in evaluations:
        how = "" if found.quantization == stored else f"base in {found.quantization}"
        if how and found.quantization == "none":
            how = "base not quantized"
        given = f"{GIVEN} of {place_name(found.test_file)}" if found.test_file else ""
        for part in found.parts:
            rows = given if part.part == "eval" and given else _PARTS[part.part]
            key = ", ".join(filter(None, (rows, how)))
            parts.setdefault(key, (f"{key}, {day}" if day else key, part))
        for metric in found.metrics:
            key = ", ".join(filter(None, (one_line(metric.label), given, how)))
            metrics.setdefault(f"{metric.name} {key}", (key, metric))
    return list(parts.values()), list(metrics.values())


def _during(facts: Facts) -> Iterator[str]:
    """What the run itself measured on its way."""
    view, result = facts.view, facts.result
    base = view.base_eval.loss if view.base_eval else result.base_eval_loss if result else None
    tuned = view.tuned_eval.loss if view.tuned_eval else result.eval_loss if result else None
    best = view.best_eval
    rows: list[tuple[Value, ...]] = [(loss_title("loss", [facts.spec.task]), base, tuned)]
    if facts.spec.task == "sft":
        rows.append(("perplexity", perplexity(base), perplexity(tuned)))
    for name in BY_NAME:
        if name in view.metrics:
            before, now = view.base_metrics.get(name), view.metrics[name]
            rows.append((BY_NAME[name].label, figure(name, before), figure(name, now)))
    held_out = view.base_eval or view.tuned_eval
    on = f"{held_out.rows:,} held-out rows" if held_out is not None else "held-out rows"
    yield from _table(facts, (f"during the run, on {on}", "base", "tuned"), rows)
    if best is not None and best.step and tuned is not None and best.loss < tuned:
        yield ""
        yield f"It was lowest at step {best.step:,}: {number(best.loss)}."


def _part(name: str, part: PartReport) -> tuple[Value, ...]:
    tokens = part.counted_by == "tokens"
    base, tuned = ((one.perplexity if tokens else one.loss) for one in (part.base, part.tuned))
    of = f" of {part.of:,}" if part.of != part.rows else ""
    return (name, f"{part.rows:,}{of}", interval(base), interval(tuned), interval(part.change))


def _metric(name: str, metric: MetricReport) -> tuple[Value, ...]:
    share = metric.kind == "right" or metric.unit == "share"
    sides = (metric.base, metric.tuned, metric.change)
    return (name, metric.rows, *(interval(one, share=share) for one in sides), metric.p)


def interval(one: Figure, *, share: bool = False) -> str:
    """`3.95 (3.36 to 4.72)`."""

    def text(value: float | None) -> str:
        if value is None:
            return UNKNOWN
        # An interval that ends at zero is reckoned to one that ends next to it.
        return f"{100 * value:.1f}%" if share else number(value)

    if one.low is None or one.high is None:
        return text(one.value)
    return f"{text(one.value)} ({text(one.low)} to {text(one.high)})"


def _memory(facts: Facts) -> Iterator[str]:
    forecast, measured, view = facts.view.forecast, facts.view.measured, facts.view
    told = forecast.forecast if forecast is not None else None
    if told is None and measured is None and view.peak_process_gib is None:
        return
    yield "## Memory"
    yield ""
    if told is None and measured is None:
        yield f"On the CPU; its process held {number(view.peak_process_gib)} GiB at its peak."
        return
    card = measured.card if measured is not None else forecast.card if forecast else ""
    rows: list[tuple[Value, ...]] = [
        (
            "allocated by tensors",
            told.peak_allocated_gib if told else None,
            measured.peak_allocated_gib if measured else None,
        ),
        (
            "reserved by torch",
            told.peak_reserved_gib if told else None,
            measured.peak_reserved_gib if measured else None,
        ),
        (
            "CUDA's own",
            told.parts.context if told else None,
            measured.context_gib if measured else None,
        ),
    ]
    yield from _table(facts, ("peak, GiB", "predicted", "measured"), rows)
    if told is not None and measured is not None:
        off = difference(told.peak_reserved_gib, measured.peak_reserved_gib)
        if off is not None:
            yield ""
            yield f"Predicted {'too high' if off > 0 else 'too low'} by {abs(100 * off):.1f}%."
    yield ""
    yield f"On {_quoted(facts, card) or UNKNOWN}; predicted by {told.method if told else UNKNOWN}."


def _adapter(facts: Facts) -> Iterator[str]:
    yield "## The adapter"
    yield ""
    found = facts.adapter
    if found is None:
        yield f"{UNKNOWN} {_quoted(facts, facts.why_no_adapter)}".rstrip()
        return
    strongest = found.strongest(MEASURES[0])
    where = ""
    if strongest is not None:
        layer = f"layer {strongest.place.layer}, " if strongest.place.layer is not None else ""
        where = f"{layer}{strongest.place.row}: {number(strongest.norm)}"
    rows: list[tuple[Value, Value]] = [
        ("size", size(facts.adapter_bytes)),
        ("‖ΔW‖, Frobenius norm over all layers", found.norm),
        ("strongest", where or None),
        ("entropy rank (Roy and Vetterli 2007), median of the layers", found.entropy_rank),
        ("stable rank (Rudelson and Vershynin 2007), median", found.stable_rank),
        ("r", ", ".join(f"{r:,}" for r in found.r)),
    ]
    yield from _table(facts, ("", ""), rows)
    yield ""
    yield rank_words(found)
    yield from _notes(facts, found.notices)


def _versions(facts: Facts) -> Iterator[str]:
    yield "## Made with"
    yield ""
    told = ", ".join(f"{name} {value}" for name, value in facts.view.versions.items())
    yield _quoted(facts, told) or UNKNOWN


def _loading(facts: Facts) -> Iterator[str]:
    yield "## Using it"
    yield ""
    if facts.adapter_bytes is None:
        yield "There is no adapter yet."
        return
    yield "```bash"
    yield f"tui-lora chat {facts.name}"
    yield "```"
    yield ""
    yield (
        "It is a plain PEFT adapter in the session's `adapter/`; the README.md there has the "
        "lines that load it without tui-lora."
    )


def place_name(text: str) -> str:
    """A Hub id or a name as it is; of a path on this machine only its end."""
    shown = one_line(text, max_chars=120)
    return shown.rstrip("/").rpartition("/")[2] if shown.startswith(("/", "~", ".")) else shown


def _table(facts: Facts, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> Iterator[str]:
    told = [[facts.scrub(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    yield from markdown_rows([facts.scrub(name) for name in columns], told)


def _quoted(facts: Facts, text: str) -> str:
    """A line from outside, which Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in one_line(facts.scrub(text)))
