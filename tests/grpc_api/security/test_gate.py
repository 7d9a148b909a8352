"""Who gets through: the list of callers as it is, as it changes, and where a server without one may be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.errors import ConfigurationError, DeniedError, UnauthenticatedError
from feature_repo.settings import Settings
from grpc_api.security.gate import Gate
from grpc_api.security.guard import guard_of
from grpc_api.security.roles import Role
from grpc_api.security.tokens import add_token, new_token, revoke_token
from tests.grpc_api.authority import Authority
from tests.grpc_api.parts import until


def _bearer(path: Path, name: str, *roles: str, days: float = 1) -> list[str]:
    secret, token = new_token(name, roles, days)
    add_token(path, token)
    return [f"Bearer {secret}"]


def _refuses(gate: Gate, given: list[str]) -> bool:
    try:
        gate.admit(given, Role.SCORE)
    except UnauthenticatedError:
        return True
    return False


class TestAdmit:
    def test_without_a_list_everyone(self, settings: Settings) -> None:
        gate = Gate(settings)
        assert not gate.closed
        assert gate.admit([], Role.ADMIN) == ""

    def test_the_token_names_the_caller(self, settings: Settings) -> None:
        feed = _bearer(settings.callers_path, "feed", "score")
        gate = Gate(settings)
        assert gate.closed
        assert gate.admit(feed, Role.SCORE) == "feed"
        assert gate.admit([feed[0].replace("Bearer", "bEARER")], Role.SCORE) == "feed"
        with pytest.raises(DeniedError, match="'feed' has not the role 'log'"):
            gate.admit(feed, Role.LOG)

    def test_an_admin_may_all(self, settings: Settings) -> None:
        root = _bearer(settings.callers_path, "root", "admin")
        assert {Gate(settings).admit(root, role) for role in Role} == {"root"}

    def test_an_expired_token_is_told_so(self, settings: Settings) -> None:
        late = _bearer(settings.callers_path, "late", "score", days=-1)
        with pytest.raises(UnauthenticatedError, match="the token expired on 20"):
            Gate(settings).admit(late, Role.SCORE)

    def test_callers_of_the_environment(self, settings: Settings) -> None:
        (secret, token), (_, other) = new_token("ci", ["score"], 1), new_token("cd", ["log"], 1)
        gate = Gate(settings.model_copy(update={"callers": f"{token};{other}"}))
        assert gate.admit([f"Bearer {secret}"], Role.SCORE) == "ci"
        with pytest.raises(ConfigurationError, match="LARDER_CALLERS, line 1"):
            Gate(settings.model_copy(update={"callers": "feed"}))


class TestChanges:
    def test_the_first_token_closes_a_running_server(self, settings: Settings) -> None:
        gate = Gate(settings)
        feed = _bearer(settings.callers_path, "feed", "score")
        assert until(lambda: gate.closed)
        assert _refuses(gate, [])
        assert gate.admit(feed, Role.SCORE) == "feed"

    def test_a_revoked_token_is_out(self, settings: Settings) -> None:
        feed = _bearer(settings.callers_path, "feed", "score")
        gate = Gate(settings)
        revoke_token(settings.callers_path, "feed")
        assert until(lambda: _refuses(gate, feed))

    @pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("not a list")])
    def test_a_list_that_is_lost_or_broken_opens_nothing(
        self, settings: Settings, spoil: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        feed = _bearer(settings.callers_path, "feed", "score")
        gate = Gate(settings)
        assert callable(spoil)
        spoil(settings.callers_path)
        assert until(lambda: bool(gate.admit(feed, Role.SCORE)) and "stays with what it read before" in caplog.text)
        assert _refuses(gate, [])


def test_a_named_list_must_be_there(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"callers file .* cannot be read"):
        guard_of(settings.model_copy(update={"callers_file": tmp_path / "nothing"}))


class TestReach:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        authority = Authority("tests")
        cert, key = authority.issue("server").write(tmp_path, "server")
        (tmp_path / "ca.crt").write_bytes(authority.cert)
        return {"tls_cert": cert, "tls_key": key, "tls_client_ca": tmp_path / "ca.crt"}

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
    def test_this_machine_needs_nothing(self, settings: Settings, host: str) -> None:
        guard_of(settings.model_copy(update={"host": host}))

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "feed.example", ""])
    def test_others_need_tls_and_a_list(self, settings: Settings, host: str, files: dict[str, Path]) -> None:
        reached = settings.model_copy(update={"host": host})
        with pytest.raises(ConfigurationError, match=r"no TLS .* and no list .*LARDER_ALLOW_INSECURE"):
            guard_of(reached)
        guard_of(reached.model_copy(update={"allow_insecure": True}))
        guard_of(reached.model_copy(update=files))
        served = reached.model_copy(update={**files, "tls_client_ca": None})
        with pytest.raises(ConfigurationError, match="there is no list of callers"):
            guard_of(served)
        _bearer(settings.callers_path, "feed", "score")
        guard_of(served)
        with pytest.raises(ConfigurationError, match="there is no TLS"):
            guard_of(reached)

    @pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
    def test_half_of_tls(self, settings: Settings, files: dict[str, Path], missing: str) -> None:
        with pytest.raises(ConfigurationError, match="set both, or none"):
            guard_of(settings.model_copy(update={**files, missing: None}))

    @pytest.mark.parametrize("name", ["tls_cert", "tls_key", "tls_client_ca"])
    def test_files_that_do_not_fit(self, settings: Settings, files: dict[str, Path], name: str) -> None:
        files[name].write_text("no PEM")
        with pytest.raises(ConfigurationError, match=r"TLS files .*; give PEM files"):
            guard_of(settings.model_copy(update=files))
        files[name].unlink()
        with pytest.raises(ConfigurationError, match=r"TLS files .*No such file"):
            guard_of(settings.model_copy(update=files))

    def test_a_key_of_another_certificate(self, settings: Settings, files: dict[str, Path]) -> None:
        files["tls_key"].write_bytes(Authority("other").issue("other").key)
        with pytest.raises(ConfigurationError, match=r"give PEM files, the key .* of this certificate"):
            guard_of(settings.model_copy(update=files))
