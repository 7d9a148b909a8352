from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import ConfigurationError, InputError, NotFoundError
from grpc_api.security.roles import Role
from grpc_api.security.tokens import Token, add_token, find, new_token, parse, read_tokens, revoke_token

NAMES = st.from_regex(r"[A-Za-z0-9_.:/@-]{1,64}", fullmatch=True)
TOKENS = st.builds(
    Token,
    name=NAMES,
    roles=st.frozensets(st.sampled_from(Role), min_size=1),
    expires=st.datetimes(datetime(2000, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@settings(max_examples=25)
@given(st.lists(TOKENS, unique_by=lambda token: token.name, max_size=5))
def test_lines_say_all_of_a_token(tokens: list[Token]) -> None:
    text = "# callers\n\n" + "\n".join(map(str, tokens))
    assert parse(text, "here") == tuple(tokens)


@pytest.mark.parametrize(
    "line",
    [
        "feed",
        "feed score 2030-01-01T00:00:00Z",
        f"feed score 2030-01-01T00:00:00Z {'0' * 63}",
        f"feed score 2030-01-01T00:00:00Z {'G' * 64}",
        f"feed score 2030-01-01T00:00:00 {'0' * 64}",
        f"feed score tomorrow {'0' * 64}",
        f"feed owner 2030-01-01T00:00:00Z {'0' * 64}",
        f"fee\x07d score 2030-01-01T00:00:00Z {'0' * 64}",
    ],
)
def test_a_broken_line_is_told_by_its_number_alone(line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^here, line 2: is no `NAME ROLE") as told:
        parse(f"\n{line}", "here")
    assert "0000" not in str(told.value)


def test_a_name_stands_once() -> None:
    line = f"feed score 2030-01-01T00:00:00Z {'0' * 64}"
    with pytest.raises(ConfigurationError, match="here, line 2: names 'feed' twice"):
        parse(f"{line}\n{line}", "here")


def test_a_secret_finds_its_token_and_no_other() -> None:
    made = [new_token(f"caller{number}", ["score"], 1) for number in range(5)]
    tokens = [token for _, token in made]
    for secret, token in made:
        assert find(tokens, secret) is token
        assert find(tokens, secret[:-1]) is None
    assert find(tokens, "é" * 9) is None
    assert find([], made[0][0]) is None
    assert len({secret for secret, _ in made}) == 5


def test_what_is_kept_is_the_digest() -> None:
    secret, token = new_token("feed", ["log", "score"], 30)
    assert token.digest == sha256(secret.encode()).hexdigest()
    assert secret not in str(token)
    assert token.roles == {Role.LOG, Role.SCORE}
    assert timedelta(days=29) < token.expires - datetime.now(UTC) <= timedelta(days=30)


@pytest.mark.parametrize(
    ("name", "roles", "days", "told"),
    [
        ("a b", ["score"], 1, "name 'a b'"),
        ("", ["score"], 1, "name ''"),
        ("feed", ["owner"], 1, "unknown role 'owner'; valid: admin, log, score"),
        ("feed", [], 1, "needs a role"),
        ("feed", ["score"], 1e9, "no calendar"),
    ],
)
def test_what_no_token_can_be_made_of(name: str, roles: list[str], days: float, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        new_token(name, roles, days)


def test_a_list_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "below" / "callers"
    first, second = (new_token(name, ["score"], 1)[1] for name in ("feed", "studio"))
    add_token(path, first)
    add_token(path, second)
    assert [token.name for token in read_tokens(path)] == ["feed", "studio"]
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="'feed' has a token: `larder token revoke feed`"):
        add_token(path, first)
    revoke_token(path, "feed")
    assert [token.name for token in read_tokens(path)] == ["studio"]
    with pytest.raises(NotFoundError, match="no token 'feed'; there are: studio"):
        revoke_token(path, "feed")


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(FileNotFoundError\); `larder token new`"):
        read_tokens(tmp_path / "nothing")
    (tmp_path / "image").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"cannot be read \(UnicodeDecodeError\)"):
        read_tokens(tmp_path / "image")
