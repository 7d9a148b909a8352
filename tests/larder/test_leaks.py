"""What is known only later, or is itself the label, never reaches a feature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import ENGAGEMENT_WEIGHTS, Content, EventType, Interaction
from feature_repo.events import EventLog
from feature_repo.schema import CONTENT_STATS, VIEWS
from feature_repo.settings import Settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from predictors.labels import EngagementScore
from predictors.popularity.features import popularity_features
from tests.larder.worlds import add_random_vectors, entity_rows, ingest_world, unequal

LABEL_TIME = datetime(2025, 2, 10, 13, 30, tzinfo=UTC)  # in the middle of the feed's sixty days
CONTENTS, USERS = 30, 8


@dataclass(frozen=True)
class World:
    """A workspace and the features that training would see of it at `LABEL_TIME`."""

    settings: Settings
    catalog: Catalog
    store: Store
    pairs: list[tuple[str, str]]

    def frame(self, service: str = "interest", when: datetime = LABEL_TIME) -> Columns:
        rows = entity_rows(self.catalog, self.pairs, when)
        return Columns.from_frame(self.store.training_frame(rows, service).drop(rows.columns))

    def plant(self, *events: Interaction) -> None:
        """Add events and bring the statistics up to date."""
        list(EventLog(self.settings.interactions_dir).append(events))
        self.refresh()

    def refresh(self) -> None:
        list(write_statistics(self.settings, self.catalog))


@pytest.fixture
def world(settings: Settings, catalog: Catalog) -> World:
    ingest_world(settings, catalog, CONTENTS, USERS)
    add_random_vectors(settings, catalog, "minilm", without=1)
    store = Store(settings)
    store.apply()
    users = [user.user_id for user in catalog.users()]
    ids = [item.content.content_id for item in catalog.items()]
    return World(settings, catalog, store, [(content, users[row % USERS]) for row, content in enumerate(ids)])


def _events(world: World, when: datetime) -> list[Interaction]:
    """Every kind of event on every pair at one time."""
    return [
        Interaction(user, content, kind, when, 5.0 if kind is EventType.RATING else 1.0)
        for content, user in world.pairs
        for kind in EventType
    ]


def test_events_at_and_after_the_label_change_nothing_at_it(world: World) -> None:
    before = world.frame()
    for after in (timedelta(), timedelta(microseconds=1), timedelta(hours=9), timedelta(days=1), timedelta(days=300)):
        world.plant(*_events(world, LABEL_TIME + after))
        assert unequal(world.frame(), before) == [], f"events {after} after the label are among its features"


def test_events_before_the_labels_day_do_change_it(world: World) -> None:
    """The comparison has teeth: the same events, planted before the last midnight, show in every history."""
    before = world.frame()
    world.plant(*_events(world, LABEL_TIME - timedelta(days=1)))
    changed = set(unequal(world.frame(), before))
    assert {"content_likes", "user_likes", "recent_contents", "creator_mean_engagement", "user_rating_mean"} <= changed
    assert changed <= {name for view in VIEWS if view != "content_meta" for name in VIEWS[view][1]}


def test_a_content_published_after_the_label_changes_nothing_at_it(world: World) -> None:
    before = world.frame()
    creators = {item.content.creator_id or "" for item in world.catalog.items()}
    when = LABEL_TIME + timedelta(hours=1)
    posts = [Content(f"later {creator}", "A title", when, creator_id=creator) for creator in sorted(creators)]
    world.catalog.upsert_contents(posts, "synthetic")
    world.plant(*(Interaction("user-000000", post.content_id, EventType.SHARE, post.published_at) for post in posts))
    assert unequal(world.frame(), before) == []
    assert "creator_posts" in unequal(world.frame(when=LABEL_TIME + timedelta(days=1)), before)


def test_counters_reach_the_labels_and_no_feature(world: World) -> None:
    when = datetime.now(UTC)
    before = {service: world.frame(service, when) for service in ("popularity", "interest")}
    labels = EngagementScore(ENGAGEMENT_WEIGHTS).of(item.content for item in world.catalog.items())
    contents = [item.content for item in world.catalog.items()]
    marked = {name: 7_654_321.0 + place for place, name in enumerate(ENGAGEMENT_WEIGHTS)}
    world.catalog.upsert_contents([replace(content, counters=marked) for content in contents], "synthetic")
    world.refresh()
    assert (EngagementScore(ENGAGEMENT_WEIGHTS).of(item.content for item in world.catalog.items()) != labels).all()
    for service, columns in before.items():
        now = world.frame(service, when)
        assert unequal(now, columns) == []
        numbers = [values.ravel() for values in now.values.values() if values.dtype != object]
        assert not np.isin(np.concatenate(numbers), list(marked.values())).any()


def test_no_feature_of_the_popularity_predictor_counts_the_contents_own_engagement(world: World) -> None:
    served = set(world.frame("popularity").values)
    counters = {name for item in world.catalog.items() for name in item.content.counters}
    assert {"views", "likes"} <= counters
    assert set(popularity_features(world.catalog.embeddings()).columns) <= served | {"content_id"}
    assert not served & set(CONTENT_STATS)
    assert not [name for name in served if any(counter in name for counter in counters)]
