"""`larder token`, from the list it writes to what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.settings import load_settings
from grpc_api.security.tokens import find, read_tokens
from tests.larder.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home")


def test_a_token_is_made_listed_and_revoked(shell: Shell) -> None:
    made = shell.ok("token", "new", "feed", "--role", "score", "--role", "log", "--days", "30")
    path = load_settings(home=shell.home).callers_path
    [token] = read_tokens(path)
    secret = made.out.strip()
    assert find([token], secret) is token
    assert secret not in made.err + path.read_text()
    [listed] = shell.ok("token", "list", "--json").json
    assert (listed["name"], listed["roles"]) == ("feed", ["log", "score"])
    assert "feed" in shell.ok("token", "list").out
    shell.ok("token", "revoke", "feed")
    assert shell.ok("token", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("new", "feed", "--role", "owner"), 2, "unknown role 'owner'; valid: admin, log, score"),
        (("new", "a b", "--role", "score"), 2, "name 'a b'"),
        (("list",), 2, "`larder token new` makes one"),
        (("revoke", "feed"), 2, "`larder token new` makes one"),
    ],
)
def test_what_cannot_be_done_is_told(shell: Shell, arguments: tuple[str, ...], code: int, told: str) -> None:
    outcome = shell("token", *arguments)
    assert outcome.code == code
    assert told in outcome.err


def test_a_server_that_others_would_reach_does_not_start(shell: Shell) -> None:
    outcome = shell("serve", host="0.0.0.0")
    assert outcome.code == 2
    assert "no TLS" in outcome.err
    assert "LARDER_ALLOW_INSECURE" in outcome.err
