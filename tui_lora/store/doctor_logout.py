"""The doctor on logging out: whether systemd would end a run together with the login it began in.

What logind does (systemd, login/logind-session.c and logind-user.c): when a login ends, its scope
is left alone or, under KillUserProcesses, killed with all in it, lingering or not. What runs under
the user's own manager (user@.service) ends with the last login unless the user lingers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.doctor import Check
from tui_lora.core.text import one_line

_PLACES = ("etc", "run", "usr/local/lib", "usr/lib")
"""Folders of the configuration, the first wins (logind.conf(5))."""

NAME = "after logout"


def logout(user: str, cgroup: str, root: Path = Path("/")) -> Iterator[Check]:
    """`cgroup` is the text of /proc/self/cgroup; `root` is where /etc, /run and /var are found."""
    who = one_line(user)
    if not (root / "run/systemd/system").is_dir():
        yield Check(NAME, None, "no systemd here: nothing ends programs when you log out")
        return
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    place = _place(cgroup)
    if place == "service":
        yield Check(NAME, None, "this is no login, so logging out ends nothing here")
        return
    if place == "manager":
        fix = "" if lingers else f"loginctl enable-linger {who}"
        said = "lingers: runs go on" if lingers else "ends with the last login, and runs with it"
        yield Check(NAME, lingers, f"{who}'s own systemd {said}", fix)
        return
    kills = kills_processes(user, root)
    way = "start it as: systemd-run --user --scope tui-lora"
    fix = way if lingers else f"loginctl enable-linger {who}, and {way}"
    fix = f"{fix}. Or set KillUserProcesses=no in /etc/systemd/logind.conf."
    if kills is None:
        said = "whether systemd kills what you started cannot be read from its configuration"
        yield Check(NAME, None, said, f"If it does: {fix}")
    elif kills:
        yield Check(NAME, False, "systemd kills what you started (KillUserProcesses=yes)", fix)
    else:
        yield Check(NAME, True, "systemd leaves what you started alone (KillUserProcesses=no)")


def kills_processes(user: str, root: Path) -> bool | None:
    """Whether logind is configured to kill what `user` leaves running; None: nothing says so."""
    found: dict[str, str] = {}
    main = next(
        (path for top in _PLACES if (path := root / top / "systemd/logind.conf").is_file()), None
    )
    if main is not None:
        text = _text(main)
        # Distributions choose the default when they build; the file that they ship says which.
        found |= _settings(re.sub(r"(?m)^#\s*(?=Kill\w+=)", "", text)) | _settings(text)
    drop_ins: dict[str, Path] = {}
    for top in reversed(_PLACES):
        folder = root / top / "systemd/logind.conf.d"
        drop_ins |= {path.name: path for path in sorted(folder.glob("*.conf"))}
    for name in sorted(drop_ins):
        found |= _settings(_text(drop_ins[name]))
    if "KillUserProcesses" not in found:
        return None
    if found["KillUserProcesses"].lower() not in ("yes", "true", "on", "1", "y", "t"):
        return False
    if user in found.get("KillExcludeUsers", "root").split():
        return False
    only = found.get("KillOnlyUsers", "").split()
    return not only or user in only


def _place(cgroup: str) -> str:
    """Where this process stands in systemd's tree: a login's scope, the user's manager, else."""
    if re.search(r"/user@\d+\.service/", cgroup):
        return "manager"
    return "login" if re.search(r"/session-[^/]+\.scope", cgroup) else "service"


def _settings(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {
        key.strip(): value.strip()
        for key, equals, value in pairs
        if equals and not key.lstrip().startswith(("#", ";"))
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
