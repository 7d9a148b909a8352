"""Compiled loops do without a place to be kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from predictors.compiled import compiled

_TWICE = """
def twice(x):
    for place in range(len(x)):
        x[place] *= 2
"""


def test_a_loop_of_no_file_is_compiled_all_the_same() -> None:
    made: dict[str, Any] = {}
    exec(_TWICE, made)  # numba finds no file of it, as where none can be written
    loop, x = compiled("void(f4[::1])")(made["twice"]), np.arange(3, dtype=np.float32)
    loop(x)
    assert x.tolist() == [0, 2, 4]
    assert not loop.stats.cache_path
