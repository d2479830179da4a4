"""The report for whoever looks into a bug: one text file, readable before it is sent, scrubbed.

It holds no rows of a dataset, no weights, no chats. Of a session it has the spec, what became of
it, and the last lines of its events and its log.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import netrc
import os
import platform
import pwd
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tui_lora.core.doctor import Check
from tui_lora.core.errors import UserError
from tui_lora.core.scrub import Scrubber, secrets_of
from tui_lora.core.text import clean
from tui_lora.store.atomic import write_whole
from tui_lora.store.doctor_libraries import PACKAGE, version_of
from tui_lora.store.inside import check_inside
from tui_lora.store.paths import SessionPaths

_TAIL_BYTES = 1 << 17
_LINES = 300
_LINE_CHARS = 2000
_ENVIRONMENT = re.compile(
    r"CUDA_|NVIDIA_|PYTORCH_|TORCH_|BNB_|NCCL_|OMP_|MKL_|TUI_LORA_|HF_|TRANSFORMERS_|TOKENIZERS_|"
    r"TEXTUAL|LC_|(?:HTTPS?|NO|ALL)_PROXY$|"
    r"(?:TERM|COLORTERM|NO_COLOR|LANG|TMPDIR|XDG_CACHE_HOME|LD_LIBRARY_PATH|PYTHONPATH|SHELL)$",
    re.IGNORECASE,
)
"""Variables that change what we or the libraries do; no other is looked at."""

MARKS = {True: "ok", False: "!!", None: "--"}


@dataclass(frozen=True)
class Report:
    """What was written, as it was found in the file afterwards."""

    path: Path
    size_bytes: int
    sections: tuple[str, ...]


def free_path(folder: Path) -> Path:
    """A name for a report in `folder` that nothing has yet."""
    stem = f"tui-lora-report-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = folder / f"{stem}.txt", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.txt", number + 1
    return path


def write(path: Path, found: Iterable[Check], session: SessionPaths | None = None) -> Report:
    """Write the report to `path`, which must be new, and look at the file. Raises UserError."""
    if path.exists():
        raise UserError(
            f"there is already something at {clean(str(path))}.", then="Give another name."
        )
    if session is not None:
        check_inside(session.folder)
    scrubber = scrubber_here(os.environ)
    sections = _sections(found, session)
    about = ", ".join(sections)
    head = (
        f"tui-lora {version_of(PACKAGE) or 'unknown'}: a report of "
        f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}\n"
        f"In it: {about}.\n"
        "Keys, tokens, accounts, and names of people and machines were taken out. What a library "
        "printed into\nthe log is its own words: look through it before you send it.\n"
    )
    body = "".join(f"\n== {title} ==\n{text.rstrip()}\n" for title, text in sections.items())
    text = _shortened(scrubber.scrub(head + body))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
        path.chmod(0o600)
        written = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the report could not be written: {error.strerror}.",
            where=clean(str(path)),
            then="Name another file: tui-lora doctor --report FILE",
            exit_code=1,
        ) from None
    if written != text or any(secret in written for secret in scrubber.secrets):
        path.unlink(missing_ok=True)
        raise UserError("the report was not as it should be, and was deleted.", exit_code=1)
    there = tuple(title for title in sections if f"\n== {scrubber.scrub(title)} ==\n" in written)
    return Report(path, path.stat().st_size, there)


def scrubber_here(environment: Mapping[str, str]) -> Scrubber:
    """What is known to be secret or personal on this machine, for this user."""
    homes, users, hosts = set(), set(), {platform.node(), socket.gethostname()}
    with contextlib.suppress(RuntimeError, OSError):
        homes |= {str(Path.home()), str(Path.home().resolve())}
    with contextlib.suppress(KeyError, OSError):
        users.add(getpass.getuser())
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(os.getuid())
        users |= {entry.pw_name, entry.pw_gecos.partition(",")[0]}
        homes.add(entry.pw_dir)
    hosts |= {host.partition(".")[0] for host in hosts}
    return Scrubber(
        secrets=tuple({*secrets_of(environment), *_kept_secrets(environment)}),
        homes=tuple(homes - {"", "/"}),
        users=tuple(users - {""}),
        hosts=tuple(hosts - {""}),
    )


def _kept_secrets(environment: Mapping[str, str]) -> set[str]:
    """Tokens in the files where the Hub's library and Weights & Biases keep theirs."""
    found: set[str] = set()
    with contextlib.suppress(Exception):
        from huggingface_hub import constants, get_token

        found.add(get_token() or "")
        for path in (constants.HF_TOKEN_PATH, constants.HF_STORED_TOKENS_PATH):
            with contextlib.suppress(OSError):
                text = Path(path).read_text(encoding="utf-8", errors="replace")
                found |= {line.rpartition("=")[2].strip() for line in text.splitlines()}
    with contextlib.suppress(Exception):
        given = environment.get("NETRC")
        for _, _, password in netrc.netrc(given).hosts.values():
            found.add(password or "")
    return {secret for secret in found if len(secret) > 7}


def _sections(found: Iterable[Check], session: SessionPaths | None) -> dict[str, str]:
    sections = {
        "checks": "\n".join(_check_lines(found)),
        "system": "\n".join(_system()),
        "packages": "\n".join(_packages()),
        "environment": "\n".join(
            f"{name}={value}"
            for name, value in sorted(os.environ.items())
            if _ENVIRONMENT.match(name)
        ),
    }
    if session is not None:
        for path in (session.spec, session.resolved, session.result, session.worker):
            sections[f"session {session.name}: {path.name}"] = _end_of(path)
        for path in (session.events, session.log):
            title = f"session {session.name}: last lines of {path.name}"
            sections[title] = _end_of(path)
    return sections


def _check_lines(found: Iterable[Check]) -> Iterable[str]:
    for check in found:
        yield f"{MARKS[check.ok]}  {check.name}: {check.detail}"
        if check.fix and check.ok is not True:
            yield f"      → {check.fix}"


def _system() -> Iterable[str]:
    with contextlib.suppress(OSError):
        yield platform.freedesktop_os_release().get("PRETTY_NAME", "")
    yield f"{platform.system()} {platform.release()} {platform.machine()}"
    yield f"Python {platform.python_version()} ({platform.python_implementation()})"
    yield " ".join(platform.libc_ver())
    yield f"{os.cpu_count()} cores"


def _packages() -> list[str]:
    """Names and versions, not where they came from: that may be an address with a key."""
    found = {
        (dist.metadata["Name"] or "").lower(): dist.version
        for dist in importlib.metadata.distributions()
    }
    return [f"{name} {version}" for name, version in sorted(found.items()) if name]


def _end_of(path: Path) -> str:
    """The last whole lines of a file and what stands after them; a word where there is no file."""
    try:
        if path.exists() and not path.is_file():
            # Whoever opens a pipe waits for its other end.
            return "(not a file)"
        start = max(0, path.stat().st_size - _TAIL_BYTES)
        with path.open("rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", errors="replace")
    except OSError as error:
        return f"({error.strerror})"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # A line that was cut may hold the end of a key whose beginning would have told it.
    return "\n".join((lines[1:] if start else lines)[-_LINES:])


def _shortened(text: str) -> str:
    """After scrubbing, never before: half a key is no longer known as one."""
    return "\n".join(
        line if len(line) <= _LINE_CHARS else f"{line[:_LINE_CHARS]} … {len(line):,} characters"
        for line in text.split("\n")
    )
