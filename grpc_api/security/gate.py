"""The gate before every call: it names the caller from its bearer token, or refuses it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain

from feature_repo.errors import DeniedError, UnauthenticatedError
from feature_repo.settings import Settings
from grpc_api.security.roles import Role
from grpc_api.security.tokens import Token, find, parse, read_tokens
from grpc_api.security.watched import Watched

AUTHORIZATION = "authorization"
LONGEST = 512  # characters of a credential; more are not even hashed
_SCHEME = "bearer "


class Gate:
    """Who may call: those with a token, once there is a list of callers; before that, everyone.

    The list is the file of the settings, read again within a second of a change, and the lines of the environment.
    Raises ConfigurationError where either is broken.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.callers_path
        self._named = parse("\n".join(settings.callers.split(";")), "LARDER_CALLERS")
        self._demanded = settings.callers_file is not None
        self._tokens = Watched([self._path], self._read)

    @property
    def closed(self) -> bool:
        """Whether a call needs a token."""
        return self._tokens.value is not None

    def admit(self, authorizations: Iterable[str], role: Role) -> str:
        """The caller's name, "" before there is a list of callers. `authorizations` are the headers of that name, which
        nobody looks at before.

        Raises UnauthenticatedError where no valid token is given, DeniedError where it has not the role.
        """
        tokens = self._tokens.value
        if tokens is None:
            return ""
        token = _known(tokens, list(authorizations))
        if role not in token.roles and Role.ADMIN not in token.roles:
            raise DeniedError(f"the token of {token.name!r} has not the role {role.value!r}; ask for one that has")
        return token.name

    def _read(self) -> tuple[Token, ...] | None:
        if self._path.exists() or self._demanded:
            # A list that vanishes later on is an error, which keeps the gate as it was: closed.
            self._demanded = True
            return tuple(chain(read_tokens(self._path), self._named))
        return self._named or None


def _known(tokens: tuple[Token, ...], authorizations: list[str]) -> Token:
    if not authorizations:
        raise UnauthenticatedError("authorization: is missing; send `Bearer TOKEN`")
    given = authorizations[0]
    if len(authorizations) > 1 or len(given) > LONGEST or not given.lower().startswith(_SCHEME):
        raise UnauthenticatedError("authorization: is no `Bearer TOKEN`")
    token = find(tokens, given[len(_SCHEME) :].strip())
    if token is None:
        raise UnauthenticatedError("authorization: the token is unknown; ask who runs the server for one")
    if token.expires <= datetime.now(UTC):
        raise UnauthenticatedError(f"authorization: the token expired on {token.expires:%Y-%m-%d}; ask for a new one")
    return token
