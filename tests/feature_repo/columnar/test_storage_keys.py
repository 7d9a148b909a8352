"""Keys as words say what the keys say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_repo.columnar.storage_keys import Keys, differ, hashes_of, padded_words
from feature_repo.columnar.storage_schema import MAX_KEY_WIDTH

KEY = st.binary(min_size=1, max_size=80)


def told_of(keys: Keys) -> list[bool]:
    told = keys.words[1]
    return [True] * len(keys) if told is None else told.tolist()


@given(head=st.binary(min_size=1, max_size=8), texts=st.lists(st.text(max_size=30), min_size=1, max_size=20))
@example(head=b"abcds", texts=["content-01", "content-02"])
@example(head=b"abcds", texts=["a\0", "bc"])
@example(head=b"abcds", texts=["", ""])
def test_texts_become_their_bytes(head: bytes, texts: list[str]) -> None:
    keys = Keys.of_texts(head, texts, 400)
    assert keys is not None
    wanted = [head + text.encode() for text in texts]
    (words, _), plain = keys.words, Keys(wanted)
    assert list(keys) == wanted
    assert len(keys) == len(texts)
    assert told_of(keys) == told_of(plain)
    np.testing.assert_array_equal(hashes_of(words), hashes_of(plain.words[0]))


def test_texts_that_may_be_too_long_or_are_none() -> None:
    assert Keys.of_texts(b"h", ["a" * 100], 400) is None
    with pytest.raises(TypeError):
        Keys.of_texts(b"h", ["a", 1], 400)  # type: ignore[list-item]


@given(keys=st.lists(KEY, min_size=1, max_size=30))
def test_what_words_cannot_tell_is_said(keys: list[bytes]) -> None:
    told = told_of(Keys(keys))
    assert told == [key[-1] != 0 and len(key) <= MAX_KEY_WIDTH for key in keys]


@given(keys=st.lists(st.binary(min_size=1, max_size=24), min_size=1, max_size=30), more=st.booleans())
def test_a_hash_does_not_hang_on_the_padding(keys: list[bytes], more: bool) -> None:
    narrow = hashes_of(padded_words(keys, 24)[0])
    beside = [*keys, b"x" * 60] if more else keys
    wide = hashes_of(padded_words(beside, MAX_KEY_WIDTH)[0])[: len(keys)]
    np.testing.assert_array_equal(narrow, wide)
    assert not (narrow & np.uint64(2**32 - 1)).any()


def test_hashes_of_like_keys_lie_apart() -> None:
    """As many distinct ones as chance gives: 100,000 of 2**32 share one about once."""
    words, told = padded_words([b"....scontent-%08d" % n for n in range(100_000)], MAX_KEY_WIDTH)
    assert told is None
    assert len(np.unique(hashes_of(words))) > 99_980


@given(
    keys=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=20),
    width=st.sampled_from([8, 24, 40]),
    data=st.data(),
)
def test_differing_is_differing(keys: list[bytes], width: int, data: st.DataObject) -> None:
    """For keys that words can tell; what a slot holds has no zeros at its end and is no longer than the slot."""
    keys = [key for key in keys if key[-1] != 0] or [b"k"]
    other = st.one_of(st.sampled_from(keys), st.binary(min_size=1, max_size=width))
    stored = [data.draw(st.one_of(st.just(key), other))[:width].rstrip(b"\0") for key in keys]
    found = differ(np.array(stored, f"S{width}"), Keys(keys).words[0])
    wanted = [held != key for held, key in zip(stored, keys, strict=True)]
    assert (found is None and not any(wanted)) or (found is not None and found.tolist() == wanted)
