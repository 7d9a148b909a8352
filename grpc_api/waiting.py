"""Calls that wait, a line for each caller, taken in turns."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First in, first out for each caller, and callers in turns (Nagle's fair queueing, RFC 970), so that one who
    asks for much waits for himself. Not thread-safe.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}  # in the order of their turns; none is empty
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, caller: str, item: T) -> None:
        """Let an item wait at the end of its caller's line."""
        self._lines.setdefault(caller, deque()).append(item)
        self._length += 1

    def peek(self) -> T:
        """The item whose turn it is, which stays. Raises IndexError where none waits."""
        if not self._lines:
            raise IndexError("nobody waits")
        return next(iter(self._lines.values()))[0]

    def take(self) -> T:
        """The item whose turn it is. Raises IndexError where none waits."""
        if not self._lines:
            raise IndexError("nobody waits")
        caller = next(iter(self._lines))
        line = self._lines.pop(caller)
        item = line.popleft()
        if line:
            self._lines[caller] = line  # behind all others
        self._length -= 1
        return item

    def remove(self, caller: str, item: T) -> bool:
        """Take an item out of its line; False where it waits no more."""
        line = self._lines.get(caller)
        if line is None or item not in line:
            return False
        line.remove(item)
        self._forget(caller)
        return True

    def take_newest_of_longest(self, caller: str) -> T | None:
        """The last item of the longest line; None where `caller`, with one item more, would have as long a line."""
        longest = max(self._lines, key=lambda other: len(self._lines[other]), default=caller)
        if self.of(longest) <= self.of(caller) + 1:
            return None
        item = self._lines[longest].pop()
        self._forget(longest)
        return item

    def of(self, caller: str) -> int:
        """How many items of a caller wait."""
        return len(self._lines.get(caller, ()))

    def ahead_of(self, caller: str) -> int:
        """How many items at most go before the next that the caller would put."""
        own = self.of(caller)
        return own + sum(min(len(line), own + 1) for other, line in self._lines.items() if other != caller)

    def _forget(self, caller: str) -> None:
        self._length -= 1
        if not self._lines[caller]:
            del self._lines[caller]
