"""The made world, whose truth is known: what predictors make of it, small. `benchmarks.probe_world` measures it.

Contents have no media here: their vectors are the causes that media show, so that it is the predictors that are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.probe_world import CAUSES, EMBEDDINGS, Feed, lost, read_contents, single, tastes
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.datasets.synthetic import Coefficients, Synthetic
from feature_repo.datasets.synthetic.oracle import Impressions, known, taught
from feature_repo.datasets.synthetic.world import World
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition
from predictors.evaluation.ranking import auc

TELLS = {Modality.IMAGE: "image_quality", Modality.TEXT: "title_appeal", Modality.AUDIO: "sound_energy"}


class Silent(Synthetic):
    """The synthetic feed without its files."""

    def _media(self, index: int) -> Mapping[Modality, Path]:
        return {}


class Told(Feed):
    """A feed whose vectors are the causes: one for each modality, beside what the content is about."""

    def dataset(self, coefficients: Coefficients) -> Synthetic:
        size = (self.contents, self.users, self.seed)
        return Silent(*size, media_dir=self.base / "media", days=self.days, coefficients=coefficients)

    def embed(self, embeddings: Sequence[str] = EMBEDDINGS) -> None:
        settings, dataset = Settings(home=self.base), self.dataset(Coefficients(impressions_per_user=1.0))
        with Catalog(settings.catalog) as catalog:
            ingest(settings, catalog, dataset)
            items = list(catalog.items())
            ids, published = zip(*((i.content.content_id, i.content.published_at) for i in items), strict=True)
            for modality, cause in TELLS.items():
                told = np.column_stack([getattr(dataset.truth, cause), dataset.truth.topic_mixture])
                spec = EmbeddingSpec(f"{modality.value}_cause", modality, told.shape[1], "truth", "none:None")
                folder = vectors_dir(settings, spec.name, spec.digest)
                write_partition(folder / "p.parquet", spec.name, ids, published, published, told.astype(np.float32))
                catalog.record(spec.name, spec.digest, [LedgerRow(i, f"p-{i}", "p") for i in ids])
                catalog.register_embedding(spec)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    made = Told(tmp_path_factory.mktemp("world"), contents=160, users=40, days=20)
    made.embed()
    return made


def test_the_oracle_is_right_and_the_filter_learns_towards_it() -> None:
    short = []
    for per_user in (30.0, 300.0):
        world = World(160, 100, 0, 20, Coefficients(impressions_per_user=per_user))
        shown = Impressions.of(world)
        engaged = ((shown.watched >= 0.5) | shown.acts[1:].any(axis=0)).astype(np.float64)
        late = shown.day >= 15
        truth, learnt = known(world, shown), taught(world, shown, ~late)
        for p in (truth, learnt):
            assert p[late].mean() == pytest.approx(engaged[late].mean(), abs=3 / np.sqrt(late.sum()))
        assert auc(engaged[late], truth[late]) > auc(engaged[late], learnt[late]) > 0.6
        short.append(auc(engaged[late], truth[late]) - auc(engaged[late], learnt[late]))
    assert short[1] < short[0]


def test_interest_learns_tastes_and_more_of_them_from_more_events(feed: Feed, tmp_path: Path) -> None:
    few, many = (
        {one.by: one for one in tastes(feed, tmp_path / f"{events}", events, ["interest_factors"])[1]}
        for events in (30.0, 300.0)
    )
    assert many["oracle"].auc > many["filter"].auc > many["interest_factors"].auc > many["biases"].auc
    assert many["interest_factors"].short[0] < few["interest_factors"].short[0]
    assert many["interest_factors"].short[0] < many["biases"].short[0] - 0.02


@pytest.mark.parametrize("cause", CAUSES)
def test_a_modality_is_missed_where_it_alone_tells(cause: str, feed: Feed, tmp_path: Path) -> None:
    settings, _ = feed.lived(tmp_path / cause, single(cause))
    losses = lost(*read_contents(settings), seeds=2)
    told = losses.pop(CAUSES[cause])
    assert losses.pop("whole") > 0.3
    assert told > 0.2
    assert max(losses.values()) < 0.5 * told
