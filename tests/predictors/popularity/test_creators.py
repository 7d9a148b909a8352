import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.popularity.creators import PRIOR, Creators

DAY = 86_400 * 1e6
POSTS = st.lists(
    st.tuples(st.sampled_from(["ann", "bo", "cy", "", None]), st.integers(-400, 400), st.floats(-5, 5)),
    min_size=1,
    max_size=30,
)


def world(posts: list[tuple[str | None, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    creators, days, scores = zip(*posts, strict=True)
    ids = np.array([f"c{row:02}" for row in range(len(posts))])
    return np.array(creators, object), ids, np.array(days) * DAY, np.array(scores)


@given(POSTS, st.sampled_from(["ann", "bo", "nobody", "", None]), st.integers(-401, 401), st.integers(0, 40))
def test_it_is_the_shrunken_mean_of_the_creators_other_contents_of_earlier_days(
    posts: list[tuple[str | None, int, float]], creator: str | None, day: int, own: int
) -> None:
    creators, ids, published, scores = world(posts)
    said = Creators.fit(creators, ids, published, scores)(
        np.array([creator], object), np.array([f"c{own:02}"]), np.array([day * DAY])
    )[0]
    earlier = (creators == creator) & (published < day * DAY) & (ids != f"c{own:02}")
    if not creator:
        assert np.isnan(said).all()
        return
    assert said[1] == earlier.sum()
    expected = (scores[earlier].sum() + PRIOR * scores.mean()) / (earlier.sum() + PRIOR)
    assert said[0] == pytest.approx(expected, abs=1e-4)


@given(POSTS, st.integers(0, 29))
def test_a_training_row_reads_neither_its_own_score_nor_a_later_one(
    posts: list[tuple[str | None, int, float]], at: int
) -> None:
    creators, ids, published, scores = world(posts)
    row = at % len(posts)
    # The mean of all scores shrinks every creator's: it is kept, so that only single scores are hidden
    hidden = np.where(published < published[row], scores, scores[::-1] * 0 + 1e3)
    level = scores.mean()
    fits = [Creators.fit(creators, ids, published, values) for values in (scores, hidden)]
    said, again = (
        Creators(f.names, f.keys, f.sums, f.ids, f.own, f.scores, level)(creators, ids, published)[row] for f in fits
    )
    np.testing.assert_allclose(said, again, rtol=1e-5)


def test_a_creator_of_training_rows_only_is_no_less_known_than_a_new_one() -> None:
    creators, ids, published, scores = world([("ann", 0, 1.0), ("bo", 1, 2.0)])
    fitted = Creators.fit(creators, ids, published, scores)
    alone, new = fitted(np.array(["ann", "new"], object), np.array(["c00", "x"]), np.array([0.0, 9 * DAY]))
    np.testing.assert_array_equal(alone, new)  # else the trees would tell training rows by it


def test_asked_at_any_time_all_but_the_content_itself_count() -> None:
    creators, ids, published, scores = world([("ann", 0, 1.0), ("ann", 5, 4.0)])
    said = Creators.fit(creators, ids, published, scores)(creators, ids, np.full(2, np.inf))
    np.testing.assert_allclose(said[:, 0], (np.array([4.0, 1.0]) + PRIOR * 2.5) / (1 + PRIOR))


def test_it_comes_back_from_its_arrays() -> None:
    creators, ids, published, scores = world([("ann", 0, 1.0), ("bo", 5, 4.0), ("ann", 7, 2.0)])
    fitted = Creators.fit(creators, ids, published, scores)
    again = Creators.from_arrays(fitted.arrays())
    now = np.full(3, np.inf)
    np.testing.assert_array_equal(fitted(creators, ids, now), again(creators, ids, now))
