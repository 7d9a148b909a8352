"""Features as columns: what the store answers and what predictors read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.errors import StateError

Mask = npt.NDArray[np.bool_]
Users = str | None | Sequence[str | None]
"""The user of all rows, or one for each row; None is for no one in particular."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a read is to give: `features` of the rows, `related` ones of the contents that a user's lists name, and of
    both the `stamps` of some views' rows, columns named by `stamp`.
    """

    features: frozenset[str]
    related: frozenset[str] = frozenset()
    stamps: frozenset[str] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        """What either wants."""
        return Wanted(self.features | other.features, self.related | other.related, self.stamps | other.stamps)


def stamp(view: str) -> str:
    """The column, (n,) int64, that tells versions of a view's row apart: another number once its values have changed,
    and 0, not present, where there is no row.
    """
    return f"{view}@"


@dataclass(frozen=True, slots=True)
class Columns:
    """Named columns over the same n rows.

    A number column is (n,) float64 with NaN where absent, a time the same in µs since 1970, a vector column (n, dim)
    float32 with NaN rows where absent, any other column (n,) object with None where absent: so is a list of Float64,
    which may have any length. `present[name]` is (n,) bool.
    `related[name]` has a row for each key that a list of column `name` holds: of the contents a user met, say.
    """

    rows: int
    values: dict[str, npt.NDArray[Any]]
    present: dict[str, Mask]
    related: Mapping[str, Columns] = field(default_factory=dict)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Columns:
        """Columns of a Polars frame, so that training and serving go through the same arrays."""
        values: dict[str, npt.NDArray[Any]] = {}
        present: dict[str, Mask] = {}
        for series in frame:
            present[series.name] = series.is_not_null().to_numpy()
            values[series.name] = _to_array(series)
        return cls(frame.height, values, present)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A number column, (n,) float64. Raises StateError where it is not there."""
        return self._get(name).astype(np.float64, copy=False)

    def vectors(self, name: str) -> npt.NDArray[np.float32]:
        """A vector column, (n, dim) float32. Raises StateError where it is not there."""
        return self._get(name).astype(np.float32, copy=False)

    def objects(self, name: str) -> npt.NDArray[np.object_]:
        """A column of strings or lists, (n,) object. Raises StateError where it is not there."""
        return self._get(name).astype(object, copy=False)

    def take(self, rows: npt.NDArray[np.intp] | Sequence[int]) -> Columns:
        """The given rows, in the given order."""
        picked = np.asarray(rows, np.intp)
        return Columns(
            len(picked),
            {k: v[picked] for k, v in self.values.items()},
            {k: v[picked] for k, v in self.present.items()},
            self.related,
        )

    def beside(self, other: Columns) -> Columns:
        """These columns and those of `other`, which has as many rows."""
        if other.rows != self.rows:
            raise ValueError(f"{other.rows} rows cannot stand beside {self.rows}")
        related = {**self.related, **other.related}
        return Columns(self.rows, self.values | other.values, self.present | other.present, related)

    def with_related(self, related: Mapping[str, Columns]) -> Columns:
        """These columns, with these tables of what their lists name."""
        return replace(self, related={**self.related, **related})

    def _get(self, name: str) -> npt.NDArray[Any]:
        try:
            return self.values[name]
        except KeyError:
            raise StateError(f"feature {name!r} was not read; there are: {', '.join(sorted(self.values))}") from None


def _to_array(series: pl.Series) -> npt.NDArray[Any]:
    if isinstance(series.dtype, pl.Array):
        return series.to_numpy().astype(np.float32, copy=False)  # a null row comes out as NaN
    if isinstance(series.dtype, pl.List) and series.dtype.inner == pl.Float32:
        dims = series.list.len().drop_nulls().unique()
        dim = int(dims[0]) if len(dims) == 1 else 0
        return (
            _to_array(series.cast(pl.Array(pl.Float32, dim))) if dim else np.full((len(series), 0), np.nan, np.float32)
        )
    if isinstance(series.dtype, pl.Datetime):
        series = series.dt.epoch("us")
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    items = series.to_list()
    array = np.empty(len(items), object)
    array[:] = items
    return array
