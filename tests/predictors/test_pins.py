from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import StateError
from predictors.pins import EmbeddingPin, PredictorPin, ReleaseManifest

NAMES = st.text("abé", min_size=1, max_size=4)
MANIFESTS = st.builds(
    ReleaseManifest,
    embeddings=st.dictionaries(
        NAMES, st.builds(EmbeddingPin, NAMES, st.integers(1, 4096), st.lists(NAMES, max_size=2).map(tuple)), max_size=3
    ),
    indexes=st.dictionaries(NAMES, NAMES, max_size=3),
    predictors=st.dictionaries(NAMES, st.builds(PredictorPin, NAMES, NAMES), max_size=3),
    defaults=st.dictionaries(NAMES, NAMES, max_size=3),
)


@given(MANIFESTS)
def test_a_manifest_survives_json(manifest: ReleaseManifest) -> None:
    assert ReleaseManifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


@given(MANIFESTS)
def test_the_version_does_not_depend_on_order(manifest: ReleaseManifest) -> None:
    turned = replace(manifest, indexes=dict(reversed(list(manifest.indexes.items()))))
    assert turned.version == manifest.version


@given(MANIFESTS, NAMES, NAMES)
def test_another_part_is_another_version(manifest: ReleaseManifest, name: str, version: str) -> None:
    other = replace(manifest, indexes={**manifest.indexes, name: version})
    assert (other.version == manifest.version) == (manifest.indexes.get(name) == version)


def test_an_edited_manifest_is_refused() -> None:
    manifest = ReleaseManifest({}, {"minilm": "v1"}, {}, {})
    with pytest.raises(StateError, match=f"release {manifest.version} was edited"):
        ReleaseManifest.from_json(manifest.to_json() | {"indexes": {"minilm": "v2"}})
