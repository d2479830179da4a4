"""Rows from Parquet, and from a Hub that a test can take away."""

from __future__ import annotations

import datetime
import io
import itertools
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import FakeHub
from tui_lora.core.errors import UserError
from tui_lora.core.spec import DatasetSpec
from tui_lora.store.dataset import look_at
from tui_lora.store.sources import Row, Source, open_source

pytestmark = pytest.mark.model


# -- Parquet ---------------------------------------------------------------------------------


def parquet(rows: list[dict[str, Any]], schema: pa.Schema | None = None, **how: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, **how)
    return file.getvalue()


def source_of(folder: Path, **files: bytes) -> Source:
    for name, data in files.items():
        (folder / f"{name}.parquet").write_bytes(data)
    only = folder / f"{next(iter(files))}.parquet"
    return open_source(DatasetSpec(path=str(only if len(files) == 1 else folder)))


def rows_of(source: Source, **how: Any) -> list[Row]:
    from tui_lora.worker import tables

    return list(tables.rows_of(source, **how))


def test_values_of_all_kinds_become_what_rows_have(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Grüße"}, {"role": "assistant", "content": None}]
    row = {
        "messages": turns,
        "when": datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC),
        "day": datetime.date(2024, 5, 6),
        "price": Decimal("1.50"),
        "score": 0.5,
        "good": True,
        "nothing": None,
        "tags": ["a", "b"],
    }
    [found] = rows_of(source_of(tmp_path, data=parquet([row])))
    assert found == Row(
        0,
        1,
        {**row, "when": "2024-05-06T07:08:09+00:00", "day": "2024-05-06", "price": 1.5},
        file=str(tmp_path / "data.parquet"),
    )


def test_labels_get_their_names_and_pictures_are_left_out(tmp_path: Path) -> None:
    from datasets import ClassLabel, Features, Image, List, Value

    from tui_lora.worker import tables

    features = Features(
        {
            "text": Value("string"),
            "label": ClassLabel(names=["bad", "good"]),
            "spans": List({"kind": ClassLabel(names=["x", "y"])}),
            "picture": Image(),
        }
    )
    picture = {"bytes": b"\x89PNG", "path": None}
    rows = [
        {"text": "a", "label": 1, "spans": [{"kind": 0}, {"kind": 1}], "picture": picture},
        {"text": "b", "label": -1, "spans": [], "picture": None},
    ]
    source = source_of(tmp_path, data=parquet(rows, features.arrow_schema))
    assert [row.value for row in rows_of(source)] == [
        {"text": "a", "label": "good", "spans": [{"kind": "x"}, {"kind": "y"}]},
        {"text": "b", "label": None, "spans": []},
    ]
    facts = tables.facts(source)
    assert (facts.rows, facts.note) == (
        2,
        "the column picture with pictures, sounds or the like is not read",
    )


def test_a_value_that_cannot_be_read_costs_its_row_only(tmp_path: Path) -> None:
    far = pa.array([0, 2**60, 0], pa.timestamp("ms"))
    table = pa.table({"n": [1, 2, 3], "blob": [None, None, b"\xff\x00"], "when": far})
    pq.write_table(table, tmp_path / "data.parquet")
    source = open_source(DatasetSpec(path=str(tmp_path / "data.parquet")))
    first, second, third = rows_of(source)
    assert (first.problem, first.value["n"]) == ("", 1)
    assert second.problem.startswith("holds a value that cannot be read: ")
    assert (third.problem, third.value["blob"]) == ("", {"bytes": 2})
    assert [row.number for row in (first, second, third)] == [0, 1, 2]


def test_bytes_hurt_only_where_text_is_wanted(tmp_path: Path) -> None:
    rows = [
        {"text": "Grüße".encode(), "hash": b"\xff\x01"},
        {"text": b"\xff\xfe", "hash": b"\x00\xff"},
    ]
    source = source_of(tmp_path, data=parquet(rows))
    found = look_at(rows_of(source), DatasetSpec(path=source.path), "sft", path=source.path)
    assert (found.format, found.usable_rows) == ("text", 1)
    assert [str(problem) for problem in found.problems] == ["text: is an object, not text."]


def test_reading_may_begin_anywhere(tmp_path: Path) -> None:
    first = parquet([{"n": n} for n in range(10)], row_group_size=3)
    second = parquet([{"n": n} for n in range(10, 14)], row_group_size=3)
    source = source_of(tmp_path, a=first, b=second)
    everything = rows_of(source)
    assert [row.value["n"] for row in everything] == list(range(14))
    assert [row.line for row in everything][8:12] == [9, 10, 1, 2]
    for start in (0, 1, 3, 7, 9, 10, 13, 14, 20):
        assert rows_of(source, start=start) == everything[start:]


@pytest.mark.parametrize("spoilt", ["cut off", "of another kind", "torn inside"])
def test_a_damaged_file_is_told_in_a_sentence(tmp_path: Path, spoilt: str) -> None:
    from tui_lora.worker import tables

    whole = parquet([{"text": f"row {n}" * 50} for n in range(2000)])
    data = {
        "cut off": whole[: len(whole) // 2],
        "of another kind": b'{"text": "a"}\n' * 100,
        "torn inside": whole[:200] + bytes(600) + whole[800:],
    }[spoilt]
    source = source_of(tmp_path, data=data)
    with pytest.raises(UserError, match=r"data\.parquet is no whole Parquet file: "):
        list(tables.rows_of(source))


def test_rows_of_a_file_here_are_the_stores(rows: Path) -> None:
    source = open_source(DatasetSpec(path=str(rows)))
    assert [row.number for row in rows_of(source, start=38)] == [38, 39]


# -- the Hub ---------------------------------------------------------------------------------


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


PAIRS = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(5)]
CARD = b"""---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*.parquet}
  - {split: test, path: main/test-*.parquet}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train-*.parquet}
---
"""
SUBSETS = {
    "README.md": CARD,
    "main/train-0.parquet": parquet([{"n": n} for n in range(3)]),
    "main/test-0.parquet": parquet([{"n": 9}]),
    "socratic/train-0.parquet": parquet([{"n": 7}]),
}
SHARDS = {f"data/train-{n:05}-of-00008.jsonl": jsonl(PAIRS * 2000) for n in range(8)}


class Reader:
    """A process that reads tables from the Hub and the cache that the environment names."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_read, args=(there,), daemon=True)
        self._process.start()

    def ask(self, what: str, path: str, *, most: int | None = None, **source: Any) -> Any:
        """What a function of tables.py answers; a refusal as its text."""
        self._here.send((what, Source(path, "hub", **source), most))
        return self._here.recv()

    def rows(self, path: str, **source: Any) -> Any:
        return self.ask("rows_of", path, **source)

    def close(self) -> None:
        self._here.close()
        self._process.join(10)


def _read(connection: Connection) -> None:
    import sys

    from tui_lora.worker import tables

    sys.stdout.write = None  # type: ignore[assignment, method-assign]
    while True:
        try:
            what, source, most = connection.recv()
        except EOFError:
            return
        told: list[tuple[str, float | None, float | None]] = []
        try:
            if what == "rows_of":
                found = tables.rows_of(source)
                answer = [row.value for row in itertools.islice(found, most)]
            elif what == "progress":
                list(tables.rows_of(source, on_progress=lambda *say, told=told: told.append(say)))
                answer = told
            elif what == "stop":
                try:
                    list(tables.rows_of(source, on_progress=_stop))
                except _Stopped:
                    answer = "stopped"
            else:
                answer = getattr(tables, what)(source)
        except UserError as error:
            answer = str(error)
        connection.send(answer)


class _Stopped(Exception):
    pass


def _stop(label: str, done: float | None, total: float | None) -> None:
    if done:
        raise _Stopped


@contextmanager
def reader(patch: pytest.MonkeyPatch, **environment: str) -> Iterator[Reader]:
    for name, value in environment.items():
        patch.setenv(name, value)
    found = Reader()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    served = FakeHub()
    served.add("me/pairs", {"train.jsonl": jsonl(PAIRS), "test.jsonl": jsonl(PAIRS[:1])})
    served.add("me/math", SUBSETS)
    served.add("me/shards", SHARDS)
    served.add("me/gated", {"train.jsonl": jsonl(PAIRS)}, gated=True)
    served.add("me/script", {"script.py": b"import os", "README.md": b""})
    served.add("me/empty", {"README.md": b"Nothing here."})
    served.add("me/mixed", {"a.jsonl": jsonl(PAIRS), "b.jsonl": jsonl([{"x": 1}])})
    yield served
    served.close()


@pytest.fixture(scope="module")
def online(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        with reader(patch, HF_ENDPOINT=hub.endpoint, HF_HOME=str(home)) as found:
            yield found


def test_a_dataset_is_fetched_and_said_to_be(online: Reader) -> None:
    told = online.ask("progress", "me/pairs")
    assert online.rows("me/pairs") == PAIRS
    assert online.rows("me/pairs", split="test") == PAIRS[:1]
    total = len(jsonl(PAIRS)) + len(jsonl(PAIRS[:1]))
    assert told[0] == ("asking the Hub for me/pairs", None, None)
    assert ("fetching me/pairs", total, total) in told
    assert told[-1] == ("writing the tables of me/pairs", None, None)
    assert online.ask("table_splits", "me/pairs") == ("train", "test")
    assert online.ask("table_subsets", "me/pairs") == ()
    assert online.ask("facts", "me/pairs").rows == 5


def test_a_stop_while_it_is_fetched_is_no_fault_of_the_dataset(
    online: Reader, hub: FakeHub
) -> None:
    hub.add("me/stopped", {"train.jsonl": jsonl(PAIRS)})
    assert online.ask("stop", "me/stopped") == "stopped"
    assert online.rows("me/stopped") == PAIRS


def test_subsets_are_named_and_one_is_chosen(online: Reader) -> None:
    assert online.rows("me/math", subset="main") == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert online.rows("me/math", subset="socratic") == [{"n": 7}]
    assert online.ask("table_subsets", "me/math") == ("main", "socratic")
    assert online.rows("me/math").startswith(
        "dataset.subset: me/math has several subsets; they are main, socratic."
    )
    prints = {
        online.ask("fingerprint", "me/math", subset=subset, split=split)
        for subset, split in (("main", None), ("main", "test"), ("socratic", None))
    }
    assert len(prints) == 3


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_are_read_by_what_they_are(online: Reader, hub: FakeHub, streaming: bool) -> None:
    from datasets import ClassLabel, Features, Image, Value

    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=["bad", "good"]), "picture": Image()}
    )
    row = {"text": "a", "label": 1, "picture": {"bytes": b"no picture", "path": None}}
    name = f"me/labelled-{streaming}"
    hub.add(name, {"data/train-0.parquet": parquet([row], features.arrow_schema)})
    assert online.rows(name, streaming=streaming) == [{"text": "a", "label": "good"}]


def test_a_revision_is_those_rows(online: Reader, hub: FakeHub) -> None:
    changing = hub.add("me/changing", {"train.jsonl": jsonl(PAIRS[:1])})
    first = changing.branches["main"]
    changing.commit({"train.jsonl": jsonl(PAIRS[1:3])}, branch="next")
    assert online.rows("me/changing") == PAIRS[:1]
    assert online.rows("me/changing", revision="next") == PAIRS[1:3]
    changing.commit({"train.jsonl": jsonl(PAIRS[3:])})
    assert online.rows("me/changing", revision=first) == PAIRS[:1]


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("me/none", {}, "dataset.path: there is no dataset me/none on the Hub, or it is private."),
        ("me/gated", {}, "dataset.path: me/gated is gated"),
        ("me/pairs", {"revision": "v9"}, "dataset.revision: me/pairs has no revision 'v9'."),
        ("me/pairs", {"split": "dev"}, "dataset.split: me/pairs has no split 'dev'; it has train"),
        ("me/pairs", {"subset": "x"}, "dataset.subset: me/pairs has no subset 'x'."),
        ("me/math", {"subset": "x"}, "dataset.subset: me/math has no such subset; they are main"),
        ("me/script", {}, "dataset.path: me/script is made by a script of its own"),
        ("me/empty", {}, "dataset.path: me/empty holds no files that can be read as rows."),
        ("me/mixed", {}, "dataset.path: the files of me/mixed do not have the same columns"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_way_out(
    online: Reader, path: str, source: dict[str, Any], said: str
) -> None:
    found = online.rows(path, **source)
    assert isinstance(found, str)
    assert found.startswith(said)


def test_a_stream_fetches_only_what_is_read(online: Reader, hub: FakeHub) -> None:
    before = hub.sent
    assert online.rows("me/shards", streaming=True, most=7) == [*PAIRS, *PAIRS[:2]]
    assert 0 < hub.sent - before < sum(map(len, SHARDS.values())) / 2


def test_what_was_fetched_is_there_without_the_hub(tmp_path: Path) -> None:
    """First the tables that `datasets` made are found; without them, the files as fetched."""
    hub, home = FakeHub(), tmp_path / "home"
    hub.add("me/pairs", {"train.jsonl": jsonl(PAIRS), "test.jsonl": jsonl(PAIRS[:1])})
    hub.add("me/math", SUBSETS)
    hub.datasets["me/pairs"].commit({"train.jsonl": jsonl(PAIRS[:2])}, branch="old")
    asked: list[tuple[str, dict[str, Any]]] = [
        ("me/pairs", {}),
        ("me/pairs", {"split": "test"}),
        ("me/pairs", {"revision": "old"}),
        ("me/math", {"subset": "main"}),
    ]

    def answers(reader: Reader) -> list[Any]:
        return [
            reader.ask(what, path, **source)
            for what in ("rows_of", "fingerprint")
            for path, source in asked
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        with reader(patch, HF_ENDPOINT=hub.endpoint, HF_HOME=str(home)) as online:
            before = answers(online)
        hub.close()
        for without in (
            {"HF_HUB_OFFLINE": "0"},
            {"HF_HUB_OFFLINE": "1"},
            {"HF_DATASETS_CACHE": str(tmp_path / "another")},
        ):
            with reader(patch, **without) as offline:
                assert answers(offline) == before
                assert offline.ask("table_subsets", "me/math") == ("main", "socratic")
                for path, source, why in (
                    ("me/other", {}, "is not in the local cache"),
                    ("me/pairs", {"revision": "new"}, "at new is not in the local cache"),
                    ("me/math", {"subset": "socratic"}, "is not in the local cache"),
                    ("me/math", {}, "has several subsets"),
                ):
                    assert why in offline.rows(path, **source)
