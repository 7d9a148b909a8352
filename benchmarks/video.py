"""Eight frames of a clip: seeking and leaving out what no wanted frame needs, against decoding every frame and picking.

Two peers: one turns each frame into an RGB array, as most readers do; the other keeps the decoder's own frames and
scales only those that it picks. All give the same frames. Real clips of 2 s are measured where LARDER_REAL_DATA
(default ../shared/data) has them, and a clip of 60 s, 30 frames a second, 640 x 360, that is encoded here.

Usage: python -m benchmarks.video [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from benchmarks.harness import Row, machine, measure, publish
from embedders.media.image import Fit
from embedders.media.video import ClipLimits, Frames, Sampling, sample_frames

COUNT = 8
FIT = Fit(224, 224, crop=0.875, resample=Image.Resampling.BILINEAR)
FPS, SECONDS, WIDTH, HEIGHT = 30, 60, 640, 360
REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


def ours(path: Path, keys: bool = False) -> Frames:
    return sample_frames(path, Sampling(COUNT, keys=keys), FIT, ClipLimits())


def picked(path: Path, arrays: bool) -> Frames:
    """Decode every frame, then pick and scale eight."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "AUTO"
        frames = [f.to_ndarray(format="rgb24") if arrays else f for f in container.decode(stream)]
    chosen = [frames[(2 * part + 1) * len(frames) // (2 * COUNT)] for part in range(COUNT)]
    return np.stack([scaled(frame if arrays else frame.to_ndarray(format="rgb24")) for frame in chosen])


def scaled(pixels: Frames) -> Frames:
    image = Image.fromarray(pixels)
    side = FIT.crop * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((FIT.width, FIT.height), FIT.resample, box=box))


def long_clip(path: Path) -> None:
    """A window that wanders over a large textured picture, with grain, in H.264 as libx264 does it by default."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (90, 160, 3), np.uint8))
    scene = np.asarray(coarse.resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = rng.integers(-12, 13, (2 * HEIGHT, 2 * WIDTH, 1), np.int16)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        for n in range(FPS * SECONDS):
            left = round(WIDTH / 2 * (1 + np.sin(n / 97)))
            top = round(HEIGHT / 2 * (1 + np.sin(n / 61)))
            shown = scene[top : top + HEIGHT, left : left + WIDTH] + grain[n % HEIGHT : n % HEIGHT + HEIGHT, :WIDTH]
            frame = av.VideoFrame.from_ndarray(shown.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def rate(read: Callable[[Path], Frames], paths: Sequence[Path]) -> float:
    """Clips a second, one after another."""
    start = time.perf_counter()
    for path in paths:
        read(path)
    return len(paths) / (time.perf_counter() - start)


def rows(paths: Sequence[Path], what: str, repeats: int) -> list[Row]:
    """Our rate against both peers', and that of key frames alone."""
    claims: list[tuple[str, Callable[[Path], Frames], Callable[[Path], Frames], float]] = [
        ("8 frames, against every frame as an array", ours, partial(picked, arrays=True), 1.5),
        ("8 frames, against every frame decoded", ours, partial(picked, arrays=False), 1.0),
        ("8 key frames, against every frame decoded", partial(ours, keys=True), partial(picked, arrays=False), 1.5),
    ]
    made = []
    for claim, mine, theirs, floor in claims:
        medians = measure(partial(rate, mine, paths), partial(rate, theirs, paths), repeats)
        made.append(Row(f"{what}: {claim}", *medians, floor, "clips/s", repeats, machine()))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    found = []
    if short := sorted((REAL / "clips40").glob("*/*.mp4")):
        found += rows(short, "40 clips of 2 s", repeats)
    else:
        print(f"{REAL / 'clips40'} is absent (LARDER_REAL_DATA): the short clips are left out")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        long_clip(path)
        found += rows([path], "a clip of 60 s", repeats)
    publish("video", found)


if __name__ == "__main__":
    main()
