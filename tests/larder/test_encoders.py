"""Encoders fitted on the catalog, by the command line: trained, filled beside the old version, switched by `apply`."""

from __future__ import annotations

from typing import Any

import pytest

from feature_repo.catalog import Catalog
from feature_repo.contracts import Content
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import load_settings
from larder.encoders import ENCODERS, FitOptions, engagement_classes
from predictors import user_spaces
from predictors.labels import EngagementScore, Quintiles
from predictors.splits import random_split
from tests.larder.shell import Shell

CONTENTS, USERS = 30, 8


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A workspace with contents that have clips and texts, and the texts' vectors."""
    shell = Shell(tmp_path_factory.mktemp("encoders") / "home")
    shell.ok("ingest", "synthetic", "--contents", CONTENTS, "--users", USERS, "--seed", 3)
    shell.ok("embed", "minilm")
    return shell


def of(shell: Shell, name: str) -> list[dict[str, Any]]:
    """What `status` says of the versions of one embedding."""
    return [e for e in shell.ok("status", "--json").json["embeddings"] if e["name"] == name]


def test_conv3d_from_fit_to_switch(shell: Shell) -> None:
    first = shell.ok("train", "conv3d", "--epochs", 1, "--json").json
    assert (first["encoder"], first["facts"]["labels"]) == ("conv3d", "classes")
    assert first["facts"]["training"] > first["facts"]["validation"] > 0
    shell.ok("embed", "conv3d")
    [used] = of(shell, "conv3d")
    assert (used["in_use"], used["chosen"], used["missing"]) == (True, True, 0)
    assert used["fresh"] + used["failed"] == CONTENTS
    second = shell.ok("train", "conv3d", "--epochs", 1, "--seed", 1, "--json").json
    assert second["version"] != first["version"]
    old, new = of(shell, "conv3d")
    assert (old["in_use"], old["chosen"], old["fresh"]) == (True, False, used["fresh"])
    assert (new["in_use"], new["chosen"], new["missing"]) == (False, True, CONTENTS)
    assert "stays" not in shell.ok("apply").err  # nothing of it is there: not worth a word
    shell.ok("embed", "conv3d")
    table = shell.ok("status").out
    assert all(word in table for word in ("in use", "new", second["version"]))
    said = shell.ok("apply").err
    assert f"conv3d: version {new['spec_digest']} takes the place of {old['spec_digest']}" in said
    assert [(e["spec_digest"], e["in_use"]) for e in of(shell, "conv3d")] == [
        (new["spec_digest"], True), (old["spec_digest"], False),
    ]  # fmt: skip
    assert [gone["version"] for gone in shell.ok("embed", "--prune", "--json").json] == [old["spec_digest"]]
    assert [e["spec_digest"] for e in of(shell, "conv3d")] == [new["spec_digest"]]


def test_user_sequence_from_fit_to_vectors(shell: Shell) -> None:
    fitted = shell.ok("train", "user_sequence", "--epochs", 1, "--json").json
    assert fitted["facts"]["events"] > 0
    [made] = shell.ok("embed", "user_sequence", "--json").json
    assert made["encoded"] == USERS
    [told] = of(shell, "user_sequence")
    assert (told["fresh"], told["stale"], told["missing"], told["in_use"]) == (USERS, 0, 0, True)
    assert shell.ok("embed", "minilm", "user_sequence").out.count("embedded") == 2
    assert shell.ok("status", "--json").json["encoders"]["user_sequence"]["version"] == fitted["version"]
    shell.ok("index", "minilm")
    assert shell.ok("index", "--prune", "--json").json == []  # that of users is made with the first release
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        pin = user_spaces.pin(settings, catalog, "user_sequence")
    assert shell.ok("status", "--json").json["indexes"]["user_sequence"] == pin.index
    assert shell.ok("index", "--prune", "--keep", 1, "--json").json == []


def test_aligned_from_fit_to_both_embeddings(shell: Shell) -> None:
    shell.ok("embed", "efficientnet_lite0")
    said = shell.ok("train", "aligned", "--epochs", 1)
    assert "larder embed aligned_image aligned_text" in said.err
    made = shell.ok("embed", "aligned_image", "aligned_text", "--json").json
    assert [report["encoded"] + sum(report["failed"].values()) for report in made] == [CONTENTS, CONTENTS]
    assert all(report["encoded"] for report in made)
    assert [told["missing"] for told in of(shell, "aligned_image")] == [0]


def test_help_tells_of_every_encoder(shell: Shell) -> None:
    said = shell.ok("train", "--help").out
    assert all(name in said for name in ENCODERS)


def test_classes_are_cut_on_the_training_split_and_leave_out_the_test_split(shell: Shell) -> None:
    with Catalog(load_settings(home=shell.home).catalog) as catalog:
        contents = [item.content for item in catalog.items()]
    labels, validation = engagement_classes(contents, FitOptions("random", 5))
    splits = random_split([c.content_id for c in contents], [c.published_at for c in contents], 5)
    ids = [c.content_id for c in contents]
    assert validation == {ids[row] for row in splits.valid}
    assert labels.keys() == {ids[row] for row in [*splits.train, *splits.valid]}
    scores = EngagementScore({"views": 1, "likes": 2, "comments": 3, "shares": 4}).of(contents)
    classes = Quintiles.fit(scores[splits.train]).classes(scores)
    assert labels == {ids[row]: str(classes[row]) for row in [*splits.train, *splits.valid]}


def test_nothing_to_learn_from_is_told(shell: Shell) -> None:
    with Catalog(load_settings(home=shell.home).catalog) as catalog:
        first = next(catalog.items()).content
    silent = [Content("a", "no counter", first.published_at)]
    with pytest.raises(StateError, match="none of 1 clips has a counter"):
        engagement_classes(silent, FitOptions("random", 0))
    with pytest.raises(ConfigurationError, match=r"valid: a folder .* random, time"):
        engagement_classes([first], FitOptions("nosuch", 0))
