"""A checkpoint that is gone on from: only what we wrote is read of it, and what cannot be read is
said in words.

The libraries open whatever has the right name, and turn what they refuse into an advice to load it
without looking. So they are shown a folder with links to the files of the manifest that are known.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerState
from transformers.trainer import SCALER_NAME, TRAINER_STATE_NAME

from tui_lora.core.text import clean, one_line
from tui_lora.store.checkpoints import Checkpoint, known_files, lacking
from tui_lora.worker.fallback import CannotLoad
from tui_lora.worker.oom import is_out_of_memory

ADAPTER, OPTIMIZER, RANDOM = "the adapter", "the optimizer's state", "the random state"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns what goes wrong while this is open into CannotLoad, but that memory ran out."""
    try:
        yield
    except CannotLoad:
        raise
    except pickle.UnpicklingError as error:
        raise CannotLoad(
            f"{what} is a pickle of something else than tensors and plain values, which can run "
            "any code on loading: it was not opened"
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        said = next(iter(clean(str(error)).strip().splitlines()), "")
        said = one_line(said, max_chars=160) or type(error).__name__
        raise CannotLoad(f"{what} cannot be loaded ({said})") from error


@contextmanager
def shown(checkpoint: Checkpoint, beside: Path) -> Iterator[Path]:
    """A folder at `beside` that holds nothing but links to the known files of a checkpoint; gone
    when this is closed."""
    if (missing := lacking(checkpoint.folder)) is not None:
        raise CannotLoad(missing)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for name in known_files(checkpoint.folder):
            whole = (checkpoint.folder / name).absolute()
            try:
                (beside / name).symlink_to(whole)
            except OSError:
                # A disk without links.
                shutil.copyfile(whole, beside / name)
        with reading(TRAINER_STATE_NAME):
            state = TrainerState.load_from_json(str(beside / TRAINER_STATE_NAME))
            if state.global_step != checkpoint.step:
                raise CannotLoad(f"{TRAINER_STATE_NAME} is that of step {state.global_step}")
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def scaler_words(checkpoint: Path, *, scales: bool) -> str:
    """What is to be known where a run scales its losses and its checkpoint's did not, or the other
    way round; empty where both are alike."""
    there = (checkpoint / SCALER_NAME).is_file()
    if there and not scales:
        return (
            "the checkpoint was made in float16, whose losses are scaled; here they need not be, "
            "so that scale is left out"
        )
    if scales and not there:
        return (
            "the checkpoint was made without a scale for its losses; in float16 it is found anew, "
            "which may cost the first few steps"
        )
    return ""
