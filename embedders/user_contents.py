"""Contents in the space of users' vectors: a user's inner product with one is how likely that comes next."""

from __future__ import annotations

from itertools import compress

import numpy as np

from embedders.user_runner import load_user_model
from embedders.user_specs import resolve_user_spec
from feature_repo.catalog import Catalog
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from feature_repo.vectors import Vectors

_AT_ONCE = 16_384  # contents: 0.1 GB of what the usual embeddings say of them


def content_vectors(name: str, settings: Settings, catalog: Catalog) -> Vectors:
    """What the model behind the users' vectors in use makes of contents, sorted by id; `matrix` is (n, dim).

    A content of which the model knows neither a vector nor the id looks like any other such one, and is left out.
    Raises StateError where the model, or the contents' vectors that it reads, are others by now.
    """
    used = catalog.user_ledger.embeddings()[name]
    spec = resolve_user_spec(name, settings, used.rows)
    if spec.digest != used.spec_digest:
        raise StateError(
            f"users' vectors {name} are of spec {used.spec_digest}, their model makes {spec.digest}: "
            f"run `larder embed {name}`, then `larder apply` and `larder materialize {name}`"
        )
    model = load_user_model(spec, settings, catalog)
    ids = sorted(item.content.content_id for item in catalog.items())
    known = list(compress(ids, model.inputs.knows(ids)))
    parts = [known[at : at + _AT_ONCE] for at in range(0, len(known), _AT_ONCE)]
    matrix = np.concatenate([np.empty((0, spec.dim), np.float32), *(model.items(part).cpu().numpy() for part in parts)])
    return Vectors(name, spec.digest, known, matrix)
