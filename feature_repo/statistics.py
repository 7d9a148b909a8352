"""Events -> dated feature rows, each as it was known at its time.

A row stamped T counts the events before T and none at or after it. Rows are cut at the ends of days (UTC) on
which something happened, so that a point-in-time join at any moment t sees at most the last midnight before t:
a label at t can never be part of its own features.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import ENGAGEMENT_WEIGHTS, EventType, Modality
from feature_repo.events import EventLog
from feature_repo.files import replacing, sweep
from feature_repo.schema import CONTENT_META, LIKE_RATE_PRIOR, RECENT, full_schema
from feature_repo.settings import Settings

DAY = "1d"

# What one event adds to a content's engagement, as creators' histories count it.
EVENT_WEIGHTS: dict[EventType, float] = {event: ENGAGEMENT_WEIGHTS[f"{event}s"] for event in EventType}


def write_statistics(settings: Settings, catalog: Catalog, grain: str = DAY) -> Iterator[str]:
    """Bring the Parquet of every scalar view up to date; yields each view's name once it is written.

    `grain` is how often rows are cut: at the ends of days, or of a shorter Polars duration such as "1s".
    """
    events = EventLog(settings.interactions_dir).scan().collect()
    meta = content_meta(catalog)
    frames: dict[str, Callable[[], pl.DataFrame]] = {
        "content_meta": lambda: meta,
        "content_stats": lambda: content_stats(events, grain),
        "creator_stats": lambda: creator_stats(events, meta, grain),
        "user_stats": lambda: user_stats(events, grain),
        "user_recent": lambda: user_recent(events, grain),
    }
    for view, make in frames.items():
        frame = make().select(pl.col(name).cast(dtype) for name, dtype in full_schema(view).items())
        _write_if_changed(frame, settings.features_dir / view / "rows.parquet")
        yield view


def _write_if_changed(frame: pl.DataFrame, path: Path) -> None:
    """Leave a file alone that says the same, so that what was made from it stays fresh."""
    sweep(path.parent)
    written = io.BytesIO()
    frame.write_parquet(written)
    if not path.exists() or path.read_bytes() != written.getvalue():
        with replacing(path) as beside:
            beside.write_bytes(written.getvalue())


def content_meta(catalog: Catalog) -> pl.DataFrame:
    """One row a content, dated its publication."""
    rows = [meta_row(item) for item in catalog.items()]
    return pl.DataFrame(rows, schema=full_schema("content_meta"))


def meta_row(item: CatalogItem) -> dict[str, object]:
    """The facts of a content, columns as `schema.full_schema("content_meta")`."""
    content = item.content
    attributes = content.attributes
    readable = {modality for modality, row in item.media.items() if row.digest is not None}
    changed = max([item.updated_at, *(row.updated_at for row in item.media.values())])
    row: dict[str, object] = {
        "content_creator": content.creator_id or "",
        "title": content.title,
        "language": attributes.get("language"),
        "tags": list(content.tags),
        "published_year": attributes.get("year", content.published_at.year),
        "published_weekday": content.published_at.weekday(),
        "published_hour": content.published_at.hour,
        "duration_s": attributes.get("duration_s"),
        "title_chars": len(content.title),
        "title_words": len(content.title.split()),
        "description_chars": len(content.description),
        "tag_count": len(content.tags),
        "has_image": float(Modality.IMAGE in readable),
        "has_audio": float(Modality.AUDIO in readable),
        "has_video": float(Modality.VIDEO in readable),
    }
    assert row.keys() == CONTENT_META.keys()
    return {"content_id": content.content_id, "event_timestamp": content.published_at, "created": changed, **row}


def content_stats(events: pl.DataFrame, grain: str = DAY) -> pl.DataFrame:
    """Running counts and rates of each content."""
    return _running_counts(events, "content_id", "content", grain)


def user_stats(events: pl.DataFrame, grain: str = DAY) -> pl.DataFrame:
    """Running counts and rates of each user, and the days on which they did anything."""
    counted = _running_counts(events, "user_id", "user", grain)
    day = (pl.col("event_timestamp") - pl.duration(microseconds=1)).dt.truncate("1d")
    return counted.with_columns(user_active_days=day.rank("dense").over("user_id"))


def _running_counts(events: pl.DataFrame, key: str, prefix: str, grain: str) -> pl.DataFrame:
    kinds = {f"{prefix}_{e.value}s": pl.col("event") == e.value for e in EventType}
    stars = pl.col("value").filter(pl.col("event") == EventType.RATING.value).sum()
    daily = (
        events.group_by(key, _known_from(grain))
        .agg(**{name: mask.sum().cast(pl.Float64) for name, mask in kinds.items()}, stars=stars.cast(pl.Float64))
        .sort(key, "event_timestamp")
        .with_columns(pl.col([*kinds, "stars"]).cum_sum().over(key))
    )
    likes, views = LIKE_RATE_PRIOR
    ratings = pl.col(f"{prefix}_ratings")
    return daily.with_columns(
        pl.when(ratings > 0).then(pl.col("stars") / ratings).alias(f"{prefix}_rating_mean"),
        ((pl.col(f"{prefix}_likes") + likes) / (pl.col(f"{prefix}_views") + views)).alias(f"{prefix}_like_rate"),
        created=pl.col("event_timestamp"),
    )


def creator_stats(events: pl.DataFrame, meta: pl.DataFrame, grain: str = DAY) -> pl.DataFrame:
    """What each creator's earlier posts had earned by the end of each day on which one was posted or met with events.

    Engagement of a post is log(1 + weighted events so far); `creator_mean_engagement` is its mean over the posts.
    """
    posts = meta.filter(pl.col("content_creator") != "").select(
        "content_id", creator_id="content_creator", timestamp="event_timestamp"
    )
    earned = pl.col("weight").cum_sum().over("content_id").log1p()
    gains = (
        events.join(posts.select("content_id", "creator_id"), on="content_id")
        .with_columns(weight=pl.col("event").replace_strict({e.value: w for e, w in EVENT_WEIGHTS.items()}))
        .group_by("content_id", "creator_id", _known_from(grain))
        .agg(pl.col("weight").sum())
        .sort("content_id", "event_timestamp")
        .with_columns(earned=earned)
        .with_columns(gain=pl.col("earned") - pl.col("earned").shift(1, fill_value=0.0).over("content_id"))
    )
    posted = posts.group_by("creator_id", _known_from(grain)).agg(posted=pl.len(), last=pl.col("timestamp").max())
    return _creator_rows(gains.group_by("creator_id", "event_timestamp").agg(pl.col("gain").sum()), posted, posts)


def _creator_rows(gains: pl.DataFrame, posted: pl.DataFrame, posts: pl.DataFrame) -> pl.DataFrame:
    key = ["creator_id", "event_timestamp"]
    first = posts.group_by("creator_id").agg(first=pl.col("timestamp").min())
    total, count = pl.col("gain").cum_sum().over("creator_id"), pl.col("posted").cum_sum().over("creator_id")
    span_days = (pl.col("last").forward_fill().over("creator_id") - pl.col("first")).dt.total_seconds() / 86_400
    return (
        gains.join(posted, on=key, how="full", coalesce=True)
        .join(first, on="creator_id")
        .sort(key)
        .with_columns(pl.col("gain").fill_null(0.0), pl.col("posted").fill_null(0).cast(pl.Float64))
        .with_columns(creator_posts=count, total=total, span_days=span_days)
        .filter(pl.col("creator_posts") > 0)
        .with_columns(
            creator_mean_engagement=pl.col("total") / pl.col("creator_posts"),
            creator_post_gap_days=pl.when(pl.col("creator_posts") > 1).then(
                pl.col("span_days") / (pl.col("creator_posts") - 1)
            ),
            created=pl.col("event_timestamp"),
        )
    )


def user_recent(events: pl.DataFrame, grain: str = DAY) -> pl.DataFrame:
    """The last `RECENT` events but impressions of each user, newest last, at the end of each of their days."""
    log = (
        events.filter(pl.col("event") != EventType.IMPRESSION.value)
        .sort("user_id", "timestamp", "event_id")
        .with_row_index("row")
        .with_columns(_known_from(grain), first=pl.col("row").min().over("user_id"))
    )
    last = log.group_by("user_id", "event_timestamp").agg(pl.col("row").max(), pl.col("first").min())
    start = pl.max_horizontal(pl.col("first").cast(pl.Int64), pl.col("row").cast(pl.Int64) - RECENT + 1)
    picked = last.sort("user_id", "event_timestamp").with_columns(
        rows=pl.int_ranges(start, pl.col("row").cast(pl.Int64) + 1)
    )
    flat = picked.explode("rows")["rows"]
    gathered = log.select(
        recent_contents="content_id",
        recent_events="event",
        recent_times=pl.col("timestamp").dt.epoch("s"),
        recent_values="value",
    )[flat]
    lengths = picked["rows"].list.len()
    owner = pl.Series("owner", list(chain.from_iterable([i] * n for i, n in enumerate(lengths))), pl.UInt32)
    lists = gathered.with_columns(owner).group_by("owner", maintain_order=True).agg(pl.all())
    return pl.concat(
        [picked.select("user_id", "event_timestamp", created="event_timestamp"), lists.drop("owner")],
        how="horizontal",
    )


def _known_from(grain: str) -> pl.Expr:
    """The end of the day (UTC) of an event, or of its second: from then on, it is known."""
    return pl.col("timestamp").dt.truncate(grain).dt.offset_by(grain).alias("event_timestamp")
