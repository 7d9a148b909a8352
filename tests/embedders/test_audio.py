"""The audio embedders' numbers, against librosa's and against the parts that they are made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

from embedders.audio import PERCENTILES, LogMelEmbedder, MfccEmbedder
from embedders.audio_transformer import ClapEmbedder, cut
from embedders.base import load_embedder
from embedders.cepstra import SHORTEST, cepstra, delta, log_mel, statistics
from embedders.media.audio import Samples, decode_audio
from embedders.specs import SPECS
from feature_repo.errors import ConfigurationError, MediaError
from feature_repo.settings import Settings, load_settings
from tests.embedders import audio
from tests.embedders.audio import noise, tone, wav
from tests.embedders.behaviour import item

RATE = 22_050
CPU = torch.device("cpu")

SOUNDS: dict[str, Callable[[], Samples]] = {
    "low tone": lambda: tone(110, 3.0),
    "tone": lambda: tone(440, 1.7),
    "faint tone": lambda: tone(3000, 0.9, level=1e-3),
    "noise": lambda: noise(0, 2.3),
    "loud noise": lambda: noise(1, 0.6, level=1.0),
    "tone in noise": lambda: tone(880, 1.0) + noise(2, 1.0, level=0.01),
    "silence": lambda: np.zeros(30_000, np.float32),
    "click": lambda: np.eye(1, 9000, 4321, dtype=np.float32)[0],
    "as short as may be": lambda: noise(3, 1.0)[:SHORTEST],
}


def librosas(sound: Samples, bands: int = 128, coefficients: int = 20) -> list[npt.NDArray[np.float64]]:
    """Log-mel spectrogram, coefficients and their two derivatives, (frames, numbers) each, by librosa."""
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=sound.astype(np.float64), sr=RATE, n_mels=bands))
    found = librosa.feature.mfcc(S=mel, n_mfcc=coefficients)
    return [mel.T, found.T, librosa.feature.delta(found).T, librosa.feature.delta(found, order=2).T]


def ours(sounds: list[Samples], bands: int = 128, coefficients: int = 20) -> list[list[npt.NDArray[np.float32]]]:
    """The same of all sounds in one batch, by Larder."""
    db, counts = log_mel(sounds, RATE, bands, CPU)
    found = cepstra(db, coefficients)
    series = [db, found, delta(found, counts, 1), delta(found, counts, 2)]
    return [[one[row, :count].numpy() for one in series] for row, count in enumerate(counts.tolist())]


def agree(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> bool:
    return mine.shape == theirs.shape and bool(np.allclose(mine, theirs, rtol=1e-4, atol=1e-3))


@pytest.mark.parametrize(("bands", "coefficients"), [(128, 20), (64, 13), (40, 40)])
def test_one_batch_of_all_lengths_gives_librosas_numbers(bands: int, coefficients: int) -> None:
    made = [make() for make in SOUNDS.values()]
    for name, sound, found in zip(SOUNDS, made, ours(made, bands, coefficients), strict=True):
        for mine, theirs in zip(found, librosas(sound, bands, coefficients), strict=True):
            assert agree(mine, theirs), name


def test_coefficients_are_librosas_to_a_ten_thousandth() -> None:
    for name in ("tone", "noise", "tone in noise"):
        sound = SOUNDS[name]()
        _, mine, *derived = ours([sound])[0]
        _, theirs, *expected = librosas(sound)
        assert np.abs(mine - theirs).max() < 1e-4 * np.abs(theirs).max(), name
        for slope, known in zip(derived, expected, strict=True):
            assert np.abs(slope - known).max() < 1e-4, name


@pytest.mark.real
def test_real_recordings_give_librosas_numbers(real_data: Path) -> None:
    files = sorted((real_data / "esc100").rglob("*.ogg"))[::7]
    sounds = [decode_audio(path, RATE, 60) for path in files]
    for path, sound, found in zip(files, sounds, ours(sounds), strict=True):
        for mine, theirs in zip(found, librosas(sound), strict=True):
            assert agree(mine, theirs), path


@given(st.lists(st.integers(9, 60), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@hypothesis_settings(deadline=None)
def test_statistics_are_numpys_whatever_lies_beyond_the_end(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    series = torch.from_numpy(random.standard_normal((len(lengths), max(lengths), 3)).astype(np.float32))
    for row, length in enumerate(lengths):
        series[row, length:] = torch.nan
    found = statistics(series, torch.tensor(lengths), PERCENTILES).numpy()
    for row, length in enumerate(lengths):
        own = series[row, :length].numpy()
        known = np.stack([own.mean(0), own.std(0), *np.percentile(own, PERCENTILES, axis=0)])
        assert np.allclose(found[row], known, atol=1e-5)


def test_vectors_are_made_of_librosas_numbers(settings: Settings) -> None:
    sound = SOUNDS["tone in noise"]()
    _, *series = librosas(sound)
    for name, parts in (("mfcc", series), ("log_mel", [librosas(sound, 64)[0]])):
        embedder: Any = load_embedder(name, settings)
        joined = np.concatenate(parts, 1)
        raw = np.stack([joined.mean(0), joined.std(0), *np.percentile(joined, PERCENTILES, axis=0)])
        centre, scale = embedder.usual()
        vector = ((raw - centre) / scale).ravel()
        assert np.allclose(embedder.encode([sound])[0], vector / np.linalg.norm(vector), atol=1e-5), name


@pytest.mark.parametrize("name", ["mfcc", "log_mel"])
def test_a_sound_keeps_its_vector_in_other_company(name: str, settings: Settings) -> None:
    embedder = load_embedder(name, settings)
    made = [make() for make in SOUNDS.values()]
    together = embedder.encode(made)
    assert np.allclose(embedder.encode(made[::-1]), together[::-1], atol=1e-5)
    assert np.allclose(np.concatenate([embedder.encode([one]) for one in made]), together, atol=1e-5)


@pytest.mark.parametrize("name", ["mfcc", "log_mel"])
def test_a_sound_is_nearer_to_its_kind(name: str, settings: Settings) -> None:
    embedder = load_embedder(name, settings)
    hum, other_hum, hiss = embedder.encode([tone(220), tone(240, 1.5), noise(0)])
    assert hum @ other_hum > 0.5 + hum @ hiss


@pytest.mark.parametrize("samples", [1, 100, 2048, SHORTEST - 1])
@pytest.mark.parametrize("name", ["mfcc", "log_mel"])
def test_a_sound_shorter_than_the_filters_counts_as_repeated(name: str, samples: int, settings: Settings) -> None:
    embedder = load_embedder(name, settings)
    short = noise(0)[:samples]
    vector, repeated = embedder.encode([short, np.resize(short, SHORTEST)])
    assert np.isfinite(vector).all()
    assert np.allclose(vector, repeated, atol=1e-6)


@pytest.mark.parametrize("coefficients", [13, 40])
def test_the_number_of_coefficients_is_an_option(coefficients: int, settings: Settings) -> None:
    options = {**SPECS["mfcc"].options, "coefficients": coefficients}
    spec = replace(SPECS["mfcc"], dim=15 * coefficients, options=options)
    assert MfccEmbedder(spec, settings).encode([tone(440)]).shape == (1, spec.dim)


@pytest.mark.parametrize("coefficients", [0, 12, 41])
def test_too_few_or_many_coefficients_are_refused(coefficients: int, settings: Settings) -> None:
    spec = replace(SPECS["mfcc"], options={**SPECS["mfcc"].options, "coefficients": coefficients})
    with pytest.raises(ConfigurationError, match=f"option coefficients is {coefficients}; take 13 to 40"):
        MfccEmbedder(spec, settings)


def test_only_the_specs_seconds_are_heard(settings: Settings, tmp_path: Path) -> None:
    spec = replace(SPECS["log_mel"], options={**SPECS["log_mel"].options, "seconds": 1})
    path = tmp_path / "long.wav"
    path.write_bytes(wav(np.concatenate([tone(440), noise(0, 2.0)])))
    embedder = LogMelEmbedder(spec, settings)
    assert np.allclose(
        embedder.encode([embedder.decode(item("a", audio=path))]), embedder.encode([tone(440)]), atol=1e-3
    )


@pytest.mark.parametrize("name", ["mfcc", "log_mel"])
def test_a_file_that_never_answers_is_given_up_within_the_limit(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    embedder = load_embedder(name, load_settings(home=tmp_path / "home", media_seconds=0.5, workers=1))
    with pytest.raises(MediaError, match=r"^too slow: over 0\.5 s$"):
        embedder.decode(item("a", audio=tmp_path / "pipe.wav"))
    assert embedder.embed_audio(wav(tone(440))).shape == (embedder.spec.dim,)


@given(st.integers(1, 5000), st.integers(400, 1000))
def test_windows_are_whole_and_cover_the_sound(samples: int, size: int) -> None:
    sound = np.arange(1, samples + 1, dtype=np.float32)
    windows = cut(sound, size)
    assert set(np.concatenate(windows)) - {0} == set(sound)
    assert len(windows) == -(-samples // size)
    assert samples <= size or all(len(window) == size for window in windows)


def test_clap_gives_transformers_numbers(tmp_path: Path) -> None:
    models = audio.clap(tmp_path)
    embedder = load_embedder("clap", load_settings(home=tmp_path / "home", models=models, device="cpu"))
    assert isinstance(embedder, ClapEmbedder)
    model: Any = ClapModel.from_pretrained(tmp_path)
    extractor: Any = ClapFeatureExtractor.from_pretrained(tmp_path)
    tokeniser = AutoTokenizer.from_pretrained(tmp_path)
    sound = (32767 * tone(440, 0.8, 48_000)).astype("<i2").astype(np.float32) / 32768
    with torch.inference_mode():
        model.eval()
        known = model.get_audio_features(**extractor(sound, sampling_rate=48_000, return_tensors="pt")).pooler_output
        words = model.get_text_features(**tokeniser("a dog barks", return_tensors="pt")).pooler_output
    assert np.allclose(embedder.embed_audio(wav(tone(440, 0.8, 48_000), 48_000)), known[0].numpy(), atol=1e-3)
    assert np.allclose(embedder.embed_text("a dog barks"), words[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(("name", "model"), [("ast", audio.ast), ("clap", audio.clap)])
def test_a_long_sound_is_the_mean_of_its_windows(name: str, model: Callable[[Path], Any], tmp_path: Path) -> None:
    embedder: Any = load_embedder(name, load_settings(home=tmp_path / "h", models=model(tmp_path), device="cpu"))
    rate, size = embedder._rate, embedder.window_samples()
    sound = np.concatenate([tone(440, size / rate, rate), noise(0, size / rate, rate)])
    decoded = embedder._features(wav(sound, rate))
    assert len(decoded) == 2
    tokens = np.stack([embedder.forward(torch.from_numpy(decoded))[0][row].detach().numpy() for row in (0, 1)]).mean(0)
    assert np.allclose(embedder.encode([decoded])[0], tokens / np.linalg.norm(tokens), atol=1e-5)


def test_decoding_twice_gives_the_same_also_where_transformers_would_draw(tmp_path: Path) -> None:
    embedder: Any = load_embedder("clap", load_settings(home=tmp_path / "h", models=audio.clap(tmp_path), device="cpu"))
    long = wav(noise(0, 4.0, 48_000), 48_000)
    assert np.array_equal(embedder._features(long), embedder._features(long))
