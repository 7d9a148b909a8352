"""Clips that take milliseconds to make, with or without picture and sound."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

FPS, SIDE = 5, 32


@cache
def clip_bytes(suffix: str = ".mp4", *, picture: bool = True, sound: bool = True) -> bytes:
    """One second in the container that the ending stands for."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        with av.open(str(path), "w") as container:
            webm = suffix == ".webm"
            video = container.add_stream("libvpx" if webm else "mpeg4", rate=FPS) if picture else None
            audio = container.add_stream("libopus" if webm else "aac", rate=48_000, layout="mono") if sound else None
            if video:
                video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
                for _ in range(FPS):
                    frame = av.VideoFrame.from_ndarray(np.zeros((SIDE, SIDE, 3), np.uint8), format="rgb24")
                    container.mux(video.encode(frame))
                container.mux(video.encode())
            if audio:
                samples = np.zeros((1, 48_000), np.int16)
                silence = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                silence.sample_rate, silence.time_base, silence.pts = 48_000, Fraction(1, 48_000), 0
                container.mux(audio.encode(silence))
                container.mux(audio.encode())
        return path.read_bytes()
