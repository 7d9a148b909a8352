"""Search by inner product with indexes of the cosine.

A row x becomes (x, sqrt(M² - |x|²)), M the length of the longest, so that all are equally long; a query q becomes
(q, 0). Their cosine is then q·x / (|q| M): of one query, in the order of the inner products. After Bachrach et al.,
Speeding up the Xbox recommender system using a Euclidean transformation for inner-product spaces, RecSys 2014.
"""

from __future__ import annotations

import numpy as np

from indexers.kinds import Matrix


def lifted(rows: Matrix) -> Matrix:
    """(n, d) to (n, d + 1), all of the greatest length among them."""
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    rest = np.sqrt(squares.max(initial=0.0) - squares)
    return np.column_stack([rows, rest]).astype(np.float32)


def lifted_queries(queries: Matrix) -> Matrix:
    """(q, d) to (q, d + 1), to be searched with among lifted rows."""
    return np.pad(queries, ((0, 0), (0, 1)))
