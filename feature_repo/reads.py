"""Reads of the online store as columns: what a request needs of which view, fetched once for each entity."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.columns import Columns, Mask, Users, Wanted, stamp
from feature_repo.errors import InputError, UnavailableError
from feature_repo.online import ViewFeatures, decode, read_views
from feature_repo.repository import BEGINNING

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

_CONTENTS = ("recent_contents",)  # features of a user that list contents
_RELATED = "related"  # what is read of those, beside the entities
_FACTS = "content_meta"
_CREATOR = "content_creator"
_KEPT = 200_000  # creators that are remembered, at most


@dataclass(frozen=True, slots=True)
class Read:
    """The features of a service that hang on one entity, view by view."""

    views: list[ViewFeatures]

    @property
    def fields(self) -> dict[str, FeatureView]:
        """The view of each feature."""
        return {name: one.view for one in self.views for name in one.names}

    def only(self, features: Collection[str], stamps: Collection[str]) -> Read:
        """These features, of the views that have any or whose stamps are wanted."""
        kept = [one.only(features, one.view.name in stamps) for one in self.views]
        return Read([one for one in kept if one.names or one.stamped])


class OnlineReads:
    """Reads the services of a store, each given as its `Read` by entity. Safe to share between threads."""

    def __init__(self, feast: FeatureStore) -> None:
        self._feast = feast
        self._store = feast._get_provider().online_store
        self._narrowed: dict[tuple[str, Wanted], dict[str, Read]] = {}
        self._creators: dict[str, tuple[int, str]] = {}

    def read(
        self,
        service: str,
        whole: Mapping[str, Read],
        content_ids: Sequence[str],
        users: Users,
        at: datetime | None,
        wanted: Wanted | None,
        described: pl.DataFrame | None,
    ) -> Columns:
        """See `Store.read`."""
        _require_ids("content_ids", content_ids)
        if described is not None:
            reads, parts = whole, _described(described, whole["content"])
        else:
            narrow = wanted is not None and isinstance(self._store, ColumnarOnlineStore)
            reads = self._narrow(service, whole, wanted) if wanted is not None and narrow else whole
            parts = self._fetch_rows(reads.get("content"), "content_id", content_ids)
        if "creator" in reads:
            creators = self._creators_of(content_ids, parts, whole["content"])
            parts = parts.beside(self._fetch_rows(reads["creator"], "creator_id", creators))
        asked = _told("content_id", np.array(content_ids, object))
        if "user" in whole:
            distinct, owners = _owners(users, parts.rows)
            _require_ids("user_id", [user_id for user_id in distinct if user_id is not None])
            user = self._fetch(reads.get("user"), "user_id", [user_id or "" for user_id in distinct])
            parts = parts.beside(user.take(owners))
            listed = {name: chain(*filter(None, user.objects(name))) for name in _CONTENTS if name in user.values}
            related = reads.get(_RELATED, whole["content"])
            parts = parts.with_related({name: self._contents(related, ids) for name, ids in listed.items()})
            moment = ((at or datetime.now(UTC)) - BEGINNING) / timedelta(microseconds=1)
            named = np.array(distinct, object)[owners]
            asked = asked.beside(_told("user_id", named, named != None))  # noqa: E711  # of each element
            asked = asked.beside(_told("event_timestamp", np.full(parts.rows, moment)))
        return parts.beside(asked)

    def _narrow(self, service: str, whole: Mapping[str, Read], wanted: Wanted) -> dict[str, Read]:
        """What of a service is wanted, and in the same way of related contents; worked out once."""
        found = self._narrowed.get((service, wanted))
        if found is None:
            found = {entity: read.only(wanted.features, wanted.stamps) for entity, read in whole.items()}
            if "creator" in found and found["creator"].views:
                found["content"] = whole["content"].only(wanted.features, {*wanted.stamps, _FACTS})
            found = {entity: read for entity, read in found.items() if read.views}
            found[_RELATED] = whole["content"].only(wanted.related, wanted.stamps)
            self._narrowed[service, wanted] = found
        return found

    def _creators_of(self, content_ids: Sequence[str], parts: Columns, contents: Read) -> list[str]:
        """The creator of each content, "" for none. A text costs more to read than all of a content's numbers, so it is
        remembered for as long as the row with the content's facts has the same stamp.
        """
        if _CREATOR in parts.values:
            return [creator or "" for creator in parts.objects(_CREATOR).tolist()]
        stamps = parts.values[stamp(_FACTS)].tolist()
        found = list(map(self._creators.get, content_ids))
        late = [
            row for row, (at, known) in enumerate(zip(stamps, found, strict=True)) if known is None or known[0] != at
        ]
        if late:
            ids = list(dict.fromkeys(content_ids[row] for row in late))
            read = self._fetch(contents.only({_CREATOR}, {_FACTS}), "content_id", ids)
            told = zip(read.values[stamp(_FACTS)].tolist(), read.objects(_CREATOR).tolist(), strict=True)
            if len(self._creators) + len(ids) > _KEPT:
                self._creators = {}
            made = {content_id: (at, creator or "") for content_id, (at, creator) in zip(ids, told, strict=True)}
            self._creators.update(made)
            for row in late:
                found[row] = made[content_ids[row]]
        return [known[1] for known in found if known is not None]

    def _contents(self, read: Read, listed: Iterable[str]) -> Columns:
        """The features of the contents that lists name, and `content_id`: each content once, in order of its id."""
        ids = sorted(set(listed))
        return _told("content_id", np.array(ids, object)).beside(self._fetch(read, "content_id", ids))

    def _fetch_rows(self, read: Read | None, key: str, ids: Sequence[str]) -> Columns:
        """One row an id; the store is asked for each id once."""
        place = {key_value: row for row, key_value in enumerate(dict.fromkeys(ids))}
        found = self._fetch(read, key, list(place))
        return found if len(place) == len(ids) else found.take(list(map(place.__getitem__, ids)))

    def _fetch(self, read: Read | None, key: str, ids: Sequence[str]) -> Columns:
        if read is None or not ids:
            return decode(None, read.fields if read else {}, len(ids))
        try:
            if isinstance(self._store, ColumnarOnlineStore):
                return read_views(self._store, self._feast.config, read.views, key, ids)
            references = [f"{one.view.name}:{name}" for one in read.views for name in one.names]
            answer = self._feast.get_online_features(features=references, entity_rows=[{key: i} for i in ids])
        except OSError as error:
            raise UnavailableError(f"the online store does not answer: {error}") from error
        return decode(answer.proto, read.fields, len(ids))


def _described(frame: pl.DataFrame, read: Read) -> Columns:
    """The features that are read, as described; absent where they are not."""
    absent = decode(None, read.fields, frame.height)
    told = Columns.from_frame(frame.select(name for name in read.fields if name in frame.columns))
    return Columns(frame.height, absent.values | told.values, absent.present | told.present)


def _owners(users: Users, rows: int) -> tuple[list[str | None], npt.NDArray[np.intp]]:
    """The distinct users, and which of them each row is for."""
    if users is None or isinstance(users, str):
        return [users], np.zeros(rows, np.intp)
    if len(users) != rows:
        raise ValueError(f"{len(users)} users for {rows} rows")
    place = {user_id: number for number, user_id in enumerate(dict.fromkeys(users))}
    return list(place), np.fromiter(map(place.__getitem__, users), np.intp, rows)


def _told(name: str, values: npt.NDArray[Any], known: bool | Mask = True) -> Columns:
    """A column that was asked, and is not looked up."""
    return Columns(len(values), {name: values}, {name: np.full(len(values), known)})


def _require_ids(field: str, ids: Sequence[str]) -> None:
    if set(map(type, ids)) == {str} and "" not in ids:
        return
    for position, value in enumerate(ids):
        if not isinstance(value, str) or not value:
            raise InputError(f"{field}[{position}]: an id is a text that is not empty, not {value!r}")
