"""Contents whose engagement follows their duration and one direction of their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columns import Columns
from feature_repo.contracts import Content, EmbeddingSpec, Modality
from feature_repo.schema import CONTENT_META, CREATOR_STATS
from predictors.engagement import Examples
from predictors.splits import random_split

DIM = 16
START = datetime(2024, 1, 1, tzinfo=UTC)
SPEC = EmbeddingSpec("vec", Modality.IMAGE, DIM, "planted", "nowhere:None")


@dataclass(frozen=True)
class Planted:
    """`frame` has every column of the popularity service plus ids and times; `scores` are log1p of views."""

    frame: pl.DataFrame
    content_ids: list[str]
    published: list[datetime]
    scores: npt.NDArray[np.float64]

    def examples(self) -> Examples:
        splits = random_split(self.content_ids, self.published, seed=0)
        columns = Columns.from_frame(self.frame).take(range(len(self.content_ids)))  # a copy that tests may change
        return Examples(columns, tuple(self.contents()), self.scores.copy(), splits, {SPEC.name: SPEC.digest})

    def contents(self) -> list[Content]:
        rows = zip(self.content_ids, self.published, np.expm1(self.scores).tolist(), strict=True)
        return [Content(content_id, content_id, at, counters={"views": views}) for content_id, at, views in rows]


class FrameStore:
    """A store that has its frame already and counts how often it is asked."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.asked: list[pl.DataFrame] = []

    def training_frame(self, entity_rows: pl.DataFrame, service: str, /) -> pl.DataFrame:
        assert service == "popularity"
        self.asked.append(entity_rows)
        features = self.frame.drop("event_timestamp", strict=False)
        return entity_rows.join(features, on="content_id", how="left", maintain_order="left")


def plant(rows: int = 240, seed: int = 0) -> Planted:
    rng = np.random.default_rng(seed)
    ids = [f"c{row:04d}" for row in range(rows)]
    published = [START + timedelta(hours=row) for row in range(rows)]
    vectors = rng.normal(size=(rows, DIM)).astype(np.float32)
    duration = rng.uniform(10, 60, rows)
    scores = 4.0 + 1.5 * vectors[:, 0] + 0.03 * duration + rng.normal(scale=0.2, size=rows)
    known = {**CONTENT_META, **CREATOR_STATS}
    frame = pl.DataFrame(
        {
            "content_id": ids,
            "event_timestamp": published,
            **{name: pl.Series([None] * rows, dtype=dtype) for name, dtype in known.items()},
            "duration_s": pl.Series(duration, dtype=pl.Float32),
            "language": rng.choice(["en", "fr"], rows).tolist(),
            "tags": [["drama", "war"][: 1 + row % 2] for row in range(rows)],
            "vec": pl.Series(
                [None if row % 10 == 3 else vectors[row].tolist() for row in range(rows)],
                dtype=pl.Array(pl.Float32, DIM),
            ),
        }
    )
    return Planted(frame, ids, published, np.clip(scores, 0.0, None).astype(np.float64))
