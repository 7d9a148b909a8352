"""Keys of a read as numpy words, hashed and compared for all of them at once.

A key is padded with zeros to whole words of eight bytes. One that ends with a zero, or is longer than a slot can hold,
cannot be told by its words and is looked up in LMDB alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from feature_repo.columnar.storage_schema import MAX_KEY_WIDTH

Words = np.ndarray[Any, np.dtype[np.uint64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_WORD = 8
_UPPER = np.uint64(0xFFFFFFFF00000000)
_HALF, _MIDDLE = np.uint64(32), np.uint64(29)
# Odd numbers without a pattern (SplitMix64's first outputs), one a word and one for the sum.
_FACTORS = np.array(
    [
        0xE220A8397B1DCDAF, 0x6E789E6AA1B965F5, 0x06C45D188009454F, 0xF88BB8A8724C81ED, 0x1B39896A51A8749B,
        0x53CB9F0C747EA2EB, 0x2C829ABE1F4532E1, 0xC584133AC916AB3D, 0x3EE5789041C98AC3,
    ],
    np.uint64,
)  # fmt: skip


class Keys(Sequence[bytes]):
    """n keys as bytes and as words; either form is made when it is first asked for."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._count = len(keys)
        self._bytes: Sequence[bytes] | None = keys
        self._words: tuple[Words, Mask | None] | None = None
        self._hashes: Words | None = None
        self._width = 0

    @classmethod
    def of_texts(cls, head: bytes, texts: Sequence[str], longest: int) -> Keys | None:
        """The head before each text; None where one may take over `longest` bytes. Raises TypeError for no text.

        Ids mostly are ASCII of one length: those become words in one go, and never bytes.
        """
        joined, sizes = "".join(texts), set(map(len, texts))
        if len(head) + 4 * max(sizes, default=0) > longest:
            return None
        if len(sizes) != 1 or not joined or not joined.isascii():
            return cls([head + text.encode() for text in texts])
        width = len(head) + len(texts[0])
        if width > MAX_KEY_WIDTH:
            return cls([head + text.encode() for text in texts])
        keys = cls(())
        keys._count, keys._bytes = len(texts), None
        padded = np.zeros((len(texts), -(-width // _WORD) * _WORD), np.uint8)
        padded[:, : len(head)] = np.frombuffer(head, np.uint8)
        padded[:, len(head) : width] = np.frombuffer(joined.encode(), np.uint8).reshape(len(texts), -1)
        told = padded[:, width - 1] != 0
        keys._words = padded.view(np.uint64), None if told.all() else told
        keys._width = width
        return keys

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | Sequence[bytes]:
        return self.bytes[at]

    @property
    def bytes(self) -> Sequence[bytes]:
        """The keys themselves."""
        if self._bytes is None:
            assert self._words is not None
            padded: Any = self._words[0].view(np.uint8)
            packed = padded[:, : self._width].tobytes()
            self._bytes = [packed[at : at + self._width] for at in range(0, len(packed), self._width)]
        return self._bytes

    @property
    def words(self) -> tuple[Words, Mask | None]:
        """(n, w) uint64, and (n,) bool whether they tell a key for certain; None where they do for all."""
        if self._words is None:
            self._words = padded_words(self.bytes, MAX_KEY_WIDTH)
        return self._words

    @property
    def hashes(self) -> Words:
        """`hashes_of` the words: of several views' reads, taken once."""
        if self._hashes is None:
            self._hashes = hashes_of(self.words[0])
        return self._hashes


def padded_words(keys: Sequence[bytes], widest: int) -> tuple[Words, Mask | None]:
    """See `Keys.words`; what is over `widest` bytes, a multiple of eight, is cut."""
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    width = min(-(-int(lengths.max(initial=1)) // _WORD) * _WORD, widest)
    padded = np.array(keys, f"S{width}")
    told = np.char.str_len(padded) == lengths
    return padded.view(np.uint64).reshape(len(keys), -1), None if told.all() else told


def hashes_of(words: Words) -> Words:
    """(n,) uint64 whose upper half is the key's hash, however far it is padded, and whose lower half is 0."""
    mixed = words * _FACTORS[: words.shape[1]]
    mixed ^= mixed >> _HALF
    total = np.add.reduce(mixed, axis=1)
    total ^= total >> _MIDDLE
    total *= _FACTORS[-1]
    total &= _UPPER
    return total  # type: ignore[no-any-return]


def differ(stored: np.ndarray[Any, np.dtype[np.bytes_]], words: Words) -> Mask | None:
    """Which of the (n,) stored keys, of whole words, are not those of the words; None where all are the same."""
    held = np.ascontiguousarray(stored).view(np.uint64).reshape(len(words), -1)
    common = min(held.shape[1], words.shape[1])
    wrong = held[:, :common] != words[:, :common]
    if wrong.any() or held[:, common:].any() or words[:, common:].any():
        rows: Mask = wrong.any(axis=1) | held[:, common:].any(axis=1) | words[:, common:].any(axis=1)
        return rows
    return None
