import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.schema import CONTENT_STATS
from predictors.config import TrainConfig
from predictors.popularity.features import Assembler, popularity_features
from predictors.popularity.stack import CREATORS
from tests.predictors.planted import DIM, Planted, plant

FEATURES = popularity_features(["vec"])
COUNTERS = {"views", "likes", "comments", "shares", "votes", "impressions", *CONTENT_STATS}


def state_bytes(assembler: Assembler, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    assembler.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_counters_and_ids_are_not_in_the_allow_list() -> None:
    assert not COUNTERS & set(FEATURES.columns)
    read = {*FEATURES.numbers, *FEATURES.words, *FEATURES.embeddings}
    assert not {"content_id", "creator_id", "content_creator", "title"} & read
    assert FEATURES.creators == CREATORS  # whose scores are looked up by them, and by nothing else
    assert {"duration_s", "creator_mean_engagement", "tags", "language", "vec"} <= set(FEATURES.columns)


def test_the_matrix_has_one_named_column_each(planted: Planted, quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, pca_components=2, neighbours=5)
    assembler, matrix = Assembler.fit(planted.examples(), FEATURES, config)
    assert matrix.shape == (240, len(assembler.names))
    assert matrix.dtype == np.float32
    assert matrix.flags.f_contiguous
    stacked = ("vec:ridge", "vec:pc1", "vec:pc2", "vec:neighbours", "kernel:facts", "kernel:joint")
    assert assembler.names[-6:] == stacked
    column = dict(zip(assembler.names, matrix.T, strict=True))
    np.testing.assert_array_equal(column["duration_s"], planted.frame["duration_s"].to_numpy())
    np.testing.assert_array_equal(column["language=fr"], (planted.frame["language"] == "fr").to_numpy())
    np.testing.assert_array_equal(column["tags=war"], np.arange(240) % 2)
    assert np.isnan(column["vec:ridge"]).tolist() == planted.frame["vec"].is_null().to_list()


def test_creators_history_is_stacked_where_there_are_creators(planted: Planted, quick: TrainConfig) -> None:
    frame = planted.frame.with_columns(content_creator=pl.Series([["ann", "bo", None][row % 3] for row in range(240)]))
    assembler, matrix = Assembler.fit(dataclasses.replace(planted, frame=frame).examples(), FEATURES, quick)
    column = dict(zip(assembler.names, matrix.T, strict=True))
    assert np.isnan(column["creator:mean"]).tolist() == [row % 3 == 2 for row in range(240)]
    assert column["creator:posts"][0] == 0, "of the first content nothing earlier is known"
    assert np.nanmax(column["creator:posts"]) > 1


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


def test_a_later_content_is_no_neighbour(planted: Planted, quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, neighbours=5, kernel_centres=0)
    at, row = 100, 100  # contents are an hour apart, in order
    other = plant().examples()
    later = np.arange(240) >= at
    other.scores[later] = 1e3
    name = "vec:neighbours"
    for examples in (planted.examples(), other):
        dated = examples.columns.take(range(at + 1))
        assembler, matrix = Assembler.fit(examples, FEATURES, config)
        column = assembler.names.index(name)
        assert np.nanmax(matrix[: at + 1, column]) < 20
        assert assembler(dated)[row, column] == matrix[row, column]
    undated = Columns(240, {k: v for k, v in other.columns.values.items() if k != "event_timestamp"}, {})
    assert np.nanmax(assembler(undated)[: at + 1, column]) > 100  # asked for now, all of them are past


def test_pictures_and_texts_of_one_space_are_compared(planted: Planted, quick: TrainConfig) -> None:
    examples = planted.examples()
    vectors = examples.columns.vectors("vec")
    values = {**examples.columns.values, "both_image": vectors, "both_text": vectors[::-1]}
    paired = dataclasses.replace(examples, columns=Columns(240, values, examples.columns.present))
    assembler, matrix = Assembler.fit(paired, popularity_features(["both_image", "both_text"]), quick)
    left, right = vectors, vectors[::-1]
    expected = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    np.testing.assert_allclose(matrix[:, assembler.names.index("both_image:cosine")], expected, atol=1e-5)
    values["both_text"] = np.empty((240, 0), np.float32)
    assert np.isnan(assembler(Columns(240, values, {}))[:, assembler.names.index("both_image:cosine")]).all()


def test_an_assembler_is_loaded_as_it_was_saved(planted: Planted, quick: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(quick, neighbours=3, pca_components=1)
    assembler, _ = Assembler.fit(planted.examples(), FEATURES, config)
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
    matrix = assembler(columns)
    assert np.isnan(matrix[:, assembler.names.index("vec:ridge")]).all()
    assert np.isfinite(matrix[:, assembler.names.index("kernel:joint")]).all()


def test_vectors_of_another_length_are_refused(planted: Planted, quick: TrainConfig) -> None:
    assembler, _ = Assembler.fit(planted.examples(), FEATURES, quick)
    columns = Columns.from_frame(planted.frame[:2])
    columns.values["vec"] = np.ones((2, DIM + 1), np.float32)
    with pytest.raises(StateError, match="17 numbers"):
        assembler(columns)
    del columns.values["vec"]
    with pytest.raises(StateError, match="vec"):
        assembler(columns)
