"""Releases of a really trained model and a really built index over planted contents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from embedders import specs
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.columns import Columns, Users, Wanted
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import LarderError, NotFoundError, StateError
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import write_statistics
from feature_repo.vectors import vectors_dir, write_partition
from indexers.build import build
from predictors import experiments, release, shelf
from predictors.config import TrainConfig
from predictors.pins import ReleaseManifest
from predictors.train import train

NAME = "minilm"
SPEC = specs.SPECS[NAME]
NEWER = replace(SPEC, version=SPEC.version + 1)


class FrameStore:
    """The planted frame as the offline and the online store."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame.drop("event_timestamp")
        self.online = {SPEC.digest}

    def training_frame(self, entity_rows: pl.DataFrame, service: str, /) -> pl.DataFrame:
        return entity_rows.join(self.frame, on="content_id", how="left", maintain_order="left")

    def pinned(self, specs: Mapping[str, tuple[str, int]], /) -> FrameStore:
        if missing := [name for name, (spec_digest, _) in specs.items() if spec_digest not in self.online]:
            raise StateError(f"{', '.join(missing)} is not online")
        return self

    def read(
        self,
        service: str,
        content_ids: Sequence[str],
        user_id: Users = None,
        *,
        wanted: Wanted | None = None,
        described: pl.DataFrame | None = None,
    ) -> Columns:
        asked = pl.DataFrame({"content_id": content_ids}, schema={"content_id": pl.String})
        frame = asked.join(self.frame, on="content_id", how="left", maintain_order="left")
        return Columns.from_frame(frame.drop("content_id"))


@pytest.fixture(scope="module")
def store(planted: Any) -> FrameStore:
    """Planted features; their vectors, padded to minilm's length, under its name."""
    vectors = np.stack([np.full(16, np.nan) if v is None else np.asarray(v) for v in planted.frame["vec"].to_list()])
    padded = np.pad(vectors, ((0, 0), (0, SPEC.dim - 16))).astype(np.float32)
    column = pl.Series(NAME, padded, dtype=pl.Array(pl.Float32, SPEC.dim))
    there = pl.Series(~np.isnan(vectors[:, 0]))
    frame = planted.frame.drop("vec").with_columns(column)
    return FrameStore(frame.with_columns(pl.when(there).then(pl.col(NAME)).alias(NAME)))


def embed(settings: Settings, catalog: Catalog, store: FrameStore, spec: EmbeddingSpec) -> None:
    """What `larder embed` leaves of the store's vectors."""
    rows = store.frame.filter(pl.col(NAME).is_not_null())
    ids = rows["content_id"].to_list()
    times = [item.content.published_at for item in catalog.get(ids).values()]
    path = vectors_dir(settings, NAME, spec.digest) / "p0.parquet"
    write_partition(path, NAME, ids, times, times, rows[NAME].to_numpy())
    catalog.register_embedding(spec)
    catalog.record(NAME, spec.digest, [LedgerRow(c, "print", "p0") for c in ids])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, planted: Any, store: FrameStore, quick: TrainConfig) -> Path:
    """A workspace with contents, vectors, an index and a model, made once."""
    settings = load_settings(home=tmp_path_factory.mktemp("built"))
    with Catalog(settings.catalog) as catalog:
        catalog.upsert_contents(planted.contents(), "planted")
        list(write_statistics(settings, catalog))
        embed(settings, catalog, store, SPEC)
        build(settings, catalog, NAME)
        train(settings, catalog, store, quick)
    return settings.home


@pytest.fixture
def catalog(settings: Settings, built: Path) -> Iterator[Catalog]:
    """The catalog of a copy of that workspace."""
    shutil.copytree(built, settings.home)
    with Catalog(settings.catalog) as opened:
        yield opened


@pytest.fixture
def newer(settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder has moved on to another spec, which is registered; index and model have not."""
    table: Mapping[str, EmbeddingSpec] = {**specs.SPECS, NAME: NEWER}
    monkeypatch.setattr(specs, "SPECS", table)
    catalog.register_embedding(NEWER)


def retrain(settings: Settings, catalog: Catalog, store: FrameStore, quick: TrainConfig) -> str:
    """Another current model; its version."""
    return train(settings, catalog, store, replace(quick, depth=quick.depth + 1)).version


class TestCreate:
    def test_pins_what_is_current(self, settings: Settings, catalog: Catalog) -> None:
        made = release.create(settings, catalog, ["popularity"])
        assert made.embeddings[NAME].spec_digest == SPEC.digest
        assert made.embeddings[NAME].query_modalities == ("text",)
        assert made.indexes == {NAME: catalog.index_versions(NAME)[0].version}
        assert made.predictors["popularity"].service == "popularity"
        assert made.defaults == {"content": NAME, "text": NAME}
        assert shelf.current(settings) == made.version
        assert shelf.read_manifest(settings, made.version) == made
        assert catalog.release_manifest(made.version) == json.loads(json.dumps(made.to_json()))

    def test_the_same_parts_are_the_same_release(self, settings: Settings, catalog: Catalog) -> None:
        made = release.create(settings, catalog, ["popularity"])
        before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in settings.releases_dir.iterdir()}
        [recorded] = catalog.releases()
        assert release.create(settings, catalog, ["popularity"]) == made
        assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in settings.releases_dir.iterdir()} == before
        assert catalog.releases() == [recorded]

    @pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")])
    def test_mends_a_lost_or_broken_manifest(
        self, settings: Settings, catalog: Catalog, damage: Callable[[Path], object]
    ) -> None:
        made = release.create(settings, catalog, ["popularity"])
        damage(settings.releases_dir / f"{made.version}.json")
        with pytest.raises(LarderError, match=made.version):
            shelf.read_manifest(settings, made.version)
        release.create(settings, catalog, ["popularity"])
        assert shelf.read_manifest(settings, made.version) == made
        assert shelf.history(settings) == [made.version]

    def test_another_model_is_another_release(
        self, settings: Settings, catalog: Catalog, store: FrameStore, quick: TrainConfig
    ) -> None:
        first = release.create(settings, catalog, ["popularity"])
        model = retrain(settings, catalog, store, quick)
        second = release.create(settings, catalog, ["popularity"])
        assert second.version != first.version
        assert second.predictors["popularity"].version == model
        assert shelf.releases(settings) == sorted([first.version, second.version])

    def test_names_everything_that_is_missing(self, settings: Settings, catalog: Catalog) -> None:
        shutil.rmtree(settings.models_dir)
        shutil.rmtree(settings.indexes_dir)
        with pytest.raises(StateError, match=r"cannot release: ") as refused:
            release.create(settings, catalog, ["popularity", "weather"])
        for part in ("no predictor 'popularity' is trained", "'weather'", f"no index of '{NAME}' is published"):
            assert part in str(refused.value)
        assert not settings.releases_dir.exists()

    def test_wants_a_predictor(self, settings: Settings, catalog: Catalog) -> None:
        with pytest.raises(StateError, match="no predictor is named"):
            release.create(settings, catalog, [])

    @pytest.mark.usefixtures("newer")
    def test_refuses_an_index_and_a_model_of_another_spec(self, settings: Settings, catalog: Catalog) -> None:
        with pytest.raises(StateError) as refused:
            release.create(settings, catalog, ["popularity"])
        said = str(refused.value)
        assert f"index {NAME} holds vectors of spec {SPEC.digest}, not {NEWER.digest}: run `larder index" in said
        assert f"predictor popularity was trained on {NAME} of spec {SPEC.digest}, not {NEWER.digest}" in said

    @pytest.mark.usefixtures("newer")
    def test_refuses_a_model_alone(self, settings: Settings, catalog: Catalog, store: FrameStore) -> None:
        embed(settings, catalog, store, NEWER)
        build(settings, catalog, NAME)
        with pytest.raises(StateError, match=r"cannot release: predictor popularity was .* run `larder train") as told:
            release.create(settings, catalog, ["popularity"])
        assert "index" not in str(told.value)

    def test_refuses_vectors_that_its_embedder_no_longer_makes(self, settings: Settings, catalog: Catalog) -> None:
        catalog.register_embedding(NEWER)
        with pytest.raises(StateError, match=rf"is of spec {NEWER.digest}, its embedder makes {SPEC.digest}: run"):
            release.create(settings, catalog, ["popularity"])


class TestLoad:
    @pytest.fixture
    def made(self, settings: Settings, catalog: Catalog) -> ReleaseManifest:
        return release.create(settings, catalog, ["popularity"])

    def test_gives_parts_that_answer(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest
    ) -> None:
        loaded = release.load(settings, catalog, store)
        assert loaded.version == made.version
        model = loaded.models["popularity"]
        assert model.class_count == 5
        assert np.isfinite(model.metrics["r2"])
        columns = loaded.store.read("popularity", ["c0001", "c0002"])
        assert np.isfinite(model.predictor.score(columns).score).all()
        matrix, there = loaded.indexes[NAME].vectors_of(["c0001"])
        assert there.all()
        assert loaded.indexes[NAME].search(matrix, 1)[0][0].content_id == "c0001"
        assert loaded.facts.titles(["c0001"]) == ["c0001"]

    def test_its_embedder_is_the_pinned_one(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest
    ) -> None:
        encoder = release.load(settings, catalog, store).encoders.get(NAME)
        assert encoder.spec.digest == made.embeddings[NAME].spec_digest
        assert encoder.embed_text("a film about the sea").shape == (SPEC.dim,)

    def test_an_older_release_by_version(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest, quick: TrainConfig
    ) -> None:
        retrain(settings, catalog, store, quick)
        release.create(settings, catalog, ["popularity"])
        loaded = release.load(settings, catalog, store, made.version)
        assert loaded.models["popularity"].predictor.version == made.predictors["popularity"].version

    def test_goes_on_with_what_it_pins_when_an_embedding_moved_on(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest
    ) -> None:
        catalog.register_embedding(NEWER)
        assert release.load(settings, catalog, store).manifest == made

    def test_refuses_vectors_that_are_online_no_more(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest
    ) -> None:
        moved = FrameStore(store.frame.with_columns(event_timestamp=None))
        moved.online = {NEWER.digest}
        with pytest.raises(StateError, match=f"release {made.version} cannot be served: {NAME} is not online"):
            release.load(settings, catalog, moved)

    @pytest.mark.parametrize("room", ["indexes", "models"])
    def test_refuses_a_part_that_is_gone(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest, room: str
    ) -> None:
        pinned = made.indexes[NAME] if room == "indexes" else made.predictors["popularity"].version
        [folder] = (settings.home / room).glob(f"*/{pinned}")
        shutil.rmtree(folder)
        with pytest.raises(StateError, match=f"cannot be served: .*{pinned}"):
            release.load(settings, catalog, store)

    @pytest.mark.usefixtures("made")
    def test_refuses_a_damaged_model(self, settings: Settings, catalog: Catalog, store: FrameStore) -> None:
        [model] = settings.models_dir.glob("popularity/*/regressor.cbm")
        model.write_bytes(model.read_bytes()[:-1] + b"?")
        with pytest.raises(StateError, match="regressor"):
            release.load(settings, catalog, store)

    def test_refuses_an_edited_manifest(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest
    ) -> None:
        path = settings.releases_dir / f"{made.version}.json"
        path.write_text(path.read_text().replace(made.indexes[NAME], "0" * 16))
        with pytest.raises(StateError, match=f"release {made.version} was edited"):
            release.load(settings, catalog, store)

    def test_an_unknown_version_is_told_with_those_there_are(
        self, settings: Settings, catalog: Catalog, store: FrameStore, made: ReleaseManifest
    ) -> None:
        with pytest.raises(NotFoundError, match=f"no release 'v9'; there are: {made.version}"):
            release.load(settings, catalog, store, "v9")

    def test_nothing_released(self, settings: Settings, catalog: Catalog, store: FrameStore) -> None:
        with pytest.raises(StateError, match="nothing is released yet: run `larder release`"):
            release.load(settings, catalog, store)


class TestRollback:
    def test_goes_back_and_forth(
        self, settings: Settings, catalog: Catalog, store: FrameStore, quick: TrainConfig
    ) -> None:
        first = release.create(settings, catalog, ["popularity"]).version
        retrain(settings, catalog, store, quick)
        second = release.create(settings, catalog, ["popularity"]).version
        assert shelf.rollback(settings) == first == shelf.current(settings)
        assert release.load(settings, catalog, store).version == first
        assert release.create(settings, catalog, ["popularity"]).version == second == shelf.current(settings)
        assert shelf.rollback(settings) == first

    def test_there_must_be_an_earlier_one(self, settings: Settings, catalog: Catalog) -> None:
        release.create(settings, catalog, ["popularity"])
        with pytest.raises(StateError, match="no earlier release"):
            shelf.rollback(settings)

    def test_does_not_go_back_to_a_release_without_a_manifest(
        self, settings: Settings, catalog: Catalog, store: FrameStore, quick: TrainConfig
    ) -> None:
        first = release.create(settings, catalog, ["popularity"]).version
        retrain(settings, catalog, store, quick)
        second = release.create(settings, catalog, ["popularity"]).version
        (settings.releases_dir / f"{first}.json").unlink()
        with pytest.raises(LarderError, match=first):
            shelf.rollback(settings)
        assert shelf.current(settings) == second


class TestExperiment:
    @pytest.fixture
    def versions(self, settings: Settings, catalog: Catalog, store: FrameStore, quick: TrainConfig) -> list[str]:
        """Two releases with an experiment between them; the second is in use."""
        made = [release.create(settings, catalog, ["popularity"]).version]
        retrain(settings, catalog, store, quick)
        made.append(release.create(settings, catalog, ["popularity"]).version)
        arms = experiments.arms_of([f"control={made[0]}:1", f"new={made[1]}:3"])
        experiments.start(settings, "depth", arms)
        return made

    def test_its_arms_are_loaded_beside_the_release_in_use(
        self, settings: Settings, catalog: Catalog, store: FrameStore, versions: list[str]
    ) -> None:
        loaded = release.load(settings, catalog, store)
        assert loaded.experiment is not None
        assert [one.version for one in loaded.experiment.releases] == versions
        assert [one.version for one in loaded.every] == versions[::-1]
        control = loaded.experiment.releases[0]
        assert control.models["popularity"].predictor.version != loaded.models["popularity"].predictor.version
        assert control.indexes is loaded.indexes, "what both have is loaded once"

    def test_a_broken_arm_is_refused_by_name(
        self, settings: Settings, catalog: Catalog, store: FrameStore, versions: list[str]
    ) -> None:
        pinned = shelf.read_manifest(settings, versions[0]).predictors["popularity"].version
        shutil.rmtree(settings.models_dir / "popularity" / pinned)
        with pytest.raises(StateError, match=f"release {versions[0]} cannot be served: .*{pinned}"):
            release.load(settings, catalog, store)

    def test_its_arms_are_kept(self, settings: Settings, versions: list[str]) -> None:
        shelf.rollback(settings)
        assert {one.version for one in shelf.in_reach(settings)} == set(versions)
        experiments.stop(settings)
        assert {one.version for one in shelf.in_reach(settings)} == {versions[0]}


def test_any_release_can_be_put_in_use_again(
    settings: Settings, catalog: Catalog, store: FrameStore, quick: TrainConfig
) -> None:
    first = release.create(settings, catalog, ["popularity"]).version
    retrain(settings, catalog, store, quick)
    second = release.create(settings, catalog, ["popularity"]).version
    shelf.use(settings, first)
    assert shelf.history(settings) == [first, second]
    with pytest.raises(NotFoundError, match="no release 'v9'"):
        shelf.use(settings, "v9")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', "null", '{"version": "x", "embeddings": 3}'])
def test_a_damaged_manifest_is_refused_by_name(settings: Settings, catalog: Catalog, text: str) -> None:
    made = release.create(settings, catalog, ["popularity"])
    (settings.releases_dir / f"{made.version}.json").write_text(text)
    with pytest.raises(StateError, match=f"the manifest of release {made.version} cannot be read"):
        shelf.read_manifest(settings, made.version)
    assert shelf.in_reach(settings, broken=True) == []


def test_a_manifest_under_another_name_is_refused(settings: Settings, catalog: Catalog) -> None:
    made = release.create(settings, catalog, ["popularity"])
    shutil.copy(settings.releases_dir / f"{made.version}.json", settings.releases_dir / "abc.json")
    with pytest.raises(StateError, match=f"release abc is that of {made.version}"):
        shelf.read_manifest(settings, "abc")


def test_pinned_specs_are_those_of_releases_in_reach(settings: Settings, catalog: Catalog) -> None:
    assert shelf.pinned_specs(settings) == {}
    release.create(settings, catalog, ["popularity"])
    assert shelf.pinned_specs(settings) == {NAME: {SPEC.digest}}


def test_pinned_indexes_are_those_of_releases_in_reach(settings: Settings, catalog: Catalog) -> None:
    assert shelf.pinned_indexes(settings, NAME) == set()
    made = release.create(settings, catalog, ["popularity"])
    assert shelf.pinned_indexes(settings, NAME) == {made.indexes[NAME]}
    assert shelf.pinned_indexes(settings, "other") == set()
