"""What a catalog's size costs: memory of a run over 5,000 and over 20,000 made contents, and a run after 1 % changed.

Each run is a process of its own, whose peak memory the system reports. Contents have texts alone, so that they are made
quickly; what is asked for by another embedding gets tiny pictures, so that what grows with the catalog would show.

Usage: python -m benchmarks.embed_incremental [--contents 20000] [--embedding minilm] [--media 32]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, machine, publish
from benchmarks.serve_world import Feed
from embedders.runner import run
from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.contracts import Modality
from feature_repo.datasets.synthetic import Synthetic
from feature_repo.ingest import BATCH
from feature_repo.settings import load_settings

CHANGED = 100  # every so many contents, one
SHARE, SPARE_S = 0.02, 3.0
MEMORY = 1.1


def fill(home: Path, contents: int, name: str, size: int) -> None:
    """A catalog of made contents, for an embedding of pictures with some of `size` pixels a side."""
    made = Feed if SPECS[name].modality is Modality.TEXT else Synthetic
    world = made(contents, 10, seed=1, media_dir=home / "media", image_size=size, clips=False)
    with Catalog(load_settings(home=home).catalog) as catalog:
        source = iter(world.contents())
        while batch := list(islice(source, BATCH)):
            catalog.upsert_contents(batch, world.name)


def change(home: Path) -> int:
    """Give one content in a hundred another title and, where it has one, another picture; how many there are."""
    with Catalog(load_settings(home=home).catalog) as catalog:
        some = [item.content for item in islice(catalog.items(), 0, None, CHANGED)]
        pictures = [content.media[Modality.IMAGE] for content in some if content.media]
        turned = [path.read_bytes() for path in pictures[1:] + pictures[:1]]
        for path, data in zip(pictures, turned, strict=True):
            path.write_bytes(data)
        catalog.upsert_contents([replace(content, title=f"{content.title}, again") for content in some], "synthetic")
    return len(some)


def embed(home: Path, name: str) -> dict[str, Any]:
    """A run in a process of its own: its seconds without loading the model, its peak in MiB, and its report."""
    command = [sys.executable, "-m", "benchmarks.embed_incremental", "--child", str(home), "--embedding", name]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def child(home: Path, name: str) -> None:
    """What the process does."""
    settings = load_settings(home=home, device="cpu")
    with Catalog(settings.catalog) as catalog:
        start = time.perf_counter()
        report = run(name, settings, catalog)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds -= report.seconds["load"]
    told = {"encoded": report.encoded, "fresh": report.fresh, "stages": report.seconds}
    print(json.dumps({"seconds": seconds, "peak": peak} | told))


def rows(folder: Path, contents: int, name: str, size: int) -> list[Row]:
    """The claims."""
    runs = {}
    for count in (contents // 4, contents):
        home = folder / str(count)
        fill(home, count, name, size)
        runs[count] = embed(home, name)
        assert runs[count]["encoded"] == count, runs[count]
    small, full = runs[contents // 4], runs[contents]
    changed = change(folder / str(contents))
    again = embed(folder / str(contents), name)
    assert (again["encoded"], again["fresh"]) == (changed, contents - changed), again
    idle = embed(folder / str(contents), name)
    for said, found in (("first", full), ("1 % changed", again), ("nothing changed", idle)):
        print(said, json.dumps(found))
    bound = SHARE * full["seconds"] + SPARE_S
    claim = f"{name}: {{}} of {contents:,} contents"
    return [
        Row(
            claim.format("peak memory over that of a quarter"),
            full["peak"],
            small["peak"],
            MEMORY,
            "MiB",
            1,
            machine(),
            True,
        ),
        Row(claim.format("1 % changed"), again["seconds"], bound, 1.0, "s, over 2 % + 3 s", 1, machine(), True),
        Row(claim.format("nothing changed"), idle["seconds"], bound, 1.0, "s, over 2 % + 3 s", 1, machine(), True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", type=int, default=20_000)
    parser.add_argument("--embedding", default="minilm")
    parser.add_argument("--media", type=int, default=32, help="pixels a side of the pictures")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.embedding)
        return
    with tempfile.TemporaryDirectory() as folder:
        publish("embed_incremental", rows(Path(folder), given.contents, given.embedding, given.media))


if __name__ == "__main__":
    main()
