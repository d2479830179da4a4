"""Nothing that is secret gets through, wherever it stands; what helps stays."""

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tui_lora.core.scrub import Scrubber, secrets_of

HEX = "0123456789abcdef" * 2 + "01234567"
LOOKS = (
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "sk-proj-abcdefghijklmnop123456",
    "ghp_abcdefghijklmnop1234567890",
    "github_pat_11ABCDEFG0abcdefghijkl",
    "AKIAIOSFODNN7EXAMPLE",
    "wandb_v1_abcDEF123456_xyz",
    HEX,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
)
FRAMES = (
    "{}",
    "Authorization: Bearer {}",
    '"authorization": "token {}"',
    "HF_TOKEN={}",
    "wandb: using key {} of mary",
    "export WANDB_API_KEY='{}'",
    "https://mary:{}@example.org/repo.git",
    "https://bucket.example.org/model.safetensors?X-Amz-Signature={}&Expires=1",
    '{{"type":"notice","text":"failed with {}"}}',
    "password = {}",
    "\x1b[31m{}\x1b[0m",
)
around = st.text(st.characters(blacklist_characters="0123456789abcdefABCDEF"), max_size=40)


@given(st.sampled_from(LOOKS), st.sampled_from(FRAMES), around, around)
def test_what_looks_like_a_key_never_gets_through(
    key: str, frame: str, before: str, after: str
) -> None:
    # A word that runs into the key makes it another word.
    text = f"{before} {frame.format(key)} {after}"
    assert key not in Scrubber().scrub(text)


secrets = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=4, max_size=60).filter(
    lambda text: len(text.strip()) >= 4 and text == text.strip()
)


@settings(max_examples=200)
@given(secrets, around, around)
@example("pass/word@example?x=1", "", "")
@example("über \\ 'geheim\" #1", "", "")
def test_what_is_known_never_gets_through_however_it_is_spelled(
    secret: str, before: str, after: str
) -> None:
    scrubber = Scrubber(secrets=(secret,))
    spelled = (secret, quote(secret, safe=""), json.dumps(secret), json.dumps({"a": secret}))
    for text in (*spelled, repr(secret), f"https://me:{secret}@host/x"):
        # "[removed]" itself is what a secret may happen to be a part of.
        said = scrubber.scrub(f"{before}{text}{after}").replace("[removed]", "")
        assert secret not in said or secret in f"{before}{after}".replace("[removed]", "")


def test_a_key_with_a_colour_or_an_invisible_mark_inside() -> None:
    key = LOOKS[0]
    for mark in ("\x1b[0m", "\u200b", "\x00", "\u202e"):
        said = Scrubber(secrets=(key,)).scrub(f"a {key[:12]}{mark}{key[12:]} b")
        assert key[12:] not in said


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"step_done","tokens":12345678,"tokens_per_s":1234.56,"loss":1.25}',
        "pad_token: <|endoftext|>",
        "tokenizer: tokenizer.json",
        "Hub token: none: gated and private models need one",
        "https://huggingface.co/docs/trl",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x32 and 64x8)",
        "2.13.0+cpu 0.50.2 cu128",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Scrubber().scrub(text) == text


def test_a_torn_escape_does_not_save_a_key() -> None:
    for torn in ("\x1b[", "\x9b", "\x1b[3", "\x1b[38;5;", "\x1b]0;"):
        for key in LOOKS:
            said = Scrubber().scrub(f"a {torn}{key} b")
            assert key[16:] not in said, (torn, key)
        assert "rrect-horse" not in Scrubber(secrets=("correct-horse",)).scrub(
            f"{torn}correct-horse"
        )


def test_a_commit_is_shortened_so_that_it_still_names_itself() -> None:
    assert Scrubber().scrub(f"revision: {HEX}") == f"revision: {HEX[:7]}…"


def test_homes_people_and_machines() -> None:
    scrubber = Scrubber(homes=("/srv/mary",), users=("mary", "root"), hosts=("bigbox",))
    said = scrubber.scrub(
        "/srv/mary/x /srv/mary2/y mary@bigbox.example.org Mary's on BIGBOX-2, summary, "
        "the root of it; /home/john/data"
    )
    assert said == (
        "~/x /srv/mary2/y [email] [user]'s on [host]-2, summary, the root of it; /home/[user]/data"
    )


def test_which_variables_hold_secrets() -> None:
    environment = {
        "HF_TOKEN": "hf_x1234",
        "WANDB_API_KEY": HEX,
        "my_secret": " abcd ",
        "DB_PASSWORD": "hunter2",
        "TOKENIZERS_PARALLELISM": "false",
        "LANG": "C.UTF-8",
    }
    assert set(secrets_of(environment)) == {"hf_x1234", HEX, "abcd", "hunter2"}
    # Too short, or a word: it would take half of the text with it.
    assert Scrubber(secrets=secrets_of({"A_KEY": "1", "B_KEY": "true"})).scrub("1 true") == "1 true"


@pytest.mark.parametrize(
    "unit", ["a", "a.", "a@", "token ", "eyJ", "https://a", "e1", "authorization:"]
)
def test_no_line_makes_it_slow(unit: str) -> None:
    began = time.process_time()
    Scrubber(secrets=("geheim",), users=("mary",)).scrub(unit * (100_000 // len(unit)))
    assert time.process_time() - began < 3
