"""Asking the Hub: one door to huggingface_hub, which prints nothing and does not wait for ever."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import quote

from tui_lora.core.errors import UserError
from tui_lora.core.text import clean

PATIENCE_S = 15.0
"""How long an answer may take to come, and a line to bring its next byte."""

_TRUE = {"1", "ON", "YES", "TRUE"}


def endpoint() -> str:
    """Where the Hub is: $HF_ENDPOINT for a mirror. Read anew each time, as all that follows."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether the user said that no machine is to be asked."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in _TRUE for name in names)


def page_of(hub_id: str) -> str:
    """The address of a model's page, for people."""
    return f"{endpoint()}/{clean(hub_id)}"


def ask(path: str, params: Mapping[str, Any] | None = None) -> Any:
    """The JSON that the Hub answers with. Raises what huggingface_hub raises, and UserError.

    One try, so that whoever waits soon knows; HfApi tries for half a minute.
    """
    if is_offline():
        raise _offline()
    utils = library()
    answer = utils.get_session().get(
        f"{endpoint()}/{path}", params=params, headers=headers(), timeout=PATIENCE_S
    )
    utils.hf_raise_for_status(answer)
    return answer.json()


def headers() -> dict[str, str]:
    """With the user's token, where there is one. It goes nowhere else."""
    found: dict[str, str] = library().build_hf_headers()
    return found


def has_token() -> bool:
    """Whether the user is logged in."""
    return bool(library().get_token())


@cache
def library() -> ModuleType:
    """huggingface_hub's utilities. Importing them takes a while, so nobody does before he must."""
    import logging

    from huggingface_hub import constants, utils

    # A screen has no place for its warnings, and who runs it is nobody's business.
    utils.logging.set_verbosity(logging.CRITICAL)
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    constants.HF_HUB_DISABLE_TELEMETRY = True
    return utils


def refusal(error: BaseException, hub_id: str = "") -> UserError:
    """What an exception of huggingface_hub means for people, and what to do. Never its own text:
    addresses with keys in them stand there."""
    from huggingface_hub import errors

    name = clean(hub_id, max_chars=120)
    if isinstance(error, UserError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _offline()
    if isinstance(error, errors.GatedRepoError):
        return _gated(name)
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(
            f"{name} has no such revision.", then="Give a branch, a tag or a commit of it."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found(hub_id)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HfHubHTTPError) and status is not None:
        return _status(int(status), name)
    unreachable = (errors.HTTPError, ConnectionError, TimeoutError)  # type: ignore[attr-defined]
    if isinstance(error, unreachable):
        return UserError(
            f"the Hub ({_host()}) cannot be reached: {_why(error)}.",
            then="Models that are here still work. Look at the network, at HTTPS_PROXY, and at "
            "HF_ENDPOINT if you use a mirror.",
            exit_code=1,
        )
    return UserError(
        f"the Hub answered what cannot be used ({type(error).__name__}).",
        then="HF_ENDPOINT may name something that is no Hub." if _is_mirror() else "",
        exit_code=1,
    )


def _offline() -> UserError:
    return UserError(
        "the Hub is not asked: HF_HUB_OFFLINE is set.",
        then="Models that are here still work. Unset it to search and to fetch.",
        exit_code=1,
    )


def _gated(name: str) -> UserError:
    if has_token():
        return UserError(
            f"{name} is gated, and your token is not on its list.",
            then=f"Accept its terms at {page_of(name)} with the account that the token belongs to; "
            "some owners then take days. A fine-grained token also needs the right to read gated "
            "models.",
        )
    return UserError(
        f"{name} is gated: its owners want their terms to be accepted first.",
        then=f"Accept them at {page_of(name)}, then log in with `hf auth login` (or set HF_TOKEN), "
        "and fetch it again.",
    )


def _not_found(hub_id: str) -> UserError:
    near = nearest(hub_id)
    did = f"Did you mean {' or '.join(near)}? " if near else "Look for a slip in its name. "
    login = "" if has_token() else " A private one needs `hf auth login` (or HF_TOKEN)."
    return UserError(
        f"there is no model {clean(hub_id, max_chars=120)} on the Hub, or it is private.",
        then=f"{did.strip()}{login}",
    )


def _status(status: int, name: str) -> UserError:
    if status in (401, 403):
        what = "does not accept your token" if has_token() else "wants to know who you are"
        return UserError(
            f"the Hub {what} ({status}).", then="Log in with `hf auth login`, or set HF_TOKEN anew."
        )
    if status == 429:
        return UserError(
            "the Hub has had too many questions from here (429).",
            then="Wait a few minutes. Who is logged in (`hf auth login`) may ask more.",
            exit_code=1,
        )
    about = f" about {name}" if name else ""
    return UserError(
        f"the Hub answers {status}{about}.",
        then="It has trouble of its own: try again in a while." if status >= 500 else "",
        exit_code=1,
    )


def nearest(hub_id: str) -> list[str]:
    """Up to three models of the Hub with almost that name; empty when nobody can be asked."""
    owner, _, name = hub_id.rpartition("/")
    found: list[str] = []
    for params in ({"author": owner}, {"search": name.split("-")[0]}):
        if not all(params.values()):
            continue
        try:
            listed = ask("api/models", {**params, "sort": "downloads", "limit": 100})
        except Exception:  # noqa: BLE001 it is only a hint
            return []
        found += [str(m["id"]) for m in listed if isinstance(m, dict) and "id" in m]
    known = {one.lower(): clean(one, max_chars=120) for one in found}
    close = difflib.get_close_matches(hub_id.lower(), known, n=3, cutoff=0.75)
    return [known[one] for one in close]


def api_path(hub_id: str, revision: str | None = None) -> str:
    at = f"/revision/{quote(revision, safe='')}" if revision else ""
    return f"api/models/{quote(hub_id)}{at}"


def _host() -> str:
    return clean(endpoint().partition("://")[2] or endpoint(), max_chars=60)


def _is_mirror() -> bool:
    return bool(os.environ.get("HF_ENDPOINT"))


def _why(error: BaseException) -> str:
    kind = type(error).__name__
    if "Timeout" in kind:
        return f"no answer in {PATIENCE_S:.0f} s"
    if "Proxy" in kind:
        return "the proxy refuses"
    if "Connect" in kind:
        return "no connection"
    return "the line broke"
