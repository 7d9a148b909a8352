"""Feature services: the columns that a predictor reads, offline and online."""

from __future__ import annotations

from collections.abc import Mapping

from feast import FeatureService, FeatureView

POPULARITY_VIEWS = ("content_meta", "creator_stats")
INTEREST_VIEWS = (*POPULARITY_VIEWS, "content_stats", "user_stats", "user_recent")


def feature_services(
    scalar: Mapping[str, FeatureView], embeddings: Mapping[str, FeatureView]
) -> dict[str, FeatureService]:
    """`popularity`: what is known of a content at publication. `interest`: that, its counters and the user."""
    described = {
        "popularity": (POPULARITY_VIEWS, "How popular a content will be: facts, vectors, its creator's history"),
        "interest": (INTEREST_VIEWS, "Whether this user engages with this content"),
    }
    return {
        name: FeatureService(
            name=name, features=[*(scalar[view] for view in views), *embeddings.values()], description=description
        )
        for name, (views, description) in described.items()
    }
