"""Files of lines: torn ones are waited for, long ones skipped, and nothing raises."""

from pathlib import Path

import pytest

from tui_lora.store.atomic import write_whole
from tui_lora.store.journal import (
    MAX_LINE_BYTES,
    Appender,
    Tail,
    append_line,
    last_line_with,
    last_lines,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def add(file: Path, data: bytes) -> None:
    with file.open("ab") as out:
        out.write(data)


def test_a_file_that_is_not_there_or_no_file_has_no_lines(file: Path) -> None:
    assert Tail(file).read() == []
    assert last_lines(file, 100) == ([], 0)
    assert last_line_with(file, b"x", after=0, before=10) is None
    file.mkdir()
    assert Tail(file).read() == []
    assert last_lines(file, 1 << 20)[0] == []
    assert last_line_with(file, b"x", after=0, before=10) is None


def test_a_torn_last_line_is_waited_for(file: Path) -> None:
    tail = Tail(file)
    add(file, b"one\ntw")
    assert tail.read() == [b"one"]
    assert tail.read() == []
    add(file, b"o\n")
    assert tail.read() == [b"two"]
    assert tail.offset == 8


def test_a_reader_goes_on_at_its_offset(file: Path) -> None:
    add(file, b"one\ntwo\n")
    first = Tail(file)
    first.read()
    add(file, b"three\n")
    assert Tail(file, first.offset).read() == [b"three"]


def test_a_file_that_shrank_is_read_anew(file: Path) -> None:
    tail = Tail(file)
    add(file, b"one\ntwo\n")
    tail.read()
    assert not tail.restarted
    file.write_bytes(b"new\n")
    assert tail.read() == [b"new"]
    assert tail.restarted


@pytest.mark.parametrize("long", [2 << 20, 5 << 20, (4 << 20) - 6, (4 << 20) + 3])
def test_a_line_too_long_is_skipped_and_counted(file: Path, long: int) -> None:
    add(file, b"one\n" + b"x" * long + b"\ntwo\n")
    tail = Tail(file)
    lines = []
    while block := tail.read():
        lines += block
    assert lines == [b"one", b"two"]
    assert tail.too_long == 1


def test_a_line_too_long_that_is_still_being_written(file: Path) -> None:
    tail = Tail(file)
    add(file, b"x" * (MAX_LINE_BYTES + 5))
    assert tail.read() == []
    add(file, b"y" * 10)
    assert tail.read() == []
    add(file, b"y\ntwo\n")
    assert tail.read() == [b"two"]
    assert tail.too_long == 1


def test_the_last_lines_are_whole(file: Path) -> None:
    add(file, b"".join(b"line %03d\n" % number for number in range(100)))
    lines, start = last_lines(file, 50)
    assert lines[0] == b"line 095"
    assert start == 95 * 9
    assert last_lines(file, 10_000) == ([b"line %03d" % n for n in range(100)], 0)


def test_a_line_is_found_backwards(file: Path) -> None:
    add(file, b"a start 1\nb\nc start 2\nd\ne start 3\n")
    assert last_line_with(file, b"start", after=0, before=1000) == (24, b"e start 3")
    assert last_line_with(file, b"start", after=0, before=20) == (12, b"c start 2")
    assert last_line_with(file, b"start", after=10, before=12) is None


def test_the_writer_ends_what_a_killed_one_left(file: Path) -> None:
    add(file, b'{"whole":1}\n{"torn')
    with Appender(file) as out:
        assert out.append('{"next":1}\n')
    assert Tail(file).read() == [b'{"whole":1}', b'{"torn', b'{"next":1}']


def test_a_full_disk_costs_the_line_and_nothing_else() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    out = Appender(full)
    assert not out.append("x\n")
    assert out.dropped == 1
    out.close()


def test_appending_is_private_and_takes_any_text(file: Path) -> None:
    append_line(file, "a\udcff\n")
    append_line(file, "b\n")
    assert Tail(file).read() == [b"a?", b"b"]
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_is_replaced_whole_or_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "run.yaml"
    write_whole(target, "old")
    write_whole(target, "new")
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "\ud800")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "x", "text")
