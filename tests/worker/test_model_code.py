"""A model that needs code of its own: trained when that is trusted, else left untouched."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from transformers import dynamic_module_utils

from tests.hub_models import FakeModelHub, pointed_at
from tests.own_code import give_code, in_hub_cache
from tests.worker.test_chat import Mute
from tests.workers import tiny_spec, train, view_of
from tui_lora.core.chat import AdapterLoaded, AnswerEnded, Ask, LoadAdapter, Turn
from tui_lora.core.errors import UserError
from tui_lora.core.sampling import Sampling
from tui_lora.core.spec import ModelSpec, QuantizationSpec
from tui_lora.store import sessions
from tui_lora.store.adapters import session_target
from tui_lora.store.hub_snapshots import snapshot_at
from tui_lora.store.model_code import read_code
from tui_lora.store.paths import SessionPaths
from tui_lora.worker import model_code
from tui_lora.worker.fetch import fetch
from tui_lora.worker.model import load_config, load_model, load_tokenizer
from tui_lora.worker.room import Room
from tui_lora.worker.skeleton import skeleton
from tui_lora.worker.voices import adapters_tokenizer

pytestmark = pytest.mark.model

NAME, COMMIT = "owner/own", "0123456789abcdef0123456789abcdef01234567"
PLAIN = QuantizationSpec(scheme="none")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Where the model's code writes what of it ran."""
    return tmp_path / "ran"


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, ran: Path) -> Path:
    return give_code(Path(shutil.copytree(tiny_model, tmp_path / "own")), ran)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub, which nobody reaches."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return cache


def fingerprint(folder: Path) -> str:
    code = read_code(folder)
    assert code is not None
    return code.fingerprint


def trusting(folder: Path) -> ModelSpec:
    return ModelSpec(id=str(folder), trust_remote_code=fingerprint(folder))


def speak(paths: SessionPaths) -> str:
    """What a session's adapter answers on its base, as the chat worker would ask it."""
    target = session_target(paths)
    loaded = load_model(target.model, PLAIN, devices="cpu")
    room = Room(loaded, Mute())  # type: ignore[arg-type]
    assert isinstance(
        room.load_adapter(LoadAdapter(name="it", path=str(target.adapter))), AdapterLoaded
    )

    question = Ask(
        id="1",
        name="it",
        turns=(Turn(role="user", content="?"),),
        sampling=Sampling(max_new_tokens=8),
    )
    answer = room.answer(question, threading.Event())
    assert isinstance(answer, AnswerEnded), answer
    return answer.text


def test_it_trains_saves_reloads_and_talks_when_trusted(
    folder: Path, rows: Path, tmp_path: Path, ran: Path
) -> None:
    spec = tiny_spec(
        folder, rows, training__max_steps=2, model__trust_remote_code=fingerprint(folder)
    )
    paths = sessions.create(tmp_path / "sessions", "own", spec)
    assert train(paths) == 0, view_of(paths).log
    assert set(ran.read_text().splitlines()) == {"configuration 1", "modeling 1"}
    resolved = yaml.safe_load(paths.resolved.read_text())
    assert resolved["spec"]["model"]["trust_remote_code"] == fingerprint(folder)
    chosen = resolved["chosen"]["model.trust_remote_code"]
    assert chosen["because"] == "you read and trusted exactly these 3 files, 34 lines"
    assert speak(paths)
    # Nothing of the code goes where transformers would run it without a look.
    copies = Path(sys.modules[type(load_config(spec.model)).__module__].__file__ or "")
    assert any(part.startswith("tui-lora-code-") for part in copies.parts)
    (folder / "marks.py").write_text("raise SystemExit")
    with pytest.raises(UserError, match="has changed since"):
        speak(paths)


def test_a_resumed_run_refuses_code_that_changed(
    folder: Path, rows: Path, tmp_path: Path, ran: Path
) -> None:
    spec = tiny_spec(
        folder, rows, training__max_steps=2, model__trust_remote_code=fingerprint(folder)
    )
    paths = sessions.create(tmp_path / "sessions", "own", spec)
    give_code(folder, ran, version=2)
    assert train(paths) == 1
    result = sessions.read_result(paths)
    assert result is not None
    assert "is not what was read and trusted: it has changed since" in result.message
    assert not ran.exists()


def test_not_a_line_runs_untrusted(folder: Path, ran: Path) -> None:
    model = ModelSpec(id=str(folder))
    assert load_tokenizer(str(folder), model=model)  # whose class is transformers' own
    for load in (load_config, lambda spec: load_model(spec, PLAIN, devices="cpu")):
        with pytest.raises(UserError, match="runs only with Python code of its own"):
            load(model)
    assert not ran.exists()


def test_code_that_is_only_offered_runs_when_trusted_alone(folder: Path, ran: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    model = ModelSpec(id=str(folder))
    assert type(load_config(model)).__name__ == "LlamaConfig"
    assert type(skeleton(load_config(model), "sft", model)).__name__ == "LlamaForCausalLM"
    assert type(load_model(model, PLAIN, devices="cpu").model).__name__ == "LlamaForCausalLM"
    assert not ran.exists()
    model = trusting(folder)
    assert type(skeleton(load_config(model), "sft", model)).__name__ == "OwnForCausalLM"
    assert type(load_model(model, PLAIN, devices="cpu").model).__name__ == "OwnForCausalLM"
    # Trust is of one model: another of its kind in the same process gets transformers' class.
    (folder / "marks.py").write_text("")
    model = ModelSpec(id=str(folder))
    assert type(load_model(model, PLAIN, devices="cpu").model).__name__ == "LlamaForCausalLM"


def test_a_hub_models_code_is_that_of_its_commit(
    folder: Path, ran: Path, tmp_path: Path, hub: Path
) -> None:
    snapshot = in_hub_cache(folder, hub, NAME, COMMIT)
    model = ModelSpec(id=NAME, revision=COMMIT, trust_remote_code=fingerprint(snapshot))
    # Another commit is main by now, and its code another.
    in_hub_cache(give_code(folder, ran, version=2), hub, NAME, COMMIT[::-1])
    config = load_config(model)
    assert type(skeleton(config, "sft", model)).__name__ == "OwnForCausalLM"
    loaded = load_model(model, PLAIN, devices="cpu")
    assert set(ran.read_text().splitlines()) == {"configuration 1", "modeling 1"}
    assert loaded.model.name_or_path == NAME
    assert load_tokenizer(NAME, COMMIT, model=model)
    ids = torch.tensor([[5, 6, 7]])
    assert loaded.model(ids).logits.shape[:2] == (1, 3)
    with pytest.raises(UserError, match="pinned to a commit"):
        load_config(model.model_copy(update={"revision": "main"}))


def test_code_is_fetched_with_its_model_to_be_read(
    folder: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeModelHub()
    pointed_at(hub, tmp_path, monkeypatch)
    try:
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        commit = hub.add(NAME, files).sha
        assert fetch(NAME, None, lambda said: None) == 0
    finally:
        hub.close()
    snapshot = snapshot_at(NAME)
    assert snapshot is not None
    assert snapshot.name == commit
    model = ModelSpec(id=NAME, revision=commit, trust_remote_code=fingerprint(snapshot))
    assert not ran.exists()
    loaded = load_model(model, PLAIN, devices="cpu")  # there is no Hub any more
    assert type(loaded.model).__name__ == "OwnForCausalLM"


def test_what_transformers_would_run_beyond_what_was_read_is_refused(
    folder: Path, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = dynamic_module_utils.get_relative_import_files
    monkeypatch.setattr(
        dynamic_module_utils,
        "get_relative_import_files",
        lambda name: [*really(name), str(folder / "more.py")],
    )
    with pytest.raises(UserError, match=r"would run .*more.py too, which was not read"):
        model_code.code_arguments(trusting(folder))
    assert not ran.exists()


def test_a_tokenizers_own_code_is_never_run_out_of_an_adapter(
    folder: Path, ran: Path, tmp_path: Path
) -> None:
    (folder / "tokenization_own.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n\nfrom .marks import mark\n\n\n"
        'class OwnTokenizer(PreTrainedTokenizerFast):\n    pass\n\n\nmark("tokenization")\n'
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}
    settings["tokenizer_class"] = "OwnTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="runs only with Python code of its own"):
        load_model(ModelSpec(id=str(folder)), PLAIN, devices="cpu")
    assert not ran.exists()
    loaded = load_model(trusting(folder), PLAIN, devices="cpu")
    assert type(loaded.tokenizer).__name__ == "OwnTokenizer"
    adapter = tmp_path / "adapter"
    loaded.tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    loaded.tokenizer.save_pretrained(adapter)
    loaded.tokenizer.chat_template = "another"
    for file in adapter.glob("*.py"):
        file.write_text("raise SystemExit")
    assert adapters_tokenizer(adapter, loaded).chat_template == "{{ messages[0]['content'] }}!"
    loaded.tokenizer.add_tokens(["<new>"])
    loaded.tokenizer.save_pretrained(adapter)
    plain = load_model(trusting(folder), PLAIN, devices="cpu")
    with pytest.raises(UserError, match="added tokens to a tokenizer with code of its own"):
        adapters_tokenizer(adapter, plain)


def test_only_trusted_code_may_stand_in_for_generate(folder: Path, ran: Path) -> None:
    custom = folder / "custom_generate" / "generate.py"
    custom.parent.mkdir()
    place = str(ran)
    custom.write_text(f"def generate(model, **rest):\n    open({place!r}, 'a').write('mine')\n")
    code = read_code(folder)
    assert code is not None
    assert "custom_generate/generate.py" in [file.name for file in code.files]
    load_model(trusting(folder), PLAIN, devices="cpu").model.generate()
    assert ran.read_text().endswith("mine")
