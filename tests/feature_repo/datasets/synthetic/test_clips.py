"""Clips are what their doc says, and the same bytes every time."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np

from feature_repo.datasets.synthetic.clips import FPS, FRAMES, SIDE, pan, save_mp4
from feature_repo.datasets.synthetic.render import picture
from feature_repo.datasets.synthetic.sound import waveform
from feature_repo.datasets.synthetic.world import Subject, stream

SUBJECT = Subject(first=4, second=6, second_share=0.3)


def write(path: Path) -> bytes:
    save_mp4(
        path,
        picture(SUBJECT, 0.8, 64, stream(0, "image")),
        waveform(SUBJECT, 0.8, stream(0, "audio")),
        stream(0, "video"),
    )
    return path.read_bytes()


def test_a_clip_has_frames_that_move_and_sound(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == FPS
    assert [frame.shape for frame in frames] == [(SIDE, SIDE, 3)] * FRAMES
    assert np.abs(frames[0].astype(float) - frames[-1]).mean() > 2.0
    with av.open(str(tmp_path / "clip.mp4")) as container:
        sound = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
        assert container.streams.audio[0].rate == 16_000
    assert 1.4 < len(sound) / 16_000 < 1.7
    assert sound.std() > 0.01


def test_the_clock_is_not_in_the_file(tmp_path: Path) -> None:
    first = write(tmp_path / "first.mp4")
    time.sleep(1.1)  # MP4 counts whole seconds
    assert write(tmp_path / "second.mp4") == first


def test_the_window_stays_within_the_picture() -> None:
    for seed in range(20):
        pictures = pan(picture(SUBJECT, 0.8, 32, stream(0, "image")), stream(seed, "video"))
        assert len(pictures) == FRAMES
        assert {frame.size for frame in pictures} == {(SIDE, SIDE)}
