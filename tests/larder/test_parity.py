"""What the server scores with is what the model was trained on: every feature, both ways, and the scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns, Users, Wanted
from feature_repo.settings import Settings, load_settings
from feature_repo.store import Store
from feature_repo.vectors import vectors_dir
from grpc_api.client import Scorer
from indexers.build import build
from predictors.config import TrainConfig
from predictors.release import create, load, prepare
from predictors.train import train
from tests.grpc_api.running import RunningServer, running
from tests.larder.worlds import add_random_vectors, batches, entity_rows, ingest_world, unequal

CONTENTS, USERS, PER_USER = 200, 40, 5
WITHOUT_VECTOR = 3
KEYS = ["creator_id", "user_id", "event_timestamp"]


@dataclass
class Witness:
    """The store under the server; remembers what it read."""

    store: Store
    reads: list[Columns] = field(default_factory=list)

    def read(
        self,
        service: str,
        content_ids: Sequence[str],
        user_id: Users = None,
        *,
        wanted: Wanted | None = None,
        described: pl.DataFrame | None = None,
    ) -> Columns:
        self.reads.append(self.store.read(service, content_ids, user_id, wanted=wanted, described=described))
        return self.reads[-1]

    def pinned(self, specs: Mapping[str, tuple[str, int]]) -> Witness:
        """Of a release's versions; it remembers in the same list."""
        return Witness(self.store.pinned(specs), self.reads)


@dataclass(frozen=True)
class Served:
    """A trained and released workspace, its server and a client. `pairs` are contents and a user each."""

    settings: Settings
    catalog: Catalog
    witness: Witness
    server: RunningServer
    scorer: Scorer
    pairs: list[tuple[str, str]]

    @property
    def ids(self) -> list[str]:
        return [content for content, _ in self.pairs]

    def offline(self, service: str) -> Columns:
        """The service's columns of the training frame for the pairs, now."""
        rows = entity_rows(self.catalog, self.pairs, datetime.now(UTC))
        return Columns.from_frame(self.witness.store.training_frame(rows, service).drop(KEYS))

    def online(self, service: str) -> Columns:
        """What the store reads for the pairs, user by user."""
        parts = [
            self.witness.store.read(service, contents, self.pairs[PER_USER * number][1])
            for number, contents in enumerate(batches(self.ids, PER_USER))
        ]
        return Columns(
            len(self.pairs),
            {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
            {name: np.concatenate([part.present[name] for part in parts]) for name in parts[0].present},
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A world from ingest to a running server."""
    settings = load_settings(home=tmp_path_factory.mktemp("parity") / "home", port=0)
    with Catalog(settings.catalog) as catalog:
        ingest_world(settings, catalog, CONTENTS, USERS)
        for without, name in enumerate(settings.embeddings):
            add_random_vectors(settings, catalog, name, without=without * WITHOUT_VECTOR)
            build(settings, catalog, name)
        store = Store(settings)
        store.apply()
        list(store.materialize())
        train(settings, catalog, store, TrainConfig(iterations=20, folds=2, resamples=5))
        witness = Witness(store)
        prepare(settings, catalog, witness, create(settings, catalog, ["popularity"]))
        users = [user.user_id for user in catalog.users()]
        ids = [item.content.content_id for item in catalog.items()]
        pairs = [(content, users[row // PER_USER]) for row, content in enumerate(ids)]
        with (
            running(settings, load(settings, catalog, witness)) as server,
            Scorer(f"{settings.host}:{server.port}") as scorer,
        ):
            yield Served(settings, catalog, witness, server, scorer, pairs)


def test_contents_are_prepared_from_the_training_frames_features(served: Served) -> None:
    read = next(read for read in served.witness.reads if read.rows == CONTENTS and "minilm" in read.values)
    features = served.server.service.release.models["popularity"].predictor.features
    assert {*features} <= read.values.keys()
    assert not {*unequal(read, served.offline("popularity"))} & {*features}
    assert read.present["minilm"].sum() == CONTENTS - WITHOUT_VECTOR
    assert read.present["efficientnet_lite0"].all()


def test_scores_over_the_wire_are_those_of_the_training_frame(served: Served) -> None:
    said = served.scorer.predict_columns(served.ids)["popularity"]
    assert not served.witness.reads[-1].values.keys() & {"minilm", "title_chars"}  # those are in what was prepared
    own = served.server.service.release.models["popularity"].predictor.score(served.offline("popularity"))
    assert len(set(said.scores)) > CONTENTS / 10
    np.testing.assert_array_equal(said.scores, own.score)
    np.testing.assert_array_equal(said.classes, own.classes)
    np.testing.assert_array_equal(said.probabilities, own.probabilities.astype(np.float32))  # float32 on the wire


def test_a_users_features_are_the_training_frames(served: Served) -> None:
    online = served.online("interest")
    assert unequal(online, served.offline("interest")) == []
    for name in ("content_likes", "user_likes", "recent_contents", "creator_posts"):
        assert online.present[name].any(), f"{name} is nowhere, so its equality says nothing"


@contextmanager
def _planted(path: Path, key: str, feature: str, value: pl.Expr) -> Iterator[None]:
    """Change one feature in the last row of the first key of a Parquet file, as of later, and put the file back."""
    before = path.read_bytes()
    frame = pl.read_parquet(path).sort(key, "event_timestamp").with_row_index("row")
    row = frame.filter(pl.col(key) == frame[key][0])["row"][-1]
    later = {feature: value, "created": pl.col("created") + pl.duration(seconds=1)}
    changed = frame.with_columns(
        pl.when(pl.col("row") == row).then(new).otherwise(pl.col(name)).alias(name) for name, new in later.items()
    )
    changed.drop("row").cast({feature: frame.schema[feature]}).write_parquet(path)
    try:
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("view", "key", "feature", "value"),
    [
        ("content_meta", "content_id", "title_chars", pl.lit(0.5)),
        ("content_meta", "content_id", "duration_s", pl.lit(None)),
        ("content_meta", "content_id", "tags", pl.concat_list("tags", pl.lit("planted"))),
        ("content_stats", "content_id", "content_likes", pl.col("content_likes") + 1),
        ("creator_stats", "creator_id", "creator_posts", pl.col("creator_posts") + 1),
        ("user_recent", "user_id", "recent_contents", pl.col("recent_contents").list.slice(1)),
        ("minilm", "content_id", "minilm", pl.col("minilm").arr.reverse()),
    ],
)
def test_one_value_that_differs_is_found(served: Served, view: str, key: str, feature: str, value: pl.Expr) -> None:
    """The comparison has teeth: a single other value behind the training frame shows as that column."""
    folder = served.settings.features_dir / view
    if not folder.is_dir():
        folder = vectors_dir(served.settings, view, served.catalog.embeddings()[view].spec_digest)
    (path,) = folder.glob("*.parquet")
    with _planted(path, key, feature, value):
        assert unequal(served.online("interest"), served.offline("interest")) == [feature]


def test_a_vector_that_was_made_anew_after_the_release_is_scored(served: Served) -> None:
    """What was prepared of its content is out of date, and the server knows; put back, the file differs from online."""
    embedding = "minilm"
    folder = vectors_dir(served.settings, embedding, served.catalog.embeddings()[embedding].spec_digest)
    (path,) = folder.glob("*.parquet")
    predictor = served.server.service.release.models["popularity"].predictor
    served.scorer.predict_columns(served.ids)
    earlier = len(served.witness.reads)
    with _planted(path, "content_id", embedding, 3 * pl.col(embedding).arr.reverse()):
        list(served.witness.store.materialize(views=[embedding]))
        after = served.scorer.predict_columns(served.ids)["popularity"]
        np.testing.assert_array_equal(after.scores, predictor.score(served.offline("popularity")).score)
        offline = served.offline("popularity").vectors(embedding)
    anew = [read for read in served.witness.reads[earlier:] if embedding in read.values]
    ((changed,),) = {tuple(read.objects("content_id")) for read in anew}  # one content, however often a client asks
    for read in anew:
        np.testing.assert_array_equal(read.vectors(embedding), offline[[served.ids.index(changed)]])
    assert unequal(served.online("popularity"), served.offline("popularity")) == [embedding]
