"""Bearer tokens (RFC 6750): made here, kept as digests, one a line: `NAME ROLE[,ROLE] EXPIRY SHA256`.

A secret has 256 random bits, so that a plain SHA-256 keeps it: there is nothing to guess that a slow hash would guard.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from feature_repo.errors import ConfigurationError, InputError, NotFoundError, unknown_name
from feature_repo.files import only_writer, replacing
from grpc_api.calls import told
from grpc_api.security.roles import Role

PREFIX = "larder_"  # scanners for leaked secrets know it by this
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Token:
    """Who a secret stands for; `digest` is the secret's SHA-256, 64 hex digits."""

    name: str
    roles: frozenset[Role]
    expires: datetime
    digest: str

    def __str__(self) -> str:
        """The line that keeps it."""
        return f"{self.name} {','.join(sorted(self.roles))} {self.expires:%Y-%m-%dT%H:%M:%SZ} {self.digest}"


def new_token(name: str, roles: Iterable[str], days: float) -> tuple[str, Token]:
    """A secret, which is kept nowhere, and its token. Raises ConfigurationError."""
    if told(name) != name or not name:
        raise ConfigurationError(f"name {name!r}: use 1 to 64 of letters, digits and _.:/@-")
    try:
        expires = datetime.now(UTC) + timedelta(days=days)
    except OverflowError as error:
        raise ConfigurationError(f"days {days}: no calendar goes that far") from error
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Token(name, _roles(roles), expires, _digest(secret))


def find(tokens: Iterable[Token], secret: str) -> Token | None:
    """The token of a secret, in a time that says nothing of the digests it was compared with."""
    digest = _digest(secret)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def parse(text: str, source: str) -> tuple[Token, ...]:
    """Tokens from their lines; empty ones and those that begin with # are left out. Raises ConfigurationError."""
    tokens: dict[str, Token] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        try:
            token = _parse_line(line)
        except (ValueError, ConfigurationError) as error:
            raise ConfigurationError(
                f"{source}, line {number}: is no `NAME ROLE[,ROLE] EXPIRY SHA256`; `larder token new` writes one"
            ) from error
        if tokens.setdefault(token.name, token) is not token:
            raise ConfigurationError(f"{source}, line {number}: names {token.name!r} twice; remove one")
    return tuple(tokens.values())


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file. Raises ConfigurationError."""
    try:
        return parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"callers file {path} cannot be read ({type(error).__name__}); `larder token new` makes one, "
            "LARDER_CALLERS_FILE says where it is"
        ) from error


def add_token(path: Path, token: Token) -> None:
    """Keep a token in a file, which only its owner may read. Raises InputError where its name is taken."""
    with only_writer(path):
        kept = read_tokens(path) if path.exists() else ()
        if any(one.name == token.name for one in kept):
            raise InputError(
                f"{token.name!r} has a token: `larder token revoke {token.name}` it, or choose another name"
            )
        _write(path, [*kept, token])


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of a file. Raises NotFoundError."""
    with only_writer(path):
        kept = read_tokens(path)
        left = [token for token in kept if token.name != name]
        if len(left) == len(kept):
            raise NotFoundError(f"no token {name!r}; there are: {', '.join(sorted(t.name for t in kept)) or 'none'}")
        _write(path, left)


def _write(path: Path, tokens: Sequence[Token]) -> None:
    with replacing(path) as beside:
        beside.touch(mode=0o600)
        beside.write_text("".join(f"{token}\n" for token in tokens))


def _parse_line(line: str) -> Token:
    name, roles, expiry, digest = line.split()
    expires = datetime.fromisoformat(expiry)
    if not told(name) or expires.tzinfo is None or not _DIGEST.fullmatch(digest):
        raise ValueError(name)
    return Token(name, _roles(roles.split(",")), expires, digest)


def _roles(names: Iterable[str]) -> frozenset[Role]:
    given = list(names)
    for name in given:
        if name not in list(Role):
            raise unknown_name("role", name, Role)
    if not given:
        raise ConfigurationError(f"a token needs a role; valid: {', '.join(Role)}")
    return frozenset(map(Role, given))


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
