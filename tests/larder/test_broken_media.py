"""A folder of broken and odd clips through the command line: each is embedded, or listed with its reason, in time."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from tests.embedders.media.clips import write_clip, write_sound
from tests.larder.shell import Shell

LIMIT_S = 3.0
EMBEDDINGS = ("frames", "mfcc")

# clip -> the kind of reason that frames and mfcc give; None: embedded
EXPECTED: Mapping[str, tuple[str | None, str | None]] = {
    "good.mp4": (None, None),
    "vfr.mkv": (None, "no audio"),
    "odd.mkv": (None, "no audio"),
    "one frame.mp4": (None, "no audio"),
    "renamed matroska.mp4": (None, "no audio"),
    "cut.mkv": (None, "no audio"),
    "cut.mp4": ("not a clip", "no audio"),
    "empty.mp4": ("empty file", "no audio"),
    "letter.mp4": ("not a clip", "no audio"),
    "sound alone.mp4": ("no video", None),
    "telephone.mkv": ("no video", None),
    "surround.mkv": ("no video", None),
    "hangs.mp4": ("too slow", "too slow"),
}


def write_samples(path: Path, rate: int, layout: str) -> None:
    """A second of noise on each channel."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        channels = stream.codec_context.layout.nb_channels
        samples = np.random.default_rng(0).integers(-9000, 9000, (1, rate * channels), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_all(folder: Path) -> None:
    """The clips, `hangs.mp4` still whole, and a pipe that has a clip's name."""
    folder.mkdir()
    good = write_clip(folder / "good.mp4", sound=True)
    write_clip(folder / "vfr.mkv", 6, times=[0, 40, 500, 540, 1500, 2000])
    shades = [np.full((47, 63, 3), 20 * n, np.uint8) for n in range(6)]
    whole = write_clip(folder / "odd.mkv", shades, codec="ffv1", pixels="bgr0")
    write_clip(folder / "one frame.mp4", 1)
    write_clip(folder / "renamed matroska.mp4", container_format="matroska")
    (folder / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    (folder / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    (folder / "empty.mp4").touch()
    (folder / "letter.mp4").write_text("Dear reader, this is a letter.")
    write_sound(folder / "sound alone.mp4")
    write_samples(folder / "telephone.mkv", 8000, "mono")
    write_samples(folder / "surround.mkv", 48000, "5.1")
    (folder / "hangs.mp4").write_bytes(good.read_bytes())
    os.mkfifo(folder / "pipe.mp4")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("broken") / "home")


@pytest.fixture(scope="module")
def said(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `ingest`, `embed` and `status` say of the folder; in between a clip becomes a pipe without a writer."""
    folder = tmp_path_factory.mktemp("media") / "clips"
    write_all(folder)
    made: dict[str, Any] = {"ingest": shell.ok("ingest", "video_folder", folder, "--json").json}
    (folder / "hangs.mp4").unlink()
    os.mkfifo(folder / "hangs.mp4")
    started = time.monotonic()
    made["embed"] = shell.ok("embed", *EMBEDDINGS, "--json", media_seconds=LIMIT_S).json
    made["seconds"] = time.monotonic() - started
    made["again"] = shell.ok("embed", *EMBEDDINGS, "--json").json
    made["status"] = shell.ok("status", "--json").json
    return made


def test_a_pipe_is_refused_and_the_rest_comes_in(said: dict[str, Any]) -> None:
    assert said["ingest"]["contents"]["added"] == len(EXPECTED)
    refused = {(file, kind) for file, kind, _rows in said["ingest"]["rejected_by_reason"]}
    assert ("pipe.mp4", "not a file") in refused
    assert {(name, "broken clip") for name in ("cut.mp4", "empty.mp4", "letter.mp4")} <= refused


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("clip", EXPECTED)
def test_each_clip_is_embedded_or_has_its_reason(said: dict[str, Any], shell: Shell, clip: str, embedding: str) -> None:
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        row = catalog.ledger(embedding, resolve_spec(embedding, settings).digest)[clip]
    reason = EXPECTED[clip][EMBEDDINGS.index(embedding)]
    assert (row.reason or "").partition(":")[0] == (reason or "")
    assert (row.partition is None) == (reason is not None)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_what_hangs_takes_its_time_and_no_more(said: dict[str, Any], shell: Shell, embedding: str) -> None:
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        row = catalog.ledger(embedding, resolve_spec(embedding, settings).digest)["hangs.mp4"]
    assert row.reason == f"too slow: over {LIMIT_S:g} s"
    assert said["seconds"] > LIMIT_S


def test_nothing_is_left_out_and_nothing_tried_twice(said: dict[str, Any]) -> None:
    for position, (first, again) in enumerate(zip(said["embed"], said["again"], strict=True)):
        reasons = [expected[position] for expected in EXPECTED.values()]
        assert first["encoded"] == reasons.count(None) == again["fresh"]
        assert sum(first["failed"].values()) == len(reasons) - reasons.count(None) == again["skipped"]
        assert (again["encoded"], again["failed"]) == (0, {})
    told = {e["name"]: (e["fresh"] + e["failed"], e["stale"], e["missing"]) for e in said["status"]["embeddings"]}
    assert {name: told[name] for name in EMBEDDINGS} == dict.fromkeys(EMBEDDINGS, (len(EXPECTED), 0, 0))
