"""What versions alone tell: drivers, architectures, the library that bitsandbytes takes."""

import pytest

from tui_lora.core.doctor import architecture_fits, driver_check, library_for, numbers


@pytest.mark.parametrize(
    ("cuda", "driver", "ok"),
    [
        ("13.0", "580.82.07", True),
        ("13.0", "580", True),
        ("13.0", "575.64.03", False),
        ("12.8", "525.60.13", True),
        ("12.8", "525.60.11", False),
        ("12.6", "570.86.15", True),
        ("11.8", "450.80.02", True),
        ("11.8", "450.51.06", False),
        ("19.0", "999.1", None),
        ("12.8", "N/A", None),
    ],
)
def test_a_driver_against_the_cuda_of_torch(cuda: str, driver: str, ok: bool | None) -> None:
    check = driver_check(cuda, driver)
    assert check.ok is ok
    assert cuda in check.detail
    assert driver in check.detail
    assert bool(check.fix) == (ok is False)


def test_an_older_torch_is_offered_only_where_the_driver_runs_it() -> None:
    assert "cu128" in driver_check("13.0", "535.104.05").fix
    assert "cu128" not in driver_check("13.0", "470.256.02").fix
    assert "cu128" not in driver_check("12.8", "470.256.02").fix


def test_numbers_of_a_version() -> None:
    assert numbers("580.82.07") == (580, 82, 7)
    assert numbers("2.13.0+cpu") == (2, 13, 0)
    assert numbers("nonsense") == ()


@pytest.mark.parametrize(
    ("capability", "built_for", "fits"),
    [
        ((7, 5), ("sm_75", "sm_80"), True),
        ((8, 9), ("sm_80", "sm_86"), True),  # the same major version, an older minor one
        ((8, 0), ("sm_86", "sm_90"), False),
        ((7, 0), ("sm_75", "sm_80", "sm_90"), False),
        ((12, 0), ("sm_80", "sm_90"), False),
        ((12, 0), ("sm_80", "compute_90"), True),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((10, 3), ("sm_100",), True),
        ((8, 6), ("gfx942", ""), False),
    ],
)
def test_a_card_against_what_torch_is_built_for(
    capability: tuple[int, int], built_for: tuple[str, ...], fits: bool
) -> None:
    assert architecture_fits(capability, built_for) is fits


@pytest.mark.parametrize(
    ("cuda", "chosen"),
    [("12.8", "128"), ("12.9", "128"), ("12.0", "121"), ("13.1", "130"), ("10.2", None)],
)
def test_the_library_that_bitsandbytes_takes(cuda: str, chosen: str | None) -> None:
    assert library_for(cuda, ["132", "118", "121", "128", "130"]) == chosen
