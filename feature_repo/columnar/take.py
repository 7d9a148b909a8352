"""Rows of columns by number, with nulls where there is no row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa


def take(frame: pl.DataFrame, rows: npt.NDArray[np.int64]) -> dict[str, pl.Series]:
    """Each column's values at `rows`, null at -1.

    Numbers without nulls, which most features are, go by numpy, and all such columns share one mask.
    """
    missing = rows < 0
    some = bool(missing.any())
    if not frame.height:
        return {column.name: pl.Series(column.name, [None] * len(rows), column.dtype) for column in frame}
    places = np.maximum(rows, 0) if some else rows
    mask = pa.py_buffer(np.packbits(~missing, bitorder="little")) if some else None
    nulls = int(missing.sum())
    numbers = pl.Series(rows).set(pl.Series(missing), None) if some else pl.Series(rows)
    found = {}
    for column in frame:
        if column.dtype.is_numeric() and not column.dtype.is_decimal() and not column.null_count():
            values = column.to_numpy().take(places, mode="clip")  # "clip" spares a pass that looks for bad numbers
            array = pa.Array.from_buffers(
                pa.from_numpy_dtype(values.dtype), len(rows), [mask, pa.py_buffer(values)], nulls
            )
            found[column.name] = pl.Series(column.name, array)
        else:
            found[column.name] = column.gather(numbers)
    return found
