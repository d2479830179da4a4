"""Memory that ran out: known by its words, told in figures, and what is done about it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recorded import make_session
from tests.workers import tiny_spec
from tui_lora.core.orders import ORDERS, Stop
from tui_lora.core.sensors import CardProcess, CardReading
from tui_lora.core.spec import RunSpec
from tui_lora.core.status import Status
from tui_lora.store import sessions
from tui_lora.store.checkpoints import seal
from tui_lora.worker import train
from tui_lora.worker.card_context import context_of
from tui_lora.worker.inbox import Inbox
from tui_lora.worker.machine_memory import MachineMemory, machine_memory
from tui_lora.worker.oom import Told, is_out_of_memory, is_the_machines, told_by
from tui_lora.worker.outcome import Outcome
from tui_lora.worker.progress import Progress
from tui_lora.worker.ran_out import memory_ran_out, on_card
from tui_lora.worker.reporter import Reporter
from tui_lora.worker.retry import NoRetry, Retry, next_try

PLAIN = (
    "CUDA out of memory. Tried to allocate 472.00 MiB. GPU 0 has a total capacity of 23.70 GiB of "
    "which 114.56 MiB is free. Including non-PyTorch memory, this process has 23.58 GiB memory in "
    "use. Of the allocated memory 18.26 GiB is allocated by PyTorch, and 3.69 GiB is reserved by "
    "PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
WITH_OTHERS = (
    "CUDA out of memory. Tried to allocate 1.98 GiB. GPU 0 has a total capacity of 15.56 GiB of "
    "which 1.37 GiB is free. Process 6680 has 1.81 GiB memory in use. Including non-PyTorch "
    "memory, this process has 11.21 GiB memory in use. Of the allocated memory 9.46 GiB is "
    "allocated by PyTorch, and 1.51 GiB is reserved by PyTorch but unallocated."
)
IN_CONTAINER = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacty of 15.00 GiB of "
    "which 1.00 GiB is free. Process 4711 has 9.00 GiB memory in use. Process 4712 has 5.00 GiB "
    "memory in use. Of the allocated memory 8.00 GiB is allocated by PyTorch, and 512.00 MiB is "
    "reserved by PyTorch but unallocated."
)
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
ON_CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 536870912 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "is_one", "of_machine"),
    [
        (MemoryError(), True, True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True, True),
        (RuntimeError(PLAIN), True, False),
        (RuntimeError(CUBLAS), True, False),
        (RuntimeError(ON_CPU), True, True),
        (RuntimeError("shapes do not match"), False, False),
        (ValueError("out of memory"), False, False),
    ],
)
def test_out_of_memory(error: Exception, is_one: bool, of_machine: bool) -> None:
    assert is_out_of_memory(error) is is_one
    assert is_the_machines(error) is of_machine


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (PLAIN, Told(472 / 1024, 23.70, 114.56 / 1024, 23.58, 18.26, 3.69)),
        (WITH_OTHERS, Told(1.98, 15.56, 1.37, 11.21, 9.46, 1.51, ((6680, 1.81),))),
        (
            IN_CONTAINER,
            Told(20 / 1024, 15.0, 1.0, None, 8.0, 0.5, ((4711, 9.0), (4712, 5.0))),
        ),
        (ON_CPU, Told(asked=0.5)),
        (CUBLAS, Told()),
    ],
)
def test_what_an_error_tells(message: str, told: Told) -> None:
    assert told_by(RuntimeError(message)) == told


def card(*processes: CardProcess, used: float | None = 12.0, listed: bool = True) -> CardReading:
    return CardReading(
        index=0,
        uuid="GPU-1",
        name="a card",
        total_gib=16.0,
        used_gib=used,
        free_gib=None if used is None else 16.0 - used,
        load_percent=None,
        heat_celsius=None,
        power_watts=None,
        power_limit_watts=None,
        processes=processes if listed else None,
        note=None,
    )


PARTS = {"weights": 3.5, "adapter": 0.1, "gradients": 0.1, "optimizer": 0.2}


def test_where_a_cards_memory_went_by_what_torch_said() -> None:
    chat = card(CardProcess(6680, "python", 1.8))
    facts = on_card(told_by(RuntimeError(WITH_OTHERS)), PARTS, allocated=1.0, card=chat)
    assert (facts["asked_gib"], facts["free_gib"], facts["total_gib"]) == (1.98, 1.37, 15.56)
    assert facts["allocated_gib"] == 9.46
    assert facts["reserved_gib"] == pytest.approx(10.97)
    held = {holder.name: holder.gib for holder in facts["held"]}
    assert held == pytest.approx({**PARTS, "activations and workspace": 5.56, "unused": 1.51})
    assert [(holder.name, holder.gib) for holder in facts["others"]] == [("python", 1.81)]


def test_in_a_container_the_others_are_told_in_sum() -> None:
    facts = on_card(told_by(RuntimeError(IN_CONTAINER)), {})
    (others,) = facts["others"]
    assert others.name.startswith("other processes")
    assert others.gib == pytest.approx(15 - 1 - 8.5)


def test_where_torch_said_nothing_the_driver_is_asked() -> None:
    own = os.getpid()
    others = (CardProcess(7, "Xorg", 0.5), CardProcess(8, None, 1.0))
    seen = card(CardProcess(own, "python", 8.0), *others)
    facts = on_card(
        told_by(RuntimeError(CUBLAS)), {}, allocated=6.0, reserved=7.0, free=2.0, card=seen,
        own_pid=own,
    )  # fmt: skip
    assert (facts["asked_gib"], facts["free_gib"], facts["total_gib"]) == (None, 2.0, 16.0)
    named = {holder.name: holder.gib for holder in facts["others"]}
    assert named == {"Xorg": 0.5, "process 8": 1.0}
    nothing = on_card(Told(), {})
    assert nothing["held"] == nothing["others"] == ()


def test_on_the_machine_while_the_model_is_loaded() -> None:
    event = memory_ran_out(RuntimeError(ON_CPU), None)
    assert (event.phase, event.device, event.step) == ("loading", "cpu", None)
    assert event.asked_gib == 0.5
    assert event.total_gib is not None
    assert event.allocated_gib is not None
    assert "tried to allocate" in event.message


def test_a_look_that_fails_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("tui_lora.worker.machine_memory.machine_memory", fail)
    event = memory_ran_out(MemoryError(), None)
    assert (event.device, event.total_gib, event.message) == ("cpu", None, "MemoryError")


def test_what_was_given_back_since_is_counted_again() -> None:
    now = MachineMemory(total=4.5, free=0.6, own=3.9, own_peak=4.4, whose="x")
    then = now.when_short_of(0.5)
    assert (then.free, then.own) == pytest.approx((0.1, 4.4))
    assert now.when_short_of(0.7) is now
    here = machine_memory()
    assert 0 < here.own <= here.own_peak <= here.total


@pytest.mark.parametrize(
    ("before", "now", "found", "source"),
    [
        (card(), card(CardProcess(os.getpid(), "python", 6.5)), 0.5, "for this process"),
        # A container: the id is the host's.
        (
            card(CardProcess(9, "x", 1.0)),
            card(CardProcess(9, "x", 1.0), CardProcess(4711, None, 6.5)),
            0.5,
            "for the one new process",
        ),
        # Another process of our own id stood there before.
        (card(CardProcess(os.getpid(), None, 9.0)), card(used=18.4), None, "came, left"),
        (card(used=1.0), card(used=7.25), 0.25, "more than before"),
        (card(used=1.0, listed=False), card(used=7.25, listed=False), 0.25, "more than before"),
        (card(used=1.0), card(used=6.5), None, "took or gave back"),
        (card(used=1.0), card(used=14.0), None, "took or gave back"),
        (
            card(CardProcess(9, "x", 1.0), used=1.0),
            card(CardProcess(9, "x", 2.0), used=8.2),
            None,
            "changed",
        ),
        (None, card(used=7.0), None, "does not tell"),
        (card(), None, None, "does not tell"),
    ],
)
def test_what_cuda_takes_beside_torch(
    before: CardReading | None, now: CardReading | None, found: float | None, source: str
) -> None:
    context, why = context_of(before, now, reserved_gib=6.0)
    assert context == (None if found is None else pytest.approx(found))
    assert source in why


def asked(micro_batch: int, accumulation: int = 2, **changes: object) -> RunSpec:
    return tiny_spec(
        Path("model"), Path("rows.jsonl"), training__micro_batch=micro_batch,
        training__accumulation=accumulation, **{"hardware__on_oom": "retry", **changes},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("micro_batch", "changes"), [(4, (2, 4)), (2, (1, 4)), (6, (3, 4)), (3, (1, 6)), (9, (3, 6))]
)
def test_a_retry_keeps_the_rows_of_a_step(micro_batch: int, changes: tuple[int, int]) -> None:
    retry = next_try(asked(micro_batch), "backward", 1)
    assert isinstance(retry, Retry)
    assert retry.changes == {
        "training.micro_batch": changes[0],
        "training.accumulation": changes[1],
    }
    assert retry.number == 2
    assert "retry 2 of 3" in retry.reason
    assert retry.words == f"micro-batch {changes[0]}, accumulation {changes[1]} (retry 2 of 3)"


@pytest.mark.parametrize(
    ("spec", "phase", "tried", "why"),
    [
        (asked(4, hardware__on_oom="stop"), "forward", 0, ""),
        (asked(4), "loading", 0, "while the model is loaded"),
        (asked(4), "forward", 3, "3 times already"),
        (asked(1), "forward", 0, "nothing to halve"),
        (asked(2, task="kto"), "forward", 0, "2 or more for kto"),
        (asked(4, accumulation=4096), "forward", 0, "4,096"),
    ],
)
def test_no_retry_says_why(spec: RunSpec, phase: str, tried: int, why: str) -> None:
    found = next_try(spec, phase, tried)
    assert isinstance(found, NoRetry)
    assert why in found.why
    assert bool(found.why) is bool(why)


@pytest.mark.parametrize("saved", [False, True])
def test_what_no_checkpoint_forbids_is_among_the_last_words(tmp_path: Path, saved: bool) -> None:
    paths = make_session(tmp_path)
    if saved:
        beside = paths.checkpoints / ".new"
        beside.mkdir()
        seal(beside, paths.checkpoints / "step-000004", step=4, tokens_seen=1)
    outcome = Outcome(1, 0)
    outcome.progress = Progress()
    outcome.progress.step = 5
    spec = asked(1, hardware__on_oom="stop", lora__r=16, lora__target_modules=("q_proj",))
    small = {"gradient_checkpointing": True, "optimizer": "adamw_8bit", "max_length": 8}
    spec = spec.model_copy(update={"training": spec.training.model_copy(update=small)})
    train._ran_out(MemoryError(), paths, spec, 0, Reporter(paths.events), outcome)
    # A checkpoint holds the weights of an adapter of this very rank.
    assert ("rank 8" in outcome.message) is not saved


def test_no_order_is_missed_between_two_lives_of_a_worker(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    before = Inbox(paths.orders)
    before.read()
    paths.orders.write_text(ORDERS.encode(Stop(id="one", t=1.0)))
    assert not Inbox(paths.orders).stopping
    after = Inbox(paths.orders, before.heard)
    after.read()
    assert after.stopping


def test_a_torch_that_cannot_be_imported_is_a_failed_run(tmp_path: Path) -> None:
    paths = make_session(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; from tui_lora.worker.train import main; "
        f"sys.exit(main([{str(paths.folder)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert sessions.status_of(paths) is Status.FAILED
    result = sessions.read_result(paths)
    assert result is not None
    assert "torch" in result.message
