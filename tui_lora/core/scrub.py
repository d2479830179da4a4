"""Takes out of a text what nobody else should read: keys, and names of people and machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tui_lora.core.text import clean

GONE = "[removed]"
_SHORTEST = 4
"""A shorter value is no secret, and would take half of the text with it ("1", "yes")."""

_NO_SECRETS = {"true", "false", "none", "null", "auto", "default"}

_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_NO_NAMES = {"root", "user", "ubuntu", "admin", "runner", "jovyan", "localhost", "debian"}
"""What everybody is called says nothing of anybody."""

_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-9;:?]{0,12}(?:(?!hf_|api_org_|wandb_|sk-|g[hl]|github|xox|eyJ|A[KSI])[A-Za-z])?"
    "|\x1b\\][^\x07\x1b]{0,400}(?:\x07|\x1b\\\\)"
)
"""What a terminal takes for an order; a torn one does not take the first letter of a key with it.
`clean` leaves what follows the escape."""

_NAMED = (
    r"(?:api[_-]?key|access[_-]?key|private[_-]?key|secret|passw(?:or)?d|passphrase|credential"
    # Not tokens_per_s, tokenizer, pad_token.
    r"|(?<!pad_)(?<!eos_)(?<!bos_)(?<!unk_)token(?!s|iz))[A-Za-z0-9_-]{0,40}['\"]?\s{0,3}[:=]\s{0,3}"
)

# Every repetition that may have to start again at each letter is bounded: a log may hold a line of
# a hundred thousand of them.
_RULES = (
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}KEY-----|\Z)",
                re.DOTALL), GONE),
    # What follows the name of a header, up to the end of its line or string.
    (re.compile(r"(?i)\b((?:proxy-)?authorization|cookie)(['\"]?\s{0,3}[:=]\s{0,3}['\"]?)"
                r"[^'\"\n]+"), rf"\1\2{GONE}"),
    (re.compile(r"\b([Bb]earer|BEARER|[Bb]asic)\s{1,3}(?=\S{0,80}[0-9A-Z=])[\w.~+/=-]{8,}"),
     rf"\1 {GONE}"),
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}://)[^\s'\"<>]{1,500}@"), rf"\1{GONE}@"),
    # A signed address carries its key behind the question mark.
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s?'\"<>]{1,1000})\?[^\s'\"<>]+"),
     rf"\1?{GONE}"),
    (re.compile(r"(?:hf_|api_org_)[A-Za-z0-9_-]{6,}|wandb_v\d_\w+|sk-[A-Za-z0-9_-]{12,}"
                r"|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{12,}"
                r"|xox[a-z]-[\w-]{10,}|A[KS]IA[A-Z0-9]{12,}|AIza[\w-]{30,}"
                r"|eyJ[\w-]{8,2000}\.[\w-]{2,4000}(?:\.[\w-]*)?"), GONE),
    (re.compile(rf"(?i)({_NAMED})(\"[^\"\n]{{4,}}\"|'[^'\n]{{4,}}'|[^\s'\",;&{{}}\[\]]{{6,}})"),
     rf"\1{GONE}"),
    # A commit and a key of Weights & Biases look alike; seven letters name the one, and do not
    # give the other away.
    (re.compile(r"(?<![0-9A-Fa-f])([0-9a-fA-F]{7})[0-9a-fA-F]{17,}"), r"\1…"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), "[email]"),
)  # fmt: skip
_PASSWORD = re.compile(r"://[^\s/:@]{0,200}:([^\s/@]{1,200})@")
_OTHER_HOMES = re.compile(r"/(home|Users)/(?!\[)[^/\s'\":]+")


@dataclass(frozen=True)
class Scrubber:
    """`secrets` are removed wherever they stand, `homes` become ~, `users` and `hosts` a word.

    What is known by name goes by name; what merely looks like a key, by its look.
    """

    secrets: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def scrub(self, text: str) -> str:
        """`text` without any of it, and without what could steer a terminal."""
        # Known keys also before the escapes go: a torn one may swallow the beginning of a key.
        text = self._without_known(text.replace("\r", "\n"))
        # Then without: a colour in the middle of a key hides it from every rule.
        text = self._without_known(clean(_ESCAPES.sub("", text)))
        for rule, instead in _RULES:
            text = rule.sub(instead, text)
        for home in sorted(set(self.homes), key=len, reverse=True):
            if len(home) > 1:
                text = re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
        text = _OTHER_HOMES.sub(r"/\1/[user]", text)
        for names, word in ((self.users, "[user]"), (self.hosts, "[host]")):
            for name in sorted(set(names), key=len, reverse=True):
                if len(name) > 2 and name.lower() not in _NO_NAMES:
                    pattern = rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
                    text = re.sub(pattern, word, text, flags=re.IGNORECASE)
        return text

    def _without_known(self, text: str) -> str:
        for secret in sorted(_spelled(self.secrets), key=len, reverse=True):
            text = text.replace(secret, GONE)
        return text


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of every variable whose name says that it holds a secret, and the passwords in
    every address (`https://mary:password@proxy`)."""
    found = []
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and value.strip().lower() not in _NO_SECRETS:
            found.append(value.strip())
        found += [one[1] for one in _PASSWORD.finditer(value)]
    return tuple(found)


def _spelled(secrets: Iterable[str]) -> set[str]:
    """Each secret as it is, and as it stands in a URL, in JSON and in Python's repr."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret.strip()) < _SHORTEST:
            continue
        for text in (secret, secret.strip(), clean(secret)):
            found |= {text, quote(text, safe=""), quote(text), json.dumps(text)[1:-1]}
            found.add(json.dumps(text, ensure_ascii=False)[1:-1])
            found.add(repr(text)[1:-1])
    return {text for text in found if len(text) >= _SHORTEST}
