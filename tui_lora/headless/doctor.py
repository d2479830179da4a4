"""`tui-lora doctor`: every check as it comes, and the report for whoever looks into a bug."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

from tui_lora.core.doctor import Check
from tui_lora.core.errors import UserError
from tui_lora.core.text import clean, size
from tui_lora.headless.follow import to_stdout
from tui_lora.store import doctor_report, sessions
from tui_lora.store.doctor import checks
from tui_lora.store.paths import expanded

_NAME_WIDTH = 21


def doctor(
    root: Path,
    *,
    as_json: bool = False,
    quick: bool = False,
    report: bool = False,
    file: str | None = None,
    session: str | None = None,
) -> int:
    """Print what was checked, and exit with 1 when something is wrong; or write the report."""
    if (file is not None or session is not None) and not report:
        raise UserError(
            f"{'a file is named' if file is not None else '--session is given'}, but no report is "
            "asked for.",
            then="tui-lora doctor --report [FILE] [--session NAME]",
        )
    paths = sessions.find(root, session) if session is not None else None
    if not as_json and not quick and sys.stdout.isatty():
        to_stdout("Checking; a worker tries torch and bitsandbytes, which takes some seconds.")
    found = checks(root, quick=quick, on_found=None if as_json else _print)
    said: dict[str, object] = {"checks": [asdict(check) for check in found]}
    written = None
    if report:
        path = expanded(file).absolute() if file else doctor_report.free_path(Path.cwd())
        written = doctor_report.write(path, found, paths)
        said["report"] = str(written.path)
    if as_json:
        to_stdout(json.dumps(said, indent=1))
    else:
        wrong = [check.name for check in found if check.ok is False]
        to_stdout(_verdict(wrong))
        if written is not None:
            to_stdout(
                f"{clean(str(written.path))} is written, {size(written.size_bytes)}, with "
                f"{', '.join(clean(title) for title in written.sections)}. Keys and names were "
                "taken out; look through it before you send it."
            )
    return 0 if report else int(any(check.ok is False for check in found))


def _verdict(wrong: list[str]) -> str:
    if not wrong:
        return "Nothing is wrong."
    return f"{len(wrong)} {'thing is' if len(wrong) == 1 else 'things are'} wrong: " + clean(
        ", ".join(wrong)
    )


def _print(check: Check) -> None:
    mark = {True: "ok", False: "!!", None: "--"}[check.ok]
    for line in _lines(f"{mark}  {check.name:<{_NAME_WIDTH}}  ", check.detail):
        to_stdout(line)
    if check.fix and check.ok is not True:
        for line in _lines(" " * (_NAME_WIDTH + 6) + "→ ", check.fix):
            to_stdout(line)


def _lines(start: str, text: str) -> list[str]:
    """Wrapped at the terminal's edge; whole in a pipe, where a program may look for words."""
    whole = start + clean(text)
    if not sys.stdout.isatty():
        return [whole]
    return textwrap.wrap(
        whole,
        max(48, shutil.get_terminal_size().columns - 1),
        subsequent_indent=" " * min(len(start), _NAME_WIDTH + 8),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [whole]
