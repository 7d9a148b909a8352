"""Users who like contents near their taste, which the contents' vectors tell; the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columns import Columns
from feature_repo.contracts import EmbeddingSpec, EventType, Modality
from feature_repo.schema import CONTENT_META, CONTENT_STATS, CREATOR_STATS, RECENT, USER_RECENT, USER_STATS
from predictors.interest.examples import EventExamples
from predictors.splits import Splits

DIM, TASTES = 16, 2
START = 1_700_000_000
SPEC = EmbeddingSpec("vec", Modality.IMAGE, DIM, "planted", "nowhere:None")


@dataclass(frozen=True)
class Tastes:
    """`chance` (n,) is the truth of each event; `examples` is what may be learnt from."""

    examples: EventExamples
    chance: npt.NDArray[np.float64]


def plant_tastes(users: int = 60, contents: int = 80, events: int = 60, seed: int = 0, stars: bool = True) -> Tastes:
    """Each user meets `events` contents at random, one a minute; the last tenths validate and test."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(TASTES, DIM))
    positions, tastes = rng.normal(size=(contents, TASTES)), rng.normal(size=(users, TASTES))
    levels = 0.5 * rng.normal(size=contents)
    vectors = (positions @ directions + 0.1 * rng.normal(size=(contents, DIM))).astype(np.float32)
    ids = [f"c{number:04d}" for number in range(contents)]
    rows, chance, parts = [], [], []
    for user in range(users):
        met = rng.choice(contents, events, replace=contents < events)
        chances = 1 / (1 + np.exp(-1.5 * positions[met] @ tastes[user] - levels[met]))
        liked = rng.random(events) < chances
        last = int(0.8 * events)
        for number, item in enumerate(met.tolist()):
            past = slice(max(0, min(number, last) - RECENT), min(number, last))
            known = liked[: min(number, last)]
            rows.append(
                {
                    "user_id": f"u{user:03d}",
                    "content_id": ids[item],
                    "event_timestamp": datetime.fromtimestamp(START + 60 * number, UTC),
                    "engaged": float(liked[number]),
                    "user_ratings": float(len(known)),
                    "user_rating_mean": float(2 + 3 * known.mean()) if len(known) else None,
                    "recent_contents": [ids[other] for other in met[past]] or None,
                    "recent_events": [EventType.RATING.value] * len(met[past]) or None,
                    "recent_times": [START + 60 * at for at in range(past.start, past.stop)] or None,
                    "recent_values": [2.0 + 3.0 * float(one) for one in liked[past]] or None,
                }
            )
            chance.append(float(chances[number]))
            parts.append(0 if number < last else 1 if number < int(0.9 * events) else 2)
    known_schema = {**CONTENT_META, **CONTENT_STATS, **CREATOR_STATS, **USER_STATS, **USER_RECENT}
    frame = pl.DataFrame(rows, schema_overrides={n: t for n, t in known_schema.items() if n in rows[0]})
    columns = _with_all(frame.drop("engaged"), known_schema)
    described = pl.DataFrame(
        {
            "content_id": ids,
            "vec": pl.Series(vectors, dtype=pl.Array(pl.Float32, DIM)),
            "tags": [["a"], ["b"]] * (contents // 2),
        }
    )
    table = _with_all(described, {**CONTENT_META, **CONTENT_STATS, **CREATOR_STATS})
    engaged = frame["engaged"].to_numpy()
    labels = {"engaged": engaged} | ({"stars": 2 + 3 * engaged} if stars else {})
    place = np.array(parts)
    splits = Splits(*(np.flatnonzero(place == part) for part in range(3)))
    items = np.array([ids.index(content_id) for content_id in frame["content_id"]], np.int64)
    examples = EventExamples(columns, items, labels, table, table, splits, {SPEC.name: SPEC.digest})
    return Tastes(examples.with_related(), np.array(chance))


def _with_all(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> Columns:
    """The frame with every column of the schema, null where it has none."""
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
    return Columns.from_frame(frame.with_columns(absent))
