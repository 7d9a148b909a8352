from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.media.audio import Samples, decode_audio
from embedders.media.guard import Guard
from feature_repo.errors import MediaError
from tests.embedders.audio import encoded, noise, silent_film, tone, wav

RATE = 16_000


def decode(source: bytes | Path, rate: int = RATE, seconds: float = 60) -> Samples:
    samples = decode_audio(source, rate, seconds)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    return samples


def loudest_hertz(samples: Samples, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()])


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 44_100, "mono"),
        ("wav", "pcm_u8", 44_100, "mono"),
        ("wav", "pcm_s24le", 44_100, "stereo"),
        ("wav", "pcm_f64le", 44_100, "stereo"),
        ("wav", "pcm_s16le", 8_000, "mono"),
        ("flac", "flac", 44_100, "stereo"),
        ("ogg", "libopus", 48_000, "stereo"),
        ("matroska", "libopus", 48_000, "mono"),
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("mp3", "libmp3lame", 8_000, "mono"),
        ("adts", "aac", 44_100, "mono"),
        ("mp4", "aac", 44_100, "stereo"),
        ("mp4", "aac", 48_000, "5.1"),
        ("mov", "pcm_s16be", 44_100, "mono"),
    ],
)
def test_every_container_gives_the_same_sound(container: str, codec: str, rate: int, layout: str) -> None:
    samples = decode(encoded(tone(440, 1.0, rate), container, codec, rate, layout))
    assert abs(len(samples) - RATE) < 0.1 * RATE
    middle = samples[2000:14_000]
    assert abs(loudest_hertz(middle) - 440) < 2
    assert 0.3 < np.abs(middle).max() < 0.65  # 0.5, and what lossy codecs and 5.1's deaf channel make of it


def test_samples_are_those_that_were_written() -> None:
    written = noise(0, 1.0, RATE)
    assert np.abs(decode(wav(written, RATE)) - written).max() < 2 / 32768


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 9, 20])
def test_channels_are_averaged_however_many(channels: int) -> None:
    written = noise(0, 0.5, RATE)
    assert np.abs(decode(wav(written, RATE, channels)) - written).max() < 2 / 32768


def test_a_sound_between_the_channels_is_half_as_loud() -> None:
    both = np.zeros(2 * RATE, np.float32)
    both[::2] = 0.5
    assert np.allclose(decode(as_stereo(both)), 0.25, atol=1e-4)


def as_stereo(interleaved: Samples) -> bytes:
    data = bytearray(wav(interleaved, RATE))
    data[22:24], data[28:32], data[32:34] = b"\2\0", (4 * RATE).to_bytes(4, "little"), b"\4\0"
    return bytes(data)


def test_resampling_keeps_what_the_rate_can_hold_and_no_alias() -> None:
    assert abs(loudest_hertz(decode(wav(tone(3000, 1.0, 44_100), 44_100), 8_000), 8_000) - 3000) < 2
    assert np.abs(decode(wav(tone(10_000, 1.0, 44_100), 44_100), 8_000)[500:-500]).max() < 0.01


def test_silence_is_a_sound() -> None:
    samples = decode(wav(np.zeros(RATE, np.float32), RATE))
    assert samples.shape == (RATE,)
    assert not samples.any()


def test_no_more_than_asked_is_kept() -> None:
    written = noise(0, 3.0, RATE)
    samples = decode(wav(written, RATE), seconds=1.25)
    assert samples.shape == (1.25 * RATE,)
    assert np.abs(samples - written[: len(samples)]).max() < 2 / 32768


@pytest.mark.parametrize("name", ["sound.mp3", "sound.jpg", "sound", "concat:a|b.wav", "list.m3u8"])
def test_the_extension_means_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(wav(tone(440, 1.0, RATE), RATE))
    assert abs(loudest_hertz(decode(path)) - 440) < 2


def test_a_clip_gives_its_sound(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(film_with(tone(440, 1.0, 44_100)))
    assert abs(loudest_hertz(decode(path)) - 440) < 2


def film_with(samples: Samples) -> bytes:
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        pictures: Any = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 32
        sound: Any = output.add_stream("aac", rate=44_100, layout="mono")
        for n in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            picture.pts, picture.time_base = n, Fraction(1, 10)
            output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, start, Fraction(1, 44_100)
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"^empty file$"),
        (b"Dear reader, this is a letter.", r"^not a sound: none of wav, "),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", r"^not a sound"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", r"^not a sound"),
        (silent_film(), r"^no sound track$"),
        (wav(np.empty(0, np.float32)), r"^empty sound track$"),
        (b"RIFF\x04\0\0\0WAVE", r"^broken sound: "),
        (wav(tone(440))[:20_000], r"^truncated: 20,000 bytes of 44,144 are there$"),
        (encoded(tone(440, 1.0, 48_000), "ogg", "libopus", 48_000)[:-9], r"^truncated: the file ends within an Ogg"),
        (encoded(tone(440, 1.0, 48_000), "ogg", "libopus", 48_000)[:300], r"^truncated: the file ends before"),
        (encoded(noise(0, 2.0, 48_000), "matroska", "libopus", 48_000)[:9000], r"^truncated: 1\.\d s of 2\.0 s"),
        (encoded(noise(0, 2.0, 44_100), "mp4", "aac")[:9000], r"^broken sound: "),
        (encoded(noise(0, 2.0, 44_100), "flac", "flac")[:90_000], r"^truncated: 1\.\d s of 2\.0 s"),
    ],
)
def test_each_broken_file_says_what_is_wrong(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(MediaError, match=reason):
            decode(source)


def test_numbers_that_are_no_sound_are_refused() -> None:
    data = bytearray(encoded(tone(440), "wav", "pcm_f64le"))
    data[2000:60_000] = np.random.default_rng(0).bytes(58_000)
    with pytest.raises(MediaError, match=r"^broken sound: samples far over full scale$"):
        decode(bytes(data))


def test_a_file_of_mostly_broken_packets_is_refused() -> None:
    data = bytearray(encoded(noise(0, 2.0, 44_100), "mp4", "aac"))
    data[3000:-3000] = np.random.default_rng(0).bytes(len(data) - 6000)
    with pytest.raises(MediaError, match=r"^broken sound: \d+ of \d+ packets cannot be read$"):
        decode(bytes(data))


def test_a_few_broken_packets_are_skipped_as_players_do() -> None:
    data = bytearray(encoded(tone(440, 10.0, 44_100), "mp4", "aac"))
    data[5000:5200] = np.random.default_rng(0).bytes(200)
    samples = decode(bytes(data))
    assert abs(len(samples) - 10 * RATE) < 0.2 * RATE


def test_a_recording_left_open_by_its_header_is_read_as_far_as_it_goes() -> None:
    data = bytearray(wav(tone(440)))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert abs(len(decode(bytes(data))) - RATE) < 10


def test_a_file_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^file missing: .*gone\.ogg$"):
        decode(tmp_path / "gone.ogg")
    with pytest.raises(MediaError, match=r"^file unreadable: .*: Is a directory$"):
        decode(tmp_path)


def test_a_file_that_never_answers_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # nobody writes to it: whoever opens it waits for ever
    with Guard(1, 1.0) as guard, pytest.raises(MediaError, match=r"^too slow: over 1 s$"):
        guard.call(decode_audio, tmp_path / "pipe.wav", RATE, 60.0)


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [b"RIFF\xff\0\0\0WAVEfmt ", b"OggS\0\2", b"fLaC\0\0\0\x22", b"ID3\4\0\0\0\0\0\0", b"\0\0\0\x20ftypisom"]
    ),
)
def test_garbage_is_a_media_error_or_a_sound(tail: bytes, magic: bytes) -> None:
    with suppress(MediaError):
        assert np.isfinite(decode(magic + tail)).all()


@pytest.mark.real
def test_real_recordings_are_read_whole(real_data: Path) -> None:
    files = sorted((real_data / "esc100").rglob("*.ogg"))
    assert len(files) == 100
    for path in files[::10]:
        samples = decode(path, 22_050)
        assert abs(len(samples) / 22_050 - 5) < 0.02
        assert 0 < np.abs(samples).max() < 2
