"""Sound files, and the sound of clips -> mono samples at the rate that a model hears."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from embedders.media.files import file_errors
from feature_repo.errors import MediaError

Samples = npt.NDArray[np.float32]

# The containers that people post. FFmpeg knows more, some of which open other files or addresses (playlists).
FORMATS = "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,amr,mov,matroska,avi,flv,mpeg,mpegts,asf"

# Containers whose header says how long the track is; that of others is a guess from the bit rate.
_TELL_LENGTH = ("wav", "w64", "aiff", "flac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_SIGNATURES = (b"RIFF", b"OggS", b"fLaC", b"FORM", b"ID3", b"\x1aE\xdf\xa3", b"FLV\x01")
_WHOLE = 0.9  # of a track that must be there, and of its packets that must be readable
_SLACK = 0.1  # seconds that codecs add or take at the ends
_LOUDEST = 100.0  # times full scale; float samples may pass it, but not like that
_OPEN_LENGTH = 0x7FFF_0000
_OGG_PAGE_BYTES = 65_307  # the longest page, RFC 3533


def decode_audio(source: bytes | Path, rate: int, max_seconds: float) -> Samples:
    """The first sound track, at most `max_seconds` of it, (samples,) float32, full scale at -1 and 1.

    Channels are averaged, so that a sound and its stereo copy are equally loud, then resampled to `rate` Hz.
    The name's extension means nothing. Raises MediaError for what is no sound, has no sound track or no
    samples, is broken or truncated, or cannot be opened.
    """
    if isinstance(source, bytes):
        return _decode(BytesIO(source), source, rate, max_seconds)
    with file_errors(source), source.open("rb") as file:
        if not source.stat().st_size:
            raise MediaError("empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # a clip is not read for its sound alone
            return _decode(data, data, rate, max_seconds)


def _decode(file: Any, data: bytes | mmap.mmap, rate: int, max_seconds: float) -> Samples:
    if not data:
        raise MediaError("empty file")
    try:
        with av.open(file, metadata_errors="ignore", options={"format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise MediaError("no sound track")
            samples = np.concatenate([np.empty(0, np.float32), *_resampled(container, rate, max_seconds)])
            _require_whole(container, data, len(samples) / rate, max_seconds)
            if not np.abs(samples).max() <= _LOUDEST:  # nor NaN
                raise MediaError("broken sound: samples far over full scale")
            return samples[: round(max_seconds * rate)]
    except MediaError:
        raise
    except EOFError as error:
        raise MediaError("truncated: the file ends before the sound begins") from error
    except Exception as error:  # FFmpeg's errors, and PyAV's own of many classes
        if data[:4].startswith(_SIGNATURES) or data[4:8] == b"ftyp":
            raise MediaError(f"broken sound: {_words(error)}") from error
        raise MediaError(f"not a sound: none of {FORMATS.replace(',', ', ')}") from error


def _resampled(container: Any, rate: int, max_seconds: float) -> Iterator[Samples]:
    for native, frames in groupby(_frames(container, max_seconds), lambda frame: frame.sample_rate):
        # One large frame: a call for each of thousands of small ones costs more than the work.
        whole = av.AudioFrame.from_ndarray(np.concatenate([_mono(frame) for frame in frames])[None], "fltp", "mono")
        whole.sample_rate = native
        resampler = av.AudioResampler("fltp", "mono", rate)
        for piece in (*resampler.resample(whole), *resampler.resample(None)):
            yield piece.to_ndarray()[0]


def _frames(container: Any, max_seconds: float) -> Iterator[Any]:
    """The first sound track's frames. As players do, it skips a packet that cannot be read, but not many."""
    packets = broken = 0
    seconds = 0.0
    for packet in container.demux(container.streams.audio[0]):
        packets += 1
        try:
            for frame in packet.decode():
                yield frame
                seconds += frame.samples / frame.sample_rate
        except av.error.FFmpegError:
            broken += 1
        if seconds > max_seconds:
            break
    if broken > (1 - _WHOLE) * packets:
        raise MediaError(f"broken sound: {broken} of {packets} packets cannot be read")


def _mono(frame: Any) -> Samples:
    """(samples,) float32. FFmpeg's own mixing knows only the usual layouts, and breaks down on others."""
    values = frame.to_ndarray()
    channels = frame.layout.nb_channels
    values = values if frame.format.is_planar else values.reshape(-1, channels).T
    with np.errstate(over="ignore", invalid="ignore"):  # noise read as floats
        mean = values.mean(0, dtype=np.float32)
    if values.dtype == np.uint8:
        return np.asarray(mean / 128 - 1, np.float32)
    full_scale = -float(np.iinfo(values.dtype).min) if values.dtype.kind == "i" else 1.0
    return np.asarray(mean / full_scale, np.float32)


def _require_whole(container: Any, data: bytes | mmap.mmap, seconds: float, max_seconds: float) -> None:
    told = _told_seconds(container)
    if seconds < _WHOLE * min(told, max_seconds) - _SLACK:
        raise MediaError(f"truncated: {seconds:.1f} s of {told:.1f} s are there")
    if container.format.name == "ogg" and _ends_within_a_page(data):
        raise MediaError("truncated: the file ends within an Ogg page")
    if container.format.name == "wav" and len(data) < (told_bytes := _told_bytes(data)):
        raise MediaError(f"truncated: {len(data):,} bytes of {told_bytes:,} are there")
    if not seconds:
        raise MediaError("empty sound track")


def _told_seconds(container: Any) -> float:
    """How long the header says that the track is; 0 where it does not say, or FFmpeg guesses from the bit rate."""
    stream = container.streams.audio[0]
    if container.format.name not in _TELL_LENGTH:
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def _told_bytes(data: bytes | mmap.mmap) -> int:
    """A WAV file's length by its header; 0 where a recorder that could not go back has left it open."""
    told = int.from_bytes(data[4:8], "little")
    return told + 8 if data[:4] == b"RIFF" and told < _OPEN_LENGTH else 0


def _ends_within_a_page(data: bytes | mmap.mmap) -> bool:
    """Whether the last page of an Ogg file is longer than what is there: header, segment table, segments."""
    tail = data[-_OGG_PAGE_BYTES:]
    page = tail[tail.rfind(b"OggS") :]
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
