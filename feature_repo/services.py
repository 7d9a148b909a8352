"""Feature services: the columns that a predictor reads, offline and online."""

from __future__ import annotations

from collections.abc import Mapping

from feast import FeatureService, FeatureView

from feature_repo.contracts import ENGAGEMENT_FITTED
from feature_repo.vectors import tokens_column

POPULARITY_VIEWS = ("content_meta", "creator_stats")
INTEREST_VIEWS = (*POPULARITY_VIEWS, "content_stats", "user_stats", "user_recent")


def feature_services(
    scalar: Mapping[str, FeatureView],
    embeddings: Mapping[str, FeatureView],
    tokens: Mapping[str, FeatureView],
    users: Mapping[str, FeatureView],
) -> dict[str, FeatureService]:
    """`popularity`: what is known of a content at publication. `fusion`: that and the tokens. `interest`: what
    `popularity` has, the content's counters and the user, with the user's vectors where there are any. `end_to_end`:
    the embeddings that were fitted on engagement, which no other service has, as they know its labels.
    """
    fitted = {*ENGAGEMENT_FITTED, *map(tokens_column, ENGAGEMENT_FITTED)}
    lists_of = {**embeddings, **tokens}
    own = tuple(view for name, view in lists_of.items() if name in fitted)
    vectors = tuple(view for name, view in embeddings.items() if name not in fitted)
    states = tuple(view for name, view in tokens.items() if name not in fitted)
    described = {
        "popularity": (POPULARITY_VIEWS, vectors, "How popular a content will be: facts, vectors, creator's history"),
        "fusion": (POPULARITY_VIEWS, (*vectors, *states), "The same with tokens, for heads that attend"),
        "interest": (INTEREST_VIEWS, (*vectors, *users.values()), "Whether this user engages with this content"),
        "end_to_end": (("content_meta",), own, "How popular a content will be: vectors that were fitted for it"),
    }
    return {
        name: FeatureService(name=name, features=[*(scalar[v] for v in views), *lists], description=description)
        for name, (views, lists, description) in described.items()
    }
