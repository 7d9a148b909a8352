"""From a content's causes to its sound: the timbre of its topics; how loud, bright and fast it is tells its energy."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feature_repo.datasets.synthetic.lexicon import TOPICS
from feature_repo.datasets.synthetic.world import Subject, percentile
from feature_repo.files import replacing

Samples = NDArray[np.float32]
RATE = 16_000  # samples a second
SECONDS = 2.0
_TABLE = 2048  # samples of one period, a power of two
_HARMONICS = np.arange(1, 9)
_PERIOD = np.sin(2.0 * np.pi * np.outer(_HARMONICS, np.arange(_TABLE)) / _TABLE)


@dataclass(frozen=True, slots=True)
class Timbre:
    """How a topic sounds: notes above a root that fade within `decay` seconds, over a bed of noise.

    `noise` is the noise's share, `width` the samples that it is smoothed over (wide: a rumble, 1: a hiss),
    `swell` the Hz at which it comes and goes.
    """

    root: float
    semitones: tuple[int, ...]
    decay: float
    noise: float
    width: int
    swell: float


TIMBRES: Mapping[str, Timbre] = {
    "cooking": Timbre(392.0, (0, 4, 7, 11), 0.08, 0.75, 1, 5.0),
    "football": Timbre(880.0, (0, 0, 2), 0.30, 0.80, 6, 1.0),
    "cats": Timbre(523.3, (0, 3, 5, 3), 0.25, 0.45, 60, 12.0),
    "mountains": Timbre(293.7, (0, 7, 12, 14), 0.60, 0.50, 24, 0.5),
    "ocean": Timbre(196.0, (0, 7, 9), 0.70, 0.85, 12, 0.7),
    "city night": Timbre(98.0, (0, 0, 12, 10), 0.12, 0.35, 2, 8.0),
    "guitar": Timbre(164.8, (0, 7, 12, 16, 19), 0.45, 0.05, 4, 2.0),
    "chess": Timbre(1174.7, (0, 12), 0.02, 0.08, 3, 2.0),
}


def waveform(subject: Subject, energy: float, rng: np.random.Generator) -> Samples:
    """Mono samples in -1..1, (RATE * SECONDS,); `energy` is a standard normal value."""
    level = float(percentile(energy))
    sound = np.zeros(round(RATE * SECONDS), np.float32)
    for topic, share in ((subject.first, 1.0 - subject.second_share), (subject.second, subject.second_share)):
        sound += np.float32(share) * _voice(TIMBRES[TOPICS[topic].name], level, len(sound), rng)
    loudness = np.float32(0.02 * 10.0**level)  # root mean square: 20 dB from the calmest to the loudest
    return np.asarray(np.tanh(loudness * _levelled(sound)))


def save_wav(path: Path, samples: Samples) -> None:
    """Write 16-bit PCM, mono, `RATE` Hz, whole or not at all."""
    with replacing(path, durable=False) as beside, beside.open("wb") as file, wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(pcm(samples).tobytes())


def pcm(samples: Samples) -> NDArray[np.int16]:
    """Samples in -1..1 as 16-bit integers, little-endian."""
    return np.round(samples * 32767.0).astype("<i2")


def _voice(timbre: Timbre, level: float, length: int, rng: np.random.Generator) -> Samples:
    """Notes on the beat and the noise bed; from 60 to 200 a minute and brighter as `level` goes from 0 to 1."""
    period = ((_HARMONICS ** (-2.4 + 1.8 * level)) @ _PERIOD).astype(np.float32)
    root = timbre.root * 2.0 ** (rng.integers(-3, 4) / 12.0)
    step = round(RATE * 60.0 / (60.0 + 140.0 * level))
    span = np.arange(min(length, round(3.0 * timbre.decay * RATE)), dtype=np.float32)
    fade = np.exp(span / np.float32(-timbre.decay * RATE))
    notes = np.zeros(length + len(span), np.float32)
    for start in range(int(rng.integers(step // 2)), length, step):
        pitch = root * 2.0 ** (timbre.semitones[int(rng.integers(len(timbre.semitones)))] / 12.0)
        phase = (span * np.float32(pitch * _TABLE / RATE)).astype(np.int32) & (_TABLE - 1)
        notes[start : start + len(span)] += fade * period[phase]
    swell = np.arange(length, dtype=np.float32) * np.float32(2.0 * np.pi * timbre.swell / RATE)
    bed = _smooth(rng.standard_normal(length + timbre.width, dtype=np.float32), timbre.width)
    bed *= 1.0 + np.float32(0.8) * np.sin(swell + np.float32(2.0 * np.pi * rng.random()))
    return (1.0 - timbre.noise) * _levelled(notes[:length]) + timbre.noise * _levelled(bed)


def _smooth(noise: Samples, width: int) -> Samples:
    if width == 1:
        return noise[1:]
    total = np.cumsum(noise)
    return np.asarray(total[width:] - total[:-width])


def _levelled(samples: Samples) -> Samples:
    """`samples` with a root mean square of 1."""
    return np.asarray(samples / np.sqrt(np.vdot(samples, samples) / np.float32(len(samples))))
