from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from embedders.base import load_embedder
from embedders.runner import RunReport, run
from embedders.specs import SPECS, resolve_spec
from embedders.stock import switch
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.errors import StateError, UnavailableError
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import read_tokens, read_vectors, vectors_dir

Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]

BUNDLED = ("efficientnet_lite0", "minilm")
every = pytest.mark.parametrize("name", BUNDLED)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Three partitions for ten contents, and batches that do not divide them."""
    return load_settings(home=tmp_path / "home", partition_size=4, batch_size=3, workers=2, precision="float32")


def files(settings: Settings, name: str) -> dict[str, bytes]:
    """The embedding's partitions by name."""
    folder = vectors_dir(settings, name, resolve_spec(name, settings).digest)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def counts(report: RunReport) -> tuple[int, int, int, dict[str, int]]:
    return report.encoded, report.fresh, report.skipped, report.failed


def picture_of(content: Content) -> Path:
    return content.media[Modality.IMAGE]


@every
def test_every_content_gets_its_vector(name: str, posts: list[Content], catalog: Catalog, settings: Settings) -> None:
    advanced: list[tuple[int, int]] = []
    report = run(name, settings, catalog, lambda done, total: advanced.append((done, total)))
    assert counts(report) == (10, 0, 0, {})
    assert advanced == sorted(set(advanced))
    assert advanced[-1] == (10, 10)
    assert report.rate > 0
    assert {"plan", "load", "read", "decode", "encode", "write", "record"} == set(report.seconds)
    vectors = read_vectors(settings, catalog, name)
    assert vectors.content_ids == [c.content_id for c in posts]
    embedder = load_embedder(name, settings)
    items = catalog.get([posts[7].content_id])
    expected = embedder.encode([embedder.decode(items[posts[7].content_id])])[0]
    assert np.allclose(vectors.matrix[7], expected, atol=1e-4)


@every
def test_a_row_carries_publication_and_last_change(
    name: str, posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    run(name, settings, catalog)
    items = catalog.get([c.content_id for c in posts])
    folder = vectors_dir(settings, name, SPECS[name].digest)
    rows = [row for path in folder.iterdir() for row in pq.read_table(path).to_pylist()]
    assert len(rows) == len(posts)
    for row in rows:
        item = items[row["content_id"]]
        assert row["event_timestamp"] == item.content.published_at
        media = item.media[Modality.IMAGE].updated_at
        assert row["created"] == max(item.updated_at, media if name == "efficientnet_lite0" else item.updated_at)


@every
def test_a_second_run_does_nothing_and_loads_no_model(
    name: str, posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    run(name, settings, catalog)
    before = files(settings, name)
    # A GPU that is not there fails whatever loads the model.
    report = run(name, settings.model_copy(update={"device": "cuda"}), catalog)
    assert counts(report) == (0, len(posts), 0, {})
    assert report.seconds["load"] < 0.1
    assert files(settings, name) == before


@every
def test_tokens_lie_beside_the_vectors_they_were_made_with(
    name: str, posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    run(name, settings, catalog)
    plain = read_vectors(settings, catalog, name)
    with pytest.raises(StateError, match=rf"{name} keeps no tokens: set LARDER_TOKENS={name}=16"):
        read_tokens(settings, catalog, name, plain.content_ids)
    asked = settings.model_copy(update={"tokens": {name: 4}})
    assert counts(run(name, asked, catalog)) == (10, 0, 0, {})
    assert counts(run(name, asked, catalog)) == (0, 10, 0, {})
    assert read_vectors(asked, catalog, name).spec_digest == plain.spec_digest
    switch(asked, catalog)
    kept = read_vectors(asked, catalog, name)
    assert kept.spec_digest != plain.spec_digest
    assert np.allclose(kept.matrix, plain.matrix, atol=1e-5)
    embedder = load_embedder(name, asked)
    items = catalog.get(["c7"])
    expected = embedder.encode_tokens([embedder.decode(items["c7"])])[1][0]
    tokens = read_tokens(asked, catalog, name, ["c9", "c7", "unknown"])
    assert tokens.shape == (3, 4, embedder.spec.token_dim)
    assert np.allclose(tokens[1], expected, rtol=2**-11, atol=1e-3)
    assert np.isnan(tokens[2]).all()
    assert np.isfinite(tokens[:2]).all()


def test_a_changed_title_re_encodes_one_text_and_no_picture(
    posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    for name in BUNDLED:
        run(name, settings, catalog)
    before = read_vectors(settings, catalog, "minilm").matrix
    catalog.upsert_contents([replace(posts[2], title="Something else")], "posts")
    assert counts(run("minilm", settings, catalog)) == (1, 9, 0, {})
    assert counts(run("efficientnet_lite0", settings, catalog)) == (0, 10, 0, {})
    moved = np.abs(read_vectors(settings, catalog, "minilm").matrix - before).max(1) > 1e-3
    assert moved.nonzero()[0].tolist() == [2]


def test_a_changed_picture_re_encodes_one_picture_and_no_text(
    posts: list[Content], catalog: Catalog, settings: Settings, paint: Paint, encode: Encode
) -> None:
    for name in BUNDLED:
        run(name, settings, catalog)
    picture_of(posts[5]).write_bytes(encode(paint(99), "JPEG"))
    assert counts(run("efficientnet_lite0", settings, catalog)) == (1, 9, 0, {})
    assert counts(run("minilm", settings, catalog)) == (0, 10, 0, {})


def test_a_changed_spec_re_encodes_itself_and_keeps_the_old_vectors(
    posts: list[Content], catalog: Catalog, clip_folder: Path, settings: Settings, tmp_path: Path
) -> None:
    chosen = settings.model_copy(update={"models": {"clip": f"local-dir:{clip_folder}"}})
    assert run("clip_text", chosen, catalog).encoded == 10
    old = files(chosen, "clip_text")
    other = shutil.copytree(clip_folder, tmp_path / "other")
    (other / "note.txt").write_text("another model")
    changed = settings.model_copy(update={"models": {"clip": f"local-dir:{other}"}})
    assert run("clip_text", changed, catalog).encoded == 10
    assert files(chosen, "clip_text") == old
    assert run("clip_text", chosen, catalog).fresh == 10


def test_broken_media_are_recorded_counted_and_skipped(
    posts: list[Content], catalog: Catalog, settings: Settings, paint: Paint, encode: Encode
) -> None:
    picture_of(posts[0]).unlink()
    picture_of(posts[1]).write_bytes(b"")
    picture_of(posts[6]).write_bytes(b"no picture at all")
    catalog.upsert_contents([Content("d", "no picture", datetime(2024, 1, 1, tzinfo=UTC))], "posts")
    name = "efficientnet_lite0"
    report = run(name, settings, catalog)
    assert counts(report) == (
        7, 0, 0, {"file missing": 1, "empty file": 1, "not a picture": 1, "no image": 1},
    )  # fmt: skip
    ledger = catalog.ledger(name, SPECS[name].digest)
    assert ledger["c0"].reason == f"file missing: {picture_of(posts[0])}"
    assert ledger["c0"].partition is None
    assert read_vectors(settings, catalog, name).content_ids == ["c2", "c3", "c4", "c5", "c7", "c8", "c9"]
    assert counts(run(name, settings, catalog)) == (0, 7, 4, {})
    assert counts(run(name, settings, catalog, retry_failed=True))[:3] == (0, 7, 0)
    picture_of(posts[6]).write_bytes(encode(paint(6), "PNG"))
    assert counts(run(name, settings, catalog)) == (1, 7, 3, {})


def test_a_failure_whose_cause_is_elsewhere_is_retried_on_request(
    posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    name = "efficientnet_lite0"
    strict = settings.model_copy(update={"max_pixels": 10})
    assert counts(run(name, strict, catalog)) == (0, 0, 0, {"too large": 10})
    assert not vectors_dir(settings, name, SPECS[name].digest).exists()
    assert counts(run(name, settings, catalog)) == (0, 0, 10, {})
    assert counts(run(name, settings, catalog, retry_failed=True)) == (10, 0, 0, {})


def test_empty_text_fails_with_its_reason(catalog: Catalog, settings: Settings) -> None:
    catalog.upsert_contents([Content("a", "", datetime(2024, 1, 1, tzinfo=UTC))], "posts")
    assert counts(run("minilm", settings, catalog)) == (0, 0, 0, {"no text": 1})


@every
def test_files_that_no_ledger_row_names_are_removed(
    name: str, posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    run(name, settings, catalog)
    before = files(settings, name)
    folder = vectors_dir(settings, name, SPECS[name].digest)
    (folder / "feed.parquet").write_bytes(b"written, never recorded")
    (folder / ".writing-1-feed.parquet").write_bytes(b"half writ")
    run(name, settings, catalog)
    assert files(settings, name) == before


@every
def test_a_lost_file_is_made_again(name: str, posts: list[Content], catalog: Catalog, settings: Settings) -> None:
    run(name, settings, catalog)
    before = files(settings, name)
    folder = vectors_dir(settings, name, SPECS[name].digest)
    (folder / min(before)).unlink()
    assert run(name, settings, catalog).encoded in (2, 4)
    assert files(settings, name) == before


def test_an_outdated_file_goes_when_none_of_its_vectors_counts(
    posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    run("minilm", settings, catalog)
    before = files(settings, "minilm")
    catalog.upsert_contents([replace(post, title=f"New {post.title}") for post in posts[:4]], "posts")
    assert run("minilm", settings, catalog).encoded == 4
    after = files(settings, "minilm")
    assert len(after) == 3
    assert len(before.keys() & after.keys()) == 2


@pytest.mark.parametrize(("name", "partitions"), [("efficientnet_lite0", 1), ("minilm", 1), ("minilm", 2)])
def test_an_interrupted_run_ends_in_the_same_bytes(
    name: str, partitions: int, posts: list[Content], catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    picture_of(posts[1]).write_bytes(b"")
    catalog.refresh_media()
    catalog.close()
    other = settings.model_copy(update={"home": shutil.copytree(settings.home, tmp_path / "other")})

    def interrupt(done: int, total: int) -> None:
        assert total == 10
        if done > 4 * partitions:  # inside the next partition
            raise KeyboardInterrupt

    with Catalog(other.catalog) as undisturbed:
        run(name, other, undisturbed)
    with pytest.raises(KeyboardInterrupt):
        run(name, settings, catalog, interrupt)
    report = run(name, settings, catalog)
    assert report.encoded + sum(report.failed.values()) == 10 - 4 * partitions
    assert files(settings, name) == files(other, name)


@every
def test_nothing_to_embed_is_no_error(name: str, catalog: Catalog, settings: Settings) -> None:
    assert counts(run(name, settings, catalog)) == (0, 0, 0, {})
    assert catalog.embeddings()[name].dim == SPECS[name].dim


def test_two_runs_of_one_embedding_exclude_each_other(
    posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    folder = vectors_dir(settings, "minilm", SPECS["minilm"].digest)
    folder.parent.mkdir(parents=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match=r"another run is writing .*minilm"):
            run("minilm", settings, catalog)
    assert run("minilm", settings, catalog).encoded == 10


@pytest.mark.real
def test_real_posters_are_embedded_and_near_copies_are_near(
    real_data: Path, catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    posters = sorted((real_data / "movielens100k" / "posters").glob("*.jpg"))[:50]
    noon = datetime(1998, 1, 1, tzinfo=UTC)
    contents = [Content(p.stem, p.stem, noon, media={Modality.IMAGE: p}) for p in posters]
    again = tmp_path / "again.png"
    with Image.open(posters[10]) as poster:
        poster.resize((184, 276)).save(again)
    catalog.upsert_contents([*contents, Content("again", "again", noon, media={Modality.IMAGE: again})], "movielens")
    report = run("efficientnet_lite0", settings.model_copy(update={"partition_size": 32}), catalog)
    assert counts(report) == (51, 0, 0, {})
    vectors = read_vectors(settings, catalog, "efficientnet_lite0")
    row = vectors.content_ids.index("again")
    similar = vectors.matrix @ vectors.matrix[row]
    similar[row] = -1
    assert vectors.content_ids[int(similar.argmax())] == posters[10].stem
