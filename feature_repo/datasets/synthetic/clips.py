"""Short MP4 clips: the content's picture under a slow pan and zoom, with its sound. The same input, the same bytes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from feature_repo.datasets.synthetic.sound import RATE, Samples, pcm
from feature_repo.files import replacing

FPS = 8
FRAMES = 12
SIDE = 96
_LEAST = 0.7  # of the picture: the smallest window
_CODEC = "libx264" if "libx264" in av.codecs_available else "mpeg4"
_FAST = {"preset": "veryfast", "tune": "zerolatency"} if _CODEC == "libx264" else {}


def save_mp4(path: Path, image: Image.Image, samples: Samples, rng: np.random.Generator) -> None:
    """Write 1.5 s of `SIDE` x `SIDE` video at `FPS` with AAC sound, whole or not at all."""
    # bitexact keeps the clock and the library's version out of the file; one thread keeps the slices the same
    with (
        replacing(path, durable=False) as beside,
        av.open(str(beside), "w", format="mp4", options={"fflags": "+bitexact"}) as container,
    ):
        video: Any = container.add_stream(_CODEC, rate=FPS, width=SIDE, height=SIDE, pix_fmt="yuv420p", options=_FAST)
        audio: Any = container.add_stream("aac", rate=RATE, layout="mono", options={"aac_coder": "fast"})
        video.codec_context.thread_count = 1
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        audio.codec_context.flags |= av.codec.context.Flags.bitexact
        for picture in pan(image, rng):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(pcm(samples)[None, : RATE * FRAMES // FPS], format="s16", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = RATE, Fraction(1, RATE), 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def pan(image: Image.Image, rng: np.random.Generator) -> list[Image.Image]:
    """`FRAMES` pictures of `SIDE` x `SIDE` along a straight path from one window of `image` to another."""
    scale = round(SIDE / _LEAST)
    image = image.resize((scale, scale), Image.Resampling.BILINEAR)
    ends = []
    for side in rng.uniform(_LEAST, 1.0, 2):
        left, top = rng.uniform(0.0, 1.0 - side, 2)
        ends.append(scale * np.array([left, top, left + side, top + side]))
    boxes = [(ends[0] + step * (ends[1] - ends[0])).clip(0, scale) for step in np.linspace(0.0, 1.0, FRAMES)]
    return [image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=tuple(box.tolist())) for box in boxes]
