"""The laws of the house (shared/DESIGN.md) that no linter knows."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2] / "tui_lora"
MODULES = sorted(HOUSE.rglob("*.py"))
HEAVY = [
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "bitsandbytes",
    "accelerate",
    "pandas",
    "pyarrow",
]


def name_of(module: Path) -> str:
    return str(module.relative_to(HOUSE))


def below(folder: str) -> list[Path]:
    return [module for module in MODULES if module.is_relative_to(HOUSE / folder)]


@cache
def text(module: Path) -> str:
    return module.read_text(encoding="utf-8")


def saying(*words: str) -> list[Path]:
    """Modules in which one of the words stands: only those need to be parsed."""
    return [module for module in MODULES if any(word in text(module) for word in words)]


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(text(module), str(module))


@cache
def imports(module: Path) -> frozenset[str]:
    """Dotted names of all that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@cache
def calls(module: Path) -> frozenset[str]:
    """`open`, `time.time`, `path.read_text`: what a module calls, as it is spelled."""
    nodes = ast.walk(tree(module))
    return frozenset(ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call))


@pytest.mark.parametrize("module", ["tui_lora.cli", "tui_lora.ui.app", "tui_lora.store.catalog"])
def test_what_a_person_looks_at_starts_without_torch(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "sys.exit(f'it loads {loaded}' if loaded else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_first_frame_needs_no_numpy() -> None:
    code = (
        "import sys, tui_lora.ui.app\n"
        "loaded = sorted({'numpy', 'textual_plot', 'pynvml'} & set(sys.modules))\n"
        "sys.exit(f'it loads {loaded}' if loaded else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    odd = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    assert [name_of(m) for m in MODULES if odd & set(m.with_suffix("").parts[-3:])] == []


def test_no_module_outgrows_its_reader() -> None:
    long = {name_of(m): len(m.read_text(encoding="utf-8").splitlines()) for m in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_the_app_is_a_switchboard() -> None:
    app = HOUSE / "ui" / "app.py"
    assert len(app.read_text(encoding="utf-8").splitlines()) <= 260


def test_core_touches_no_file_and_reads_no_clock() -> None:
    banned_calls = {"open", "input", "print", "exec", "eval", "__import__"}
    banned_ends = (".read_text", ".write_text", ".read_bytes", ".write_bytes", ".open", ".now")
    for module in below("core"):
        for call in calls(module):
            assert call not in banned_calls, f"{name_of(module)} calls {call}"
            assert not call.endswith(banned_ends), f"{name_of(module)} calls {call}"
            # Random(seed) is a function of its seed; the module's own functions are not.
            assert not call.startswith("random."), f"{name_of(module)} calls {call}"
        banned = {"os", "io", "pathlib", "subprocess", "time", "datetime", "threading"}
        for imported in imports(module):
            assert imported.split(".")[0] not in banned, f"{name_of(module)} imports {imported}"


def test_the_lock_is_touched_in_one_place() -> None:
    holders = [name_of(m) for m in saying("fcntl") if "fcntl" in imports(m)]
    # The demo model's own lock file is another one, which nobody asks about.
    assert holders == ["store/demo_model.py", "store/lock.py"]
    for module in saying("worker.lock"):
        assert name_of(module) in ("store/paths.py", "store/lock.py") or all(
            "worker.lock" not in node.value
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and "\n" not in node.value
            and " " not in node.value
        ), f"{name_of(module)} names worker.lock; ask store/lock.py"
    for module in saying(".lock.open", "lock.unlink"):
        opened = [call for call in calls(module) if call.endswith((".lock.open", "lock.unlink"))]
        assert opened == [], f"{name_of(module)} opens a lock file"


def test_one_module_reads_live_sessions_for_the_screens() -> None:
    readers = [
        name_of(m)
        for m in below("ui")
        if any(name.startswith("tui_lora.store.journal") for name in imports(m))
        or "tui_lora.store.journal" in imports(m)
    ]
    assert set(readers) <= {"ui/feed.py"}


def test_one_module_starts_and_signals_processes() -> None:
    starters = {
        "os.kill",
        "os.killpg",
        "os.fork",
        "os.system",
        "os.popen",
        "os.execv",
        "os.execve",
        "os.execvp",
        "os.posix_spawn",
    }
    words = {"subprocess", "multiprocessing", *(name.removeprefix("os.") for name in starters)}
    for module in saying(*words):
        if name_of(module) == "store/launch.py":
            continue
        used = {i for i in imports(module) if i.split(".")[0] in ("subprocess", "multiprocessing")}
        used |= starters & {*calls(module), *imports(module)}
        assert used == set(), f"{name_of(module)} uses {sorted(used)}; it is store/launch.py's"


def test_the_fast_tests_are_read_without_torch(request: pytest.FixtureRequest) -> None:
    """A module of tests that imports it on top says so in its `pytestmark`, and is left unread."""
    if "not model" not in request.config.option.markexpr:
        pytest.skip("tests that load it are in this process too")
    assert sorted(set(HEAVY) & set(sys.modules)) == []
