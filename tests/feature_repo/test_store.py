"""The store, through Feast: what is applied, brought online, read back and joined in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.columns import Columns
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import InputError, StateError
from feature_repo.schema import VIEWS
from feature_repo.settings import Settings
from feature_repo.store import Store
from feature_repo.vectors import vectors_dir, write_partition

START = datetime(2025, 1, 1, tzinfo=UTC)
LATE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["columnar", "stock"])
def store(
    filled: Catalog,
    settings: Settings,
    request: pytest.FixtureRequest,
    stock_yaml: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """A store over `filled`, applied and materialized, on our plug-ins and on Feast's own."""
    if request.param == "stock":
        monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(stock_yaml))
    made = Store(settings)
    made.apply()
    list(made.materialize())
    return made


def _rows(settings: Settings, view: str) -> pl.DataFrame:
    return pl.read_parquet(settings.features_dir / view / "rows.parquet")


def test_apply_defines_a_view_for_everything_there_is(store: Store, settings: Settings) -> None:
    assert store.view_names() == sorted([*VIEWS, "toy"])
    assert Store(settings).apply().removed == []


def test_tokens_have_a_view_of_their_own_that_only_fusion_reads(
    store: Store, settings: Settings, filled: Catalog, spec: EmbeddingSpec
) -> None:
    kept, ids = replace(spec, tokens=3, token_dim=5), ["c001", "c002"]
    items = [filled.get(ids)[i] for i in ids]
    tokens = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    published, changed = [it.content.published_at for it in items], [it.updated_at for it in items]
    path = vectors_dir(settings, kept.name, kept.digest) / "p0.parquet"
    write_partition(path, kept.name, ids, published, changed, np.ones((2, 8), np.float32), tokens)
    filled.record(kept.name, kept.digest, [LedgerRow(i, "f", "p0") for i in ids])
    filled.register_embedding(kept)
    assert "toy_tokens" in store.apply().views
    list(store.materialize())
    columns = store.read("fusion", ["c002", "c003", "c001"])
    assert columns.present["toy_tokens"].tolist() == [True, False, True]
    np.testing.assert_array_equal(columns.vectors("toy_tokens")[[2, 0]], tokens.reshape(2, 15))
    assert columns.vectors("toy")[0].tolist() == [1.0] * 8
    for service in ("popularity", "interest"):
        assert "toy_tokens" not in store.read(service, ids, "u1" if service == "interest" else None).values
    creators = [it.content.creator_id or "" for it in items]
    rows = {"content_id": ids, "creator_id": creators, "event_timestamp": [LATE, LATE]}
    frame = store.training_frame(pl.DataFrame(rows), "fusion")
    assert frame.schema["toy_tokens"] == pl.Array(pl.Float32, 15)
    np.testing.assert_array_equal(frame["toy_tokens"].to_numpy(), tokens.reshape(2, 15))
    filled.register_embedding(spec)
    assert store.apply().removed == ["toy_tokens"]


def _newer_version(settings: Settings, filled: Catalog, spec: EmbeddingSpec) -> None:
    """Another version of the embedding, of other vectors and another length, in use."""
    newer, ids = replace(spec, version=2, dim=5), ["c001", "c002"]
    items = [filled.get(ids)[i] for i in ids]
    times = [it.content.published_at for it in items], [it.updated_at for it in items]
    path = vectors_dir(settings, newer.name, newer.digest) / "p0.parquet"
    write_partition(path, newer.name, ids, *times, np.ones((2, 5), np.float32))
    filled.record(newer.name, newer.digest, [LedgerRow(i, "f", "p0") for i in ids])
    filled.register_embedding(newer)


def test_a_pinned_store_reads_its_version_until_it_is_pruned(
    settings: Settings, filled: Catalog, spec: EmbeddingSpec
) -> None:
    ids, ones = ["c001", "c002"], [[1.0] * 5] * 2
    store, running, pins = Store(settings), Store(settings), {"toy": (spec.digest, 8)}
    store.apply()
    list(store.materialize())
    old = running.read("popularity", ids).vectors("toy")
    _newer_version(settings, filled, spec)
    store.apply()
    with pytest.raises(StateError, match="toy of spec 0123 is not online"):
        store.pinned({"toy": ("0123", 8)})
    list(store.materialize())
    assert store.read("popularity", ids).vectors("toy").tolist() == ones
    np.testing.assert_array_equal(running.read("popularity", ids).vectors("toy"), old)  # a server that knows no better
    np.testing.assert_array_equal(store.pinned(pins).read("popularity", ids).vectors("toy"), old)
    assert store.pinned(pins).read("popularity", ["nobody"]).vectors("toy").shape == (1, 8)
    store.prune({"toy": {spec.digest}})
    np.testing.assert_array_equal(store.pinned(pins).read("popularity", ids).vectors("toy"), old)
    store.prune({})
    with pytest.raises(StateError, match="is not online"):
        Store(settings).pinned(pins)
    assert store.read("popularity", ids).vectors("toy").tolist() == ones


def test_feasts_own_store_keeps_one_version_and_says_so(
    settings: Settings, filled: Catalog, spec: EmbeddingSpec, stock_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(stock_yaml))
    store, pins = Store(settings), {"toy": (spec.digest, 8)}
    store.apply()
    store.pinned(pins)
    _newer_version(settings, filled, spec)
    store.apply()
    with pytest.raises(StateError, match=r"toy of spec .* is not online, .* is: run `larder release`"):
        store.pinned(pins)
    store.prune({})


def test_apply_before_ingest_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(StateError, match="larder ingest"):
        Store(settings).apply()
    with pytest.raises(StateError, match="larder apply"):
        list(Store(settings).materialize())


def test_read_gives_the_latest_rows_in_the_order_asked(store: Store, settings: Settings) -> None:
    asked = ["c003", "nope", "c000", "c003", "c039"]
    columns = store.read("interest", asked, "u1")
    assert columns.rows == 5
    meta = {row["content_id"]: row for row in _rows(settings, "content_meta").to_dicts()}
    stats = _rows(settings, "content_stats").sort("event_timestamp").group_by("content_id").last()
    views = dict(zip(stats["content_id"], stats["content_views"], strict=True))
    for row, content_id in enumerate(asked):
        known = content_id in meta
        assert columns.present["title"][row] == known
        if known:
            assert columns.objects("title")[row] == meta[content_id]["title"]
            assert columns.objects("tags")[row] == meta[content_id]["tags"]
            assert columns.numbers("duration_s")[row] == meta[content_id]["duration_s"]
            assert columns.numbers("content_views")[row] == views[content_id]
    assert columns.present["toy"].tolist() == [True, False, True, True, False]  # c039 was never embedded
    expected = np.random.default_rng(0).normal(size=(38, 8)).astype(np.float32)
    np.testing.assert_array_equal(columns.vectors("toy")[[0, 2, 3]], expected[[3, 0, 3]])
    user = _rows(settings, "user_stats").filter(user_id="u1").sort("event_timestamp")[-1]
    assert columns.numbers("user_likes").tolist() == [user["user_likes"].item()] * 5


def test_creator_features_follow_the_content(store: Store, settings: Settings) -> None:
    columns = store.read("popularity", ["c001", "c005"])  # c005 has no creator
    latest = _rows(settings, "creator_stats").filter(creator_id="k1").sort("event_timestamp")[-1]
    assert columns.numbers("creator_posts")[0] == latest["creator_posts"].item()
    assert columns.present["creator_posts"].tolist() == [True, False]


def test_unknown_users_and_no_user_are_absent(store: Store) -> None:
    for user in (None, "nobody"):
        columns = store.read("interest", ["c001"], user)
        assert not columns.present["user_likes"].any()
        assert columns.present["title"].all()


def test_no_contents_give_no_rows(store: Store) -> None:
    columns = store.read("interest", [], "u1")
    assert columns.rows == 0
    assert columns.vectors("toy").shape == (0, 8)


@pytest.mark.parametrize("ids", [[None], [""], [3], ["c001", None]])
def test_an_id_that_is_no_text_is_named(store: Store, ids: list[str]) -> None:
    with pytest.raises(InputError, match=rf"content_ids\[{len(ids) - 1}\]"):
        store.read("popularity", ids)


def test_a_service_that_is_not_applied_says_what_to_run(store: Store) -> None:
    with pytest.raises(StateError, match=r"'nothing'.*larder apply"):
        store.read("nothing", ["c001"])


def test_training_frame_is_as_of_each_rows_time(store: Store, settings: Settings) -> None:
    times = [START + timedelta(days=d, hours=5) for d in (3, 9, 3, 15, 3)]
    entities = pl.DataFrame(
        {
            "content_id": ["c003", "c003", "c003", "c010", "gone"],
            "creator_id": ["k3", "k3", "k3", "", "k0"],
            "user_id": ["u1", "u1", "u1", "u2", "u1"],
            "event_timestamp": times,
            "label": [1, 2, 3, 4, 5],
        },
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )
    frame = store.training_frame(entities, "interest")
    assert frame["label"].to_list() == [1, 2, 3, 4, 5]  # duplicates kept, order kept
    for view, (entity, features) in VIEWS.items():
        rows = _rows(settings, view)
        for got in frame.to_dicts():
            known = rows.filter(
                pl.col(f"{entity}_id") == got[f"{entity}_id"], pl.col("event_timestamp") <= got["event_timestamp"]
            ).sort("event_timestamp")
            expected = known[-1].to_dicts()[0] if known.height else dict.fromkeys(features)
            assert {name: got[name] for name in features} == {name: expected[name] for name in features}


def test_an_empty_frame_gives_the_columns(store: Store) -> None:
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "content_id": pl.String,
        "creator_id": pl.String,
        "event_timestamp": pl.Datetime("us", "UTC"),
    }
    frame = store.training_frame(pl.DataFrame(schema=schema), "popularity")
    assert frame.height == 0
    assert "toy" in frame.columns


def test_the_server_and_the_training_frame_see_the_same(store: Store, filled: Catalog) -> None:
    ids = [f"c{i:03d}" for i in range(40)]
    now = datetime.now(UTC)
    online = store.read("interest", ids, "u4", at=now)
    creators = [item.content.creator_id or "" for item in filled.get(ids).values()]
    entities = pl.DataFrame(
        {"content_id": ids, "creator_id": creators, "user_id": ["u4"] * len(ids), "event_timestamp": [now] * len(ids)}
    )
    offline = Columns.from_frame(store.training_frame(entities, "interest"))
    for name, values in online.values.items():
        np.testing.assert_array_equal(offline.present[name], online.present[name], err_msg=name)
        if values.dtype == object:
            assert offline.values[name].tolist() == values.tolist(), name
        else:
            np.testing.assert_array_equal(offline.values[name], values, err_msg=name)
    met = online.related["recent_contents"]
    recent = online.objects("recent_contents")[0]
    assert met.objects("content_id").tolist() == sorted(set(recent))
    again = store.read("popularity", met.objects("content_id").tolist())
    np.testing.assert_array_equal(met.vectors("toy"), again.vectors("toy"))


def test_materializing_again_writes_only_what_changed(
    store: Store, filled: Catalog, settings: Settings, embed_toy: Callable[..., object]
) -> None:
    assert all(done.fresh for done in store.materialize())
    embed_toy(settings, filled, ["c039"], "p1", 5)
    assert [done.view for done in store.materialize() if not done.fresh] == ["toy"]
    assert store.read("popularity", ["c039"]).present["toy"].all()
    assert not any(done.fresh for done in store.materialize(views=["toy"], force=True))
    feast = store._feast
    feast._get_provider().online_store.teardown(feast.config, feast.list_feature_views(), [])  # somebody empties it
    Store(settings).apply()
    assert not any(done.fresh for done in Store(settings).materialize())


def test_a_view_with_rows_still_to_come_is_not_fresh(store: Store, filled: Catalog, settings: Settings) -> None:
    list(store.materialize(end=START + timedelta(days=2), views=["content_stats"], force=True))
    path = settings.features_dir / "content_stats" / "rows.parquet"
    rows = pl.read_parquet(path)
    tomorrow = pl.lit(datetime.now(UTC) + timedelta(days=1)).dt.cast_time_unit("us")
    pl.concat([rows, rows.head(1).with_columns(event_timestamp=tomorrow)]).write_parquet(path)
    assert [done.fresh for done in store.materialize(views=["content_stats"])] == [False]
    assert [done.fresh for done in store.materialize(views=["content_stats"])] == [False]
    rows.write_parquet(path)
    early = list(store.materialize(end=START + timedelta(days=2), views=["content_stats"]))
    late = list(store.materialize(views=["content_stats"]))
    assert [done.fresh for done in (*early, *late)] == [False, False]
    assert all(done.fresh for done in store.materialize(views=["content_stats"]))


def test_a_reencoded_vector_wins(
    store: Store,
    filled: Catalog,
    settings: Settings,
    embed_toy: Callable[..., np.ndarray],
) -> None:
    time.sleep(0.01)
    content = filled.get(["c004"])["c004"].content
    filled.upsert_contents([type(content)("c004", "New", content.published_at)], "toy")
    newer = embed_toy(settings, filled, ["c004"], "p1", 77)
    list(store.materialize())
    np.testing.assert_array_equal(store.read("popularity", ["c004"]).vectors("toy")[0], newer[0])


def test_unknown_views_are_named(store: Store) -> None:
    with pytest.raises(InputError, match="no such view: what"):
        list(store.materialize(views=["what"]))


def test_a_view_of_an_embedding_that_is_gone_is_removed(
    store: Store, filled: Catalog, settings: Settings, spec: EmbeddingSpec, unregister: Callable[[str], None]
) -> None:
    unregister("toy")
    assert store.apply().removed == ["toy"]
    assert "toy" not in store.view_names()
    assert "toy" not in store.read("popularity", ["c001"]).values
