"""Where the features of a view lie in its table, and how they get in and out.

A column is named after its feature and the feature's type, so one whose type changes starts anew and is never misread.
An `Array(Float32)` becomes a matrix: as wide as `Field(vector_length=...)` says, or else as the first vectors written.
Vectors of any other length go into a second column of bytes beside it, so no row is lost or has to be rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from feast import FeatureView, Field, OnDemandFeatureView, ValueType
from feast.protos.feast.types.Value_pb2 import (
    BoolList,
    BytesList,
    DoubleList,
    FloatList,
    Int32List,
    Int64List,
    StringList,
    Value,
)
from feast.type_map import python_values_to_proto_values

from feature_repo.columnar.item_lists import ItemList
from feature_repo.columnar.lists import NumberList, TimeList, Vector, common_width, pack_rows
from feature_repo.columnar.scalars import Blob, Number, Opaque, Text, Time
from feature_repo.columnar.storage import Column
from feature_repo.columnar.values import Cells, Codec, Raw
from feature_repo.errors import StateError

View = FeatureView | OnDemandFeatureView

# When each row's source last changed, µs since 1970: beside the features, whose columns' names all have a colon
CREATED = Column("created", "i8")

_FLOATS = NumberList(ValueType.FLOAT_LIST, "float_list_val", "f4", pa.float32(), FloatList)

_CODECS: dict[ValueType, Codec] = {
    codec.value_type: codec
    for codec in (
        Number(ValueType.FLOAT, "float_val", "f4", pa.float32()),
        Number(ValueType.DOUBLE, "double_val", "f8", pa.float64()),
        Number(ValueType.INT32, "int32_val", "i4", pa.int32()),
        Number(ValueType.INT64, "int64_val", "i8", pa.int64()),
        Number(ValueType.BOOL, "bool_val", "bool", pa.bool_()),
        Time(ValueType.UNIX_TIMESTAMP, "unix_timestamp_val", "i8", pa.timestamp("s", "UTC")),
        Text(ValueType.STRING, "string_val"),
        Blob(ValueType.BYTES, "bytes_val"),
        Blob(ValueType.PDF_BYTES, "bytes_val"),
        Blob(ValueType.IMAGE_BYTES, "bytes_val"),
        _FLOATS,
        NumberList(ValueType.DOUBLE_LIST, "double_list_val", "f8", pa.float64(), DoubleList),
        NumberList(ValueType.INT32_LIST, "int32_list_val", "i4", pa.int32(), Int32List),
        NumberList(ValueType.INT64_LIST, "int64_list_val", "i8", pa.int64(), Int64List),
        NumberList(ValueType.BOOL_LIST, "bool_list_val", "bool", pa.bool_(), BoolList),
        TimeList(ValueType.UNIX_TIMESTAMP_LIST, "unix_timestamp_list_val", "i8", pa.timestamp("s", "UTC"), Int64List),
        ItemList(ValueType.STRING_LIST, "string_list_val", pa.string(), StringList),
        ItemList(ValueType.BYTES_LIST, "bytes_list_val", pa.binary(), BytesList),
    )
}


def codec_for(value_type: ValueType) -> Codec:
    """The codec of a Feast type; those without one of their own are opaque."""
    return _CODECS.get(value_type) or Opaque(value_type, "")


def fields_of(view: View) -> dict[str, Field]:
    """The features of a view, by name; an on-demand view that is written online keeps its inputs too."""
    fields = {field.name: field for field in view.features}
    if isinstance(view, OnDemandFeatureView):
        fields |= {field.name: field for field in view.schema}
    return fields


@dataclass(frozen=True)
class Place:
    """Where one feature lies: its column, and for vectors the column of those of another length beside it."""

    codec: Codec
    name: str
    ragged: str | None
    width: int

    @classmethod
    def of(cls, field: Field) -> Place:
        """The place of a feature."""
        value_type = field.dtype.to_value_type()
        codec = codec_for(value_type)
        name = f"{field.name}:{value_type.name}{codec.encoding}"
        vectors = codec is _FLOATS
        return cls(codec, name, f"{name}:ragged" if vectors else None, field.vector_length if vectors else 0)

    @property
    def earlier(self) -> str:
        """The name of its column where the type was once encoded otherwise, else that of today."""
        return self.name.removesuffix(self.codec.encoding)

    def fresh(self) -> Column | None:
        """Its column in a new table; None where the width of the vectors is yet to be seen."""
        if self.ragged is None:
            return Column(self.name, self.codec.dtype if isinstance(self.codec, Number) else "bytes")
        return Column(self.name, "f4", self.width) if self.width else None


class ViewLayout:
    """The features of one view over the columns that its table has."""

    def __init__(self, view: View, stored: Sequence[Column]) -> None:
        self.stored = tuple(stored)
        self._columns = {column.name: column for column in stored}
        self._places = {name: Place.of(field) for name, field in fields_of(view).items()}

    def has(self, feature: str) -> bool:
        """Whether the feature has a column."""
        return self._places[feature].name in self._columns

    def names(self, features: Sequence[str]) -> list[str]:
        """The columns that hold these features. Raises StateError where one is stored as an older version did."""
        places = [self._places[feature] for feature in features]
        for place in places:
            if place.name not in self._columns and place.earlier in self._columns:
                raise StateError(
                    f"{place.earlier}: stored by an older version; run `feast apply` and materialize again"
                )
        names = [place.name for place in places] + [place.ragged for place in places if place.ragged]
        names.append(CREATED.name)
        return [name for name in names if name in self._columns]

    def cells(self, feature: str, rows: int, columns: Mapping[str, Any]) -> Cells:
        """One feature of the rows that have been read; null where it was never written."""
        place = self._places[feature]
        found = columns.get(place.name)
        if found is None:
            return place.codec.nulls(rows)
        if isinstance(found, list):
            return Cells(place.codec, found)
        values, mask = found
        if place.ragged is None:
            return Cells(place.codec, values, mask)
        others = columns.get(place.ragged)
        if others is None or not any(row is not None for row in others):
            return Cells(_vector(values.shape[1]), values, mask)
        pairs = zip(pack_rows((values, mask)), others, strict=True)
        return Cells(place.codec, [row if other is None else other for row, other in pairs])

    def desired(self) -> list[Column]:
        """The columns that the view should have, as far as they can be known before a write."""
        columns = []
        for place in self._places.values():
            fresh, known = place.fresh(), self._columns.get(place.name)
            if fresh is not None and known != fresh:
                columns.append(fresh)
                continue
            if known is not None:
                columns.append(known)
            if place.ragged in self._columns:
                columns.append(self._columns[place.ragged])
        return [*columns, CREATED]

    def place(self, feature: str, raw: Raw) -> list[tuple[Column, Any]]:
        """The columns that a feature is to be written to, and what goes into each."""
        place = self._places[feature]
        column = self._columns.get(place.name) or place.fresh()
        if place.ragged is None:
            return [(column, raw if isinstance(place.codec, Number) else pack_rows(raw))] if column else []
        if column is None:
            width = common_width(raw, itemsize=4)
            if width == 0:
                return []
            column = Column(place.name, "f4", width) if width else Column(place.name, "bytes")
        if not column.width:
            return [(column, pack_rows(raw))]
        fitting, others = _vector(column.width).split(raw)
        if others is None and place.ragged not in self._columns:
            return [(column, fitting)]
        return [(column, fitting), (Column(place.ragged, "bytes"), others or [None] * len(fitting[0]))]

    def from_protos(self, feature: str, protos: Sequence[Value]) -> Raw:
        """A feature's values as they are stored. Raises ValueError, naming the feature, for one of another type."""
        try:
            return self._places[feature].codec.from_protos(protos)
        except ValueError as error:
            raise ValueError(f"feature {feature!r}, {error}") from error

    def from_arrow(self, feature: str, array: pa.Array) -> Raw:
        """A feature's column as it is stored; through Feast's own conversion where the types are not plain."""
        codec = self._places[feature].codec
        raw = codec.from_arrow(array)
        if raw is not None:
            return raw
        values = array.to_numpy(zero_copy_only=False)
        if pa.types.is_map(array.type):  # comes out as lists of pairs, which Feast does not know for maps
            values = [None if pairs is None else dict(pairs) for pairs in values]
        protos = python_values_to_proto_values(values, codec.value_type)
        return self.from_protos(feature, protos)


def _vector(width: int) -> Vector:
    return Vector(_FLOATS.value_type, _FLOATS.field, _FLOATS.dtype, _FLOATS.item, _FLOATS.container, width)
