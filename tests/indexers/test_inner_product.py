"""The lift from inner products to cosines keeps their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from indexers.inner_product import lifted, lifted_queries
from indexers.kinds import Exact, Matrix, unit_rows
from tests.indexers.conftest import Indexed

NUMBERS = st.floats(-100, 100, width=32)
ROWS = st.integers(1, 20).flatmap(lambda n: arrays(np.float32, (n, 3), elements=NUMBERS))


@given(ROWS, arrays(np.float32, 3, elements=NUMBERS))
def test_a_cosine_is_the_inner_product_by_what_all_rows_share(rows: Matrix, query: Matrix) -> None:
    high = lifted(rows)
    assert high.shape == (len(rows), 4)
    assert high.dtype == np.float32
    longest = np.linalg.norm(rows, axis=1).max()
    np.testing.assert_allclose(np.linalg.norm(high, axis=1), longest, rtol=1e-5)
    unit, _ = unit_rows(high, "rows")
    [towards], _ = unit_rows(lifted_queries(query[np.newaxis]), "query")
    shared = longest * np.linalg.norm(query)
    np.testing.assert_allclose(shared * (unit @ towards), rows @ query, atol=1e-4 * max(shared, 1e-6))


def test_an_index_of_lifted_rows_finds_the_greatest_inner_products(indexed: Indexed) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 8)) * rng.uniform(0.1, 3, (500, 1))).astype(np.float32)
    queries = rng.normal(size=(20, 8)).astype(np.float32)
    index = indexed(Exact(), lifted(rows))
    found = [[int(one.content_id[1:]) for one in row] for row in index.search(lifted_queries(queries), 10)]
    assert found == np.argsort(-(queries @ rows.T), axis=1)[:, :10].tolist()
    unit, _ = unit_rows(rows, "rows")
    assert found != np.argsort(-(queries @ unit.T), axis=1)[:, :10].tolist(), "by cosine they are others"


@pytest.mark.parametrize("rows", [np.empty((0, 3), np.float32), np.zeros((2, 3), np.float32)])
def test_nothing_is_lifted_to_nothing(rows: Matrix) -> None:
    assert lifted(rows).tolist() == np.zeros((len(rows), 4)).tolist()
