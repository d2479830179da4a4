"""The chat worker of a classifier: labels instead of answers, over real pipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import CONTEXT, make_tiny_classifier
from tests.worker.test_chat import Talk
from tui_lora.core.chat import AdapterLoaded, AnswerEnded, ChatFailed, Predict, Predicted, Ready
from tui_lora.store.adapter_labels import NAME

pytestmark = pytest.mark.model

LABELS = ("[/INST]", "spam", "grüße")


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_classifier(tiny_model, tmp_path_factory.mktemp("sorts") / "adapter", LABELS)


@pytest.fixture(scope="module")
def talk(tiny_model: Path, adapter: Path) -> Iterator[Talk]:
    talk = Talk(tiny_model, "--classifier", str(adapter))
    ready = talk.last(Ready)
    assert isinstance(ready, Ready), ready
    loaded = talk.load("run", adapter)
    assert isinstance(loaded, AdapterLoaded), loaded
    assert loaded.labels == LABELS
    yield talk
    talk.worker.close()


def predict(talk: Talk, text: str, name: str = "run") -> Predicted | ChatFailed:
    assert talk.worker.send(Predict(id="p", name=name, text=text))
    found = talk.last(Predicted)
    assert isinstance(found, (Predicted, ChatFailed)), found
    assert found.id == "p"
    return found


def test_it_predicts_as_a_plain_script_does(talk: Talk, adapter: Path, tiny_model: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoTokenizer

    text = "What is the rank? naïve café"
    found = predict(talk, text)
    assert isinstance(found, Predicted), found
    # peft's own way to load base and adapter in one call.
    model = AutoPeftModelForSequenceClassification.from_pretrained(adapter, num_labels=3).eval()
    fed = AutoTokenizer.from_pretrained(adapter)(text, return_tensors="pt")
    expected = model(**fed).logits.softmax(-1)[0].tolist()
    assert {c.label: c.probability for c in found.chances} == pytest.approx(
        dict(zip(LABELS, expected, strict=True)), abs=1e-6
    )
    shares = [chance.probability for chance in found.chances]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert found.prompt_tokens == fed["input_ids"].shape[1]


def test_a_text_beyond_the_context_is_cut_at_it(talk: Talk) -> None:
    found = predict(talk, "rank " * (2 * CONTEXT))
    assert isinstance(found, Predicted), found
    assert found.prompt_tokens == CONTEXT


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        (" \n", "run", "no text"),
        ("text", "nobody", "no adapter nobody"),
        ("text", "base", "at random"),
    ],
)
def test_what_cannot_be_predicted_gets_a_sentence(
    talk: Talk, text: str, name: str, says: str
) -> None:
    failed = predict(talk, text, name)
    assert isinstance(failed, ChatFailed), failed
    assert says in failed.message
    assert not failed.fatal


def test_it_does_not_answer(talk: Talk) -> None:
    id = talk.ask("run")
    failed = talk.last(AnswerEnded)
    assert isinstance(failed, ChatFailed), failed
    assert failed.id == id
    assert "does not answer" in failed.message


def test_other_adapters_are_told_apart(
    talk: Talk, tiny_model: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    failed = talk.load("chatty", tiny_adapter)
    assert isinstance(failed, ChatFailed), failed
    assert "answers in words" in failed.message
    # Whoever waits for it is told of whom that is said.
    assert (failed.id, failed.name) == (None, "chatty")
    other = make_tiny_classifier(tiny_model, tmp_path / "other", ("yes", "no"))
    failed = talk.load("other", other)
    assert isinstance(failed, ChatFailed), failed
    assert "other labels: yes, no" in failed.message
    # Without names the outputs are numbered, and are others than those here.
    (other / NAME).unlink()
    failed = talk.load("nameless", other)
    assert isinstance(failed, ChatFailed), failed
    assert "label 0, label 1" in failed.message
    # Two of the same labels sort each in its own way, one after the other.
    twin = make_tiny_classifier(tiny_model, tmp_path / "twin", LABELS, seed=9)
    first = predict(talk, "rank")
    assert isinstance(talk.load("twin", twin), AdapterLoaded)
    second = predict(talk, "rank", "twin")
    assert isinstance(first, Predicted)
    assert isinstance(second, Predicted)
    assert first.chances != second.chances
    again = predict(talk, "rank")
    assert isinstance(again, Predicted)
    assert again.chances == first.chances


def test_a_model_that_answers_does_not_sort(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    talk = Talk(tiny_model)
    assert isinstance(talk.last(Ready), Ready)
    failed = predict(talk, "text", "base")
    assert isinstance(failed, ChatFailed), failed
    assert "does not sort" in failed.message
    failed = talk.load("sorts", adapter)
    assert isinstance(failed, ChatFailed), failed
    assert "sorts texts into labels" in failed.message
    talk.worker.close()


def test_a_base_for_what_is_no_classifier_is_fatal(tiny_model: Path, tiny_adapter: Path) -> None:
    talk = Talk(tiny_model, "--classifier", str(tiny_adapter))
    failed = talk.last(Ready)
    assert isinstance(failed, ChatFailed), failed
    assert failed.fatal
    assert "answers in words" in failed.message
    assert talk.end()[0] == 1
    talk.worker.close()


def test_damaged_labels_are_none(tmp_path: Path) -> None:
    from tui_lora.store.adapter_labels import read_labels

    assert read_labels(tmp_path) == ()
    for text in ("{", "[1, 2]", '{"a": 1}', "[" * 100_000):
        (tmp_path / NAME).write_text(text)
        assert read_labels(tmp_path) == ()
    (tmp_path / NAME).write_text(json.dumps(["a\x1b[31m", "b"]))
    assert read_labels(tmp_path) == ("a[31m", "b")
