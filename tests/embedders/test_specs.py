from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from embedders.specs import SPECS, bases_first, resolve_spec
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings


def test_the_table_is_keyed_by_name() -> None:
    assert all(name == spec.name and spec.licence for name, spec in SPECS.items())
    assert not [name for name in SPECS if name.endswith("_tokens")]  # it would be the view of another's tokens


def test_bundled_specs_need_no_settings(settings: Settings) -> None:
    assert resolve_spec("minilm", settings) is SPECS["minilm"]
    assert resolve_spec("efficientnet_lite0", settings).dim == 1280


def test_what_is_made_of_other_embeddings_comes_after_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = replace(SPECS["minilm"], name="derived", options={"base": "minilm"})
    monkeypatch.setattr("embedders.specs.SPECS", {**SPECS, "derived": derived})
    names = ["mfcc", "derived", "minilm", "log_mel"]
    assert bases_first(names, settings) == ["mfcc", "minilm", "log_mel", "derived"]


def test_bundled_digests_stay() -> None:
    """Workspaces made before there were tokens keep their vectors."""
    assert SPECS["minilm"].digest == "6e942d8670fe06c5"
    assert SPECS["efficientnet_lite0"].digest == "7fa856cc6e15da77"


def test_listing_and_resolving_import_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from embedders.specs import resolve_spec; from feature_repo.settings import load_settings;"
        f"settings = load_settings(home={str(tmp_path)!r}, models='clip=ViT-B-32@openai');"
        "assert resolve_spec('clip_image', settings).dim == 512; print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "embedders.specs" in modules
    assert not {"torch", "open_clip", "transformers", "feast"} & set(modules)


def test_an_unknown_name_lists_the_valid_ones(settings: Settings) -> None:
    for asked in (settings, settings.model_copy(update={"tokens": {"resnet": 4}})):
        with pytest.raises(ConfigurationError, match=r"'resnet'; valid: .*clip_image, clip_text, .*efficientnet_lite0"):
            resolve_spec("resnet" if asked is settings else "minilm", asked)


def test_tokens_are_kept_where_they_are_asked_for(settings: Settings) -> None:
    asked = settings.model_copy(update={"tokens": {"minilm": 16}})
    spec = resolve_spec("minilm", asked)
    assert (spec.tokens, spec.token_dim) == (16, 384)
    assert spec.digest != SPECS["minilm"].digest
    assert resolve_spec("efficientnet_lite0", asked) is SPECS["efficientnet_lite0"]


def test_tokens_of_a_model_that_has_none_are_refused(settings: Settings) -> None:
    chosen = settings.model_copy(update={"models": {"clip": "RN50@openai"}, "tokens": {"clip_image": 4}})
    with pytest.raises(ConfigurationError, match=r"LARDER_TOKENS\): clip_image has none to give"):
        resolve_spec("clip_image", chosen)
