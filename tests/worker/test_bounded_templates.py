"""A chat template that never ends or eats all memory is given up, wherever it is rendered."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import trained
from tests.tiny import CHATML, make_tokenizer
from tests.workers import tiny_spec
from tui_lora.core.chat import Turn
from tui_lora.core.errors import UserError
from tui_lora.core.inspect import FeedRow, InspectFailed, MeasureLengths
from tui_lora.worker import bounded_templates
from tui_lora.worker.time_limit import TookTooLong, time_limit

pytestmark = pytest.mark.model

TURNS = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "an answer"}]
LOOPS = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3
GROWS = (
    "{% set all = namespace(text='xxxxxxxx') %}"
    "{% for i in range(60) %}{% set all.text = all.text ~ all.text %}{% endfor %}"
)
BOMBS = {
    "a long range": "{% for i in range(10**9) %}{% endfor %}",
    "loops in loops": LOOPS,
    "a product": "{{ 'x' * 10**9 }}",
    "a product of lists": "{{ range(99999)|list * 99999 }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a filter": "{{ 'x'|center(10**9) }}",
    "a format": "{{ '{:>1000000000}'.format(3) }}",
    "doubling": GROWS,
    "squaring": GROWS.replace("'xxxxxxxx'", "9").replace("~", "*"),
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a long text": "{% for i in range(99999) %}{{ 'x' * 50 }}{% endfor %}",
    "brackets": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
}
LATER = "{% if messages|length > 2 %}" + LOOPS + "{% endif %}"
"""Harmless while it is settled how turns end, which takes a question and an answer."""


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_templates, "RENDER_LIMIT_S", 0.3)


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_given_up(soon: None, bomb: str) -> None:
    bounded_templates.bound_rendering()
    tokenizer = make_tokenizer()
    tokenizer.chat_template = bomb + CHATML
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"model\.chat_template: the chat template .*\."):
        tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert time.monotonic() - began < 30
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < bounded_templates.MOST_GROWTH_BYTES + (64 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_what_templates_do_is_not_held_up() -> None:
    bounded_templates.bound_rendering()
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ '=' * 80 }}{{ 2 ** 10 }}{{ 3 * 7 }}{{ 0.5 * 2 }}" + CHATML
    long = [{"role": "user", "content": "word " * 300_000}]
    text = tokenizer.apply_chat_template(long, tokenize=False)
    assert text.startswith("=" * 80 + "1024" + "21" + "1.0")
    assert long[0]["content"] in text


def test_a_limit_within_a_limit_leaves_the_outer_one_standing() -> None:
    def spin(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    def spin_in_a_limit() -> None:
        with time_limit(5):
            spin(0.05)
        spin(5)

    with pytest.raises(TookTooLong), time_limit(0.2):
        spin_in_a_limit()
    with pytest.raises(TookTooLong), time_limit(0.1), time_limit(5):
        spin(5)
    with time_limit(5), pytest.raises(TookTooLong), time_limit(0.1):
        spin(5)
    spin(0.2)


@pytest.fixture
def later(tiny_model: Path, tmp_path: Path) -> Path:
    """A model whose template loops for ever on three turns and more."""
    import shutil

    shutil.copytree(tiny_model, tmp_path / "later")
    (tmp_path / "later" / "chat_template.jinja").write_text(LATER + CHATML)
    return tmp_path / "later"


@pytest.fixture
def long_talk(tmp_path: Path) -> Path:
    """Rows of which the last has three turns more."""
    file = tmp_path / "rows.jsonl"
    rows = [{"messages": TURNS}] * 9 + [{"messages": TURNS * 2}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def train(model: Path, rows: Path, root: Path) -> Any:
    trained(root / "s", "mine", tiny_spec(model, rows, dataset__eval_share=0))


def talk(model: Path, rows: Path, root: Path) -> Any:
    from transformers import AutoTokenizer

    from tui_lora.worker.templates import settle_template
    from tui_lora.worker.voices import Voice, prompt_of

    tokenizer = AutoTokenizer.from_pretrained(model)
    settle_template(tokenizer, "auto")
    turns = tuple(Turn(role=turn["role"], content=turn["content"]) for turn in [*TURNS, TURNS[0]])
    prompt_of(Voice(None, tokenizer, frozenset()), turns)


def inspected(question: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path, Path], Any]:
    def ask(model: Path, rows: Path, root: Path) -> Any:
        from tui_lora.worker.inspector import Inspector

        asked = question(tiny_spec(model, rows).model_dump(mode="json"))
        inspector = Inspector()
        if isinstance(asked, MeasureLengths):
            *_, answer = inspector.measure(asked)
        else:
            answer = inspector.answer(asked)
        assert isinstance(answer, InspectFailed), answer
        raise UserError(answer.message)

    return ask


WAYS = {
    "train": train,
    "chat": talk,
    "a row as it is fed": inspected(lambda spec: FeedRow(id="1", spec=spec, row=9)),
    "the lengths of rows": inspected(lambda spec: MeasureLengths(id="1", spec=spec, rows=10)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_process_waits_for_a_template(
    soon: None, later: Path, long_talk: Path, tmp_path: Path, way: Callable[[Path, Path, Path], Any]
) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match="the chat template did not end within"):
        way(later, long_talk, tmp_path)
    assert time.monotonic() - began < 30
