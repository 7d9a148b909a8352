"""Share of nearest neighbours with a tag in common, against random pairs, over every content of a workspace.

Usage: LARDER_HOME=<workspace> python -m benchmarks.neighbours [--show TITLE ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Row, machine, publish
from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from indexers.search import VectorIndex

K = 10
FLOOR = 1.3  # times the share of random pairs


def shares_tag(tags: npt.NDArray[np.bool_], rows: npt.NDArray[np.intp], others: npt.NDArray[np.intp]) -> float:
    """Mean over pairs of whether both contents bear one of the (contents, tags) `tags`."""
    return float((tags[rows] & tags[others]).any(1).mean())


def compare(index: VectorIndex, tags_of: dict[str, Sequence[str]]) -> tuple[float, float]:
    """The share among the `K` nearest of every content, and among random pairs."""
    ids = list(index.content_ids)
    words = sorted({tag for content_id in ids for tag in tags_of[content_id]})
    tags = np.array([[word in tags_of[content_id] for word in words] for content_id in ids])
    positions, _ = index.nearest(index.vectors_of(ids)[0], K + 1)
    near = [[p for p in row if p != own][:K] for own, row in enumerate(positions.tolist())]
    own = np.repeat(np.arange(len(ids)), K)
    strangers = (own + np.random.default_rng(0).integers(1, len(ids), len(own))) % len(ids)
    return shares_tag(tags, own, np.array(near).ravel()), shares_tag(tags, own, strangers)


def main() -> None:
    """Measure every embedding of the workspace, and print the neighbours of the titles that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", nargs="*", default=[], metavar="TITLE")
    wanted = parser.parse_args().show
    settings = load_settings()
    rows = []
    with Catalog(settings.catalog) as catalog:
        contents = {item.content.content_id: item.content for item in catalog.items()}
        for name in catalog.embeddings():
            index = VectorIndex.load(settings, name)
            near, random = compare(index, {c: content.tags for c, content in contents.items()})
            claim = f"{name}: share of {K} nearest with a tag in common, against random pairs"
            rows.append(Row(claim, near, random, FLOOR, "share", 1, machine()))
            for content in contents.values():
                if content.title in wanted and content.content_id in index:
                    [found] = index.similar([content.content_id], K)
                    print(f"{name}, {content.title}: " + "; ".join(contents[n.content_id].title for n in found))
    publish("neighbours", rows)


if __name__ == "__main__":
    main()
