"""A pickle that comes with a session or an adapter is never run, whichever file it poses as."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import workers
from tui_lora.store import sessions
from tui_lora.store.checkpoints import MANIFEST, checkpoints, damage
from tui_lora.store.paths import SessionPaths

pytestmark = pytest.mark.model


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def plain(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps(trap))


def in_torch_s_way(path: Path, trap: Trap) -> None:
    import torch

    torch.save({"state": trap, "param_groups": [trap]}, path)


WAYS = {"plain": plain, "torch": in_torch_s_way}
READ = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
"""Of a checkpoint, by torch with weights_only."""
NEVER_READ = ("scaler.pt", "pytorch_model.bin", "added_embeddings.pt")
Way = Callable[[Path, Trap], None]


def reseal(folder: Path) -> None:
    """Make the manifest fit what lies in the folder, as somebody who plants something would."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {
        path.name: {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in folder.iterdir()
        if path.is_file() and path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert damage(folder) is None


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows: Path) -> SessionPaths:
    """A session with a checkpoint, and no result: it can be gone on with."""
    spec = workers.tiny_spec(tiny_model, rows, training__max_steps=2, dataset__eval_share=0)
    paths = sessions.create(tmp_path_factory.mktemp("stopped"), "mine", spec)
    assert workers.train(paths) == 0, paths.log.read_text()[-2000:]
    text = paths.spec.read_text()
    assert "max_steps: 2" in text
    paths.spec.write_text(text.replace("max_steps: 2", "max_steps: 4"))
    paths.result.unlink()
    shutil.rmtree(paths.adapter)
    return paths


def gone_on_with(
    stopped: SessionPaths, root: Path, plant: Callable[[Path, Trap], None]
) -> tuple[SessionPaths, Path, int]:
    """A copy of the session with something planted in its checkpoint, resumed."""
    root.mkdir(exist_ok=True)
    paths = SessionPaths(root / "mine")
    shutil.copytree(stopped.folder, paths.folder)
    mark = root / "it-ran"
    (checkpoint,) = checkpoints(paths.checkpoints)
    plant(checkpoint.folder, Trap(mark))
    reseal(checkpoint.folder)
    return paths, mark, workers.train(paths)


def test_the_trap_works(tmp_path: Path) -> None:
    for name, way in WAYS.items():
        way(tmp_path / name, Trap(tmp_path / f"{name}-ran"))
    pickle.loads((tmp_path / "plain").read_bytes())
    import torch

    torch.load(tmp_path / "torch", weights_only=False)
    assert (tmp_path / "plain-ran").exists()
    assert (tmp_path / "torch-ran").exists()


def test_a_checkpoint_has_no_pickle_but_those_that_are_read_safely(stopped: SessionPaths) -> None:
    (checkpoint,) = checkpoints(stopped.checkpoints)
    names = {path.name for path in checkpoint.folder.iterdir()}
    pickles = {name for name in names if name.endswith((".pt", ".pth", ".bin", ".pkl"))}
    assert pickles == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    import torch
    from transformers.trainer_pt_utils import safe_globals

    # Tensors and plain values; of the random state, arrays, as transformers itself allows.
    for name in pickles:
        with safe_globals():
            torch.load(checkpoint.folder / name, weights_only=True)


def test_pickles_that_nothing_asks_for_are_left_alone(
    stopped: SessionPaths, tmp_path: Path
) -> None:
    def plant(folder: Path, trap: Trap) -> None:
        for name in ("training_args.bin", "adapter_model.bin", "optimizer.bin"):
            in_torch_s_way(folder / name, trap)
        plain(folder / "tokenizer.pkl", trap)

    paths, mark, code = gone_on_with(stopped, tmp_path / "s", plant)
    assert not mark.exists()
    assert code == 0, paths.log.read_text()[-2000:]


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name",
    [
        "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt",
        "pytorch_model.bin", "added_embeddings.pt", "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json", "trainer_state.json",
    ],
)  # fmt: skip
def test_a_trap_in_any_file_of_a_checkpoint(
    stopped: SessionPaths, tmp_path: Path, name: str, way: str
) -> None:
    def plant(folder: Path, trap: Trap) -> None:
        WAYS[way](folder / name, trap)

    paths, mark, code = gone_on_with(stopped, tmp_path / "s", plant)
    assert not mark.exists()
    result = sessions.read_result(paths)
    assert result is not None
    if name in READ:
        assert code == 1
        assert "is a pickle of something else than tensors and plain values" in result.message
        assert "it was not opened" in result.message
    elif name in NEVER_READ:
        assert (code, result.verdict) == (0, "done")


@pytest.mark.long
def test_a_checkpoint_with_its_adapter_as_a_pickle_only(
    stopped: SessionPaths, tmp_path: Path
) -> None:
    def plant(folder: Path, trap: Trap) -> None:
        (folder / "adapter_model.safetensors").unlink()
        in_torch_s_way(folder / "adapter_model.bin", trap)

    _, mark, code = gone_on_with(stopped, tmp_path / "s", plant)
    assert not mark.exists()
    assert code != 0


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.safetensors"])
def test_a_trap_in_an_adapter_that_a_run_starts_from(
    tiny_model: Path, tiny_adapter: Path, rows: Path, tmp_path: Path, name: str, way: str
) -> None:
    # Past what the viewer would refuse: the worker alone.
    adapter = tmp_path / "adapter"
    shutil.copytree(tiny_adapter, adapter)
    (adapter / "adapter_model.safetensors").unlink()
    mark = tmp_path / "it-ran"
    WAYS[way](adapter / name, Trap(mark))
    spec = workers.tiny_spec(tiny_model, rows, lora__start_from=str(adapter))
    paths = sessions.create(tmp_path / "s", "mine", spec)
    assert workers.train(paths) != 0
    assert not mark.exists()


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_trap_in_a_model(
    tiny_model: Path, rows: Path, tmp_path: Path, name: str, way: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "model.safetensors").unlink()
    mark = tmp_path / "it-ran"
    WAYS[way](model / name, Trap(mark))
    paths = sessions.create(tmp_path / "s", "mine", workers.tiny_spec(model, rows))
    assert workers.train(paths) != 0
    assert not mark.exists()
