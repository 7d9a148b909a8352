from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import StateError
from predictors.pins import Difference, EmbeddingPin, PredictorPin, ReleaseManifest, Smoke, UserPin, differences

NAMES = st.text("abé", min_size=1, max_size=4)
MANIFESTS = st.builds(
    ReleaseManifest,
    embeddings=st.dictionaries(
        NAMES, st.builds(EmbeddingPin, NAMES, st.integers(1, 4096), st.lists(NAMES, max_size=2).map(tuple)), max_size=3
    ),
    indexes=st.dictionaries(NAMES, NAMES, max_size=3),
    predictors=st.dictionaries(NAMES, st.builds(PredictorPin, NAMES, NAMES), max_size=3),
    defaults=st.dictionaries(NAMES, NAMES, max_size=3),
    users=st.dictionaries(NAMES, st.builds(UserPin, NAMES, st.integers(1, 4096), NAMES), max_size=2),
    smoke=st.none()
    | st.builds(
        Smoke,
        st.lists(NAMES, max_size=2).map(tuple),
        st.none() | NAMES,
        st.dictionaries(NAMES, st.lists(st.floats(allow_nan=False), max_size=2).map(tuple), max_size=2),
    ),
)


@given(MANIFESTS)
def test_a_manifest_survives_json(manifest: ReleaseManifest) -> None:
    read = ReleaseManifest.from_json(json.loads(json.dumps(manifest.to_json())))
    assert (read, read.smoke) == (manifest, manifest.smoke)


@given(MANIFESTS)
def test_what_a_release_is_asked_is_no_part_of_it(manifest: ReleaseManifest) -> None:
    assert replace(manifest, smoke=None).version == manifest.version


def test_one_made_before_releases_were_asked_anything_is_read() -> None:
    said = ReleaseManifest({}, {"minilm": "v1"}, {}, {}).to_json()
    del said["smoke"]
    assert ReleaseManifest.from_json(said).smoke is None


def test_one_made_before_there_were_vectors_of_users_keeps_its_version() -> None:
    said = ReleaseManifest({}, {"minilm": "v1"}, {}, {}).to_json()
    del said["users"]
    assert said["version"] == "845e1b397ef4633a"
    assert ReleaseManifest.from_json(said).version == said["version"]


@given(MANIFESTS, MANIFESTS)
def test_releases_differ_where_their_versions_do(one: ReleaseManifest, other: ReleaseManifest) -> None:
    assert differences(one, one) == []
    assert bool(differences(one, other)) == (one.version != other.version)


def test_differences_name_each_part() -> None:
    one = ReleaseManifest({"e": EmbeddingPin("s1", 8)}, {"e": "i1"}, {"p": PredictorPin("v1", "f1")}, {"text": "e"})
    other = replace(
        one,
        embeddings={"e": EmbeddingPin("s2", 8)},
        predictors={"p": PredictorPin("v1", "f2")},
        defaults={},
        users={"u": UserPin("s3", 4, "i2")},
    )
    assert differences(one, other) == [
        Difference("embedding", "e", "s1, 8 wide", "s2, 8 wide"),
        Difference("user embedding", "u", "", "s3, 4 wide"),
        Difference("user index", "u", "", "i2"),
        Difference("service", "p", "f1", "f2"),
        Difference("default", "text", "e", ""),
    ]


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
