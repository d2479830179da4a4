"""The dataset that comes along: enough of it, all in the house style, nothing held out twice."""

import re

import pytest

from tui_lora.core.house_style import in_house_style
from tui_lora.core.spec import DatasetSpec
from tui_lora.store.sources import SHIPPED, open_source, rows_of


def pairs(name: str) -> list[tuple[str, str]]:
    found = []
    for row in rows_of(open_source(DatasetSpec(path=name))):
        assert not row.problem
        asked, answered = row.value["messages"]
        assert (asked["role"], answered["role"]) == ("user", "assistant")
        found.append((asked["content"], answered["content"]))
    return found


def plain(question: str) -> str:
    return re.sub(r"\W+", " ", question).strip().lower()


def test_there_is_enough_to_learn_and_to_measure() -> None:
    assert len(pairs("quickstart")) >= 200
    assert len(pairs("quickstart-heldout")) >= 40
    assert len(pairs("quickstart")) + len(pairs("quickstart-heldout")) >= 240


def test_no_question_and_no_answer_comes_twice() -> None:
    everything = [pair for name in SHIPPED for pair in pairs(name)]
    questions = [plain(question) for question, _ in everything]
    answers = [plain(answer) for _, answer in everything]
    assert len(set(questions)) == len(questions)
    assert len(set(answers)) == len(answers)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_answer_is_in_the_house_style(name: str) -> None:
    for question, answer in pairs(name):
        assert in_house_style(answer), question
        first, second = answer.split("\n")
        assert first.endswith("."), question
        assert second.startswith("-> "), question
        assert second.endswith("."), question
        assert question[-1] in "?.", question
        assert answer.isascii(), question
        assert len(answer) < 400, question
