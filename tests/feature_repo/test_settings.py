"""Settings come from the environment and say which variable is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings, load_settings


def test_the_environment_sets_fields(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LARDER_HOME", str(tmp_path))
    monkeypatch.setenv("LARDER_EMBEDDINGS", "minilm, clip_text")
    settings = load_settings()
    assert settings.home == tmp_path
    assert settings.embeddings == ("minilm", "clip_text")
    assert settings.catalog == f"sqlite:///{tmp_path}/catalog.db"


def test_what_is_given_wins_and_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARDER_PORT", "7")
    assert load_settings(port=8).port == 8
    assert load_settings(port=None).port == 7


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARDER_RECALL_GATE", "1.5")
    with pytest.raises(ConfigurationError, match=r"LARDER_RECALL_GATE.*1\.5"):
        load_settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_pairs_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARDER_MODELS", "clip=ViT-B-32@/a=b/c.pt, bert=/folder ,")
    monkeypatch.setenv("LARDER_TOKENS", "minilm=16")
    settings = load_settings()
    assert settings.models == {"clip": "ViT-B-32@/a=b/c.pt", "bert": "/folder"}
    assert settings.tokens == {"minilm": 16}


@pytest.mark.parametrize(
    ("variable", "text"),
    [("models", "clip"), ("models", "clip="), ("models", "=x"), ("models", "a=1,a=2"), ("tokens", "minilm=-1"),
     ("tokens", "minilm=many")],
)  # fmt: skip
def test_a_pair_that_is_none_names_the_variable(variable: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LARDER_{variable.upper()}", text)
    with pytest.raises(ConfigurationError, match=f"LARDER_{variable.upper()}"):
        load_settings()
