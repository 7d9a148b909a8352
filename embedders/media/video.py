"""A clip's file -> a few frames of RGB pixels, decoding no more of it than they need.

The file is read once without decoding, which is cheap and tells when each frame is shown (whatever its header
says) and where the key frames are. Then the decoder is fed from the key frame before each wanted frame, and
leaves out the frames in between that no other frame is built on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from PIL import Image

from embedders.media.files import file_errors
from embedders.media.image import Fit, Pixels
from feature_repo.errors import MediaError

Frames = npt.NDArray[np.uint8]

# The containers that people post. FFmpeg knows more, some of which are lists that name other files or addresses.
FORMATS = ("mp4", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif")

_THREADS = 2  # beyond two, a short clip costs more in threads than it saves
_LONGEST = 16  # times the wanted side: a strip of pixels is not scaled to a picture of gigabytes
_SCALER = {Image.Resampling.BICUBIC: "BICUBIC", Image.Resampling.BILINEAR: "BILINEAR"}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a clip: `count` of them, each at the midpoint of one of as many equal parts.

    `keys` takes evenly many of the key frames instead, each of which decodes by itself. Only the middle `window`
    seconds are looked at.
    """

    count: int
    keys: bool = False
    window: float = inf


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """Clips above `pixels` a frame are refused; nothing after the first `seconds` is looked at."""

    pixels: int = 50_000_000
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class _Packet:
    """One compressed frame: when it is shown (its rank where the file does not say) and for how long.

    `kept` is false for what an edit list cuts away: it is decoded for the sake of other frames, and not shown.
    """

    shown: int
    length: int
    key: bool
    kept: bool


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The packets in the order of decoding; `second` is how many units of time make one, None where none are told."""

    packets: Sequence[_Packet]
    second: Fraction | None


def sample_frames(path: Path, sampling: Sampling, fit: Fit, limits: ClipLimits) -> Frames:
    """Some frames of a clip in order, (count, height, width, 3) uint8 RGB, upright.

    What is missing (a short clip, a broken end) repeats the frame before it. Raises MediaError for what is no
    clip, has no picture, cannot be decoded at all or is over the limits.
    """
    with file_errors(path), path.open("rb") as file:
        if not file.read(1):
            raise MediaError("empty file")
    with _opened(path, fit, limits) as clip:
        timeline = clip.timeline()
        wanted = _key_frames(timeline, sampling) if sampling.keys else _midpoints(timeline, sampling)
        found = dict(clip.seek_and_decode(timeline, sorted(set(wanted))))
    if lost := set(wanted) - set(found):
        with _opened(path, fit, limits) as clip:  # where seeking failed, reading from the start may not
            found |= dict(clip.decode(clip.packets(), 0, lost))
    if not found:
        raise MediaError("broken clip: none of its frames can be decoded")
    return _in_order(wanted, found)


@contextmanager
def _opened(path: Path, fit: Fit, limits: ClipLimits) -> Iterator[_Clip]:
    """The file, open and ready to decode. Raises MediaError."""
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"not a clip: none of {', '.join(FORMATS)}, or broken at its start") from error
    with container:
        stream = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
        if stream is None:
            raise MediaError("no video stream")
        if stream.codec_context is None:
            raise MediaError("unsupported codec: FFmpeg has no decoder for this clip")
        yield _Clip(container, stream, fit, limits)


class _Clip:
    """The picture stream of an open file. A frame is known by the rank of its packet in the order of decoding."""

    def __init__(self, container: Any, stream: Any, fit: Fit, limits: ClipLimits) -> None:
        self._container, self._stream, self._context = container, stream, stream.codec_context
        self._fit, self._limits = fit, limits
        self._scaler = VideoReformatter()  # one for all frames: it keeps its tables while the sizes stay
        self._require_size(self._context)
        self._context.thread_type, self._context.thread_count = "AUTO", _THREADS
        self._context.copy_opaque = True  # a frame then carries what its packet carried: the rank

    def packets(self) -> Iterator[Any]:
        """Those that lie ahead, up to the end or to where the file breaks."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:  # the last is empty and only flushes the decoder
                    yield packet
        except av.FFmpegError:
            return

    def timeline(self) -> _Timeline:
        """Read all packets, decoding none. Raises MediaError where there are none."""
        end: float = inf
        raw: list[tuple[int | None, int, bool, bool]] = []
        for packet in self.packets():
            moment = packet.pts if packet.dts is None else packet.dts
            if moment is not None:
                end = min(end, moment + self._limits.seconds / self._stream.time_base)
                if moment > end:
                    break
            raw.append((packet.pts, packet.duration or 0, packet.is_keyframe, not packet.is_discard))
        if not any(kept for *_, kept in raw):
            raise MediaError("broken clip: it holds no frames")
        shown = [pts for pts, *_ in raw if pts is not None]
        if len(shown) == len(raw):
            packets = [_Packet(pts, *told[1:]) for pts, told in zip(shown, raw, strict=True)]
            return _Timeline(packets, 1 / self._stream.time_base)
        return _Timeline([_Packet(rank, 1, key, kept) for rank, (_, _, key, kept) in enumerate(raw)], None)

    def seek_and_decode(self, timeline: _Timeline, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
        """Ranks and pixels of the wanted frames, those found, a run of packets from a key frame on at a time."""
        for start, targets in _runs(timeline, wanted):
            try:
                self._container.seek(timeline.packets[start].shown, stream=self._stream)
            except av.FFmpegError:
                continue
            yield from self.decode(self._from(timeline, start), start, set(targets))

    def _from(self, timeline: _Timeline, start: int) -> Iterator[Any]:
        """The packets from rank `start` on; none where seeking went past it."""
        packets = self.packets()
        first = timeline.packets[start]
        for packet in packets:
            if timeline.second is None or (packet.pts == first.shown and packet.is_keyframe == first.key):
                yield packet
                yield from packets
            elif packet.dts is not None and packet.dts > first.shown:
                return

    def decode(self, packets: Iterator[Any], start: int, targets: set[int]) -> Iterator[tuple[int, Pixels]]:
        """Ranks and pixels of the targets among `packets`, the first of which has rank `start`.

        Frames that no other is built on are left out unless they are targets.
        """
        last = max(targets)
        for rank, packet in enumerate(packets, start):
            packet.opaque = rank
            self._context.skip_frame = "DEFAULT" if rank in targets else "NONREF"
            yield from self._taken(packet, targets)
            if rank == last:
                break
        yield from self._taken(None, targets)  # frames that the decoder still holds

    def _taken(self, packet: Any, targets: set[int]) -> Iterator[tuple[int, Pixels]]:
        """The targets among the frames that come out when `packet` goes in; a broken one goes in and is lost."""
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            return
        for frame in frames:
            if frame.opaque in targets:
                self._require_size(frame)
                yield (
                    frame.opaque,
                    _fitted(frame, self._scaler, float(self._stream.sample_aspect_ratio or 1), self._fit),
                )

    def _require_size(self, frame: Any) -> None:
        if frame.width * frame.height > self._limits.pixels:
            raise MediaError(
                f"too large: {frame.width} x {frame.height} is over {self._limits.pixels:,} pixels a frame"
            )


def _midpoints(timeline: _Timeline, sampling: Sampling) -> list[int]:
    """Ranks of the frames on screen at the midpoints of equal parts."""
    order = sorted((p.shown, rank) for rank, p in enumerate(timeline.packets) if p.kept)
    times = [shown for shown, _ in order]
    start = float(times[0])
    end = float(max(p.shown + p.length for p in timeline.packets if p.kept))
    if timeline.second is not None and (spare := end - start - sampling.window * timeline.second) > 0:
        start, end = start + spare / 2, end - spare / 2
    step = (end - start) / sampling.count
    moments = (start + (part + 0.5) * step for part in range(sampling.count))
    return [order[max(bisect_right(times, moment) - 1, 0)][1] for moment in moments]


def _key_frames(timeline: _Timeline, sampling: Sampling) -> list[int]:
    """Ranks of key frames, evenly spread over all that there are."""
    keys = [rank for rank, p in enumerate(timeline.packets) if p.key and p.kept] or [0]
    return [keys[(2 * part + 1) * len(keys) // (2 * sampling.count)] for part in range(sampling.count)]


def _runs(timeline: _Timeline, wanted: Sequence[int]) -> list[tuple[int, list[int]]]:
    """(rank of the key frame to start at, wanted ranks from there on); no two runs overlap."""
    packets = timeline.packets
    runs: list[tuple[int, list[int]]] = []
    for target in wanted:
        start = target if timeline.second is not None else 0  # without times there is nothing to seek
        # A frame stored after a key frame and shown before it needs the key frame before that as well.
        while start and not (packets[start].key and packets[start].shown <= packets[target].shown):
            start -= 1
        if runs and start <= runs[-1][1][-1] + 1:
            runs[-1][1].append(target)
        else:
            runs.append((start, [target]))
    return runs


def _fitted(frame: Any, scaler: Any, shape: float, fit: Fit) -> Pixels:
    """One frame as (height, width, 3) uint8. `shape` is the width of its pixels over their height."""
    turns = round(frame.rotation / 90) % 4
    width, height = frame.width * (shape if 0.1 < shape < 10 else 1.0), float(frame.height)
    if turns % 2:
        width, height = height, width
    if fit.mode == "squash":
        scaled = (fit.width, fit.height)
    else:
        scales = (fit.width / width, fit.height / height)
        scale = min(scales) if fit.mode == "longest" else max(scales) / fit.crop
        most = _LONGEST * max(fit.width, fit.height)
        scaled = (min(max(round(width * scale), 1), most), min(max(round(height * scale), 1), most))
    across, down = scaled[::-1] if turns % 2 else scaled
    how = _SCALER.get(fit.resample, "BICUBIC")
    small = scaler.reformat(frame, across, down, "rgb24", interpolation=how, threads=1)
    return _centred(np.rot90(small.to_ndarray(), turns), fit)


def _centred(pixels: Pixels, fit: Fit) -> Pixels:
    """The middle of `pixels`, or `pixels` in the middle, of exactly the wanted size."""
    framed = np.full((fit.height, fit.width, 3), fit.fill, np.uint8)
    height, width = min(fit.height, pixels.shape[0]), min(fit.width, pixels.shape[1])

    def middle(whole: Pixels) -> Pixels:
        top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
        return whole[top : top + height, left : left + width]

    middle(framed)[...] = middle(pixels)
    return framed


def _in_order(wanted: Sequence[int], found: dict[int, Pixels]) -> Frames:
    """The wanted frames stacked; one that was not found is the last found before it, or else the first found."""
    shown = found[min(found)]
    frames = []
    for position in wanted:
        shown = found.get(position, shown)
        frames.append(shown)
    return np.stack(frames)
