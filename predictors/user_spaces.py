"""Contents in the spaces of users' vectors: indexes that are made for a release and pinned by it.

What the model of users says of a content that comes next is an inner product, so the index holds the model's vectors of
contents lifted (`indexers.inner_product`) and is otherwise one as any: its version is named by what is in it, it is
published whole, verified when it is loaded, and mapped. It compares every content. Users' vectors lie elsewhere than
contents': on 10,000 random contents a graph that passes the recall gate with 0.999, asked for contents, finds 0.68 of
what users ask for. At 65 numbers a row a scan of 100,000 takes 4 ms of a core.
"""

from __future__ import annotations

from dataclasses import replace

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from indexers.build import build_of
from indexers.inner_product import lifted
from indexers.kinds import Exact
from predictors.pins import UserPin


def pin(settings: Settings, catalog: Catalog, name: str) -> UserPin:
    """The users' vectors in use, and the index of all contents in their space, which is made where it is not there.

    Raises StateError where the model or the contents' vectors are others than those behind the users' vectors.
    """
    from embedders.user_contents import content_vectors  # with torch, which no one else here needs

    contents = content_vectors(name, settings, catalog)
    manifest = build_of(settings, catalog, replace(contents, matrix=lifted(contents.matrix)), Exact())
    return UserPin(contents.spec_digest, contents.matrix.shape[1], manifest.version)
