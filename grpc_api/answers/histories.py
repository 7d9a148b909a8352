"""What a user met and liked lately, as the store knows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Wanted
from feature_repo.contracts import EventType
from predictors.loaded import LoadedRelease

_SERVICE = "interest"  # the feature service that has users' histories
_RECENT = ("recent_contents", "recent_events", "recent_values")
_NOBODY = ["larder-nobody"]  # a read is of some content
_ACTS = frozenset({EventType.LIKE, EventType.SHARE, EventType.COMMENT})
_STARS = 4.0  # a rating of so many is a like, as it is to the predictors of interest


@dataclass(frozen=True, slots=True)
class History:
    """The last contents that a user met, and of them those that the user liked: ids, newest first, each once. `vectors`
    are the user's own, (dim,) float32, by embedding, in the order of their names.
    """

    met: tuple[str, ...]
    liked: tuple[str, ...]
    vectors: Mapping[str, npt.NDArray[np.float32]]


def history_of(release: LoadedRelease, user_id: str) -> History:
    """The user's; where no event says more than that a content was viewed, all that was met counts as liked."""
    columns = release.store.read(_SERVICE, _NOBODY, user_id, wanted=Wanted(frozenset((*_RECENT, *release.users))))
    own = {name: columns.vectors(name)[0] for name in sorted(release.users) if name in columns.values}
    vectors = {name: vector for name, vector in own.items() if np.isfinite(vector).all() and vector.any()}
    if not columns.present[_RECENT[0]][0]:
        return History((), (), vectors)
    events = list(zip(*(reversed(columns.objects(name)[0]) for name in _RECENT), strict=True))
    met = tuple(dict.fromkeys(content_id for content_id, _, _ in events))
    return History(met, tuple(dict.fromkeys(_liked(events))) or met, vectors)


def _liked(events: list[tuple[str, str, float]]) -> Iterator[str]:
    for content_id, event, value in events:
        if event in _ACTS or (event == EventType.RATING and value >= _STARS):
            yield content_id
