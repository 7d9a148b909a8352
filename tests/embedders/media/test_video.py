from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedders.media import video
from embedders.media.image import Fit, Pixels
from embedders.media.video import ClipLimits, Frames, Sampling, sample_frames
from feature_repo.errors import MediaError
from tests.embedders.media.clips import numbers, shade, write_clip, write_sound

SMALL = Fit(16, 16)


def sample(path: Path, count: int = 8, fit: Fit = SMALL, limits: ClipLimits | None = None, **how: object) -> Frames:
    return sample_frames(path, Sampling(count, **how), fit, limits or ClipLimits())  # type: ignore[arg-type]


def midpoints(frames: int, count: int) -> list[int]:
    return [(2 * part + 1) * frames // (2 * count) for part in range(count)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.avi", "mpeg4"),
        ("a.avi", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.mpg", "mpeg2video"),
        ("a.flv", "libx264"),
        ("a.wmv", "wmv2"),
        ("a.txt", "libx264"),
    ],
)
def test_every_container_gives_the_frames_at_the_midpoints(name: str, codec: str, tmp_path: Path) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = write_clip(tmp_path / name, codec=codec, container_format="mp4" if name == "a.txt" else None)
    frames = sample(path)
    assert frames.shape == (8, 16, 16, 3)
    assert frames.dtype == np.uint8
    off = np.abs(np.subtract(numbers(frames), midpoints(30, 8)))
    rounded = {"a.mkv": 1, "a.webm": 1, "a.ts": 1, "a.mpg": 1, "a.wmv": 1, "a.flv": 1}.get(
        name, 0
    )  # times in milliseconds
    untold = 3 if (name, codec) == ("a.avi", "libx264") else 0  # no times: frames count in the order they are stored in
    assert off.max() <= rounded + untold


@pytest.mark.parametrize("sampling", [Sampling(9), Sampling(9, keys=True), Sampling(9, window=0.5)])
def test_frames_left_out_change_no_frame_that_is_taken(sampling: Sampling, tmp_path: Path) -> None:
    """Against a decoder that sees everything, on a clip with B-frames that others build on."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (12, 30, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    shown = [np.ascontiguousarray(scene[:, 2 * n : 2 * n + 96]) for n in range(60)]
    path = write_clip(tmp_path / "a.mp4", shown, keys=20, options={"bf": "3", "b-pyramid": "normal"})
    with av.open(str(path)) as container:
        everything = [
            f.reformat(64, 64, "rgb24", interpolation="BICUBIC").to_ndarray() for f in container.decode(video=0)
        ]
    for frame in sample_frames(path, sampling, Fit(64, 64, mode="squash"), ClipLimits()):
        assert min(np.abs(frame.astype(int) - other).max() for other in everything) == 0


def test_no_more_is_decoded_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[bool] = []
    taken = video._Clip._taken

    def counted(self: video._Clip, packet: object, targets: set[int]) -> Iterator[tuple[int, Pixels]]:
        fed.append(packet is not None)
        return taken(self, packet, targets)

    monkeypatch.setattr(video._Clip, "_taken", counted)
    path = write_clip(tmp_path / "a.mp4", 300, keys=10, options={"bf": "0", "sc_threshold": "0"})
    assert numbers(sample(path, 3, keys=True)) == [n % 32 for n in (50, 150, 250)]
    assert sum(fed) == 3
    fed.clear()
    assert numbers(sample(path, 3)) == [n % 32 for n in (50, 150, 250)]
    assert sum(fed) <= 30
    fed.clear()
    sample(write_clip(tmp_path / "b.mp4", 300, keys=1000, options={"bf": "0", "sc_threshold": "0"}), 3)
    assert 250 < sum(fed) < 260


def test_key_frames_are_spread_over_all_there_are(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 30, keys=5)
    assert numbers(sample(path, 6, keys=True)) == [0, 5, 10, 15, 20, 25]
    assert numbers(sample(path, 3, keys=True)) == [5, 15, 25]
    assert numbers(sample(path, 12, keys=True)) == sorted([0, 5, 10, 15, 20, 25] * 2)


def test_the_window_is_the_middle(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 30)
    assert numbers(sample(path, 5, window=1 / 3)) == [11, 13, 15, 17, 19]


def test_a_changing_rate_is_read_by_time(tmp_path: Path) -> None:
    times = [*range(0, 100, 10), *range(100, 2000, 100)]  # 10 frames in the first tenth of a second
    path = write_clip(tmp_path / "a.mkv", len(times), times=times)
    assert numbers(sample(path, 4)) == [11, 16, 21, 25]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.integers(20, 400), min_size=2, max_size=20), count=st.integers(1, 9))
def test_the_frame_on_screen_at_each_midpoint_is_taken(gaps: list[int], count: int, tmp_path: Path) -> None:
    times = list(accumulate(gaps, initial=0))
    path = write_clip(tmp_path / "a.mkv", len(times), times=times, size=(32, 32), keys=5)
    with av.open(str(path)) as container:
        length = [p.duration or 0 for p in container.demux(video=0) if p.size][-1]
    end = times[-1] + length
    wanted = [np.searchsorted(times, (part + 0.5) * end / count, "right") - 1 for part in range(count)]
    taken = np.array(numbers(sample(path, count)))
    assert np.abs(taken - wanted).max() <= 1
    assert (np.diff(taken) >= 0).all()


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (2, 90), (200, 2), (17, 64)])
def test_odd_sizes_fill_the_frame(size: tuple[int, int], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 3, size=size, codec="ffv1", pixels="bgr0")
    frames = sample(path, 3)
    assert numbers(frames) == [0, 1, 2]
    assert frames.std((1, 2, 3)).max() < 1


def test_a_strip_is_not_scaled_to_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mkv", 1, size=(16000, 1), codec="ffv1", pixels="bgr0")
    sizes: list[int] = []
    centred = video._centred

    def measured(pixels: Pixels, fit: Fit) -> Pixels:
        sizes.append(pixels.size)
        return centred(pixels, fit)

    monkeypatch.setattr(video, "_centred", measured)
    assert sample(path, 1, Fit(224, 224)).shape == (1, 224, 224, 3)
    assert sizes[0] < 3 * 224 * 224 * 17


def quarters(width: int, height: int) -> Frames:
    """Black, dark, light and white corners: top left, top right, bottom left, bottom right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, width // 2 :] = 80
    picture[height // 2 :, : width // 2] = 160
    picture[height // 2 :, width // 2 :] = 240
    return picture


def corners(frame: Frames) -> list[int]:
    height, width = frame.shape[:2]
    return [round(frame[y, x, 0] / 80) for y in (2, height - 3) for x in (2, width - 3)]


@pytest.mark.parametrize(
    ("turned", "expected"), [(0, [0, 1, 2, 3]), (90, [1, 3, 0, 2]), (180, [3, 2, 1, 0]), (-90, [2, 0, 3, 1])]
)
def test_rotation_is_honoured(turned: int, expected: list[int], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [quarters(64, 48)] * 3, turned=turned)
    frame = sample(path, 1, Fit(48, 32, mode="squash"))[0]
    assert frame.shape == (48, 32, 3)
    assert corners(frame) == expected


def test_the_crop_is_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((48, 144, 3), np.uint8)
    wide[:, 48:96] = 255
    path = write_clip(tmp_path / "a.mp4", [wide] * 3)
    assert sample(path, 1, Fit(32, 32, crop=0.8)).min() > 240
    assert sample(path, 1, Fit(32, 32, mode="squash"))[0, 16, 1].max() < 16
    long = sample(path, 1, Fit(30, 30, mode="longest", fill=7))[0]
    assert (long[2] == 7).all()
    assert long[15, 15].min() > 240


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, width=64, height=64, pix_fmt="yuv420p")
        stream.codec_context.sample_aspect_ratio = Fraction(2)  # shown as 128 x 64
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[:, 16:48] = 255  # the middle half: all that a square crop of the shown picture holds
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert sample(path, 1, Fit(32, 32, crop=0.9)).min() > 230


def test_one_frame_is_repeated(tmp_path: Path) -> None:
    assert numbers(sample(write_clip(tmp_path / "a.mp4", [shade(5, 64, 48)]), 4)) == [5, 5, 5, 5]
    assert numbers(sample(write_clip(tmp_path / "b.mp4", [shade(5, 64, 48)]), 4, keys=True)) == [5, 5, 5, 5]


def test_a_clip_whose_length_is_nowhere_written_is_read_to_its_end(tmp_path: Path) -> None:
    live = {"live": "1"}
    path = tmp_path / "a.webm"
    with av.open(str(path), "w", format="matroska", options=live) as container:
        stream = container.add_stream("libx264", rate=30, width=64, height=48, pix_fmt="yuv420p")
        for n in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade(n, 64, 48), format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.duration is None
    assert np.abs(np.subtract(numbers(sample(path)), midpoints(30, 8))).max() <= 1


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
@pytest.mark.parametrize("kept", [0.35, 0.7, 0.95])
def test_a_clip_that_breaks_off_gives_what_is_there(name: str, kept: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = [shade(n, 64, 48) // 2 + rng.integers(0, 40, (48, 64, 3), np.uint8) for n in range(30)]
    path = write_clip(tmp_path / name, noisy, options={"x264-params": "bframes=0"})
    if name == "a.mp4":  # the index lies at the end unless it is moved
        path = moved_index(path, tmp_path / "front.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    frames = sample(path)
    assert frames.shape == (8, 16, 16, 3)
    assert frames[-1].mean() > frames[0].mean() + 10


def moved_index(path: Path, to: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(to), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return to


def test_damage_in_the_middle_costs_only_what_it_hits(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 30, keys=5)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(data)
    frames = sample(path, 6)
    assert numbers(frames)[0] == 2
    assert frames.shape == (6, 16, 16, 3)


def test_what_is_no_clip_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "letter.mp4").write_text("Dear reader, this is a letter. " * 50)
    (tmp_path / "list.mp4").write_text(
        f"#EXTM3U\n#EXTINF:1,\nfile://{write_clip(tmp_path / 'a.mp4')}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "half.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:700])
    for name, reason in {
        "empty.mp4": r"^empty file$",
        "letter.mp4": r"^not a clip: none of mp4, matroska",
        "list.mp4": r"^not a clip: ",
        "half.mp4": r"^not a clip: |^broken clip: ",
        "gone.mp4": r"^file missing: .*gone\.mp4$",
        ".": r"^file unreadable: ",
    }.items():
        with pytest.raises(MediaError, match=reason):
            sample(tmp_path / name)


def test_a_sound_has_no_video_stream(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^no video stream$"):
        sample(write_sound(tmp_path / "a.mp4"))


def test_a_clip_with_sound_is_read_as_one_without(tmp_path: Path) -> None:
    quiet, loud = write_clip(tmp_path / "a.mp4", 30), write_clip(tmp_path / "b.mp4", 30, sound=True)
    assert numbers(sample(quiet)) == numbers(sample(loud)) == midpoints(30, 8)


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 3)
    sample(path, limits=ClipLimits(pixels=64 * 48))
    with pytest.raises(MediaError, match=r"^too large: 64 x 48 is over 3,071 pixels a frame$"):
        sample(path, limits=ClipLimits(pixels=64 * 48 - 1))


def test_only_the_first_seconds_count(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 30, options={"bf": "0"})
    assert max(numbers(sample(path, 8, limits=ClipLimits(seconds=0.5)))) == 15


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), hits=st.integers(1, 30))
def test_a_damaged_file_gives_frames_or_a_reason(seed: int, hits: int, tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "a.mp4", 12, size=(32, 32)).read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data), hits):
        data[place] = rng.integers(0, 256)
    (tmp_path / "b.mp4").write_bytes(data)
    try:
        assert sample(tmp_path / "b.mp4", 4, limits=ClipLimits(pixels=100_000)).shape == (4, 16, 16, 3)
    except MediaError as error:
        reason = str(error).partition(":")[0]
    else:
        reason = "none"
    assert reason in {"none", "not a clip", "broken clip", "no video stream", "too large", "unsupported codec"}
