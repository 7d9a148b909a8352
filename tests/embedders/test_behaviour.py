"""One behaviour suite over every embedder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from embedders.base import Decoded, Embedder, load_embedder
from embedders.specs import SPECS, resolve_spec
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality
from feature_repo.errors import ConfigurationError, MediaError
from feature_repo.settings import Settings, load_settings
from tests.embedders import aligned, audio, tiny, tuned, video
from tests.embedders.behaviour import Case

CASES: dict[str, Case] = {**tiny.CASES, **audio.CASES, **video.CASES, **aligned.CASES, **tuned.CASES}


@dataclass(frozen=True)
class Ready:
    """A case with its embedder loaded and its contents written and decoded."""

    case: Case
    settings: Settings
    embedder: Embedder
    items: Sequence[CatalogItem]
    decoded: Sequence[Decoded]
    broken: Mapping[str, CatalogItem]


@pytest.fixture(scope="module", params=CASES)
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("case")
    (folder / "model").mkdir()
    models = case.model(folder / "model")
    tokens = {case.spec: case.tokens}
    settings = load_settings(home=folder / "home", models=models, tokens=tokens, batch_size=2, device="cpu")
    embedder = load_embedder(case.spec, settings)
    items = case.items(folder)
    return Ready(case, settings, embedder, items, [embedder.decode(it) for it in items], case.broken(folder))


def test_every_embedder_is_in_the_table() -> None:
    assert {case.spec for case in CASES.values()} == set(SPECS)


def test_vectors_have_the_specs_shape_and_length(ready: Ready) -> None:
    vectors = ready.embedder.encode(ready.decoded)
    assert ready.embedder.spec == resolve_spec(ready.case.spec, ready.settings)
    assert vectors.shape == (len(ready.items), ready.embedder.spec.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    if ready.embedder.spec.normalised:
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_same_content_gives_the_same_bytes(ready: Ready) -> None:
    again = [ready.embedder.decode(it) for it in ready.items]
    assert ready.embedder.encode(ready.decoded).tobytes() == ready.embedder.encode(again).tobytes()


def test_a_batch_equals_its_items_in_order(ready: Ready) -> None:
    together = ready.embedder.encode(ready.decoded)
    alone = np.concatenate([ready.embedder.encode([one]) for one in ready.decoded])
    assert np.allclose(together, alone, atol=1e-4)
    apart = np.abs(together[:, None] - together[None]).max(-1)
    assert apart[~np.eye(len(together), dtype=bool)].min() > 1e-3  # else order would not show


def test_tokens_come_beside_the_same_vectors(ready: Ready) -> None:
    spec = ready.embedder.spec
    if not ready.case.tokens:
        assert spec.tokens == 0
        return
    vectors, tokens = ready.embedder.encode_tokens(ready.decoded)
    assert tokens.shape == (len(ready.items), ready.case.tokens, spec.token_dim)
    assert tokens.dtype == np.float32
    assert np.isfinite(tokens).all()
    assert np.allclose(vectors, ready.embedder.encode(ready.decoded), atol=1e-5)
    alone = np.concatenate([ready.embedder.encode_tokens([one])[1] for one in ready.decoded])
    assert np.allclose(tokens, alone, atol=1e-3)
    assert np.ptp(tokens, axis=1).max() > 1e-3  # they are not one state over and over


def test_a_query_is_embedded_as_a_content_is(ready: Ready) -> None:
    spec, content = ready.embedder.spec, ready.items[0].content
    if spec.modality not in spec.query_modalities:
        pytest.skip(f"no query of {spec.name} is of its contents' kind")
    if spec.modality is Modality.IMAGE:
        query = ready.embedder.embed_image(content.media[Modality.IMAGE].read_bytes())
    elif spec.modality is Modality.AUDIO:
        query = ready.embedder.embed_audio(content.media[Modality.AUDIO].read_bytes())
    else:
        query = ready.embedder.embed_text(content.text)
    assert np.allclose(query, ready.embedder.encode(ready.decoded)[0], atol=1e-4)


def test_queries_are_taken_in_their_kinds_and_in_no_other(ready: Ready, png: bytes) -> None:
    embedder = ready.embedder
    asks: dict[Modality, Callable[[], np.ndarray]] = {
        Modality.TEXT: lambda: embedder.embed_text("tea"),
        Modality.IMAGE: lambda: embedder.embed_image(png),
        Modality.AUDIO: lambda: embedder.embed_audio(audio.wav(audio.tone(440))),
    }
    for modality, ask in asks.items():
        if modality in embedder.spec.query_modalities:
            assert ask().shape == (embedder.spec.dim,)
        else:
            with pytest.raises(ConfigurationError, match=f"{embedder.spec.name} cannot be searched by {modality}"):
                ask()


def test_broken_queries_say_so(ready: Ready) -> None:
    if Modality.TEXT in ready.embedder.spec.query_modalities:
        with pytest.raises(MediaError, match=r"^no text$"):
            ready.embedder.embed_text(" ")
    if Modality.IMAGE in ready.embedder.spec.query_modalities:
        with pytest.raises(MediaError, match=r"^not a picture"):
            ready.embedder.embed_image(b"text")
    if Modality.AUDIO in ready.embedder.spec.query_modalities:
        with pytest.raises(MediaError, match=r"^not a sound"):
            ready.embedder.embed_audio(b"text")


def test_a_long_text_is_cut(ready: Ready) -> None:
    if Modality.TEXT not in ready.embedder.spec.query_modalities:
        pytest.skip(f"{ready.case.spec} reads no text")
    cat, dog = (ready.embedder.embed_text("word " * 600 + end) for end in ("cat", "dog"))
    assert np.array_equal(cat, dog)


def test_broken_contents_say_why(ready: Ready) -> None:
    for reason, item in ready.broken.items():
        with pytest.raises(MediaError, match=reason):
            ready.embedder.decode(item)
