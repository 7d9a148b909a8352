"""The columns of every scalar feature view, once: statistics write them, Feast's views declare them."""

from __future__ import annotations

import polars as pl

Schema = dict[str, pl.DataType]

NUMBER = pl.Float32()
TEXT = pl.String()
TEXTS = pl.List(pl.String())
TIMES = pl.List(pl.Int64())
NUMBERS = pl.List(pl.Float64())  # of any length, unlike a vector, whose numbers are Float32

RECENT = 50  # events that `user_recent` holds
LIKE_RATE_PRIOR = (1.0, 20.0)  # likes and views added to every rate, so that a first like does not make it 1

CONTENT_META: Schema = {
    "content_creator": TEXT,
    "title": TEXT,
    "language": TEXT,
    "tags": TEXTS,
    "published_year": NUMBER,
    "published_weekday": NUMBER,
    "published_hour": NUMBER,
    "duration_s": NUMBER,
    "title_chars": NUMBER,
    "title_words": NUMBER,
    "description_chars": NUMBER,
    "tag_count": NUMBER,
    "has_image": NUMBER,
    "has_audio": NUMBER,
    "has_video": NUMBER,
}
CONTENT_STATS: Schema = {
    "content_impressions": NUMBER,
    "content_views": NUMBER,
    "content_likes": NUMBER,
    "content_shares": NUMBER,
    "content_comments": NUMBER,
    "content_ratings": NUMBER,
    "content_rating_mean": NUMBER,
    "content_like_rate": NUMBER,
}
CREATOR_STATS: Schema = {
    "creator_posts": NUMBER,
    "creator_mean_engagement": NUMBER,
    "creator_post_gap_days": NUMBER,
}
USER_STATS: Schema = {
    "user_impressions": NUMBER,
    "user_views": NUMBER,
    "user_likes": NUMBER,
    "user_shares": NUMBER,
    "user_comments": NUMBER,
    "user_ratings": NUMBER,
    "user_rating_mean": NUMBER,
    "user_like_rate": NUMBER,
    "user_active_days": NUMBER,
}
USER_RECENT: Schema = {
    "recent_contents": TEXTS,
    "recent_events": TEXTS,
    "recent_times": TIMES,
    "recent_values": NUMBERS,
}

VIEWS: dict[str, tuple[str, Schema]] = {
    "content_meta": ("content", CONTENT_META),
    "content_stats": ("content", CONTENT_STATS),
    "creator_stats": ("creator", CREATOR_STATS),
    "user_stats": ("user", USER_STATS),
    "user_recent": ("user", USER_RECENT),
}


def full_schema(view: str) -> Schema:
    """Key, times and features of a view, in the order of its Parquet file."""
    entity, features = VIEWS[view]
    time = pl.Datetime("us", "UTC")
    return {f"{entity}_id": TEXT, "event_timestamp": time, "created": time, **features}
