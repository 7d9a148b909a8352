import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.schema import CONTENT_STATS
from predictors.config import TrainConfig
from predictors.features import Assembler, Examples, popularity_features
from tests.predictors.planted import DIM, Planted, plant

FEATURES = popularity_features(["vec"])
COUNTERS = {"views", "likes", "comments", "shares", "votes", "impressions", *CONTENT_STATS}


def state_bytes(assembler: Assembler, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    assembler.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_counters_and_ids_are_not_in_the_allow_list() -> None:
    assert not COUNTERS & set(FEATURES.columns)
    assert not {"content_id", "creator_id", "content_creator", "title"} & set(FEATURES.columns)
    assert {"duration_s", "creator_mean_engagement", "tags", "language", "vec"} <= set(FEATURES.columns)


def test_the_matrix_has_one_named_column_each(planted: Planted, quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, pca_components=2)
    assembler, matrix = Assembler.fit(planted.examples(), FEATURES, config)
    assert matrix.shape == (240, len(assembler.names))
    assert matrix.dtype == np.float32
    assert matrix.flags.f_contiguous
    assert assembler.names[-3:] == ("vec:ridge", "vec:pc1", "vec:pc2")
    column = dict(zip(assembler.names, matrix.T, strict=True))
    np.testing.assert_array_equal(column["duration_s"], planted.frame["duration_s"].to_numpy())
    np.testing.assert_array_equal(column["language=fr"], (planted.frame["language"] == "fr").to_numpy())
    np.testing.assert_array_equal(column["tags=war"], np.arange(240) % 2)
    assert np.isnan(column["vec:ridge"]).tolist() == planted.frame["vec"].is_null().to_list()


def test_words_are_the_frequent_ones_of_the_training_rows(planted: Planted, quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, top_words=1)
    examples = planted.examples()
    examples.columns.objects("tags")[examples.splits.test] = [["elsewhere"]] * len(examples.splits.test)
    examples.columns.objects("tags")[examples.splits.train[:3]] = [["rare"]] * 3
    assert Assembler.fit(examples, FEATURES, config)[0].vocabularies["tags"] == ("drama",)
    assert Assembler.fit(planted.examples(), FEATURES, quick)[0].vocabularies["tags"] == ("drama", "war")


def test_unknown_tags_are_unknown_and_new_ones_ignored(planted: Planted, quick: TrainConfig) -> None:
    assembler, _ = Assembler.fit(planted.examples(), FEATURES, quick)
    frame = planted.frame[:2].with_columns(tags=pl.Series([None, ["unheard"]], dtype=pl.List(pl.String)))
    column = dict(zip(assembler.names, assembler(Columns.from_frame(frame)).T, strict=True))
    assert np.isnan(column["tags=war"][0])
    assert column["tags=war"][1] == 0.0


def test_the_held_out_rows_decide_nothing(planted: Planted, quick: TrainConfig, tmp_path: Path) -> None:
    examples = planted.examples()
    other = plant().examples()
    away = np.concatenate([other.splits.valid, other.splits.test])
    other.scores[away] = 1e3
    other.columns.vectors("vec")[away] *= -1e3
    other.columns.numbers("duration_s")[away] = -1.0
    other.columns.objects("language")[away] = "xx"
    before, _ = Assembler.fit(examples, FEATURES, dataclasses.replace(quick, pca_components=3))
    after, _ = Assembler.fit(other, FEATURES, dataclasses.replace(quick, pca_components=3))
    assert state_bytes(before, tmp_path / "a") == state_bytes(after, tmp_path / "b")


def test_an_assembler_is_loaded_as_it_was_saved(planted: Planted, quick: TrainConfig, tmp_path: Path) -> None:
    assembler, _ = Assembler.fit(planted.examples(), FEATURES, quick)
    assembler.save(tmp_path)
    loaded = Assembler.load(tmp_path)
    columns = Columns.from_frame(planted.frame)
    assert loaded.names == assembler.names
    np.testing.assert_array_equal(loaded(columns), assembler(columns))


@pytest.mark.parametrize("name", ["assembler.json", "assembler.npz"])
def test_a_damaged_assembler_is_refused(planted: Planted, quick: TrainConfig, tmp_path: Path, name: str) -> None:
    Assembler.fit(planted.examples(), FEATURES, quick)[0].save(tmp_path)
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(StateError, match="train again"):
        Assembler.load(tmp_path)


def test_an_embedding_with_too_few_vectors_is_left_out(
    planted: Planted, quick: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    examples = planted.examples()
    vectors = np.full((240, DIM), np.nan, np.float32)
    columns = Columns(240, {**examples.columns.values, "vec": vectors}, examples.columns.present)
    assembler, matrix = Assembler.fit(dataclasses.replace(examples, columns=columns), FEATURES, quick)
    assert assembler.features.embeddings == ()
    assert matrix.shape[1] == len(assembler.names)
    assert "vec is left out" in caplog.text


def test_a_request_without_any_vector_has_unknown_columns(planted: Planted, quick: TrainConfig) -> None:
    assembler, _ = Assembler.fit(planted.examples(), FEATURES, quick)
    columns = Columns.from_frame(planted.frame[:2])
    columns.values["vec"] = np.empty((2, 0), np.float32)
    assert np.isnan(assembler(columns)[:, -1]).all()


def test_vectors_of_another_length_are_refused(planted: Planted, quick: TrainConfig) -> None:
    assembler, _ = Assembler.fit(planted.examples(), FEATURES, quick)
    columns = Columns.from_frame(planted.frame[:2])
    columns.values["vec"] = np.ones((2, DIM + 1), np.float32)
    with pytest.raises(StateError, match="17 numbers"):
        assembler(columns)
    del columns.values["vec"]
    with pytest.raises(StateError, match="vec"):
        assembler(columns)


@pytest.mark.parametrize("part", ["vec", "duration_s", "language", "scores", "splits", "content_ids"])
def test_the_digest_of_examples_sees_every_part(part: str) -> None:
    examples, other = plant().examples(), plant().examples()
    assert examples.digest(FEATURES) == other.digest(FEATURES)
    columns = other.columns.values
    if part == "scores":
        other.scores[0] += 1
    elif part == "splits":
        other = dataclasses.replace(other, splits=dataclasses.replace(other.splits, test=other.splits.test[1:]))
    elif part == "content_ids":
        other = dataclasses.replace(other, content_ids=["z", *other.content_ids[1:]])
    else:
        columns[part][0] = "xx" if part == "language" else 0.0
    assert isinstance(other, Examples)
    assert examples.digest(FEATURES) != other.digest(FEATURES)
