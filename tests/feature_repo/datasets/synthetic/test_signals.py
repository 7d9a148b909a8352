"""Each planted cause can be measured in its own medium and in no other."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from feature_repo.contracts import Content, Modality
from feature_repo.datasets.synthetic import Synthetic
from feature_repo.datasets.synthetic.lexicon import TOPICS
from feature_repo.datasets.synthetic.world import Floats

COUNT = 240
CAUSES = ("image_quality", "title_appeal", "sound_energy", "creator_skill", "noise")
World = tuple[Synthetic, list[Content]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = Synthetic(COUNT, 5, media_dir=tmp_path_factory.mktemp("synthetic") / "media", clips=False, image_size=64)
    return made, list(made.contents())


def sharpness(path: Path) -> float:
    grey = np.asarray(Image.open(path).convert("L"), dtype=np.float64)
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.log(edges.std()))


def saturation(path: Path) -> float:
    return float(np.asarray(Image.open(path).convert("HSV"))[..., 1].mean())


def samples(path: Path) -> Floats:
    with wave.open(str(path), "rb") as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768.0


def learnt(table: Floats, target: Floats, penalty: float) -> Floats:
    """What ridge regression on the other half says of each row; (n, d), (n,) -> (n,)."""
    said = np.empty(len(target))
    halves = np.arange(len(target)) % 2
    for half in (0, 1):
        seen = halves != half
        centre, mean = table[seen].mean(axis=0), target[seen].mean()
        x = table[seen] - centre
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (target[seen] - mean))
        said[~seen] = (table[~seen] - centre) @ weights + mean
    return said


def words(contents: list[Content]) -> Floats:
    texts = [set(c.text.lower().replace(",", " ").replace(".", " ").replace(":", " ").split()) for c in contents]
    vocabulary = sorted(set().union(*texts))
    return np.array([[float(word in text) for word in vocabulary] for text in texts])


def check_only(signal: Floats, cause: str, world: Synthetic) -> None:
    """The signal tells its cause and none of the others."""
    found = {name: abs(float(np.corrcoef(signal, getattr(world.truth, name))[0, 1])) for name in CAUSES}
    assert found.pop(cause) > 0.6
    assert max(found.values()) < 0.2, found


@pytest.mark.parametrize("measure", [sharpness, saturation])
def test_the_picture_tells_image_quality_alone(world: World, measure: Callable[[Path], float]) -> None:
    check_only(np.array([measure(c.media[Modality.IMAGE]) for c in world[1]]), "image_quality", world[0])


def test_the_sound_s_loudness_tells_its_energy_alone(world: World) -> None:
    loudness = np.array([np.log(samples(c.media[Modality.AUDIO]).std()) for c in world[1]])
    check_only(loudness, "sound_energy", world[0])


def test_the_words_tell_title_appeal_alone(world: World) -> None:
    table = words(world[1])
    check_only(learnt(table, world[0].truth.title_appeal, 3.0), "title_appeal", world[0])
    for other in ("image_quality", "sound_energy"):
        cause = getattr(world[0].truth, other)
        assert abs(np.corrcoef(learnt(table, cause, 3.0), cause)[0, 1]) < 0.25


def test_the_topic_shows_in_picture_sound_words_and_tags(world: World) -> None:
    made, contents = world
    topic = made.truth.topic_mixture.argmax(axis=1)
    pictures = np.array([np.asarray(Image.open(c.media[Modality.IMAGE]).resize((12, 12))).ravel() for c in contents])
    spectra = np.array([_spectrum(samples(c.media[Modality.AUDIO])) for c in contents])
    tags = np.array([[float(tag in c.tags) for tag in sorted({t for d in contents for t in d.tags})] for c in contents])
    tables = {"picture": (pictures / 64.0, 30.0), "sound": (spectra, 10.0), "words": (words(contents), 3.0)}
    for name, (table, penalty) in (tables | {"tags": (tags, 1.0)}).items():
        scores = np.column_stack([learnt(table, np.where(topic == k, 1.0, 0.0), penalty) for k in range(8)])
        assert (scores.argmax(axis=1) == topic).mean() > 0.6, name


def _spectrum(sound: Floats) -> Floats:
    bands = np.array_split(np.abs(np.fft.rfft(sound / sound.std())), np.geomspace(20, 16_000, 40).astype(int))
    return np.array([np.log(band.mean()) for band in bands])


def test_one_tag_in_ten_is_wrong(world: World) -> None:
    made, contents = world
    wrong = [
        tag not in {t for k in np.flatnonzero(made.truth.topic_mixture[row]) for t in TOPICS[k].tags}
        for row, content in enumerate(contents)
        for tag in content.tags
    ]
    assert 0.03 < np.mean(wrong) < 0.16


def test_titles_are_varied_and_well_formed(world: World) -> None:
    titles = [c.title for c in world[1]]
    assert len(set(titles)) > 0.95 * COUNT
    assert all(t[0].isupper() and "{" not in t and "  " not in t for t in titles)
    assert all(c.description.endswith((".", "!")) for c in world[1])
