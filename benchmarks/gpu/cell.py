"""One cell of benchmarks/gpu/memory.py: a forecast, and two steps by a session's trainer.

It prints one line of JSON. Everything but the weights is a session's own: spec, tokenizer, rows,
trainer, optimizer. The weights are random, and made on the card in the order and sizes in which
transformers 5 brings and quantizes those of a file: no download, and no host memory for a model.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHAPES = Path(__file__).resolve().parent.parent / "model_shapes.json"
TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": True,
}
ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
RANK = 16


def main() -> int:
    asked = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="tui-lora-cell-") as scratch:
        told = _cell(asked, Path(scratch))
    print(json.dumps({"cell": told}), flush=True)
    return 0


def _cell(asked: dict[str, Any], scratch: Path) -> dict[str, Any]:
    from tui_lora.core.errors import UserError
    from tui_lora.worker.oom import is_out_of_memory

    told: dict[str, Any] = {}
    try:
        spec = _spec(asked, scratch)
        card = _card(asked["device"])
        told |= _predict(spec, card)
        if told.get("why_not"):
            return told | {"outcome": "failed", "why": f"no forecast: {told.pop('why_not')}"}
        process = told["predicted"]["process"]
        free = card.total_gib
        if asked["device"] != "cpu" and process > free and not asked["everything"]:
            why = f"{process:.1f} GiB are forecast of {free:.1f} (--all tries it)"
            return told | {"outcome": "does_not_fit", "why": why}
        return told | {"outcome": "measured", **_measure(spec, scratch)}
    except UserError as error:
        return told | {"outcome": "failed", "why": str(error)[:300]}
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this cell's result)
        if is_out_of_memory(error):
            return told | {"outcome": "out_of_memory", "why": str(error).splitlines()[0][:300]}
        traceback.print_exc()
        return told | {"outcome": "failed", "why": f"{type(error).__name__}: {error!s:.280}"}


def _spec(asked: dict[str, Any], scratch: Path) -> Any:
    """The run, with a folder for its model that has a config, a tokenizer and no weights."""
    from tui_lora.core.spec import parse_spec

    folder = scratch / "model"
    folder.mkdir()
    facts = TINY
    if asked["name"]:
        facts = json.loads(SHAPES.read_text(encoding="utf-8"))[asked["name"]]
    kind = str(facts["model_type"])
    config = {**facts, "architectures": [ARCHITECTURES[kind]], "max_position_embeddings": 32768}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _tokenizer().save_pretrained(folder)
    rows = scratch / "rows.jsonl"
    _write_rows(rows, asked["tokens"], packed=asked["packed"])
    return parse_spec(
        {
            "model": str(folder),
            "dataset": {"path": str(rows), "eval_share": 0.0, "loss_on": "all"},
            "quantization": {"scheme": asked["scheme"]},
            "lora": {"r": RANK, "alpha": 2 * RANK},
            "training": {
                "max_steps": 2,
                "micro_batch": asked["rows"],
                "accumulation": 2,
                "max_length": asked["tokens"],
                "packing": asked["packed"],
                "gradient_checkpointing": asked["checkpointing"],
            },
            "hardware": {"devices": "cpu" if asked["device"] == "cpu" else "auto"},
        }
    )


def _tokenizer() -> Any:
    """A token for each byte: how long a row is can be counted off."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<end>"]
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=special[0], eos_token=special[1]
    )


def _write_rows(path: Path, tokens: int, *, packed: bool) -> None:
    """Rows that fill every sequence: whole ones to the last token, or four to be packed in one."""
    draw = random.Random(1)
    many, long = (64, tokens // 4 - 1) if packed else (16, tokens + 8)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(many):
            file.write(json.dumps({"text": "".join(draw.choices("abcdefgh", k=long))}) + "\n")


def _card(device: str) -> Any:
    from tui_lora.core.cards import Card

    if device == "cpu":
        return Card("none", 16.0, (8, 0))
    import torch

    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    return Card(torch.cuda.get_device_name(0), total, torch.cuda.get_device_capability(0))


def _predict(spec: Any, card: Any) -> dict[str, Any]:
    from tui_lora.worker.memory.forecast import Unknown, forecast

    found = forecast(spec, card)
    if isinstance(found, Unknown):
        return {"why_not": found.reason}
    return {
        "predicted": {
            "allocated": found.peak_allocated_gib,
            "reserved": found.peak_reserved_gib,
            "process": found.peak_process_gib,
            "context": found.parts.context,
            "parts": {name: round(value, 4) for name, value in found.parts},
            "phase": found.phase,
        },
        "reasons": list(found.reasons),
    }


def _measure(spec: Any, scratch: Path) -> dict[str, Any]:
    """Two steps on the longest rows, as a fit check takes them."""
    import tui_lora.worker.model as of_a_session
    from tui_lora.core.sensors import SensorReading
    from tui_lora.store.gpu import Sensors
    from tui_lora.store.paths import SessionPaths
    from tui_lora.worker.assemble import assemble
    from tui_lora.worker.inbox import Inbox
    from tui_lora.worker.longest_batch import confine
    from tui_lora.worker.peaks import peaks_on
    from tui_lora.worker.progress import Progress

    sensors = Sensors()
    before: SensorReading = sensors.read()
    sensors.close()
    of_a_session.load_model = random_model
    paths = SessionPaths(scratch / "session")
    paths.folder.mkdir()
    run = assemble(
        paths,
        spec,
        None,
        reporter=_silent(),
        inbox=Inbox(paths.orders),
        progress=Progress(),
        stop_here=lambda: None,
    )
    peaks = peaks_on(run.loaded.device, before)
    confined = confine(run.trainer)
    loaded = peaks.take()
    phases = []
    began = time.monotonic()

    def taken() -> None:
        nonlocal began
        peak = peaks.take()
        phases.append(
            {
                "allocated": peak.allocated,
                "reserved": peak.reserved,
                # Without a card it is main memory, which nothing is forecast of.
                "process": None if run.loaded.device == "cpu" else peak.process,
                "seconds": time.monotonic() - began,
            }
        )
        began = time.monotonic()

    confined.train(lambda: None, taken)

    def highest(what: str) -> float | None:
        return max((one[what] for one in phases if one[what] is not None), default=None)

    return {
        "card": peaks.name,
        "versions": _versions(),
        "batch": {"rows": confined.batch.rows, "tokens": confined.batch.tokens},
        "measured": {
            **{what: highest(what) for what in ("allocated", "reserved", "process")},
            "context": peaks.context_gib,
            "context_source": peaks.context_source,
            "after_loading": {"allocated": loaded.held, "reserved": loaded.reserved},
            "steps": phases,
        },
    }


def random_model(
    model: Any,
    quantization: Any,
    *,
    devices: str = "auto",
    attention: Any = None,
    tokenizer: Any = None,
    **_: Any,
) -> Any:
    """What worker.model.load_model gives, with random weights made on the device one by one."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.core_model_loading import dot_natural_key
    from transformers.modeling_utils import caching_allocator_warmup, expand_device_map
    from transformers.quantizers import AutoHfQuantizer

    from tui_lora.worker.loading import Took
    from tui_lora.worker.model import Loaded, choose_device, choose_dtype, load_config
    from tui_lora.worker.quantization import stored

    began = time.monotonic()
    device, _reason = choose_device(devices)
    dtype, _reason = choose_dtype(model.dtype, device)
    config = load_config(model)
    how = stored(quantization, config, model, dtype).config
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention.implementation
        )
    quantizer = None if how is None else AutoHfQuantizer.from_config(how)
    if quantizer is not None:
        quantizer.preprocess_model(base, dtype=dtype, device_map={"": device})
        base.hf_quantizer = quantizer
        base.config.quantization_config = quantizer.quantization_config
    base.tie_weights()
    names = sorted(dict(base.named_parameters()), key=dot_natural_key)
    if device != "cpu":
        caching_allocator_warmup(base, expand_device_map({"": device}, names), quantizer)
    for name in names:
        place, _dot, last = name.rpartition(".")
        module = base.get_submodule(place)
        bare = module._parameters[last]
        value = torch.empty(bare.shape, dtype=dtype, device=device).normal_(std=0.02)
        if "norm" in place.rpartition(".")[2]:
            value.fill_(1.0)
        if quantizer is not None and quantizer.param_needs_quantization(base, name):
            made = quantizer.get_quantize_ops().convert(
                {name: [value]}, full_layer_name=name, model=base
            )
            module._parameters[last] = made[name]
        else:
            module._parameters[last] = torch.nn.Parameter(value, requires_grad=False)
        del value
    base.tie_weights()
    for module in base.modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and buffer.device.type == "meta":
                module._buffers[name] = torch.zeros_like(buffer, device=device)
        if module._buffers:
            base._init_weights(module)
    if quantizer is not None:
        quantizer.postprocess_model(base)
    base.eval()
    base.generation_config.pad_token_id = tokenizer.pad_token_id
    took = Took(device, None, time.monotonic() - began, int(base.get_memory_footprint()))
    return Loaded(base, tokenizer, device, dtype, took)


def _versions() -> str:
    from importlib.metadata import version

    names = ("torch", "transformers", "peft", "trl", "bitsandbytes")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _silent() -> Any:
    from tui_lora.worker.reporter import Teller

    class Silent(Teller):
        """Nobody listens."""

        def say(self, event: Any) -> None:
            pass

    return Silent()


if __name__ == "__main__":
    sys.exit(main())
