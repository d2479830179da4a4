"""The doctor on Python and its packages: read from what is installed, nothing is imported."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.doctor import Check, library_for, pip_torch
from tui_lora.core.optimizers import OPTIMIZERS
from tui_lora.core.sensors import SensorReading
from tui_lora.core.text import one_line
from tui_lora.store.paths import data_folder

PACKAGE = "tui-lora"
_SHOWN = ("transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "textual")

OPTIONAL = {
    "flash-attn": "attention that is faster on long rows, and packing",
    "kernels": "the same attention, fetched ready-made from the Hub",
    **{
        found.package: f"the optimizer {name}"
        for name, found in OPTIMIZERS.items()
        if found.package
    },
}
"""Packages that a setting may ask for, and what they are for."""


@dataclass(frozen=True)
class Build:
    """What the installed torch was built for; `cuda` as "12.8", None for another build."""

    version: str
    cuda: str | None
    hip: str | None = None


def python() -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= (3, 11)
    yield Check("Python", ok, version, "" if ok else "Python 3.11 or newer is needed.")


def libraries() -> Iterator[Check]:
    """One line for all that fit, and one for each that does not."""
    wanted = requirements()
    if not wanted:
        yield Check("libraries", None, "tui-lora is not installed, so nothing says which it needs")
        return
    fitting, wrong = against(wanted)
    yield from wrong
    shown = [name for name in fitting if name.split()[0] in _SHOWN]
    yield Check(
        "libraries",
        not wrong,
        f"{len(fitting)} as needed: {', '.join(shown)}",
        "See the lines above." if wrong else "",
    )
    old = version_of("pynvml")
    if old is not None and int(old.partition(".")[0] or 0) < 12:
        yield Check(
            "pynvml",
            False,
            f"the old package pynvml {one_line(old)} stands in the way of nvidia-ml-py",
            "pip uninstall pynvml && pip install --force-reinstall nvidia-ml-py",
        )


def against(wanted: list[str]) -> tuple[list[str], list[Check]]:
    """The installed packages that meet these requirements, and a check for each that does not."""
    from packaging.requirements import InvalidRequirement, Requirement

    fitting: list[str] = []
    wrong: list[Check] = []
    for text in wanted:
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        have = version_of(needed.name)
        line = f"pip install '{needed.name}{needed.specifier}'"
        if have is None:
            wrong.append(Check(needed.name, False, "is missing", line))
        elif not needed.specifier.contains(have, prereleases=True):
            said = f"is {one_line(have)}, outside {needed.specifier}"
            wrong.append(Check(needed.name, False, said, line))
        else:
            fitting.append(f"{needed.name} {have}")
    return fitting, wrong


def requirements() -> list[str]:
    """What the installed package asks for; in a checkout that is not installed, pyproject.toml."""
    try:
        return importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        text = (data_folder().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
        return [str(line) for line in tomllib.loads(text)["project"]["dependencies"]]
    except (OSError, ValueError, KeyError):
        return []


def version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def optional() -> Iterator[Check]:
    here = [f"{name} {have}" for name in OPTIONAL if (have := version_of(name)) is not None]
    missing = [f"{name} ({why})" for name, why in OPTIONAL.items() if version_of(name) is None]
    said = []
    if here:
        said.append(f"here: {', '.join(here)}")
    if missing:
        said.append(f"not here, and not needed: {', '.join(missing)}")
    yield Check("optional", None, "; ".join(said))


def torch_build() -> Build | None:
    """What torch's own version.py says; None without torch. The file is read, never run."""
    version = version_of("torch")
    if version is None:
        return None
    try:
        place = importlib.metadata.distribution("torch").locate_file("torch/version.py")
        text = Path(str(place)).read_text(encoding="utf-8")
    except OSError:
        text = ""
    return build_in(version, text)


def build_in(version: str, text: str) -> Build:
    """The build that the text of a version.py, or else the version itself (`+cu128`), names."""
    said = {
        name: found[1]
        for name in ("cuda", "hip")
        if (found := re.search(rf"^{name}\b[^=\n]*=\s*['\"]([\d.]+)", text, re.MULTILINE))
    }
    label = re.fullmatch(r"cu(\d{2})(\d+)", version.partition("+")[2])
    if "cuda" not in said and label is not None:
        said["cuda"] = f"{label[1]}.{label[2]}"
    return Build(version, said.get("cuda"), said.get("hip"))


def torch(build: Build | None, reading: SensorReading) -> Iterator[Check]:
    """Whether torch is built for what is here, and whether the libraries that it names are."""
    name = "torch build"
    if build is None:
        yield Check(name, False, "torch is missing", "pip install torch")
        return
    version = one_line(build.version)
    if build.cuda is not None:
        yield Check(name, True, f"{version}: for CUDA {build.cuda}")
    elif build.hip is not None:
        yield Check(name, True, f"{version}: for ROCm {build.hip}")
    elif reading.cards:
        yield Check(
            name,
            False,
            f"{version} is built for the CPU, but there is a card",
            f"Install torch's CUDA build: {pip_torch()}",
        )
    else:
        yield Check(name, True, f"{version}: for the CPU only")
    try:
        named = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        named = []
    _, wrong = against([line for line in named if line.startswith(("nvidia-", "triton"))])
    for found in wrong:
        fix = f"{found.fix}, or install torch anew: pip install --force-reinstall torch"
        yield Check(f"torch's {found.name}", False, found.detail, fix)


def bitsandbytes_folder() -> Path | None:
    try:
        place = importlib.metadata.distribution("bitsandbytes").locate_file("bitsandbytes")
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(place))


def bitsandbytes(build: Build | None, folder: Path | None, override: str) -> Iterator[Check]:
    """Whether bitsandbytes ships a library for torch's CUDA; `override` is $BNB_CUDA_VERSION."""
    name = "bitsandbytes' library"
    if folder is None or build is None or build.hip is not None:
        return  # missing packages are named elsewhere; of ROCm builds the worker knows more
    shipped = [
        found[1]
        for path in folder.glob("libbitsandbytes_*.so")
        if (found := re.fullmatch(r"libbitsandbytes_cuda(\d{3,})", path.stem))
    ]
    if build.cuda is None:
        there = (folder / "libbitsandbytes_cpu.so").is_file()
        fix = "pip install --force-reinstall --no-deps bitsandbytes"
        said = "for the CPU" if there else f"its library for the CPU is missing from {folder}"
        yield Check(name, there, said, "" if there else fix)
        return
    chosen = override if override else library_for(build.cuda, shipped)
    all_there = ", ".join(f"{one[:2]}.{one[2:]}" for one in sorted(shipped)) or "none"
    if chosen is None or chosen not in shipped:
        asked = f"torch wants CUDA {build.cuda}"
        if override:
            asked = f"$BNB_CUDA_VERSION asks for {one_line(override)}"
        fix = (
            "Unset BNB_CUDA_VERSION."
            if override
            else "pip install --force-reinstall bitsandbytes, or a torch for a CUDA named here"
        )
        yield Check(name, False, f"{asked}, and it ships libraries for {all_there}", fix)
        return
    shown = f"{chosen[:2]}.{chosen[2:]}"
    if override:
        said = f"for CUDA {shown}, by $BNB_CUDA_VERSION; torch is built for {build.cuda}"
        same_major = shown.split(".")[0] == build.cuda.split(".")[0]
        yield Check(name, same_major, said, "" if same_major else "Unset BNB_CUDA_VERSION.")
    else:
        yield Check(name, True, f"for CUDA {shown}; torch is built for {build.cuda}")
