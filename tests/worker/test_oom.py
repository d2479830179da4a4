"""Memory that ran out is known by its words, and torch is not needed to know it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorded import make_session
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.worker.oom import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_a_torch_that_cannot_be_imported_is_a_failed_run(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; from tui_lora.worker.train import main; "
        f"sys.exit(main({str(paths.folder)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert sessions.status_of(paths) is Status.FAILED
    result = sessions.read_result(paths)
    assert result is not None
    assert "torch" in result.message
