"""What the bundled audio vectors know: kinds of sounds told apart by a linear probe, and what making them takes.

ESC-100's folders are its classes (10, of 10 recordings each). Folds are stratified, their seeds fixed. The peer is
what a textbook does: librosa's 20 coefficients, a file at a time, and their means, each scaled to unit deviation.
What was tried on the same folds: C of 1, 10, 100 and 1000 for Larder's unit vectors (10 and 100 are within 0.02), of
0.003 to 1 for the peer's (1 is its best), scaling the columns of Larder's too (less by 0.03), 64 bands under the
cepstra (more by 0.01). Run: `python -m benchmarks.probe_audio`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import Row, machine, measure, publish
from embedders.audio import PERCENTILES
from embedders.base import Embedder, load_embedder
from embedders.media.audio import Samples, decode_audio
from feature_repo.settings import Settings, load_settings

RATE = 22_050
SEEDS = (0, 1, 2)
REPEATS = 5

Matrix = npt.NDArray[np.float32]


def main() -> None:
    """Print both tables; results go to benchmarks/results/."""
    folder = Path(os.environ.get("LARDER_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")) / "esc100"
    files = sorted(folder.rglob("*.ogg"))
    if not files:
        raise SystemExit(f"no sounds at {folder}; set LARDER_REAL_DATA")
    kinds = np.array([path.parent.name for path in files])
    sounds = [decode_audio(path, RATE, 60) for path in files]
    settings = load_settings(device="cpu")
    publish("probe_audio", [*quality(sounds, kinds, settings), *speed(sounds, settings)])


def quality(sounds: Sequence[Samples], kinds: npt.NDArray[np.str_], settings: Settings) -> list[Row]:
    """Accuracy of the probe on each kind of vector beside the textbook's, and beside chance."""
    vectors = {name: encode(load_embedder(name, settings), sounds) for name in ("mfcc", "log_mel")}
    vectors["mfcc and log_mel"] = np.concatenate(list(vectors.values()), 1)
    textbook = np.stack([librosa.feature.mfcc(y=sound, sr=RATE).mean(1) for sound in sounds])
    chance = 1 / len(set(kinds))
    baseline = accuracy(textbook, kinds, make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)))
    claim = f"{len(sounds)} sounds of {len(set(kinds))} kinds, 5 folds: {{}}"
    rows = [
        (
            f"{name} against librosa's mean MFCC",
            accuracy(found, kinds, LogisticRegression(C=10, max_iter=2000)),
            baseline,
        )
        for name, found in vectors.items()
    ]
    rows.append(("librosa's mean MFCC against chance", baseline, chance))
    return [Row(claim.format(name), ours, peer, 1.0, "accuracy", len(SEEDS), machine()) for name, ours, peer in rows]


def accuracy(vectors: Matrix, kinds: npt.NDArray[np.str_], probe: Pipeline | LogisticRegression) -> float:
    """Mean over folds and seeds."""
    folds = [StratifiedKFold(5, shuffle=True, random_state=seed) for seed in SEEDS]
    return float(np.mean([cross_val_score(probe, vectors, kinds, cv=cv) for cv in folds]))


def speed(sounds: Sequence[Samples], settings: Settings) -> list[Row]:
    """The whole vectors from decoded samples: batches against librosa's loop over files."""
    claim = f"{len(sounds)} sounds of 5 s, already decoded: {{}} in batches against librosa, sound by sound"
    rows = []
    for name, alone in (("mfcc", librosas_mfcc), ("log_mel", librosas_log_mel)):
        embedder = load_embedder(name, settings)
        ours, peer = measure(
            partial(rate, partial(encode, embedder), sounds), partial(rate, partial(one_by_one, alone), sounds), REPEATS
        )
        rows.append(Row(claim.format(name), ours, peer, 1.0, "sounds/s", REPEATS, machine()))
    return rows


def encode(embedder: Embedder, sounds: Sequence[Samples]) -> Matrix:
    """All vectors, a window at a time, as the runner does it."""
    starts = range(0, len(sounds), embedder.window)
    return np.concatenate([embedder.encode(sounds[start : start + embedder.window]) for start in starts])


def librosas_mfcc(sound: Samples) -> Matrix:
    """The statistics of what librosa's three calls give."""
    found = librosa.feature.mfcc(y=sound, sr=RATE)
    return summary(np.concatenate([found, librosa.feature.delta(found), librosa.feature.delta(found, order=2)]))


def librosas_log_mel(sound: Samples) -> Matrix:
    """The statistics of librosa's spectrogram."""
    return summary(librosa.power_to_db(librosa.feature.melspectrogram(y=sound, sr=RATE, n_mels=64)))


def summary(series: Matrix) -> Matrix:
    """Mean, deviation and percentiles over time."""
    parts = [series.mean(1), series.std(1), *np.percentile(series, PERCENTILES, axis=1)]
    return np.concatenate(parts).astype(np.float32)


def one_by_one(make: Callable[[Samples], Matrix], sounds: Sequence[Samples]) -> Matrix:
    """All vectors, a sound at a time."""
    return np.stack([make(sound) for sound in sounds])


def rate(work: Callable[[Sequence[Samples]], Matrix], sounds: Sequence[Samples]) -> float:
    """Sounds a second."""
    start = time.perf_counter()
    work(sounds)
    return len(sounds) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
