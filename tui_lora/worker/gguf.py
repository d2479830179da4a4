"""A GGUF file becomes a plain safetensors folder that transformers, peft and people can use.

transformers reads GGUF files itself; what is added here is what a fine-tune needs of the result:
every weight present (transformers only warns of missing ones and leaves them random), a tokenizer
with its chat template and a padding token that is not the end token, Llama 3's stretched rotary
frequencies, and a folder that is there as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, count, one_line, size
from tui_lora.store.atomic import sync_files
from tui_lora.store.beside import folder_beside
from tui_lora.store.gguf_cache import is_converted

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[str, float | None], None]
"""Called with what is being done, in words, and the share of all the work that is behind us."""

FLOAT32_BELOW = 1_000_000_000
"""Models with fewer parameters are saved in float32, since they are the ones that people train on
a CPU, where float32 is the fast and the exact dtype. From there on bfloat16: a GGUF's weights have
2 to 8 bits, so 16 lose little, and a 7B folder takes 15 GB instead of 30."""

_PAD_NAMES = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>")
"""Tokens that published models pad with, in the order of preference."""

_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "codeshell", "command-r", "exaone", "minerva-7b")
"""`tokenizer.ggml.pre` of vocabularies that split each digit off before GPT-2's splitting
(llama.cpp, src/llama-vocab.cpp); transformers 5.23 builds them without that."""


@dataclass(frozen=True)
class _Header:
    """What the file says of itself, read before any weight is."""

    architecture: str
    tensors: int
    parameters: int
    chat_template: str | None
    pre_tokenizer: str | None
    end_tokens: tuple[int, ...]
    rope_factors: tuple[float, ...] | None


def convert(gguf: Path, out: Path, on_progress: Progress) -> None:
    """Write the model in `gguf` as a safetensors folder `out`, with tokenizer and configs.

    Returns at once where `out` is already such a folder. Raises UserError for a file that is no
    GGUF, is damaged or of an unsupported kind, and for a full disk; then nothing is left behind.
    """
    gguf, out = gguf.absolute(), out.absolute()
    if is_converted(out):
        return
    _check_places(gguf, out)
    on_progress(f"reading {clean(gguf.name)}", 0.0)
    header = _read_header(gguf)
    _check_disk(gguf, out, header)
    with folder_beside(out) as beside:
        with _sentences(gguf):
            _write_model(gguf, header, beside, on_progress)
        on_progress("checking what was written", 0.95)
        _check_weights(gguf, header, beside)
        sync_files(beside)
        try:
            beside.rename(out)
        except OSError:
            # Someone else converted the same file meanwhile; theirs is as good.
            if not is_converted(out):
                raise
    on_progress("converted", 1.0)


def main(arguments: list[str]) -> int:
    """`convert GGUF OUT_FOLDER`: progress and the one error as JSON lines on stdout."""
    if len(arguments) != 2:
        _say({"error": "convert needs a GGUF file and the folder to write."})
        return 2
    # Libraries print; the lines of JSON are for whoever started this.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            convert(
                Path(arguments[0]),
                Path(arguments[1]),
                lambda label, done: _say({"done": done, "label": label}),
            )
        except UserError as error:
            _say({"error": clean(str(error))})
            return error.exit_code
    return 0


def _say(line: dict[str, Any]) -> None:
    assert sys.__stdout__ is not None
    sys.__stdout__.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.__stdout__.flush()


# -- before anything is written ---------------------------------------------------------------


def _check_places(gguf: Path, out: Path) -> None:
    shown = clean(str(gguf))
    try:
        with gguf.open("rb") as file:
            magic = file.read(4)
    except IsADirectoryError:
        raise UserError(f"{shown} is a folder, not a GGUF file.") from None
    except OSError as error:
        raise UserError(f"the GGUF file {shown} cannot be read: {error.strerror}.") from None
    if magic != b"GGUF":
        raise UserError(f"{shown} is no GGUF file: it does not begin with GGUF.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{clean(str(out))} is there already and holds no converted model.",
            then="Delete it, or choose another folder.",
        )


def _read_header(gguf: Path) -> _Header:
    from gguf import GGUFReader

    with _sentences(gguf):
        reader = GGUFReader(gguf)
        fields = {name: field.contents() for name, field in reader.fields.items() if _wanted(name)}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        if int(fields.get("split.count") or 1) > 1:
            raise UserError(
                f"{clean(gguf.name)} is one of {fields['split.count']} parts.",
                then="Join them first: llama-gguf-split --merge FIRST_PART WHOLE.gguf",
            )
        if not tensors:
            raise UserError(f"{clean(gguf.name)} holds no weights.")
        ends = (fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
        rope = tensors.get("rope_freqs.weight")
        return _Header(
            architecture=str(fields["general.architecture"]),
            tensors=len(tensors),
            parameters=sum(int(tensor.n_elements) for tensor in tensors.values()),
            chat_template=fields.get("tokenizer.chat_template"),
            pre_tokenizer=fields.get("tokenizer.ggml.pre"),
            end_tokens=tuple(dict.fromkeys(int(end) for end in ends if end is not None)),
            rope_factors=None if rope is None else tuple(float(f) for f in rope.data),
        )


def _wanted(name: str) -> bool:
    """The vocabulary's arrays take seconds to unpack and are not needed here."""
    return name.startswith(("general.architecture", "split.")) or bool(
        re.fullmatch(r"tokenizer\.(chat_template|ggml\.pre|ggml\.(eos|eot|eom)_token_id)", name)
    )


def _check_disk(gguf: Path, out: Path, header: _Header) -> None:
    needed = header.parameters * (4 if header.parameters < FLOAT32_BELOW else 2) + (64 << 20)
    try:
        out.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(out.parent).free
    except OSError as error:
        raise UserError(f"{clean(str(out.parent))} cannot be written: {error.strerror}.") from None
    if free < needed:
        raise UserError(
            f"unpacking {clean(gguf.name)} takes {size(needed)} in {clean(str(out.parent))}, and "
            f"{size(free)} are free.",
            then="Free some room, or choose another place for the cache with $TUI_LORA_CACHE.",
        )


# -- the conversion ---------------------------------------------------------------------------


def _write_model(gguf: Path, header: _Header, folder: Path, on_progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    on_progress("building the tokenizer", 0.1)
    tokenizer = _tokenizer(gguf, header)

    dtype = torch.float32 if header.parameters < FLOAT32_BELOW else torch.bfloat16
    on_progress(f"unpacking {count(header.parameters)} weights", 0.3)
    model, loaded = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        # Without it the model counts as quantized, and can neither be trained nor saved.
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
        output_loading_info=True,
        local_files_only=True,
    )
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise UserError(
            f"{clean(gguf.name)} lacks {len(missing)} of the weights that a {header.architecture} "
            f"model has, {clean(missing[0])} among them.",
            then="The file is damaged or newer than what transformers reads; fetch another one.",
        )
    if header.rope_factors is not None:
        _stretch_rope(model, header.rope_factors)
    _settle_special_tokens(model, tokenizer, header)

    on_progress("writing safetensors", 0.7)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    _check_tokenizer(tokenizer, header, folder)


def gguf_tokenizer(gguf: Path) -> PreTrainedTokenizerBase:
    """The tokenizer and chat template in a GGUF file, without its weights. Raises UserError."""
    gguf = gguf.absolute()
    header = _read_header(gguf)
    with _sentences(gguf):
        return _tokenizer(gguf, header)


def _tokenizer(gguf: Path, header: _Header) -> PreTrainedTokenizerBase:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, local_files_only=True
    )
    if header.pre_tokenizer in _SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def _stretch_rope(model: PreTrainedModel, factors: tuple[float, ...]) -> None:
    """Put Llama 3's rotary scaling into the config; transformers drops the tensor that holds it.

    Llama 3.1 to 3.3 all use 1, 4 and 8192 and differ in the factor. Raises UserError where the
    file's frequencies are not of that family, since the model would be subtly wrong.
    """
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    theta = model.config.rope_parameters["rope_theta"]
    llama3 = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": max(factors),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    plain = theta ** -(torch.arange(len(factors), dtype=torch.float64) / len(factors))
    wanted = plain / torch.tensor(factors, dtype=torch.float64)
    model.config.rope_parameters = llama3
    stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, torch.device("cpu"))
    if not torch.allclose(stretched.double(), wanted, rtol=1e-3, atol=0):
        raise UserError(
            "the file stretches its rotary positions in a way that cannot be carried over.",
            then="Use the model's safetensors from the Hub instead of the GGUF.",
        )


def _settle_special_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, header: _Header
) -> None:
    """Every end token known to generation, padding apart from all of them, the context's length.

    A padding token that is also the end token is masked out of the labels with it, and the model
    never learns to stop.
    """
    ends = header.end_tokens
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        known = tokenizer.get_vocab()
        names = [*_PAD_NAMES, tokenizer.unk_token]
        free = [name for name in names if name in known and known[name] not in ends]
        if free:
            tokenizer.pad_token = free[0]
    tokenizer.model_max_length = int(model.config.max_position_embeddings)
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        if ends:
            model.generation_config.eos_token_id = list(ends) if len(ends) > 1 else ends[0]


# -- after it ---------------------------------------------------------------------------------

_PROBE = "In 2024, it's 3.5 °C:\n\n    def f(x):  return x[10:] \t# naïve 日本"


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, header: _Header, folder: Path) -> None:
    """What was saved reads like what was built; classes differ in what they rebuild on loading."""
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if saved(_PROBE)["input_ids"] != tokenizer(_PROBE)["input_ids"]:
        raise ValueError("its tokenizer does not survive being saved")
    if (saved.chat_template or None) != (header.chat_template or None):
        raise ValueError("its chat template did not arrive")


def _check_weights(gguf: Path, header: _Header, folder: Path) -> None:
    """Count what stands in the safetensors headers; `rope_freqs` went into the config."""
    from safetensors import safe_open

    tensors = parameters = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 a safe_open is no mapping
                numbers = 1
                for length in weights.get_slice(name).get_shape():
                    numbers *= length
                tensors, parameters = tensors + 1, parameters + numbers
    expected = header.parameters - len(header.rope_factors or ())
    if not tensors or parameters < expected:
        raise UserError(
            f"{clean(gguf.name)} holds {count(expected)} weights, but only {count(parameters)} "
            "were written.",
            then="transformers does not read all of this kind of model; use its safetensors.",
        )


@contextlib.contextmanager
def _sentences(gguf: Path) -> Iterator[None]:
    """Turn whatever a foreign file does to the libraries that read it into one sentence."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(
            f"this machine's memory is too small to unpack {clean(gguf.name)}.", exit_code=3
        ) from None
    except Exception as error:
        if getattr(error, "errno", None) == 28 or "No space left" in str(error):
            raise UserError(
                f"the disk filled up while unpacking {clean(gguf.name)}.",
                then="Free some room, or choose another place with $TUI_LORA_CACHE.",
            ) from None
        why = one_line(str(error), max_chars=160).rstrip(".") or type(error).__name__
        raise UserError(
            f"{clean(gguf.name)} is damaged, or a kind of GGUF that transformers does not read: "
            f"{why}.",
            then="Fetch the file again, or use the model's safetensors folder.",
        ) from error
