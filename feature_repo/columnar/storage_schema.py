"""Columns, and how a row of them lies in a slot of the slot file.

A slot holds one version of one row at a fixed stride: event time, key (so that a look-up can be checked), scalars,
vectors, null flags. Small columns come first, so a read that wants no vector touches the head of a slot alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from feature_repo.errors import ConfigurationError, NotFoundError

BYTES = "bytes"
FIXED_KINDS = ("f4", "f8", "i4", "i8", "bool")
MAX_KEY_WIDTH = 64
CACHE_LINE = 64
# Copying the start of each slot pays once that is this share of the slot or less.
PARTIAL = 0.75
_SELECTIONS = 256


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `kind` is f4, f8, i4, i8, bool or bytes; `width` > 0 makes it a vector of so many values."""

    name: str
    kind: str
    width: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*FIXED_KINDS, BYTES):
            raise ConfigurationError(
                f"column {self.name!r}: unknown kind {self.kind!r}; valid: {', '.join(FIXED_KINDS)}, {BYTES}"
            )
        if self.width < 0 or (self.width and self.kind == BYTES):
            raise ConfigurationError(f"column {self.name!r}: width {self.width} does not fit kind {self.kind}")

    @property
    def fixed(self) -> bool:
        """Whether every value has the same size, and so lies in the slot."""
        return self.kind != BYTES

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value: () or (width,)."""
        return (self.width,) if self.width else ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian numpy dtype of one element of a fixed column."""
        return np.dtype(np.bool_) if self.kind == "bool" else np.dtype(f"<{self.kind}")

    @property
    def size(self) -> int:
        """Bytes of one value of a fixed column."""
        return self.dtype.itemsize * max(self.width, 1)


@dataclass(frozen=True)
class Layout:
    """Where each fixed column lies in a slot. `key_width` is the room for the key, a multiple of 8 bytes."""

    columns: tuple[Column, ...]
    key_width: int

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Structured dtype of one slot: `event`, `key`, `valid`, `v0`, `v1` and so on."""
        scalars = [c for c in self.columns if not c.width]
        vectors = [c for c in self.columns if c.width]
        fields: list[tuple[str, Any, tuple[int, ...]]] = [("event", "<i8", ()), ("key", f"S{self.key_width}", ())]
        fields += [self._field(c) for c in sorted(scalars, key=lambda c: -c.size)]
        fields += [("valid", "?", (max(len(self.columns), 1),))]
        fields += [self._field(c) for c in vectors]
        names, formats, offsets, end = [], [], [], 0
        for name, kind, shape in fields:
            base = np.dtype(kind)
            unit = 1 if base.kind == "S" else base.itemsize
            end = -(-end // unit) * unit
            names.append(name)
            formats.append((base, shape) if shape else base)
            offsets.append(end)
            end += base.itemsize * int(np.prod(shape, initial=1))
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self._stride(end)})

    def _field(self, column: Column) -> tuple[str, Any, tuple[int, ...]]:
        return (self.field(column.name), column.dtype, column.shape)

    @staticmethod
    def _stride(end: int) -> int:
        """Rows of some size start at a cache line; small ones would pay too much padding for that."""
        unit = CACHE_LINE if end >= 8 * CACHE_LINE else 8
        return -(-end // unit) * unit

    @cached_property
    def order(self) -> dict[str, int]:
        """Column name to its number among the fixed columns."""
        return {column.name: number for number, column in enumerate(self.columns)}

    def field(self, name: str) -> str:
        """Field name of a column: numbered, since a column may be called `event`."""
        return f"v{self.order[name]}"

    @cached_property
    def head(self) -> int:
        """Bytes from a slot's start that hold all but the vectors."""
        fields: Any = self.dtype.fields
        return int(fields["valid"][1] + fields["valid"][0].itemsize)

    def part(self, names: Sequence[str]) -> np.dtype[Any]:
        """Dtype of what a read of `names` copies of a slot: all, or its start where that saves enough."""
        fields: Any = self.dtype.fields
        ends = {field: offset + kind.itemsize for field, (kind, offset, *_) in fields.items()}
        end = max([self.head, *(ends[self.field(name)] for name in names)])
        if end > PARTIAL * self.dtype.itemsize:
            return self.dtype
        kept = [field for field in fields if ends[field] <= end]
        return np.dtype(
            {
                "names": kept,
                "formats": [fields[field][0] for field in kept],
                "offsets": [fields[field][1] for field in kept],
                "itemsize": end,
            }
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """What a read of some columns needs: worked out once for a schema and a choice of columns.

    `part`: dtype of what is copied of a slot. `fixed`: name, field, number. `variable`: names; `positions`: of these.
    """

    part: np.dtype[Any]
    fixed: tuple[tuple[str, str, int], ...]
    variable: tuple[str, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class TableInfo:
    """What the environment knows about a table.

    `positions` says where each bytes column lies in a row's record; a dropped column's position is not used again.
    `generation` numbers the slot file; a change of the fixed columns writes a new one.
    """

    name: str
    id: int
    columns: tuple[Column, ...]
    positions: dict[str, int]
    next_position: int
    generation: int = 0
    key_width: int = 0

    @cached_property
    def layout(self) -> Layout:
        """Layout of the fixed columns."""
        return Layout(tuple(c for c in self.columns if c.fixed), self.key_width)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @property
    def slots_name(self) -> str:
        """File name of the slot file."""
        return f"{self.id}-{self.generation}.slots"

    def column(self, name: str) -> Column:
        """A column by name. Raises NotFoundError."""
        if name not in self.by_name:
            raise NotFoundError(
                f"table {self.name!r} has no column {name!r}; it has {', '.join(sorted(self.by_name)) or 'none'}"
            )
        return self.by_name[name]

    @cached_property
    def _selections(self) -> dict[tuple[str, ...], Selection]:
        return {}

    def select(self, names: Sequence[str]) -> Selection:
        """What a read of `names` needs. Raises NotFoundError."""
        chosen = tuple(names)
        found = self._selections.get(chosen)
        if found is None:
            columns = [self.column(name) for name in chosen]
            layout = self.layout
            fixed = tuple(column.name for column in columns if column.fixed)
            variable = tuple(column.name for column in columns if not column.fixed)
            found = Selection(
                layout.part(fixed),
                tuple((name, layout.field(name), layout.order[name]) for name in fixed),
                variable,
                tuple(self.positions[name] for name in variable),
            )
            if len(self._selections) >= _SELECTIONS:
                self._selections.clear()
            self._selections[chosen] = found
        return found

    def with_key_width(self, width: int) -> TableInfo:
        """With so much room for the key in a slot."""
        return replace(self, key_width=width)

    def dump(self) -> bytes:
        """JSON bytes."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @staticmethod
    @lru_cache(maxsize=1024)
    def load(raw: bytes) -> TableInfo:
        """From `dump`'s bytes."""
        value = json.loads(raw)
        return TableInfo(**{**value, "columns": tuple(Column(**column) for column in value["columns"])})


def check_schema(name: str, schema: Sequence[Column]) -> tuple[Column, ...]:
    """The schema as a tuple. Raises ConfigurationError for a repeated column name."""
    names = [column.name for column in schema]
    repeated = sorted({column for column in names if names.count(column) > 1})
    if repeated:
        raise ConfigurationError(f"table {name!r}: columns {', '.join(repeated)} come twice; give each its own name")
    return tuple(schema)


def evolved(info: TableInfo, schema: tuple[Column, ...]) -> TableInfo:
    """`info` with another schema: columns of the same name and type keep their values."""
    positions: dict[str, int] = {}
    following = info.next_position
    for column in schema:
        if column.fixed:
            continue
        if column.name in info.positions:
            positions[column.name] = info.positions[column.name]
        else:
            positions[column.name], following = following, following + 1
    old = tuple(c for c in info.columns if c.fixed)
    new = tuple(c for c in schema if c.fixed)
    generation = info.generation if old == new else info.generation + 1
    return TableInfo(info.name, info.id, schema, positions, following, generation, info.key_width)
