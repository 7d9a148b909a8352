"""The catalog, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import IndexVersion, LedgerRow
from feature_repo.contracts import Content, EmbeddingSpec, Modality, User
from feature_repo.errors import ConfigurationError, NotFoundError, UnavailableError
from feature_repo.settings import Settings

Make = Callable[[int], list[Content]]


def test_contents_come_back_as_they_went_in(any_catalog: Catalog, make_contents: Make, tmp_path: Path) -> None:
    given = [replace(c, media={Modality.IMAGE: tmp_path / f"{c.content_id}.jpg"}) for c in make_contents(7)]
    any_catalog.upsert_contents(given, "toy")
    assert [item.content for item in any_catalog.items(page=3)] == given
    assert any_catalog.get(["c002", "nope"])["c002"].content == given[2]
    assert any_catalog.titles(["c001", "nope"]) == {"c001": "Title 1"}
    assert any_catalog.count_contents() == 7


def test_upsert_counts_and_keeps_the_time_of_what_did_not_change(any_catalog: Catalog, make_contents: Make) -> None:
    given = make_contents(3)
    counts = any_catalog.upsert_contents(given, "toy")
    assert (counts.added, counts.changed, counts.same) == (3, 0, 0)
    before = any_catalog.get(["c000", "c001"])
    counts = any_catalog.upsert_contents([given[0], replace(given[1], title="New")], "toy")
    assert (counts.added, counts.changed, counts.same) == (0, 1, 1)
    after = any_catalog.get(["c000", "c001"])
    assert after["c000"].updated_at == before["c000"].updated_at
    assert after["c001"].updated_at > before["c001"].updated_at


def test_media_is_looked_at_again(any_catalog: Catalog, make_contents: Make, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    content = replace(make_contents(1)[0], media={Modality.IMAGE: picture})
    any_catalog.upsert_contents([content], "toy")

    def digest() -> str | None:
        return any_catalog.get(["c000"])["c000"].media[Modality.IMAGE].digest

    assert digest() is None
    picture.write_bytes(b"one")
    assert any_catalog.refresh_media() == 1
    one = digest()
    assert any_catalog.refresh_media() == 0
    picture.write_bytes(b"other")
    assert any_catalog.refresh_media(["c000"]) == 1
    assert None not in (one, digest())
    assert digest() != one
    any_catalog.upsert_contents([replace(content, media={})], "toy")
    assert any_catalog.get(["c000"])["c000"].media == {}


def test_ledger_keeps_the_last_outcome_of_each_spec(any_catalog: Catalog, spec: EmbeddingSpec) -> None:
    any_catalog.record("toy", spec.digest, [LedgerRow("a", "f1", "p1"), LedgerRow("b", "f2", None, "broken")])
    any_catalog.record("toy", spec.digest, [LedgerRow("b", "f3", "p2")])
    any_catalog.record("toy", "other", [LedgerRow("a", "f9", "p9")])
    assert any_catalog.ledger("toy", spec.digest) == {"a": LedgerRow("a", "f1", "p1"), "b": LedgerRow("b", "f3", "p2")}
    any_catalog.register_embedding(spec)
    any_catalog.register_embedding(replace(spec, dim=9))
    assert [(row.name, row.dim) for row in any_catalog.embeddings().values()] == [("toy", 9)]


def test_a_newer_spec_waits_beside_the_one_in_use(any_catalog: Catalog, spec: EmbeddingSpec) -> None:
    newer = replace(spec, version=2)
    for introduced in (spec, newer):
        any_catalog.introduce_embedding(introduced)
        assert any_catalog.embeddings()["toy"].spec_digest == spec.digest
    any_catalog.register_embedding(newer)
    assert any_catalog.embeddings()["toy"].spec_digest == newer.digest


def test_a_spec_is_forgotten_without_the_others(any_catalog: Catalog) -> None:
    for embedding, spec_digest in (("a", "1"), ("a", "2"), ("b", "1")):
        any_catalog.record(embedding, spec_digest, [LedgerRow("x", "f", "p"), LedgerRow("y", "f", "p")])
    assert any_catalog.spec_digests() == {"a": ["1", "2"], "b": ["1"]}
    any_catalog.forget_spec("a", "1")
    assert any_catalog.spec_digests() == {"a": ["2"], "b": ["1"]}
    assert len(any_catalog.ledger("a", "2")) == 2


def test_a_pipe_is_looked_at_and_not_opened(any_catalog: Catalog, make_contents: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # nobody writes to it: whoever opens it waits for ever
    content = replace(make_contents(1)[0], media={Modality.IMAGE: tmp_path / "pipe.jpg"})
    any_catalog.upsert_contents([content], "toy")
    assert any_catalog.get([content.content_id])[content.content_id].media[Modality.IMAGE].digest is None


def test_the_shape_of_tokens_goes_with_the_spec(any_catalog: Catalog, spec: EmbeddingSpec) -> None:
    for kept, shape in ((0, (0, 0)), (4, (4, 16)), (0, (0, 0))):
        any_catalog.register_embedding(replace(spec, tokens=kept, token_dim=16))
        row = any_catalog.embeddings()["toy"]
        assert (row.tokens, row.token_dim) == shape


def test_a_catalog_made_before_there_were_tokens_is_opened(settings: Settings, spec: EmbeddingSpec) -> None:
    settings.home.mkdir()
    with closing(sqlite3.connect(settings.home / "catalog.db")) as old:
        old.execute("CREATE TABLE embeddings (name VARCHAR PRIMARY KEY, spec_digest VARCHAR NOT NULL, "
                    "modality VARCHAR NOT NULL, dim INTEGER NOT NULL)")  # fmt: skip
        old.execute("INSERT INTO embeddings VALUES ('toy', 'abc', 'text', 8)")
        old.commit()
    with Catalog(settings.catalog) as catalog:
        row = catalog.embeddings()["toy"]
        assert (row.spec_digest, row.dim, row.tokens, row.token_dim) == ("abc", 8, 0, 0)
        catalog.register_embedding(replace(spec, tokens=4, token_dim=16))
        assert catalog.embeddings()["toy"].tokens == 4


def test_users_indexes_and_releases(any_catalog: Catalog) -> None:
    any_catalog.upsert_users([User("u1", {"age": 3.0}), User("u0")])
    assert list(any_catalog.users()) == [User("u0"), User("u1", {"age": 3.0})]
    assert any_catalog.count_users() == 2
    version = IndexVersion("toy", "v1", "exact", 3, 1.0, datetime(2025, 1, 1, tzinfo=UTC))
    any_catalog.record_index(version)
    any_catalog.record_index(version)
    assert any_catalog.index_versions("toy") == [version]
    any_catalog.record_release("r1", {"a": [1]})
    assert any_catalog.release_manifest("r1") == {"a": [1]}
    assert [name for name, _ in any_catalog.releases()] == ["r1"]
    with pytest.raises(NotFoundError, match="r2"):
        any_catalog.release_manifest("r2")


def test_more_rows_than_a_statement_takes(any_catalog: Catalog, make_contents: Make) -> None:
    given = make_contents(1300)
    any_catalog.upsert_contents(given, "toy")
    assert len(any_catalog.get([c.content_id for c in given])) == 1300
    assert len(list(any_catalog.items(page=500))) == 1300


def test_writers_wait_for_each_other(catalog: Catalog, make_contents: Make, settings: object) -> None:
    failures: list[BaseException] = []

    def write(start: int) -> None:
        try:
            for content in make_contents(60)[start::3]:
                catalog.upsert_contents([content], "toy")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert catalog.count_contents() == 60


@pytest.mark.parametrize("url", ["nonsense", "mysql+nothing://x/y", "oracle://x/y"])
def test_a_wrong_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="catalog URL"):
        Catalog(url)


def test_a_server_that_does_not_answer_is_unavailable_and_no_password_is_shown() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as caught:
        Catalog("postgresql+psycopg://larder:secret@127.0.0.1:1/larder")
    assert "secret" not in str(caught.value)
