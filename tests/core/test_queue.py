"""The queue is a fold over lines that anybody appends."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tui_lora.core.queue import (
    QUEUE,
    Moved,
    Queue,
    Queued,
    QueueLine,
    Refused,
    Removed,
    Taken,
    card_of,
    fold,
    place_words,
)


def folded(*lines: QueueLine) -> Queue:
    return fold(QUEUE.encode(line).encode() for line in lines)


def names(queue: Queue) -> list[str]:
    return [entry.name for entry in queue.waiting]


def queued(name: str, card: str = "0") -> Queued:
    return Queued(id=f"q-{name}", t=1.0, name=name, card=card)


ABC = (queued("a"), queued("b"), queued("c"))


def test_first_come_first_served_by_card() -> None:
    queue = folded(queued("a", "1"), *ABC[1:], queued("a", "0"))
    assert names(queue) == ["a", "b", "c"]
    assert (entry := queue.next_for("0")) is not None
    assert entry.name == "b"
    assert queue.next_for("cpu") is None
    assert queue.cards() == ("0", "1")
    # Each card has a line of its own.
    assert [queue.place(name) for name in ("a", "b", "c", "x")] == [1, 1, 2, None]


def test_moved_removed_refused() -> None:
    move = Moved(id="m", t=2.0, name="c", before="a")
    assert names(folded(*ABC, move)) == ["c", "a", "b"]
    assert names(folded(*ABC, Moved(id="m", t=2.0, name="a"))) == ["b", "c", "a"]
    assert names(folded(*ABC, Moved(id="m", t=2.0, name="a", before="gone"))) == ["b", "c", "a"]
    assert names(folded(*ABC, Removed(id="r", t=2.0, name="b"))) == ["a", "c"]
    refused = folded(*ABC, Refused(id="r", t=2.0, name="b", why="no model"))
    assert (names(refused), refused.refused) == (["a", "c"], {"b": "no model"})
    again = folded(*ABC, Refused(id="r", t=2.0, name="b", why="no model"), queued("b"))
    assert (names(again), again.refused) == (["a", "c", "b"], {})
    gone = folded(*ABC, Refused(id="r", t=2.0, name="b", why="w"), Removed(id="x", t=3, name="b"))
    assert (names(gone), gone.refused) == (["a", "c"], {})


def test_the_first_who_takes_an_entry_has_it() -> None:
    takes = [Taken(id=who, t=2.0, name="a", entry="q-a") for who in ("one", "two")]
    queue = folded(*ABC, *takes)
    assert names(queue) == ["b", "c"]
    assert queue.taken_by["q-a"] == "one"
    # Put in anew it waits anew.
    later = Queued(id="q-a2", t=3.0, name="a", card="0")
    assert names(folded(*ABC, *takes, later)) == ["b", "c", "a"]


kinds: list[Callable[[str], QueueLine]] = [
    queued,
    lambda name: Moved(id="m", t=1.0, name=name, before="b"),
    lambda name: Removed(id="r", t=1.0, name=name),
    lambda name: Taken(id="t", t=1.0, name=name, entry=f"q-{name}"),
    lambda name: Refused(id="x", t=1.0, name=name, why="w"),
]


@given(st.lists(st.tuples(st.sampled_from(kinds), st.sampled_from("abcd"))), st.binary())
def test_nobody_waits_twice_and_rubbish_is_nothing(
    lines: list[tuple[Callable[[str], QueueLine], str]], rubbish: bytes
) -> None:
    good = [QUEUE.encode(kind(name)).encode() for kind, name in lines]
    queue = fold(good)
    assert len(names(queue)) == len(set(names(queue)))
    assert fold([rubbish.replace(b"{", b"["), *good, b'{"type":"queued"}']) == queue


def test_which_card_is_meant() -> None:
    assert card_of("cpu") == "cpu"
    assert card_of("1", "0") == "1"
    assert card_of("auto") == "0"
    assert card_of("auto", "") == "cpu"
    assert card_of("auto", "GPU-1,GPU-2") == "GPU-1"


def test_places_in_words() -> None:
    words = [place_words(place) for place in (1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111)]
    assert " ".join(words) == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 103rd 111th"
