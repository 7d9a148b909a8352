"""Embedding end to end (files and catalog in, Parquet and ledger out) against what else does the same work.

In turns in one process, with the same weights: the bare forward pass of the same model; sentence-transformers'
`encode` at its defaults; a loop over a DataLoader as clip-retrieval has it (full decode by Pillow, batches of 32,
float32); and the decoding of JPEGs alone. Quicker precisions are used where the processor has them, and the mean
cosine of their vectors to float32's is a claim of its own.

Usage: python -m benchmarks.embed [--images 400] [--texts 1600] [--photos 64] [--repeats 5] [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.embed_peers import (
    as_png,
    bare_images,
    bare_texts,
    data_loader,
    decoding,
    in_turn,
    packaged_efficientnet,
    pillow_full,
    sentence_transformers,
)
from benchmarks.embed_world import photos, pictures, save_vit, texts
from benchmarks.harness import Row, machine, measure, publish
from embedders.base import load_embedder
from embedders.media.image import Fit, decode_image
from embedders.precision import mean_cosine
from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.settings import load_settings
from feature_repo.vectors import Matrix, read_vectors

FORWARD = 0.9
PEER = 2.0
LEAST_COSINE = {"bfloat16": 0.999, "int8": 0.99}


@dataclass(slots=True)
class EndToEnd:
    """Whole runs, each in a fresh workspace, loading the model left out; `vectors` are those of the last."""

    name: str
    contents: Sequence[Content]
    given: dict[str, Any]
    vectors: Matrix | None = None
    precision: str = ""

    def __call__(self) -> float:
        """Contents a second."""
        with tempfile.TemporaryDirectory() as home:
            settings = load_settings(home=home, device="cpu", **self.given)
            with Catalog(settings.catalog) as catalog:
                catalog.upsert_contents(self.contents, "benchmark")
                start = time.perf_counter()
                report = run(self.name, settings, catalog)
                took = time.perf_counter() - start - report.seconds["load"]
                assert report.encoded == len(self.contents), report
                self.vectors = read_vectors(settings, catalog, self.name).matrix
                self.precision = report.precision or ""
            return report.encoded / took


class Bench:
    """The claims, as they are measured."""

    def __init__(self, folder: Path, repeats: int) -> None:
        self.folder, self.repeats = folder, repeats
        self.rows: list[Row] = []

    def claim(self, said: str, ours: Callable[[], float], peer: Callable[[], float], bar: float, unit: str) -> None:
        """Measure both in turns."""
        self.rows.append(Row(said, *measure(ours, peer, self.repeats), bar, unit, self.repeats, machine()))

    def alike(self, quick: EndToEnd, peer: Matrix, least: float, to: str) -> None:
        """Mean cosine of the vectors of a run to those that `peer` made."""
        assert quick.vectors is not None
        cosine = mean_cosine(quick.vectors, peer)
        said = f"{quick.name} in {quick.precision}: mean cosine of its vectors to {to}"
        self.rows.append(Row(said, cosine, 1.0, least, "cosine", 1, machine()))

    def forward(self, images: Sequence[Content], titles: Sequence[Content]) -> None:
        """Float32 against the bare forward pass over the same batches."""
        settings = load_settings(home=self.folder / "home", device="cpu")
        exact = {"precision": "float32"}
        own = bare_images(images, settings), bare_texts(titles, settings)
        packaged = bare_images(images, settings, packaged_efficientnet()), own[1]
        runs = [("efficientnet_lite0", images, "images/s"), ("minilm", titles, "texts/s")]
        for (name, contents, unit), peer, net in zip(runs, packaged, own, strict=True):
            claim, ours = f"{name} in float32: embedding over", EndToEnd(name, contents, exact)
            self.claim(f"{claim} the bare forward pass", ours, peer, FORWARD, unit)
            floor = in_turn(decoding(name, contents, settings), net)
            said = f"{claim} decoding and the forward pass through Larder's net, one after the other"
            self.claim(said, ours, floor, FORWARD, unit)

    def sentences(self, titles: Sequence[Content]) -> None:
        """The machine's best precision, and int8, against sentence-transformers."""
        peer = sentence_transformers(titles)
        for precision in ("auto", "int8"):
            ours = EndToEnd("minilm", titles, {"precision": precision})
            used = precision if precision == "int8" else self.usual(ours)
            bar = PEER if used == "bfloat16" else 1.0
            self.claim(f"minilm in {used}: embedding over sentence-transformers' encode", ours, peer, bar, "texts/s")
            self.alike(ours, peer.vectors, LEAST_COSINE.get(used, 0.999), "sentence-transformers'")

    def clip(self, images: Sequence[Content]) -> None:
        """ViT-B/32 of open_clip with random weights against the plain loop."""
        weights = save_vit(self.folder / "vit")
        peer = data_loader(images, weights)
        given = {"models": {"clip": f"local-dir:{weights}"}}
        ours = EndToEnd("clip_image", images, given)
        used = self.usual(ours)
        bar = PEER if used == "bfloat16" else 1.0
        claim = f"clip_image (ViT-B/32) in {used}: embedding over a plain DataLoader loop"
        self.claim(claim, ours, peer, bar, "images/s")
        self.alike(ours, peer.vectors, LEAST_COSINE.get(used, 0.999), "the loop's")

    def decode(self, images: Sequence[Content]) -> None:
        """JPEGs of a megapixel to 224 x 224, on one thread, and what that does to their vectors."""
        data = [content.media[Modality.IMAGE].read_bytes() for content in images]
        embedder: Any = load_embedder("efficientnet_lite0", load_settings(device="cpu"))
        for said, fit in (("224 of 256", Fit(224, 224, crop=0.875)), ("224", Fit(224, 224))):
            ours, peer = partial(decode_image, fit=fit, max_pixels=10**8), partial(pillow_full, fit=fit)
            claim = f"JPEG of 1152 x 864 to {said}: decoding over Pillow's full decode, Resize and CenterCrop"
            self.claim(claim, partial(rate, ours, data), partial(rate, peer, data), PEER, "images/s")
            scaled, full = (embedder.encode([ours(one) for one in some]) for some in (data, [as_png(x) for x in data]))
            claim = f"JPEG of 1152 x 864 to {said}: mean cosine of efficientnet_lite0's vectors to a full decode's"
            self.rows.append(Row(claim, mean_cosine(scaled, full), 1.0, 0.999, "cosine", 1, machine()))

    @staticmethod
    def usual(ours: EndToEnd) -> str:
        """What the setting `auto` comes to."""
        ours()
        return ours.precision


def rate(function: Callable[[bytes], object], data: Sequence[bytes]) -> float:
    """Calls a second."""
    start = time.perf_counter()
    for one in data:
        function(one)
    return len(data) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--texts", type=int, default=1600)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the contents, one repeat")
    given = parser.parse_args()
    share, repeats = (10, 1) if given.quick else (1, given.repeats)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), repeats)
        images, titles = pictures(bench.folder / "pictures", given.images // share), texts(given.texts // share)
        large = photos(bench.folder / "photos", max(8, given.photos // share))
        bench.decode(large)
        bench.forward(images, titles)
        bench.sentences(titles)
        bench.clip(large)
        publish("embed", bench.rows)


if __name__ == "__main__":
    main()
