"""Raw contents score as they would once they had been ingested, embedded and materialised."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedders.base import read_file
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Content, Modality
from feature_repo.errors import InputError, NotFoundError
from grpc_api.answers.raw import RawLimits
from grpc_api.messages.describe import Limits
from grpc_api.messages.predict import PredictQuery, RawContent, Status
from grpc_api.service import ScoringService
from predictors.loaded import Encoders, LoadedRelease
from predictors.torch_fit import cpu_threads
from tests.feature_repo.datasets.clips import clip_bytes
from tests.grpc_api.answers.world import CALL, World
from tests.grpc_api.parts import PUBLISHED, SPEC, Angles
from tests.larder.worlds import unequal


def as_raw(content: Content) -> RawContent:
    """What a caller would send of it."""
    picture = content.media.get(Modality.IMAGE)
    return RawContent(
        content.content_id,
        content.title,
        content.description,
        content.tags,
        str(content.attributes["language"]),
        content.creator_id,
        content.published_at,
        picture.read_bytes() if picture and picture.exists() else b"",
    )


def test_a_raw_content_scores_as_the_stored_one(world: World) -> None:
    chosen = world.contents[:6]
    found = world.predict([c.content_id for c in chosen], tuple(map(as_raw, chosen)))
    assert len(set(found.scores[:6].tolist())) > 3
    np.testing.assert_array_equal(found.scores[6:], found.scores[:6])
    np.testing.assert_array_equal(found.probabilities[6:], found.probabilities[:6])
    np.testing.assert_array_equal(found.statuses[6:], found.statuses[:6])
    assert {name: rows.tolist() for name, rows in found.missing.items()} == {
        name: [*rows[rows < 6].tolist(), *(6 + rows[rows < 6]).tolist()] for name, rows in found.missing.items()
    }


def test_a_new_content_scores_as_it_will_once_it_is_ingested(world: World) -> None:
    """Its features, too, are those of the store to the last bit, as long as as many threads share a product's sums."""
    like = next(c for c in world.contents if Modality.IMAGE in c.media and c.media[Modality.IMAGE].exists())
    new = replace(like, content_id="new", title="A title of its own", tags=(), creator_id=None, counters={})
    told: list[Any] = []
    read = world.store.read

    def witness(*args: Any, **kwargs: Any) -> Any:
        told.append(read(*args, **kwargs))
        return told[-1]

    world.service.release = replace(world.service.release, store=_Reads(witness))
    with cpu_threads(1):
        before = world.predict([], (as_raw(new),))
        world.service.release = replace(world.service.release, store=world.store)
        world.add(new)
    after = world.predict(["new"])
    assert before.statuses.tolist() == after.statuses.tolist() == [Status.OK]
    np.testing.assert_array_equal(before.scores, after.scores)
    assert unequal(told[-1], world.store.read("popularity", ["new"])) == []


class _Reads:
    """A store of which only `read` is used."""

    def __init__(self, read: Any) -> None:
        self.read = read


def test_a_clip_is_described_by_its_file(tmp_path: Path, release: LoadedRelease) -> None:
    """Duration and streams are probed as an adapter does it; the clip is handed to the embedders."""
    clip = tmp_path / "a.mp4"
    clip.write_bytes(clip_bytes())
    seen: list[CatalogItem] = []

    class Film(Angles):
        def embed(self, item: CatalogItem) -> tuple[npt.NDArray[np.float32], None]:
            seen.append(item)
            return self.embed_text("3"), None

    served = replace(release, encoders=Encoders(release.manifest.embeddings, lambda name: Film()))
    service = ScoringService(served, Limits(), RawLimits(seconds=60, clips_dir=tmp_path))
    [said] = service.predict(query(RawContent("r", "t", clip=clip.name)), CALL).results
    assert said.statuses.tolist() == [Status.OK]
    assert seen[0].content.media[Modality.VIDEO] == clip
    assert float(seen[0].content.attributes["duration_s"]) == pytest.approx(1.0, abs=0.2)


def query(*raws: RawContent) -> PredictQuery:
    return PredictQuery(("popularity",), [], raws)


class Pictures(Angles):
    """Reads numbers out of pictures."""

    spec = replace(SPEC, modality=Modality.IMAGE)

    def embed(self, item: CatalogItem) -> tuple[npt.NDArray[np.float32], None]:
        return self.embed_image(read_file(item, Modality.IMAGE)), None


@pytest.fixture
def service(release: LoadedRelease) -> ScoringService:
    """One whose embedder reads pictures."""
    pins = {"tiny": replace(release.manifest.embeddings["tiny"], spec_digest=Pictures.spec.digest)}
    served = replace(release, encoders=Encoders(pins, lambda name: Pictures()))
    return ScoringService(served, Limits(raw_contents=4, text_characters=100))


def test_a_broken_picture_leaves_the_others_alone(service: ScoringService) -> None:
    raws = (RawContent("a", image=b"1"), RawContent("b", image=b"broken"), RawContent("c", image=b"2"))
    [said] = service.predict(PredictQuery(("popularity",), ["c03"], raws), CALL).results
    assert said.statuses.tolist() == [Status.OK, Status.OK, Status.UNREADABLE, Status.OK]
    assert np.isnan(said.scores).tolist() == [False, False, True, False]
    assert said.classes[2] == -1
    assert not said.missing


def test_without_a_picture_its_embedding_is_missing(service: ScoringService) -> None:
    raws = (RawContent("a", title="no picture"), RawContent("b", image=b"1"))
    [said] = service.predict(PredictQuery(("popularity",), ["c11", "nobody"], raws), CALL).results
    wanted = [Status.INCOMPLETE, Status.UNKNOWN_CONTENT, Status.INCOMPLETE, Status.OK]
    assert said.statuses.tolist() == wanted
    assert {name: rows.tolist() for name, rows in said.missing.items()} == {"tiny": [0, 2]}


def test_what_is_not_embedded_in_time_is_missing(release: LoadedRelease) -> None:
    class Slow(Angles):
        def embed(self, item: CatalogItem) -> tuple[npt.NDArray[np.float32], None]:
            time.sleep(0.05)
            return self.embed_text("1"), None

    served = replace(release, encoders=Encoders(release.manifest.embeddings, lambda name: Slow()))
    service = ScoringService(served, Limits(), RawLimits(seconds=0.01))
    [said] = service.predict(query(*(RawContent(str(n), "t") for n in range(3))), CALL).results
    assert said.statuses.tolist() == [Status.OK, Status.INCOMPLETE, Status.INCOMPLETE]
    assert np.isfinite(said.scores).all()


def test_the_raw_ids_come_after_the_others(service: ScoringService) -> None:
    asked = PredictQuery(("popularity",), ["c02"], (RawContent("c02", image=b"1", published_at=PUBLISHED),))
    found = service.predict(asked, CALL)
    assert found.content_ids == ["c02", "c02"]
    assert found["popularity"].scores.tolist() == [2, 24]  # the year of the raw one is its publication's


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (RawContent(""), r"raw_contents\[0\].content_id: is empty"),
        (RawContent("a", title="x" * 101), r"raw_contents\[0\].title: 101 characters are more than 100"),
        (RawContent("a", description="x" * 101), r"raw_contents\[0\].description: 101 characters"),
        (RawContent("a", clip="x.mp4"), r"raw_contents\[0\].clip: this server takes no clips"),
    ],
)
def test_refusals(service: ScoringService, raw: RawContent, said: str) -> None:
    with pytest.raises(InputError, match=said):
        service.predict(query(raw), CALL)


def test_too_many_are_refused(service: ScoringService) -> None:
    with pytest.raises(InputError, match="raw_contents: 5 are more than the 4"):
        service.predict(query(*[RawContent("a")] * 5), CALL)


def test_an_unknown_predictor_is_told(service: ScoringService) -> None:
    with pytest.raises(NotFoundError, match="predictor: 'weather'"):
        service.predict(PredictQuery(("weather",), [], (RawContent("a"),)), CALL)


@pytest.mark.parametrize("clip", ["../secret.mp4", "/etc/passwd", "inside/../../secret.mp4", "link.mp4"])
def test_clips_outside_the_folder_are_refused(tmp_path: Path, release: LoadedRelease, clip: str) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    service = ScoringService(release, Limits(), RawLimits(clips_dir=folder))
    with pytest.raises(InputError, match=r"^raw_contents\[0\].clip: is no path below the folder of clips$"):
        service.predict(query(RawContent("a", clip=clip)), CALL)


@pytest.mark.parametrize("clip", ["gone.mp4", "broken.mp4", "large.mp4", "folder", "circle", "zero\0byte"])
def test_clips_that_cannot_be_read_are_unreadable(tmp_path: Path, release: LoadedRelease, clip: str) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no clip at all")
    (tmp_path / "large.mp4").write_bytes(bytes(2000))
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    service = ScoringService(release, Limits(), RawLimits(seconds=30, clip_bytes=1000, clips_dir=tmp_path))
    [said] = service.predict(query(RawContent("a", clip=clip), RawContent("b", title="1")), CALL).results
    assert said.statuses.tolist() == [Status.UNREADABLE, Status.OK]
