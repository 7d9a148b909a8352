from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedders import train_conv3d as module
from embedders.base import load_embedder
from embedders.conv3d import SmallC3D, build_own
from embedders.fitted import current, encoder_dir
from embedders.media.video import Frames
from embedders.specs import resolve_spec
from embedders.train_conv3d import JITTER, FitConfig, encode_labels, fit_conv3d, train_conv3d
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.errors import InputError
from feature_repo.settings import Settings
from tests.embedders.behaviour import NOON
from tests.embedders.media.clips import write_clip

CPU = torch.device("cpu")
QUICK = FitConfig(epochs=6, patience=6, batch=4)
ROWS = np.arange(12)
TRAIN, CHECK = ROWS[:8], ROWS[8:]


def bars(kind: int, rng: np.random.Generator, frames: int, side: int) -> Frames:
    """Bars that move (kind 1) or stand still (kind 0): no single frame tells which."""
    x = np.arange(side)[None, :] + rng.integers(0, side)
    pictures = [
        128 + 100 * np.sin((x + kind * 2 * n) * 2 * np.pi / 16) + rng.normal(0, 8, (side, side)) for n in range(frames)
    ]
    return np.stack([np.repeat(p.clip(0, 255)[..., None], 3, -1) for p in pictures]).astype(np.uint8)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([bars(int(row) % 2, rng, 8 * JITTER, 32) for row in ROWS])


def test_the_net_learns_what_moves(clips: np.ndarray) -> None:
    targets = ROWS % 2
    fit = train_conv3d(clips, targets, TRAIN, CHECK, FitConfig(epochs=6, patience=6, batch=4), CPU)
    assert fit.losses[fit.epoch - 1] == min(fit.losses)
    assert fit.losses[fit.epoch - 1] < 0.5 * fit.constant
    assert fit.constant == pytest.approx(np.log(2), abs=1e-6)
    build_own(fit.weights)


def test_numbers_are_learned_too(clips: np.ndarray) -> None:
    targets = encode_labels([float(row % 2) * 10 + 3 for row in ROWS], TRAIN)
    assert targets.tolist() == [-1, 1] * 6
    fit = train_conv3d(clips, targets, TRAIN, CHECK, FitConfig(epochs=6, patience=6, batch=4), CPU)
    assert fit.constant == pytest.approx(1)
    assert min(fit.losses) < 0.5


def test_the_same_seed_gives_the_same_weights_and_another_others(clips: np.ndarray) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    first, again, other = (
        train_conv3d(clips, ROWS % 2, TRAIN, CHECK, FitConfig(epochs=1, batch=4, seed=seed), CPU) for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.losses == again.losses != other.losses
    assert all(np.array_equal(first.weights[name], again.weights[name]) for name in first.weights)


def test_training_never_sees_a_clip_of_validation(clips: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other pictures there change what is measured and nothing that is learned."""
    config = FitConfig(epochs=1, batch=4)
    first = train_conv3d(clips, ROWS % 2, TRAIN, CHECK, config, CPU)
    changed = clips.copy()
    changed[CHECK] = 255 - changed[CHECK] // 2
    second = train_conv3d(changed, ROWS % 2, TRAIN, CHECK, config, CPU)
    assert first.losses != second.losses
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_it_stops_when_validation_does_not_improve(clips: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([3.0, 1.0, 2.0, 2.0, 0.0])
    states: list[np.ndarray] = []

    def validate(self: module._Training, rows: np.ndarray) -> float:
        states.append(self._net.state_dict()["trunk.0.0.weight"].numpy().copy())
        return next(said)

    monkeypatch.setattr(module._Training, "_validate", validate)
    told: list[tuple[str, int, int]] = []
    config = FitConfig(epochs=9, patience=2, batch=4)
    fit = train_conv3d(clips, ROWS % 2, TRAIN, CHECK, config, CPU, lambda *done: told.append(done))
    assert fit.losses == [3.0, 1.0, 2.0, 2.0]
    assert fit.epoch == 2
    assert np.array_equal(fit.weights["trunk.0.0.weight"], states[1])
    assert told == [("epoch", n, 9) for n in (1, 2, 3, 4)]


def test_variation_keeps_the_order_of_time() -> None:
    clip = np.zeros((8 * JITTER, 2, 2, 3), np.uint8)
    clip[:, :, 1] = 100
    clip += np.arange(8 * JITTER, dtype=np.uint8)[:, None, None, None]
    rng = np.random.default_rng(0)
    varied = [module._varied(clip, rng) for _ in range(40)]
    for frames in varied:
        order = frames.min((1, 2, 3)).astype(int)
        assert (np.abs(order - np.arange(8) * JITTER - JITTER // 2) <= JITTER // 2).all()
    assert len({frames.tobytes() for frames in varied}) > 20
    assert {bool(frames[0, 0, 0, 0] > frames[0, 0, 1, 0]) for frames in varied} == {True, False}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["a", 1.0, "b"], "classes and numbers at once"),
        (["a", "a", "a"], "one and the same label"),
        ([2.0, 2.0, 1.0], "one and the same label"),
        ([1.0, float("nan"), 2.0], "not a finite number"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: list[float | str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        encode_labels(labels, np.array([0, 1]))


def test_too_few_clips_are_refused(clips: np.ndarray) -> None:
    for train, check in ((TRAIN[:1], CHECK), (TRAIN, CHECK[:0])):
        with pytest.raises(InputError, match="2 and 1 are the least"):
            train_conv3d(clips, ROWS % 2, train, check, QUICK, CPU)


@pytest.fixture
def posted(catalog: Catalog, tmp_path: Path) -> dict[str, str]:
    """Six clips, one that is broken, one content without any; by id with a class."""
    rng = np.random.default_rng(0)
    contents = []
    for n in range(6):
        path = write_clip(tmp_path / f"{n}.mp4", list(bars(n % 2, rng, 16, 32)), options={"preset": "ultrafast"})
        contents.append(Content(f"c{n}", "", NOON, media={Modality.VIDEO: path}))
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    contents.append(Content("c6", "", NOON, media={Modality.VIDEO: tmp_path / "broken.mp4"}))
    contents.append(Content("c7", "", NOON))
    catalog.upsert_contents(contents, "posts")
    return {content.content_id: "ab"[n % 2] for n, content in enumerate(contents)}


def test_a_fit_ends_in_an_embedder(
    posted: dict[str, str], settings: Settings, catalog: Catalog, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    config = FitConfig(epochs=1, batch=4)
    version = fit_conv3d(settings, catalog, posted, ["c1", "c4"], config, lambda *done: told.append(done))
    assert version == current(settings, "conv3d")
    assert {
        "training": 4,
        "validation": 2,
        "unreadable": 2,
        "labels": "classes",
        "epoch": 1,
    }.items() <= version.facts.items()
    assert told == [*(("decode", n, 8) for n in range(1, 9)), ("epoch", 1, 1)]
    files = {path.name for path in encoder_dir(settings, "conv3d").iterdir()}
    assert files == {".lock", "CURRENT", version.version}
    assert resolve_spec("conv3d", settings).weights == version.weights
    embedder = load_embedder("conv3d", settings)
    decoded = embedder.decode(catalog.get(["c0"])["c0"])
    assert embedder.encode([decoded]).shape == (1, SmallC3D().dim)


def test_validation_sees_the_frames_of_inference(posted: dict[str, str], settings: Settings, catalog: Catalog) -> None:
    from embedders.conv3d import Conv3dEmbedder, sampling_of
    from embedders.fitted import publish

    weights = {name: value.numpy() for name, value in SmallC3D().state_dict().items()}
    publish(settings, "conv3d", weights, {"dim": 256})
    spec = resolve_spec("conv3d", settings)
    items = list(catalog.get(["c0", "c1"]).values())
    folder = encoder_dir(settings, "conv3d")
    many, read = module._decode_all(settings, items, folder, lambda *done: None)
    assert read == ["c0", "c1"]
    embedder = Conv3dEmbedder(spec, settings)
    assert many.shape[1] == JITTER * sampling_of(spec).count
    for row, it in zip(many, items, strict=True):
        assert np.array_equal(row[JITTER // 2 :: JITTER], embedder.decode(it))


def test_a_fit_that_fails_leaves_nothing(posted: dict[str, str], settings: Settings, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="2 and 1 are the least"):
        fit_conv3d(settings, catalog, posted, [], QUICK)
    assert current(settings, "conv3d") is None
    assert not list(encoder_dir(settings, "conv3d").glob(".fitting-*"))
