"""The doctor on the Hub: whether it answers, whether it knows the token, whether files can come."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tui_lora.core.doctor import Check
from tui_lora.core.text import clean
from tui_lora.store import hub_client
from tui_lora.store.doctor_disks import writable
from tui_lora.store.paths import hub_cache_folder

PATIENCE_S = 3.0
_TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LOGIN = "Log in with `hf auth login`, or set HF_TOKEN anew."


def cache() -> Iterator[Check]:
    folder = hub_cache_folder()
    ok = writable(folder)
    fix = "" if ok else "It cannot be written: set HF_HOME to another folder."
    yield Check("Hugging Face cache", ok, clean(str(folder)), fix)


def token() -> Iterator[Check]:
    """Where a token is, never what it is."""
    name = "Hub token"
    where = token_place()
    if not hub_client.has_token():
        said = "none: gated and private models need one"
        yield Check(name, None, said, "`hf auth login`, or set HF_TOKEN.")
    elif isinstance(where, Path) and _open_to_others(where):
        said = f"set, in {clean(str(where))}, which other users may read"
        yield Check(name, False, said, f"chmod 600 {clean(str(where))}")
    else:
        yield Check(name, True, f"set, in {clean(str(where))}")


def token_place() -> Path | str:
    """The variable or the file that a token comes from, in the Hub library's own order."""
    for name in _TOKEN_NAMES:
        if os.environ.get(name, "").strip():
            return f"${name}"
    from huggingface_hub import constants

    return Path(os.environ.get("HF_TOKEN_PATH") or constants.HF_TOKEN_PATH).expanduser()


def answers() -> Iterator[Check]:
    """One question, of at most three seconds: who we are, or anything at all without a token."""
    name = "Hub"
    shown = clean(hub_client.endpoint())
    if hub_client.is_offline():
        said = "is not asked: $HF_HUB_OFFLINE is set; models that are here still work"
        yield Check(name, None, said)
        return
    library = hub_client.library()
    with_token = hub_client.has_token()
    path = "api/whoami-v2" if with_token else "api/models?limit=1"
    began = time.monotonic()
    try:
        answer = library.get_session().get(
            f"{hub_client.endpoint()}/{path}", headers=hub_client.headers(), timeout=PATIENCE_S
        )
    except Exception as error:  # noqa: BLE001 - whatever the line does, the user reads it
        refused = hub_client.refusal(error)
        slow = "Timeout" in type(error).__name__
        why = f"no answer in {PATIENCE_S:.0f} s" if slow else refused.what.rpartition(": ")[2]
        said = f"{shown} cannot be reached: {why.rstrip('.')}"
        yield Check(name, False, said, f"{refused.then} Set HF_HUB_OFFLINE=1 to do without it.")
        return
    took = f"{shown} answers in {time.monotonic() - began:.1f} s"
    status = answer.status_code
    if status == 200:
        known = ", and knows the token" if with_token else ""
        yield Check(name, True, f"{took}{known}")
    elif status in (401, 403) and with_token:
        yield Check(name, False, f"{took}, and does not accept the token ({status})", _LOGIN)
    elif status == 429:
        said = f"{took}: too many questions have come from here (429)"
        yield Check(name, None, said, "Wait a few minutes. Who is logged in may ask more.")
    else:
        fix = (
            "Look at HF_ENDPOINT: it may name something that is no Hub."
            if os.environ.get("HF_ENDPOINT")
            else "It has trouble of its own: try again in a while."
        )
        yield Check(name, False, f"{shown} answers {status}", fix)


def _open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
