"""Run specs as files: every error names its line, and what people type is what they get."""

from pathlib import Path

import pytest

from tui_lora.core.errors import SpecError, UserError
from tui_lora.core.spec import parse_spec
from tui_lora.store.draft import read_draft, write_draft
from tui_lora.store.spec_file import read_data, read_spec, to_yaml

GOOD = """\
# mine
model: {id: a/b}
dataset:
  path: d.jsonl
training:
  learning_rate: 2e-4
  seed: 0x10
lora:
  target_modules: [q_proj, v_proj]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run spec.yaml"


def test_a_spec_is_read(file: Path) -> None:
    file.write_text(GOOD)
    spec = read_spec(file)
    assert spec.training.learning_rate == 2e-4
    assert spec.training.seed == 16
    assert spec.lora.target_modules == ("q_proj", "v_proj")


DATA = """\
model: m
task: dpo
dataset:
  path: pairs.csv
  columns: {prompt: "{frage}\\n{mehr}", chosen: gut, rejected: schlecht}
  mix: [more.jsonl*0.5, docs/*.md]
"""


def test_columns_and_what_is_mixed_in_are_a_mapping_and_a_list(file: Path) -> None:
    file.write_text(DATA)
    spec = read_spec(file)
    assert spec.dataset.columns["prompt"] == "{frage}\n{mehr}"
    assert spec.dataset.mix == ("more.jsonl*0.5", "docs/*.md")
    written = to_yaml(spec)
    assert "\n  columns:\n    prompt: " in written
    assert "\n  mix:\n  - more.jsonl*0.5\n" in written
    file.write_text(written)
    assert read_spec(file) == spec


def test_a_draft_keeps_them_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUI_LORA_CONFIG", str(tmp_path))
    data = {"dataset": {"columns": {"prompt": "{a}\n"}, "mix": ("x*2", "y")}, "task": "kto"}
    write_draft("mine", data)
    name, kept = read_draft()
    assert name == "mine"
    assert kept == {**data, "dataset": {"columns": {"prompt": "{a}\n"}, "mix": ["x*2", "y"]}}


def test_a_wrong_column_is_named_with_its_line(file: Path) -> None:
    file.write_text(DATA.replace("prompt:", "promt:"))
    with pytest.raises(SpecError, match=r":5: dataset.columns: 'promt' is no part of a row"):
        read_spec(file)


def test_a_byte_order_mark_and_crlf_do_no_harm(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_spec(file).model.id == "a/b"


def test_shorthand(file: Path) -> None:
    file.write_text("model: a/b\ndataset: d.jsonl\n")
    assert read_spec(file) == parse_spec({"model": {"id": "a/b"}, "dataset": {"path": "d.jsonl"}})


def test_every_problem_has_its_line(file: Path) -> None:
    file.write_text(GOOD + "  r: 0\n  rnk: 8\nevaluation: {keep: many}\n")
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    assert {(p.field, p.line) for p in caught.value.problems} == {
        ("lora.r", 10),
        ("lora.rnk", 11),
        ("evaluation.keep", 12),
    }
    assert f"{file}:10: lora.r" in str(caught.value)


def test_what_is_missing_points_at_its_section(file: Path) -> None:
    file.write_text("dataset: d\nmodel:\n  revision: main\n")
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    assert [(p.field, p.line) for p in caught.value.problems] == [("model.id", 2)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"model: [a\ndataset: d\n", "no YAML"),
        (b"a: b: c\n", "spec.yaml:1"),
        (b"\tmodel: x\n", "no YAML"),
        (b"model: \x07\n", "no YAML"),
        (b"model: 2001-99-99\n", "no YAML"),
        (b"[" * 20_000, "no YAML"),
        (b"!!python/object:os.system {}\n", "no YAML"),
        (b"", "list of settings"),
        (b"- model\n", "list of settings"),
        (b"just text\n", "list of settings"),
        (b"\xff\xfe", "not UTF-8"),
        (b"# " + b"x" * (1 << 20), "too large"),
        (b"{1: 2, model: m, dataset: d}\n", "1: there is no such setting"),
        (b"model: m\ndataset: d\nlora: {1: 2}\n", "Keys should be strings"),
        (b"model: m\ndataset: d\nlora: 8\n", "lora"),
    ],
)
def test_what_is_no_spec_is_told_in_a_sentence(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_spec(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_data(tmp_path / "gone.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_data(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        read_data(tmp_path / "file" / "below.yaml")


def test_a_header_is_a_comment(file: Path) -> None:
    spec = parse_spec({"model": "m", "dataset": "d"})
    file.write_text(to_yaml(spec, header="one\ntwo"))
    assert file.read_text().startswith("# one\n# two\nversion: 1\n")
    assert read_spec(file) == spec
