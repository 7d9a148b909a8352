"""How much a logistic probe reads from video vectors: real clips of two classes, five stratified folds, several seeds.

`frames` needs no fit. The 3D CNN is fitted within each fold, on its training clips alone (some of which stop it early);
the probe is trained on the vectors of the same clips, so nothing of the held-out fold is seen. Forty clips are few:
the figures are means over folds and seeds, with the deviation between seeds.

Usage: python -m benchmarks.probe_video [--seeds 5] [--fitted-seeds 2] [--epochs 20]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import RESULTS
from embedders.base import load_embedder
from embedders.conv3d import ClipPixels, build_own, fit_of, sampling_of
from embedders.media.video import ClipLimits, Sampling, sample_frames
from embedders.specs import SPECS
from embedders.train_conv3d import JITTER, FitConfig, train_conv3d
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.files import write_json
from feature_repo.settings import load_settings

FOLDS = 5
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
REAL = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
VectorsOf = Callable[[Rows, int], Matrix]


@dataclass(frozen=True, slots=True)
class Figure:
    """Accuracy on held-out clips, its mean over seeds and folds; `spread` is the deviation between seeds."""

    vectors: str
    clips: int
    chance: float
    accuracy: float
    spread: float
    seeds: int


def accuracy(labels: Labels, vectors_of: VectorsOf, seed: int) -> float:
    """Share of clips told right by a probe that did not see them; `vectors_of` gets the training rows and the seed."""
    right = 0
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held in folds.split(labels, labels):
        vectors = vectors_of(train, seed)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        right += int((probe.fit(vectors[train], labels[train]).predict(vectors[held]) == labels[held]).sum())
    return right / len(labels)


def figure(name: str, labels: Labels, vectors_of: VectorsOf, seeds: int) -> Figure:
    found = [accuracy(labels, vectors_of, seed) for seed in range(seeds)]
    chance = float(np.bincount(labels).max() / len(labels))
    made = Figure(name, len(labels), chance, float(np.mean(found)), float(np.std(found)), seeds)
    print(f"{name}: {made.accuracy:.3f} +- {made.spread:.3f} over {seeds} seeds; chance {chance:.3f}", flush=True)
    return made


def frames_vectors(paths: list[Path]) -> Matrix:
    """Vectors of the `frames` embedder, (n, dim)."""
    contents = [Content(str(n), "", NOON, media={Modality.VIDEO: path}) for n, path in enumerate(paths)]
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(home=Path(home))
        embedder = load_embedder("frames", settings)
        with Catalog(settings.catalog) as catalog:
            catalog.upsert_contents(contents, "probe")
            found = catalog.get([content.content_id for content in contents])
            return np.concatenate([embedder.encode([embedder.decode(found[str(n)])]) for n in range(len(paths))])


def fitted_vectors(paths: list[Path], labels: Labels, epochs: int) -> VectorsOf:
    """Vectors of the small 3D CNN fitted on the rows that it is given, (n, 256)."""
    spec = SPECS["conv3d"]
    usual = sampling_of(spec)
    sampling = Sampling(JITTER * usual.count, window=usual.window)
    clips = np.stack([sample_frames(path, sampling, fit_of(spec), ClipLimits()) for path in paths])
    device = torch.device("cpu")
    pixels = ClipPixels(device)

    def vectors_of(train: Rows, seed: int) -> Matrix:
        rows, check = train_test_split(train, test_size=0.2, random_state=seed, stratify=labels[train])
        config = FitConfig(epochs=epochs, seed=seed)
        net = build_own(train_conv3d(clips, labels, rows, check, config, device).weights).eval()
        with torch.inference_mode():
            blocks = [net(pixels([clip[JITTER // 2 :: JITTER]])) for clip in clips]
        return np.asarray(nn_normalised(torch.cat(blocks)), np.float32)

    return vectors_of


def nn_normalised(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fitted-seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    paths = sorted((REAL / "clips40").glob("*/*.mp4"))
    if not paths:
        raise SystemExit(f"{REAL / 'clips40'} is absent: set LARDER_REAL_DATA")
    classes = sorted({path.parent.name for path in paths})
    labels = np.array([classes.index(path.parent.name) for path in paths], np.int64)
    seen = frames_vectors(paths)
    dim = seen.shape[1] // 3
    parts = {"frames": seen, "frames, mean alone": seen[:, :dim], "frames, motion alone": seen[:, 2 * dim :]}
    made = [figure(name, labels, lambda _rows, _seed, v=v: v, given.seeds) for name, v in parts.items()]  # type: ignore[misc]
    made.append(
        figure("conv3d fitted in the fold", labels, fitted_vectors(paths, labels, given.epochs), given.fitted_seeds)
    )
    write_json(RESULTS / "probe_video.json", [asdict(one) for one in made])


if __name__ == "__main__":
    main()
