"""Rows of columns by number, with nulls where there is no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from feature_repo.columnar.instants import IntArray

# Rows turned at a time: what is read and what is written stay in the cache.
_BLOCK = 4096


def take(frame: pl.DataFrame, rows: IntArray) -> dict[str, pl.Series]:
    """Each column's values at `rows`, null at -1.

    Numbers without nulls, which most features are, go by numpy, those of one type together, and share one mask.
    """
    if not frame.height:
        return {column.name: pl.Series(column.name, [None] * len(rows), column.dtype) for column in frame}
    missing = rows < 0
    nulls = int(missing.sum())
    places = np.maximum(rows, 0) if nulls else rows
    mask = pa.py_buffer(np.packbits(~missing, bitorder="little")) if nulls else None
    found = {}
    for columns in _plain_numbers(frame):
        for column, values in zip(columns, _gather([column.to_numpy() for column in columns], places), strict=True):
            buffers = [mask, pa.py_buffer(values)]
            array = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(rows), buffers, nulls)
            found[column.name] = pl.Series(column.name, array)
    numbers = pl.Series(rows).set(pl.Series(missing), None) if nulls else pl.Series(rows)
    return {column.name: found[column.name] if column.name in found else column.gather(numbers) for column in frame}


def _plain_numbers(frame: pl.DataFrame) -> list[list[pl.Series]]:
    """The columns of numbers without nulls, by type."""
    kinds: dict[Any, list[pl.Series]] = {}
    for column in frame:
        if column.dtype.is_numeric() and not column.dtype.is_decimal() and not column.null_count():
            kinds.setdefault(column.dtype, []).append(column)
    return list(kinds.values())


def _gather(columns: Sequence[npt.NDArray[Any]], places: IntArray) -> npt.NDArray[Any]:
    """(k, n) values of k columns at n places.

    Side by side, the values of a row are one cache miss instead of k: worth turning the columns to rows and back.
    """
    if len(columns) == 1:
        return columns[0].take(places, mode="clip")[None]  # "clip" spares a pass that looks for bad numbers
    table = np.empty((len(columns[0]), len(columns)), columns[0].dtype)
    for at in range(0, len(table), _BLOCK):
        for number, column in enumerate(columns):
            table[at : at + _BLOCK, number] = column[at : at + _BLOCK]
    found = np.empty((len(columns), len(places)), table.dtype)
    for at in range(0, len(places), _BLOCK):
        found[:, at : at + _BLOCK] = table.take(places[at : at + _BLOCK], axis=0, mode="clip").T
    return found
