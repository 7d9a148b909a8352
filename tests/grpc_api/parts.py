"""A small release for the tests: a real catalog, vectors and index; a store and a predictor that can be worked by hand.

Twelve contents c00 … c11; c11 has no vector. `tiny` vectors are unit vectors turned by 10 degrees each, so that the
neighbours of cN are those with the nearest numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.columns import Columns, Users, Wanted
from feature_repo.contracts import Content, EmbeddingSpec, EventType, Modality
from feature_repo.errors import MediaError
from feature_repo.facts import Facts
from feature_repo.schema import USER_RECENT, full_schema
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition
from indexers.build import build
from indexers.search import VectorIndex
from predictors.base import Scores
from predictors.loaded import Encoders, LoadedRelease, Model
from predictors.pins import EmbeddingPin, PredictorPin, ReleaseManifest

IDS = [f"c{number:02}" for number in range(12)]
WITHOUT_VECTOR = "c11"
DIM = 8
YEAR = 2000.0
PUBLISHED = datetime(2024, 1, 1, tzinfo=UTC)
SPEC = EmbeddingSpec("tiny", Modality.TEXT, DIM, "w", "parts:Angles", query_modalities=(Modality.TEXT, Modality.IMAGE))
DEAF = EmbeddingSpec("deaf", Modality.IMAGE, DIM, "w", "parts:Angles")


def angle(number: float) -> npt.NDArray[np.float32]:
    """The unit vector of content `number`."""
    vector = np.zeros(DIM, np.float32)
    vector[:2] = np.cos(np.radians(10 * number)), np.sin(np.radians(10 * number))
    return vector


class TableStore:
    """Reads from a frame; `before_read` is called first, so that a test can wait or raise there."""

    def __init__(self, before_read: Callable[[], None] = lambda: None) -> None:
        self.before_read = before_read
        self.reads: list[list[str]] = []
        self.histories: dict[str, list[tuple[str, str, float]]] = {}  # of users: content, event, value, newest last
        vectors = [None if c == WITHOUT_VECTOR else angle(n).tolist() for n, c in enumerate(IDS)]
        self._frame = pl.DataFrame(
            {"content_id": IDS, "title": IDS, "published_year": [YEAR + n for n in range(len(IDS))], "tiny": vectors},
            schema_overrides={"tiny": pl.Array(pl.Float32, DIM)},
        )

    def read(
        self,
        service: str,
        content_ids: Sequence[str],
        user_id: Users = None,
        *,
        wanted: Wanted | None = None,
        described: pl.DataFrame | None = None,
    ) -> Columns:
        self.before_read()
        users = [user_id] * len(content_ids) if user_id is None or isinstance(user_id, str) else user_id
        self.reads.append(list(content_ids))
        asked = pl.DataFrame({"content_id": content_ids}, schema={"content_id": pl.String})
        frame = asked.join(self._frame, on="content_id", how="left", maintain_order="left").drop("content_id")
        if described is not None:
            absent = frame.clear(frame.height)
            frame = absent.with_columns(described.select(name for name in frame.columns if name in described.columns))
        met = [self._met(user) for user in users]
        recent = dict(zip(("recent_contents", "recent_events", "recent_values"), zip(*met, strict=True), strict=False))
        return Columns.from_frame(
            frame.with_columns(
                pl.Series("user_views", [None if user is None else 1000.0 for user in users], pl.Float32),
                *(pl.Series(name, said, dtype=USER_RECENT[name]) for name, said in recent.items()),
            )
        )

    def _met(self, user: str | None) -> list[Any]:
        met: list[Any] = [list(column) for column in zip(*self.histories.get(user or "", []), strict=True)]
        return met or [None] * 3


class Linear:
    """Years after 2000 plus what the user has viewed; the class is the year's last digit modulo 5."""

    name = "popularity"
    service = "popularity"
    version = "v1"
    features = ("published_year", "tiny", "user_views")
    embeddings: Mapping[str, str] = {"tiny": SPEC.digest}

    def score(self, columns: Columns) -> Scores:
        if columns.rows == 0:
            return Scores(np.empty(0), np.empty((0, 5)), np.empty(0, np.int64))
        years = columns.numbers("published_year") - YEAR
        assert not np.isnan(years).any(), "an unknown content reached the predictor"
        classes = years.astype(np.int64) % 5
        return Scores(years + np.nan_to_num(columns.numbers("user_views")), np.eye(5)[classes], classes)


class Angles:
    """Encodes a number, written as text or as the bytes of one, into the vector of the content with that number."""

    spec = SPEC

    def embed(self, item: CatalogItem) -> tuple[npt.NDArray[np.float32], None]:
        picture = item.content.media.get(Modality.IMAGE)
        return (
            self.embed_text(item.content.title) if picture is None else self.embed_image(picture.read_bytes())
        ), None

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        return angle(float(text))

    def embed_image(self, data: bytes) -> npt.NDArray[np.float32]:
        try:
            return angle(float(data))
        except ValueError as error:
            raise MediaError("not a picture") from error


def fill(settings: Settings, catalog: Catalog, spec: EmbeddingSpec, dim: int = DIM) -> None:
    """Contents, and a vector of `spec` for each but the last, as `larder embed` leaves them."""
    catalog.upsert_contents([Content(c, f"title of {c}", PUBLISHED) for c in IDS], "tests")
    catalog.register_embedding(spec)
    matrix = np.zeros((len(IDS) - 1, dim), np.float32)
    matrix[:, :2] = [angle(n)[:2] for n in range(len(matrix))]
    path = vectors_dir(settings, spec.name, spec.digest) / "p0.parquet"
    times = [PUBLISHED] * len(matrix)
    write_partition(path, spec.name, IDS[:-1], times, times, matrix)
    catalog.record(spec.name, spec.digest, [LedgerRow(c, "f", "p0") for c in IDS[:-1]])


def make_facts(indexes: Mapping[str, VectorIndex]) -> Facts:
    """Facts of the twelve: cN is by `even` or `odd`, in `en`, `de` or no language in turn, has tag tN, was published in
    2000 + N and lasts 10 N seconds (c07: unknown). The greater N, the more popular.
    """
    rows = [
        {
            "content_id": content_id,
            "event_timestamp": PUBLISHED,
            "title": f"title of {content_id}",
            "content_creator": ("even", "odd")[n % 2],
            "language": ("en", "de", None)[n % 3],
            "tags": ["all", f"t{n}"] if n else [],
            "published_year": YEAR + n,
            "duration_s": None if n == 7 else 10.0 * n,
        }
        for n, content_id in enumerate(IDS)
    ]
    stats = [
        {"content_id": c, "event_timestamp": PUBLISHED, **{f"content_{e}s": 0.0 for e in EventType}, "content_views": n}
        for n, c in enumerate(IDS)
    ]
    meta, counts = pl.DataFrame(rows, full_schema("content_meta")), pl.DataFrame(stats, full_schema("content_stats"))
    return Facts(meta, counts, {name: index.content_ids for name, index in indexes.items()})


def make_release(settings: Settings, catalog: Catalog, store: TableStore) -> LoadedRelease:
    """The small release, in memory."""
    for spec in (SPEC, DEAF):
        fill(settings, catalog, spec)
        build(settings, catalog, spec.name)
    indexes = {spec.name: VectorIndex.load(settings, spec.name) for spec in (SPEC, DEAF)}
    pins = {
        spec.name: EmbeddingPin(spec.digest, spec.dim, tuple(m.value for m in spec.query_modalities))
        for spec in (SPEC, DEAF)
    }
    manifest = ReleaseManifest(
        embeddings=pins,
        indexes={name: index.manifest.version for name, index in indexes.items()},
        predictors={"popularity": PredictorPin("v1", "popularity")},
        defaults={"content": "tiny", "text": "tiny", "image": "tiny"},
    )
    return LoadedRelease(
        manifest,
        store,
        {"popularity": Model(Linear(), {"r2": 0.5})},
        indexes,
        Encoders(pins, lambda name: Angles()),
        make_facts(indexes),
    )


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether `condition` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
