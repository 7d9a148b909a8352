"""What a request asks for: entity columns from whatever the caller holds, and the reads that answer it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import NoneType
from typing import Any

import numpy as np
from feast import FeatureService, FeatureView, RepoConfig, ValueType, utils
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME, DUMMY_ENTITY_VAL
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import python_values_to_proto_values

from feature_repo.columnar.keys import encode_integers, encode_protos, encode_texts, null_key, row_keys, text_keys
from feature_repo.columnar.layout import View, ViewLayout, codec_for
from feature_repo.columnar.scalars import Opaque
from feature_repo.columnar.storage import Column
from feature_repo.columnar.storage_keys import Keys
from feature_repo.columnar.values import Cells

# A view with this tag has a table for each value that it ever had: rows of one are never seen under another, and a
# process that holds an older view goes on reading what belongs to it.
TABLE_VERSION = "table_version"

EntityRows = Sequence[Mapping[str, Any]] | Mapping[str, Any]


class EntityColumn:
    """One join key of the request: its n values, as parts of row keys, and as cells for the answer."""

    def __init__(self, rows: int, encode: Callable[[], list[bytes]], make_cells: Callable[[], Cells]) -> None:
        self.rows = rows
        self.texts: Sequence[str] | None = None
        self._encode = encode
        self._make_cells = make_cells

    @property
    def keys(self) -> list[bytes]:
        """Parts of row keys."""
        return self._encode()

    @property
    def cells(self) -> Cells:
        """The values as the answer shows them."""
        return self._make_cells()

    @classmethod
    def of(cls, name: str, values: Sequence[Any], value_type: ValueType) -> EntityColumn:
        """Python values, converted as stock Feast does. Raises ValueError for a null."""
        kinds = set(map(type, values))
        if value_type == ValueType.STRING and kinds <= {str}:
            return cls.of_texts(values, value_type)
        if value_type == ValueType.INT64 and kinds <= {int}:
            try:
                numbers = np.array(values, np.int64)
            except OverflowError as error:
                raise ValueError(f"entity {name!r}: a value does not fit into 64 bits") from error
            whole = np.ones(len(numbers), np.bool_)
            cells = partial(Cells, codec_for(value_type), numbers, whole)
            return cls(len(numbers), partial(encode_integers, numbers), cells)
        if NoneType in kinds:
            raise null_key(name, next(row for row, value in enumerate(values) if value is None))
        return cls.from_protos(name, python_values_to_proto_values(list(values), value_type) if values else [])

    @classmethod
    def of_texts(cls, values: Sequence[str], value_type: ValueType) -> EntityColumn:
        """Texts, which need no conversion."""
        column = cls(
            len(values),
            lambda: encode_texts(values),
            lambda: Cells(codec_for(value_type), [value.encode() for value in values]),
        )
        column.texts = values
        return column

    @classmethod
    def from_protos(cls, name: str, values: Sequence[Value]) -> EntityColumn:
        """Feast values. Raises ValueError for a null and for a kind that cannot be a key."""
        opaque, keys = Opaque(ValueType.UNKNOWN, ""), encode_protos(name, values)
        return cls(len(keys), lambda: keys, lambda: Cells(opaque, opaque.from_protos(values)))


@dataclass(eq=False)
class ViewRead:
    """The features that one view gives, and under which names. `sources` maps its join keys to request columns."""

    view: View
    table: str
    sources: dict[str, str]
    features: list[str]
    names: list[str]
    ttl_us: int
    last: tuple[ViewLayout, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, view: View, features: Sequence[str], config: RepoConfig, full_names: bool) -> ViewRead:
        """The given features of a view, under the names that its projection gives them."""
        projection = view.projection
        prefix = f"{projection.name_to_use()}__" if full_names else ""  # type: ignore[no-untyped-call]
        join_keys = [] if view.entities == [DUMMY_ENTITY_NAME] else [field.name for field in view.entity_columns]
        ttl = getattr(view, "ttl", None)
        return cls(
            view=view,
            table=table_name(config, view),
            sources={key: projection.join_key_map.get(key, key) for key in join_keys},
            features=list(features),
            names=[f"{prefix}{feature}" for feature in features],
            ttl_us=int(ttl.total_seconds() * 1_000_000) if ttl else 0,
        )

    @cached_property
    def _key_types(self) -> dict[str, ValueType]:
        return {field.name: field.dtype.to_value_type() for field in self.view.entity_columns}

    @cached_property
    def _text_key(self) -> str | None:
        """The join key, where it is the only one and holds texts."""
        texts = list(self._key_types.items())
        alone = len(texts) == 1 and texts[0][1] == ValueType.STRING and self.sources
        return texts[0][0] if alone else None

    def lay_out(self, stored: Sequence[Column]) -> tuple[ViewLayout, tuple[str, ...]]:
        """The view over the columns that its table has, and those that hold its features; `last` from then on."""
        layout = ViewLayout(self.view, stored)
        self.last = layout, tuple(layout.names(self.features))
        return self.last

    def keys(self, columns: Mapping[str, EntityColumn], rows: int) -> Sequence[bytes]:
        """One key a row. Raises ValueError where the request lacks a join key."""
        if not self.sources:
            return row_keys({DUMMY_ENTITY_ID: encode_texts([DUMMY_ENTITY_VAL])}) * rows
        if missing := sorted(set(self.sources.values()) - set(columns)):
            if not rows:
                return []
            given = ", ".join(sorted(columns)) or "none"
            raise ValueError(f"view {self.view.name!r} needs the join keys {', '.join(missing)}; given: {given}")
        if len(self.sources) == 1:
            ((key, source),) = self.sources.items()
            if (texts := columns[source].texts) is not None:
                return text_keys(key, texts)
        return row_keys({key: columns[source].keys for key, source in self.sources.items()})

    def encode(self, keys: Mapping[str, Any] | Sequence[Any]) -> Sequence[bytes]:
        """Row keys from one column a join key by name, or from a single column where there is one join key; keys that
        are encoded already stay as they are.
        """
        types = self._key_types
        if isinstance(keys, Keys):
            return keys
        if isinstance(keys, list) and self._text_key is not None:
            try:
                return text_keys(self._text_key, keys)
            except (AttributeError, TypeError):
                pass  # not texts all of them
        if not isinstance(keys, Mapping):
            if len(types) != 1:
                raise ValueError(f"view {self.view.name!r}: give a column for each of {', '.join(sorted(types))}")
            keys = dict.fromkeys(types, keys)
        if unknown := sorted(set(keys) - set(types)):
            raise ValueError(f"view {self.view.name!r} has no join key {', '.join(unknown)}; it has {', '.join(types)}")
        columns = {name: EntityColumn.of(name, as_list(name, values), types[name]) for name, values in keys.items()}
        return self.keys(columns, max((column.rows for column in columns.values()), default=0))


@dataclass(frozen=True)
class Plan:
    """All of a request that does not hang on the entities. `context` is Feast's own, kept to know when it changes."""

    context: tuple[Any, ...]
    reads: list[ViewRead]
    feature_types: dict[str, ValueType]
    versions: dict[str, int]
    columnar: bool

    @classmethod
    def of(cls, context: tuple[Any, ...], config: RepoConfig, full_names: bool) -> Plan:
        """The reads for Feast's request context; not `columnar` where on-demand views take part."""
        groups = context[5]
        if context[1] or not all(isinstance(view, FeatureView) for view, _ in groups):
            return cls(context, [], {}, {}, columnar=False)
        return cls(
            context=context,
            reads=[ViewRead.of(view, features, config, full_names) for view, features in groups],
            feature_types=OnlineStore._build_feature_types(groups),
            versions=versions_of(view for view, _ in groups),
            columnar=True,
        )

    def entities(self, given: Mapping[str, Sequence[Any]]) -> dict[str, EntityColumn]:
        """The join keys of the request by name; other columns are left out. Raises ValueError for what is no key."""
        names, types, join_keys = self.context[2:5]
        found = {}
        for name, values in given.items():
            if name in join_keys:
                found[name] = EntityColumn.of(name, values, types.get(name, ValueType.UNKNOWN))
            elif name in names:
                warnings.warn("Using entity name is deprecated. Use join_key instead.", stacklevel=2)
                found[names[name]] = EntityColumn.of(name, values, types.get(name, ValueType.UNKNOWN))
        return found


def request_context(
    registry: BaseRegistry, project: str, features: list[str] | FeatureService, full_names: bool
) -> tuple[Any, ...]:
    """Feast's resolution of the features, cached by Feast for as long as its registry cache is valid."""
    context: tuple[Any, ...] = utils._get_cached_request_context(registry, project, features, full_names)
    return context


def table_name(config: RepoConfig, view: View) -> str:
    """The table of a view; projects that share a path keep apart, and so do versions that the view's tag tells."""
    name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
    version = view.tags.get(TABLE_VERSION)
    return f"{config.project}/{name}@{version}" if version else f"{config.project}/{name}"


def versions_of(views: Iterable[View]) -> dict[str, int]:
    """The version of each view, by the name it goes under; of one asked for in several versions, the first."""
    versions: dict[str, int] = {}
    for view in views:
        name = view.projection.name_alias or view.projection.name
        versions.setdefault(name, getattr(view, "current_version_number", 0) or 0)
    return versions


def columns_of(given: EntityRows) -> tuple[dict[str, list[Any]], int]:
    """The request's columns as lists, and the number of rows. Raises ValueError where they are uneven."""
    columns = {name: as_list(name, values) for name, values in _by_column(given).items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        sizes = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise ValueError(f"all entity columns must have the same length; got {sizes}")
    return columns, lengths.pop() if lengths else len(given)


def _by_column(given: EntityRows) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    if not given:
        return {}
    names = given[0].keys()
    if any(row.keys() != names for row in given):
        raise ValueError("All entity_rows must have the same keys.")
    return {name: [row[name] for row in given] for name in names}


def as_list(name: str, values: Any) -> list[Any]:
    """A list from a list, a NumPy array, a pandas, Polars or Arrow column, or a repeated protobuf value."""
    if isinstance(values, list):
        return values
    if isinstance(values, RepeatedValue):
        return list(values.val)
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(values, method):
            listed = getattr(values, method)()
            if isinstance(listed, list):
                return listed
            break
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return list(values)
    raise ValueError(f"entity {name!r}: give a list of values, one a row, not {type(values).__name__}")
