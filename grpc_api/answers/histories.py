"""What a user met and liked lately, as the store knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from feature_repo.contracts import EventType
from predictors.loaded import LoadedRelease

_SERVICE = "interest"  # the feature service that has users' histories
_NOBODY = ["larder-nobody"]  # a read is of some content
_ACTS = frozenset({EventType.LIKE, EventType.SHARE, EventType.COMMENT})
_STARS = 4.0  # a rating of so many is a like, as it is to the predictors of interest


@dataclass(frozen=True, slots=True)
class History:
    """The last contents that a user met, and of them those that the user liked: ids, newest first, each once."""

    met: tuple[str, ...]
    liked: tuple[str, ...]


def history_of(release: LoadedRelease, user_id: str) -> History:
    """The user's; where no event says more than that a content was viewed, all that was met counts as liked."""
    columns = release.store.read(_SERVICE, _NOBODY, user_id)
    if not columns.present["recent_contents"][0]:
        return History((), ())
    names = ("recent_contents", "recent_events", "recent_values")
    events = list(zip(*(reversed(columns.objects(name)[0]) for name in names), strict=True))
    met = tuple(dict.fromkeys(content_id for content_id, _, _ in events))
    return History(met, tuple(dict.fromkeys(_liked(events))) or met)


def _liked(events: list[tuple[str, str, float]]) -> Iterator[str]:
    for content_id, event, value in events:
        if event in _ACTS or (event == EventType.RATING and value >= _STARS):
            yield content_id
