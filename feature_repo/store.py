"""The one door to Feast: apply, materialize, read online, training frames.

Nothing else opens a `FeatureStore`, so what stands behind it can change without the other rooms noticing.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from feast import FeatureService, FeatureStore, FeatureView
from feast.errors import FeatureServiceNotFoundException

from feature_repo import entities
from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.columnar.request import TABLE_VERSION
from feature_repo.columns import Columns
from feature_repo.errors import InputError, StateError, UnavailableError
from feature_repo.freshness import Marks, source_digest
from feature_repo.online import decode, holds_any, read_views
from feature_repo.repository import BEGINNING, folder_of, last_time, repo_config, require_rows
from feature_repo.services import feature_services
from feature_repo.settings import Settings
from feature_repo.views import embedding_views, scalar_views, token_views, user_views

_KEYS = ("content_id", "creator_id", "user_id")
_CONTENTS = ("recent_contents",)  # features of a user that list contents


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` put into the registry, and what it took out."""

    views: list[str]
    services: list[str]
    removed: list[str]


@dataclass(frozen=True, slots=True)
class Materialized:
    """One view brought online; `rows` is None where it was fresh already."""

    view: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """The features of a service that hang on one entity: of each view the ones that are asked for."""

    views: list[tuple[FeatureView, list[str]]]

    @property
    def fields(self) -> dict[str, FeatureView]:
        """The view of each feature."""
        return {name: view for view, names in self.views for name in names}


class Store:
    """Feast over the workspace of `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reads: dict[str, dict[str, _Read]] = {}
        self._pins: dict[str, tuple[str, int]] = {}

    @cached_property
    def _feast(self) -> FeatureStore:
        self._settings.home.mkdir(parents=True, exist_ok=True)
        return FeatureStore(config=repo_config(self._settings))

    def pinned(self, specs: Mapping[str, tuple[str, int]]) -> Store:
        """The same store, which reads each of these embeddings online in the version of that spec digest and length.

        Versions lie online beside each other, so what `apply` has put in use since does not matter. Raises StateError
        where one of them is not online.
        """
        made = Store(self._settings)
        made._pins = dict(specs)
        for view in made._feast.list_feature_views():
            made._pin(view)
        return made

    # -- the registry

    def apply(self) -> Applied:
        """Bring the registry in line with the definitions and with the embeddings that have been run."""
        kinds = (scalar_views, embedding_views, token_views, user_views)
        scalar, embeddings, tokens, users = (make(self._settings) for make in kinds)
        services = feature_services(scalar, embeddings, tokens, users)
        views = {**scalar, **embeddings, **tokens, **users}
        for view in views.values():
            require_rows(view)
        gone: list[Any] = [v for v in self._feast.list_feature_views() if v.name not in views]
        wanted: list[Any] = [entities.content, entities.creator, entities.user, *views.values(), *services.values()]
        with _quiet():
            self._feast.apply(wanted, objects_to_delete=gone, partial=not gone)
        self._reads.clear()
        return Applied(sorted(views), sorted(services), sorted(v.name for v in gone))

    def view_names(self) -> list[str]:
        """The views that have been applied."""
        return sorted(view.name for view in self._feast.list_feature_views())

    # -- offline to online

    def materialize(
        self,
        start: datetime = BEGINNING,
        end: datetime | None = None,
        views: Sequence[str] = (),
        force: bool = False,
    ) -> Iterator[Materialized]:
        """Bring the latest row of every key in [start, end] online, view by view; yields each as it is done.

        A view whose Parquet is what it was at its last complete run over the same start is skipped unless
        `force`. Killed midway, the next call does the interrupted view again.
        """
        applied = self.view_names()
        if not applied:
            raise StateError("nothing is applied yet: run `larder apply`")
        if unknown := sorted(set(views) - set(applied)):
            raise InputError(f"no such view: {', '.join(unknown)}; applied: {', '.join(applied)}")
        marks = Marks(self._settings.home / "materialized.json")
        for name in views or applied:
            view = self._feast.get_feature_view(name)
            mark = f"{start.isoformat()} {source_digest(folder_of(view))}"
            fresh = not force and end is None and marks.get(name) == mark and self._is_online(view)
            if not fresh:
                until = end or datetime.now(UTC)
                with _quiet():
                    self._feast.materialize(start, until, feature_views=[name], force=True)
                if last_time(view) <= until:  # else rows are still to come online, without a change of the files
                    marks.put(name, mark)
            yield Materialized(name, fresh)

    def prune(self, keep: Mapping[str, Collection[str]]) -> None:
        """Take embeddings' versions offline that are not the applied ones, but for those that `keep` names."""
        online = self._feast._get_provider().online_store
        if isinstance(online, ColumnarOnlineStore):
            for view in self._feast.list_feature_views():
                if TABLE_VERSION in view.tags:
                    online.drop_versions(self._feast.config, view, keep.get(view.tags["embedding"], ()))

    # -- online

    def read(
        self, service: str, content_ids: Sequence[str], user_id: str | None = None, at: datetime | None = None
    ) -> Columns:
        """The service's features now, one row a content in the given order; the user's are the same in each row.

        An unknown key is absent in every one of its features. Beside them stand what was asked: `content_id`, and for
        services with a user `user_id` and `event_timestamp` (µs since 1970, of `at` or now), as a training frame has
        them. Where the user's features name contents, those are read too (`Columns.related`). Raises InputError for an
        id that is no text, StateError for a service that is not applied.
        """
        _require_ids("content_ids", content_ids)
        reads = self._service(service)
        parts = self._fetch_rows(reads.get("content"), "content_id", content_ids)
        if "creator" in reads:
            creators = [c or "" for c in parts.objects("content_creator")]
            parts = parts.beside(self._fetch_rows(reads["creator"], "creator_id", creators))
        asked: dict[str, Any] = {"content_id": pl.Series(content_ids, dtype=pl.String)}
        if "user" in reads:
            _require_ids("user_id", [] if user_id is None else [user_id])
            parts = parts.beside(self._fetch_rows(reads["user"], "user_id", [user_id or ""] * len(content_ids)))
            met = [name for name in _CONTENTS if name in parts.values]
            parts = parts.with_related({name: self._contents(reads["content"], parts.objects(name)) for name in met})
            moment = ((at or datetime.now(UTC)) - BEGINNING) / timedelta(microseconds=1)
            asked |= {"user_id": [user_id] * len(content_ids), "event_timestamp": [moment] * len(content_ids)}
        return parts.beside(Columns.from_frame(pl.DataFrame(asked)))

    def _contents(self, read: _Read, lists: npt.NDArray[np.object_]) -> Columns:
        """The features of the contents that the lists name, and `content_id`: each content once, in order of its id."""
        ids = sorted({content_id for met in {id(ids): ids for ids in lists}.values() for content_id in met or ()})
        named = Columns.from_frame(pl.DataFrame({"content_id": pl.Series(ids, dtype=pl.String)}))
        return named.beside(self._fetch(read, "content_id", ids))

    def _fetch_rows(self, read: _Read | None, key: str, ids: Sequence[str]) -> Columns:
        """One row an id; the store is asked for each id once."""
        place = {key_value: row for row, key_value in enumerate(dict.fromkeys(ids))}
        return self._fetch(read, key, list(place)).take([place[i] for i in ids])

    def _fetch(self, read: _Read | None, key: str, ids: Sequence[str]) -> Columns:
        if read is None or not ids:
            return decode(None, read.fields if read else {}, len(ids))
        online = self._feast._get_provider().online_store
        try:
            if isinstance(online, ColumnarOnlineStore):
                return read_views(online, self._feast.config, read.views, ids)
            references = [f"{view.name}:{name}" for view, names in read.views for name in names]
            answer = self._feast.get_online_features(features=references, entity_rows=[{key: i} for i in ids])
        except OSError as error:
            raise UnavailableError(f"the online store does not answer: {error}") from error
        return decode(answer.proto, read.fields, len(ids))

    # -- offline

    def training_frame(self, entity_rows: pl.DataFrame, service: str, *, vectors: bool = True) -> pl.DataFrame:
        """The service's features as of each row's `event_timestamp`, those of embeddings only with `vectors`.

        `entity_rows` has `event_timestamp` (UTC), the ids that the service's views need (`content_id`,
        `creator_id` with "" for none, `user_id`) and any other columns, which pass through. Every row comes
        back once, in its order.
        """
        keys = [k for k in _KEYS if k in entity_rows.columns] + ["event_timestamp"]
        distinct = entity_rows.select(keys).unique(maintain_order=True).with_row_index("row")
        fields = {name: view for read in self._service(service).values() for name, view in read.fields.items()}
        asked: Any = self._feature_service(service)
        if not vectors:
            fields = {name: view for name, view in fields.items() if "embedding" not in view.tags}
            asked = [f"{view.name}:{name}" for name, view in fields.items()]
        with _quiet():
            table = self._feast.get_historical_features(distinct.to_pandas(), asked).to_arrow()
        found = pl.DataFrame(pl.from_arrow(table)).sort("row")
        if found["row"].to_list() != list(range(distinct.height)):
            raise StateError(f"the offline store gave {found.height} rows for {distinct.height} asked")
        features = found.select(_as_declared(name, view) for name, view in fields.items())
        order = entity_rows.select(keys).join(distinct, on=keys, how="left", maintain_order="left")["row"]
        return pl.concat([entity_rows, features[order]], how="horizontal")

    # -- helpers

    def _feature_service(self, name: str) -> FeatureService:
        try:
            return self._feast.get_feature_service(name)
        except FeatureServiceNotFoundException as error:
            raise StateError(f"feature service {name!r} is not applied: run `larder apply`") from error

    def _service(self, name: str) -> dict[str, _Read]:
        """References by entity; looked up in the registry once."""
        if name not in self._reads:
            reads: dict[str, _Read] = {}
            for projection in self._feature_service(name).feature_view_projections:
                view = self._pin(self._feast.get_feature_view(projection.name))
                names = [feature.name for feature in projection.features]
                reads.setdefault(view.entities[0], _Read([])).views.append((view, names))
            self._reads[name] = reads
        return self._reads[name]

    def _pin(self, view: FeatureView) -> FeatureView:
        """The view over the rows of the pinned version, where its embedding has a pin."""
        spec_digest, dim = self._pins.get(view.tags.get("embedding", ""), ("", 0))
        if not spec_digest or view.tags["spec_digest"] == spec_digest:
            return view
        pinned = copy.copy(view)
        size = str(dim) if view.name == view.tags["embedding"] else view.tags["dim"]
        pinned.tags = {**view.tags, "spec_digest": spec_digest, TABLE_VERSION: spec_digest, "dim": size}
        online = self._feast._get_provider().online_store
        if not isinstance(online, ColumnarOnlineStore) or not online.has_table(self._feast.config, pinned):
            raise StateError(
                f"{view.name} of spec {spec_digest} is not online, {view.tags['spec_digest']} is: run `larder release`"
            )
        return pinned

    def _is_online(self, view: FeatureView) -> bool:
        """Whether the view's first key is there: the online store may have been emptied since the mark was made."""
        first = pl.scan_parquet(folder_of(view) / "*.parquet").select(view.join_keys).head(1).collect()
        references = [f"{view.name}:{feature.name}" for feature in view.features]
        if first.is_empty():
            return True
        return holds_any(self._feast.get_online_features(references, first.to_dicts()).proto, view)


def _as_declared(name: str, view: FeatureView) -> pl.Expr:
    """A vector of the declared length; anything else as it comes."""
    if name == view.name and "dim" in view.tags:
        return pl.col(name).cast(pl.List(pl.Float32)).list.to_array(int(view.tags["dim"]))
    return pl.col(name)


def _require_ids(field: str, ids: Sequence[str]) -> None:
    for position, value in enumerate(ids):
        if not isinstance(value, str) or not value:
            raise InputError(f"{field}[{position}]: an id is a text that is not empty, not {value!r}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast reports on the standard streams; progress is the caller's to show."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
