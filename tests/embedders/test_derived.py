from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedders import derived as module
from embedders.derived import BaseVectors, readiness
from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content
from feature_repo.errors import MediaError, StateError
from feature_repo.settings import Settings
from feature_repo.vectors import read_partition, vectors_dir
from tests.embedders.aligned import store
from tests.embedders.behaviour import NOON

SPEC = SPECS["minilm"]


def vectors_of(ids: list[str]) -> Mapping[str, np.ndarray]:
    return {c: np.full(SPEC.dim, int(c[1:]), np.float32) for c in ids}


@pytest.fixture
def ids(settings: Settings, catalog: Catalog) -> list[str]:
    """Thirty contents in three partitions: two runs of ids, and one that came later in between."""
    ids = [f"c{n:02}" for n in range(30)]
    catalog.upsert_contents([Content(c, f"title {c}", NOON) for c in ids], "posts")
    later = ids[::7]
    rest = [c for c in ids if c not in later]
    for part in (rest[:12], rest[12:], later):
        store(settings, catalog, "minilm", vectors_of(part))
    return ids


def test_vectors_come_by_content_and_partitions_are_read_once(
    ids: list[str], settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counting(path: Path, column: str) -> tuple[list[str], np.ndarray]:
        read.append(path.stem)
        return read_partition(path, column)

    monkeypatch.setattr(module, "read_partition", counting)
    monkeypatch.setattr(module, "_PAGE", 8)
    base = BaseVectors(SPEC, settings, catalog)
    for item in catalog.items():
        assert base.has(item)
        assert base.vector(item).tolist() == [int(item.content.content_id[1:])] * SPEC.dim
    assert len(read) == len(set(read)) == 3
    backwards = [base.vector(item)[0] for item in reversed(list(catalog.items()))]
    assert backwards == list(range(29, -1, -1))


def test_few_partitions_are_kept(
    ids: list[str], settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PARTITIONS", 1)
    base = BaseVectors(SPEC, settings, catalog)
    assert [base.vector(item)[0] for item in catalog.items()] == list(range(30))
    assert len(base._partitions) == 1


def test_what_is_missing_says_why(ids: list[str], settings: Settings, catalog: Catalog) -> None:
    catalog.upsert_contents([Content("c03a", "new", NOON), Content("c04", "changed", NOON)], "posts")
    catalog.record("minilm", SPEC.digest, [LedgerRow("c05", _print_of(catalog, "c05"), None, "no text")])
    catalog.upsert_contents([Content("d", "new", NOON)], "posts")
    base = BaseVectors(SPEC, settings, catalog)
    found = {item.content.content_id: item for item in catalog.items()}
    reasons = {
        "c03a": r"^no minilm vector: not embedded yet, run `larder embed minilm`$",
        "c04": r"^no minilm vector: out of date, run `larder embed minilm`$",
        "c05": r"^no minilm vector: no text$",
        "d": r"^no minilm vector: not embedded yet",
    }
    for content_id, item in found.items():
        assert base.has(item) == (content_id not in reasons)
        if content_id in reasons:
            with pytest.raises(MediaError, match=reasons[content_id]):
                base.vector(item)
        else:
            assert base.vector(item)[0] == int(content_id[1:])


def _print_of(catalog: Catalog, content_id: str) -> str:
    return catalog.ledger("minilm", SPEC.digest)[content_id].fingerprint


def test_a_file_that_is_gone_is_said(ids: list[str], settings: Settings, catalog: Catalog) -> None:
    for path in vectors_dir(settings, "minilm", SPEC.digest).glob("*.parquet"):
        path.unlink()
    with pytest.raises(StateError, match=r"is gone: run `larder embed minilm`"):
        BaseVectors(SPEC, settings, catalog).vector(next(catalog.items()))


def test_only_derived_embeddings_wait(settings: Settings, catalog: Catalog) -> None:
    catalog.upsert_contents([Content("a", "title", NOON)], "posts")
    item = next(catalog.items())
    assert readiness(SPEC, settings, catalog)(item)
    derived = replace(SPEC, options={"base": "minilm"})
    assert not readiness(derived, settings, catalog)(item)
    store(settings, catalog, "minilm", {"a": np.ones(SPEC.dim, np.float32)})
    assert readiness(derived, settings, catalog)(item)
