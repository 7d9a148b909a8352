"""Clips that tests make: frame i is one shade of grey, 8 i (mod 256), so a decoded frame says which it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

STEP = 8


def shade(n: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), STEP * n % 256, np.uint8)


def write_clip(
    path: Path,
    frames: int | Sequence[npt.NDArray[np.uint8]] = 30,
    *,
    size: tuple[int, int] = (64, 48),
    fps: int = 30,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    keys: int = 10,
    times: Sequence[int] = (),
    turned: int = 0,
    sound: bool = False,
    options: Mapping[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """A clip with a key frame every `keys` frames; `times` are the frames' milliseconds, else they are even."""
    shown = [shade(n, *size) for n in range(frames)] if isinstance(frames, int) else frames
    height, width = shown[0].shape[:2]
    with av.open(str(path), "w", format=container_format) as container:
        video: Any = container.add_stream(codec, rate=fps, width=width, height=height, pix_fmt=pixels)
        video.options = dict(options or {})
        video.codec_context.gop_size = keys
        if turned:
            video.set_display_rotation(turned)
        if times:
            video.codec_context.time_base = Fraction(1, 1000)
        audio: Any = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for n, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[n], Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            hum = (8000 * np.sin(np.arange(16000) / 20)).astype(np.int16)
            noise = av.AudioFrame.from_ndarray(hum[None], format="s16", layout="mono")
            noise.sample_rate, noise.time_base, noise.pts = 16000, Fraction(1, 16000), 0
            container.mux(audio.encode(noise))
            container.mux(audio.encode())
    return path


def write_sound(path: Path) -> Path:
    """A second of sound and nothing else."""
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def numbers(frames: npt.NDArray[np.uint8]) -> list[int]:
    """Which frame each decoded one is, from its shade."""
    return [round(float(frame.mean()) / STEP) for frame in frames]
