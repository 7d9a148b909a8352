"""The one door to Feast: apply, materialize, read online, training frames.

Nothing else opens a `FeatureStore`, so what stands behind it can change without the other rooms noticing.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import polars as pl
from feast import FeatureService, FeatureStore, FeatureView
from feast.errors import FeatureServiceNotFoundException

from feature_repo import entities
from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.columnar.request import TABLE_VERSION
from feature_repo.columns import Columns, Users, Wanted
from feature_repo.errors import InputError, StateError
from feature_repo.freshness import Marks, source_digest
from feature_repo.online import ViewFeatures, holds_any
from feature_repo.reads import OnlineReads, Read
from feature_repo.repository import BEGINNING, folder_of, last_time, repo_config, require_rows
from feature_repo.services import feature_services
from feature_repo.settings import Settings
from feature_repo.views import embedding_views, scalar_views, token_views, user_views

_KEYS = ("content_id", "creator_id", "user_id")


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


class Store:
    """Feast over the workspace of `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reads: dict[str, dict[str, Read]] = {}
        self._pins: dict[str, tuple[str, int]] = {}
        self._pushed: dict[str, FeatureView] = {}

    @cached_property
    def _feast(self) -> FeatureStore:
        self._settings.home.mkdir(parents=True, exist_ok=True)
        return FeatureStore(config=repo_config(self._settings))

    @cached_property
    def _online(self) -> OnlineReads:
        return OnlineReads(self._feast)

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
        self.__dict__.pop("_online", None)
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

    def push(self, view: str, rows: pl.DataFrame) -> None:
        """Bring rows online, columns as `schema.full_schema(view)`; they are durable when this returns.

        A row that is older than the one there changes nothing (with Feast's SQLite store it does). Raises StateError
        where the view is not applied, UnavailableError where the store cannot be written to.
        """
        if view not in self._pushed:
            if view not in self.view_names():
                raise StateError(f"view {view!r} is not applied: run `larder apply`")
            self._pushed[view] = self._feast.get_feature_view(view)
        online = self._feast._get_provider().online_store
        if isinstance(online, ColumnarOnlineStore):
            online.write_arrow(self._feast.config, self._pushed[view], rows.to_arrow())
        else:
            self._feast.write_to_online_store(view, rows.to_pandas())

    def prune(self, keep: Mapping[str, Collection[str]]) -> None:
        """Take embeddings' versions offline that are not the applied ones, but for those that `keep` names."""
        online = self._feast._get_provider().online_store
        if isinstance(online, ColumnarOnlineStore):
            for view in self._feast.list_feature_views():
                if TABLE_VERSION in view.tags:
                    online.drop_versions(self._feast.config, view, keep.get(view.tags["embedding"], ()))

    # -- online

    def read(
        self,
        service: str,
        content_ids: Sequence[str],
        user_id: Users = None,
        at: datetime | None = None,
        wanted: Wanted | None = None,
        described: pl.DataFrame | None = None,
    ) -> Columns:
        """The service's features now, or those `wanted`, one row a content in the given order, each with the user's, or
        with those of its own user where there is one for each. Views that nothing is wanted of are not touched; stores
        of Feast's own give all, and no stamps.

        An unknown key is absent in every one of its features. Beside them stand what was asked: `content_id`, and for
        services with a user `user_id` and `event_timestamp` (µs since 1970, of `at` or now), as a training frame has
        them. Where the user's features name contents, those are read too (`Columns.related`). `described` has features
        of the contents by name, a row each, which stand for all that the store has of them: what it says of contents
        that are not in it. Raises InputError for an id that is no text, StateError for a service that is not applied.
        """
        return self._online.read(service, self._service(service), content_ids, user_id, at, wanted, described)

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

    def _service(self, name: str) -> dict[str, Read]:
        """References by entity; looked up in the registry once."""
        if name not in self._reads:
            reads: dict[str, Read] = {}
            for projection in self._feature_service(name).feature_view_projections:
                view = self._pin(self._feast.get_feature_view(projection.name))
                names = [feature.name for feature in projection.features]
                reads.setdefault(view.entities[0], Read([])).views.append(ViewFeatures(view, names))
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
                ", and before it `larder apply` and `larder materialize` where vectors are newer"
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast reports on the standard streams; progress is the caller's to show."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
