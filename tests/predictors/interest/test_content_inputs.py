"""Contents as numbers: fitted on those that were met, zeros where something is absent; codes of vectors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from predictors.interest.codes import Codebook
from predictors.interest.content_inputs import CREATOR, WORDS, ContentInputs, Ids, Projection
from tests.predictors.planted_tastes import SPEC, plant_tastes


@pytest.fixture(scope="module")
def contents() -> Columns:
    return plant_tastes(users=2, contents=80, events=10).examples.contents


@pytest.mark.parametrize("codes", [(0, 0), (2, 8)])
def test_what_is_kept_gives_the_same_numbers(contents: Columns, codes: tuple[int, int]) -> None:
    fitted = ContentInputs.fit(contents, [SPEC.name], 4, 8, codes)
    again = ContentInputs.of(fitted.arrays(), fitted.facts())
    assert fitted(contents).shape == (80, fitted.width)
    np.testing.assert_array_equal(again(contents), fitted(contents))
    np.testing.assert_array_equal(again.ids.rows(["c0001", "new"]), fitted.ids.rows(["c0001", "new"]))


def test_words_of_all_texts_keep_their_columns_in_a_file(contents: Columns) -> None:
    """In a file names are sorted."""
    makers = np.array(["ann", "bob"] * 40, object)
    told = replace(contents, values={**contents.values, CREATOR: makers})
    fitted = ContentInputs.fit(told, [], 4, 8, texts=(*WORDS, CREATOR))
    again = ContentInputs.of(fitted.arrays(), json.loads(json.dumps(fitted.facts(), sort_keys=True)))
    np.testing.assert_array_equal(again(told), fitted(told))
    assert again.columns == fitted.columns
    place = fitted.width - sum(len(words) for words in fitted.vocabularies.values())
    np.testing.assert_array_equal(fitted(told)[:, place], makers == "ann")


def test_a_content_without_a_vector_says_so(contents: Columns) -> None:
    fitted = ContentInputs.fit(contents, [SPEC.name], 4, 8)
    vectors = contents.vectors(SPEC.name).copy()
    vectors[3] = np.nan
    made = fitted(replace(contents, values={**contents.values, SPEC.name: vectors}))
    np.testing.assert_array_equal(made[3, -5:], [0, 0, 0, 0, 1])
    assert (made[[2, 4], -1] == 0).all()


def test_too_few_vectors_leave_an_embedding_out(contents: Columns) -> None:
    fitted = ContentInputs.fit(contents.take(range(20)), [SPEC.name], 4, 8)
    assert not fitted.projections
    assert SPEC.name not in fitted.columns


def test_another_length_is_refused(contents: Columns) -> None:
    fitted = ContentInputs.fit(contents, [SPEC.name], 4, 8)
    short = {**contents.values, SPEC.name: contents.vectors(SPEC.name)[:, :5]}
    with pytest.raises(StateError, match="5 numbers, the model was trained on 16"):
        fitted(replace(contents, values=short))


def test_components_are_the_directions_of_most_spread() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 6)) * [5, 3, 1, 0.1, 0.1, 0.1] + 7).astype(np.float32)
    made = Projection.fit(vectors, 2)(vectors)
    np.testing.assert_allclose(made.std(axis=0), [1.0, 0.6], atol=0.05)  # in deviations of the first
    assert abs(np.corrcoef(made[:, 0], vectors[:, 0])[0, 1]) > 0.99


def test_ids_that_training_has_not_met_share_the_row_that_says_nothing() -> None:
    ids = Ids.fit([f"c{number}" for number in range(100)])
    rows = ids.rows([f"c{number}" for number in range(200)])
    assert (rows[:100] > 0).all()
    assert (rows[100:] == 0).all()
    assert rows.max() <= ids.buckets
    assert Ids.fit([]).rows(["anyone"]).tolist() == [0]


def test_codes_leave_less_over_level_by_level() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    left = []
    for levels in (1, 2, 3):
        book = Codebook.fit(vectors, levels, 16)
        said = book.mean + sum(book.words[level][code] for level, code in enumerate(book.codes(vectors).T))
        left.append(float(((vectors - said) ** 2).mean()))
    assert left[0] > left[1] > left[2]
    marked = book(vectors)
    assert marked.shape == (300, book.width)
    assert (marked.sum(axis=1) == 3).all()
