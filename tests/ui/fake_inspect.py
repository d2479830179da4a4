"""An inspect worker without a tokenizer: a real process on real pipes that splits at spaces.

Every model is a llama of two layers, whose targets are all-linear or names. Its memory is that of
a larger one: `WEIGHTS_GIB` by scheme, and a GiB for each 1,024 tokens of a micro-batch.

What it does depends on the model's name: with `slow` it waits for the file in `FAKE_INSPECT_GATE`
to be gone, with `deaf` it never answers, with `short` it ends at once, with `odd` it knows no
memory. Files called `.parquet` are
read as if they were JSON lines, a dataset `org/...` has two subsets and two splits.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

from tui_lora.core.advice import Advice, Change, Largest
from tui_lora.core.errors import UserError
from tui_lora.core.examples import example
from tui_lora.core.formats import decide
from tui_lora.core.inspect import (
    FROM_INSPECT,
    TO_INSPECT,
    AdviseMemory,
    CancelInspect,
    FeedRow,
    FindText,
    ForecastMemory,
    InspectFailed,
    InspectReady,
    InspectWorking,
    LengthsMeasured,
    LookAt,
    LookAtModel,
    Looked,
    MeasureLengths,
    MemoryAdvised,
    MemoryForecast,
    ModelLooked,
    Piece,
    ReadRow,
    RowFed,
    RowRead,
    Sequence,
    TextFound,
)
from tui_lora.core.memory import Forecast, Parts, headroom_gib, verdict
from tui_lora.core.model_shape import AdapterShape, Kind, ModelShape, ModuleGroup, Wrong
from tui_lora.core.rows import BadRow
from tui_lora.core.spec import RunSpec
from tui_lora.store.sources import Row, open_source, rows_of

GATE = "FAKE_INSPECT_GATE"
HUB_ROWS = [
    {"sentence": "a fine film [/INST]", "label": "good"},
    {"sentence": "a dull film", "label": "bad"},
]


def start_fake_inspect(kind: str, *arguments: str, devices: str = "auto") -> Any:
    """Stands in for `store.launch.start_pipe_worker`, for inspect workers."""
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def main() -> None:
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    cancelled: set[str] = set()

    def say(message: object) -> None:
        sys.stdout.write(FROM_INSPECT.encode(message))  # type: ignore[arg-type]
        sys.stdout.flush()

    def listen() -> None:
        for line in sys.stdin:
            message = TO_INSPECT.decode(line).message
            if isinstance(message, CancelInspect):
                cancelled.add(message.id)
            elif message is not None:
                inbox.put(message)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    say(InspectReady(seconds=0.1))
    while True:
        asked = inbox.get()
        if asked.id in cancelled:
            continue
        spec = RunSpec.model_validate(asked.spec)
        if "short" in spec.model.id:
            sys.stderr.write("the tokenizer fell off the bus\n")
            sys.stderr.flush()
            os._exit(3)
        if "slow" in spec.model.id:
            say(InspectWorking(id=asked.id, label="loading the tokenizer"))
            while Path(os.environ[GATE]).exists():
                time.sleep(0.01)
        try:
            for answer in answers(asked, spec):
                if asked.id not in cancelled and "deaf" not in spec.model.id:
                    say(answer)
        except (UserError, BadRow) as error:
            say(InspectFailed(id=asked.id, message=str(error)))


def answers(asked: Any, spec: RunSpec) -> Any:
    if isinstance(asked, LookAtModel):
        yield look_at_model(asked, spec)
    elif isinstance(asked, AdviseMemory):
        yield from advise(asked, spec)
    elif isinstance(asked, ForecastMemory):
        if "odd" in spec.model.id:
            yield MemoryForecast(id=asked.id, unknown="its layers are [unlike] any other")
        else:
            yield MemoryForecast(id=asked.id, forecast=forecast(spec))
    elif isinstance(asked, LookAt):
        yield look_at(asked, spec)
    elif isinstance(asked, ReadRow):
        yield read_row(asked, spec)
    elif isinstance(asked, FeedRow):
        yield feed(asked, spec)
    elif isinstance(asked, FindText):
        found = (row.number for row in rows(spec)[asked.start :] if asked.text in str(row.value))
        yield TextFound(id=asked.id, row=next(found, None))
    elif isinstance(asked, MeasureLengths):
        yield from measure(asked, spec)


def look_at_model(asked: LookAtModel, spec: RunSpec) -> ModelLooked:
    if "away" in spec.model.id:
        raise UserError("away is not on this machine yet, so its layers are not known.")
    lora = spec.lora
    targets = lora.target_modules
    every = targets == "all-linear"
    free = [group for group in GROUPS if group.packed]
    chosen = [group for group in free if every or group.name in targets]
    if not chosen:
        message = f"this model has no linear layer called {', '.join(targets)}."
        wrong = Wrong(message=message, field="lora.target_modules", mend="It has: q_proj, up_proj.")
        return ModelLooked(id=asked.id, shape=shape(spec, GROUPS), problems=(wrong,))
    groups = tuple(
        group.model_copy(
            update={
                "adapted": group.count,
                "rank": lora.r,
                "trainable": group.would_train(lora.r),
            }
        )
        if group in chosen
        else group
        for group in GROUPS
    )
    adapter = AdapterShape(
        targets=sum(group.adapted for group in groups),
        trainable=sum(group.trainable for group in groups),
        scale=lora.alpha / lora.r,
    )
    return ModelLooked(id=asked.id, shape=shape(spec, groups), adapter=adapter)


WEIGHTS_GIB = {"nf4": 5.0, "fp4": 5.0, "int8": 9.0, "none": 15.0}


def forecast(spec: RunSpec) -> Forecast:
    parts = Parts(
        weights=WEIGHTS_GIB[spec.quantization.scheme],
        adapter=0.1,
        gradients=0.0,
        optimizer=0.2,
        activations=spec.training.micro_batch * spec.training.max_length / 1024,
        workspace=0.4,
        loss=0.0,
        context=0.3,
    )
    reserved = parts.total - parts.context
    return Forecast(
        method="simulated",
        parts=parts,
        peak_allocated_gib=reserved,
        peak_reserved_gib=reserved,
        phase="backward",
    )


def advise(asked: AdviseMemory, spec: RunSpec) -> Any:
    total = asked.total_gib or 0.0

    def fits(found: Forecast) -> Any:
        return verdict(headroom_gib(found, total, asked.others_gib), total)

    now = forecast(spec)
    changes = {"quantization.scheme": "nf4", "training.micro_batch": 1}
    training = spec.training.model_copy(update={"micro_batch": 1})
    stored = spec.quantization.model_copy(update={"scheme": "nf4"})
    then = forecast(spec.model_copy(update={"quantization": stored, "training": training}))
    mend = Change(
        title="nf4 + micro-batch 1",
        changes=changes,
        cost="A little slower [than before].",
        saves_gib=now.peak_process_gib - then.peak_process_gib,
        peak_process_gib=then.peak_process_gib,
        verdict=fits(then),
    )
    offered = [mend]
    if asked.lengths is not None:
        shorter = {"title": "max length 512", "changes": {"training.max_length": 512}}
        cuts = {"cut_rows": asked.lengths.beyond(512), "measured_rows": asked.lengths.rows}
        offered.append(mend.model_copy(update=shorter | cuts))
    advice = Advice(forecast=now, verdict=fits(now), changes=tuple(offered))
    yield MemoryAdvised(id=asked.id, done=False, advice=advice)
    most = Largest(
        setting="lora.r",
        value=64,
        peak_process_gib=then.peak_process_gib + 0.3,
        limit="memory",
        said="at 68 it takes too much",
    )
    none = Largest(
        setting="training.max_length",
        value=None,
        peak_process_gib=None,
        limit="memory",
        said="even at 64 it takes too much",
    )
    yield MemoryAdvised(
        id=asked.id, done=True, advice=advice.model_copy(update={"largest": (most, none)})
    )


def shape(spec: RunSpec, groups: tuple[ModuleGroup, ...]) -> ModelShape:
    return ModelShape(
        model=spec.model.id,
        model_type="llama",
        parameters=sum(group.parameters for group in groups),
        layers=2,
        hidden_size=64,
        vocabulary=1000,
        context_tokens=4096,
        scheme=spec.quantization.scheme,
        modules=groups,
    )


def group(path: str, kind: Kind, count: int, inputs: int, outputs: int, **more: Any) -> ModuleGroup:
    return ModuleGroup(
        path=path,
        name=path.rpartition(".")[2],
        kind=kind,
        count=count,
        parameters=count * inputs * outputs,
        inputs=inputs,
        outputs=outputs,
        **more,
    )


GROUPS = (
    group("model.layers.*.self_attn.q_proj", "attention", 2, 64, 64, packed=True),
    group("model.layers.*.self_attn.v_proj", "attention", 2, 64, 32, packed=True),
    group("model.layers.*.mlp.up_proj", "mlp", 2, 64, 128, packed=True),
    group("lm_head", "output", 1, 64, 1000, refused="the loss is computed from it"),
    ModuleGroup(
        path="model.embed_tokens", name="embed_tokens", kind="embedding", count=1, parameters=64000
    ),
)


def rows(spec: RunSpec) -> list[Row]:
    source = open_source(spec.dataset)
    if source.kind == "rows":
        return list(rows_of(source))
    if source.kind == "hub":
        return [Row(n, 0, HUB_ROWS[n % 2]) for n in range(20)]
    lines = source.files[0].read_text().splitlines()
    return [Row(n, 0, json.loads(line)) for n, line in enumerate(lines)]


def read(spec: RunSpec) -> tuple[Any, str]:
    values = [row.value for row in islice(rows(spec), 100) if not row.problem]
    data = spec.dataset
    return decide(
        values, format=data.format, columns=data.columns, system=data.system, task=spec.task
    )


def look_at(asked: LookAt, spec: RunSpec) -> Looked:
    hub = "/" in spec.dataset.path and not spec.dataset.path.startswith("/")
    if hub and spec.dataset.subset is None:
        return Looked(
            id=asked.id,
            format=None,
            reason="it has the subsets films and books; choose one",
            columns=(),
            subsets=("films", "books"),
            seen=0,
            usable=0,
        )
    reading, reason = read(spec)
    found = rows(spec)
    return Looked(
        id=asked.id,
        format=reading.format if reading else None,
        reason=reason,
        columns=tuple(found[0].value),
        splits=("train", "test") if hub else (),
        subsets=("films", "books") if hub else (),
        seen=len(found),
        usable=len(found) if reading else 0,
        rows=len(found),
    )


def read_row(asked: ReadRow, spec: RunSpec) -> RowRead:
    found = rows(spec)
    there = asked.row < len(found)
    value = found[asked.row].value if there else None
    return RowRead(id=asked.id, row=asked.row, there=there, value=value, rows=len(found))


def feed(asked: FeedRow, spec: RunSpec) -> RowFed:
    reading, reason = read(spec)
    if reading is None:
        raise UserError(reason)
    row = rows(spec)[asked.row]
    if row.problem:
        raise UserError(f"line {row.line} {row.problem}.")
    sequences = tuple(sequences_of(example(row.value, reading), spec))
    label = str(example(row.value, reading).get("label", ""))
    template = spec.model.chat_template
    return RowFed(
        id=asked.id,
        row=asked.row,
        sequences=sequences,
        label=label,
        template="its own" if template == "auto" else template,
        choices=() if template == "auto" else (f"chat template {template}: as you said",),
    )


def sequences_of(made: dict[str, Any], spec: RunSpec) -> Any:
    limit = spec.training.max_length
    prompt = [word for turn in made.get("prompt", []) for word in turn_words(turn)]
    if "chosen" in made:
        for name in ("chosen", "rejected"):
            yield sequence(prompt, words(made[name][-1]["content"], end=True), limit, name)
    elif "completion" in made:
        yield sequence(prompt, words(made["completion"][-1]["content"], end=True), limit)
    elif "label" in made:
        yield sequence(words(made["text"]), [], limit)
    else:
        found = words(made["text"])
        parts = [found[at : at + limit] for at in range(0, len(found), limit)]
        for number, part in enumerate(parts, start=1):
            name = f"passage {number} of {len(parts)}" if len(parts) > 1 else ""
            yield sequence([], part, limit, name)


def turn_words(turn: dict[str, Any]) -> list[str]:
    return ["<|im_start|>", turn["role"], "\n", *words(turn["content"]), "<|im_end|>", "\n"]


def words(text: str, *, end: bool = False) -> list[str]:
    return [*re.findall(r"\s*\S+\n?|\s+", text), *(["<|im_end|>"] if end else [])]


def sequence(prompt: list[str], answer: list[str], limit: int, name: str = "") -> Sequence:
    marked = [(word, False) for word in prompt] + [(word, True) for word in answer]
    pieces = [
        Piece(
            texts=(word,),
            trained=trained and at < limit,
            special=word.startswith("<|"),
            cut=at >= limit,
        )
        for at, (word, trained) in enumerate(marked)
    ]
    return Sequence(
        name=name,
        pieces=tuple(pieces),
        tokens=min(limit, len(marked)),
        trained_tokens=sum(piece.trained for piece in pieces),
        cut_tokens=max(0, len(marked) - limit),
    )


def measure(asked: MeasureLengths, spec: RunSpec) -> Any:
    reading, reason = read(spec)
    if reading is None:
        raise UserError(reason)
    whole = spec.model_copy(
        update={"training": spec.training.model_copy(update={"max_length": 1 << 20})}
    )
    lengths = sorted(
        sum(s.tokens for s in sequences_of(example(row.value, reading), whole))
        for row in rows(spec)
        if not row.problem
    )
    limit = spec.training.max_length
    for part in (len(lengths) // 2, len(lengths)):
        known = lengths[:part]
        if not known:
            continue
        yield LengthsMeasured(
            id=asked.id,
            rows=part,
            of_rows=len(lengths),
            done=part == len(lengths),
            edges=tuple(range(0, known[-1] + 9, 8)),
            lengths=tuple(
                sum(at <= n < at + 8 for n in known) for at in range(0, known[-1] + 1, 8)
            ),
            mean=sum(known) / part,
            p50=known[part // 2],
            p95=known[part * 95 // 100],
            longest=known[-1],
            tokens=sum(known),
            trained_tokens=sum(known) // 2,
            max_length=limit,
            cut_rows=sum(n > limit for n in known),
            cut_tokens=sum(max(0, n - limit) for n in known),
            untrained_rows=0,
            padded_share=0.25,
            packed_share=0.04,
        )


if __name__ == "__main__":
    main()
