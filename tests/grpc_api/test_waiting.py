"""Waiting in turns: no caller waits for another's whole line, nothing is lost, each line keeps its order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_api.waiting import FairQueue

Callers = st.lists(st.sampled_from("abcd"), max_size=40)


def filled(callers: list[str]) -> FairQueue[tuple[str, int]]:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, caller in enumerate(callers):
        queue.put(caller, (caller, number))
    return queue


@given(Callers)
def test_all_come_out_once_and_each_line_in_its_order(callers: list[str]) -> None:
    queue = filled(callers)
    taken = [queue.take() for _ in callers]
    assert sorted(taken) == sorted(zip(callers, range(len(callers)), strict=True))
    for caller in set(callers):
        line = [item for item in taken if item[0] == caller]
        assert line == sorted(line)
    assert not len(queue)
    with pytest.raises(IndexError):
        queue.take()


@given(Callers, st.sampled_from("abcde"))
def test_no_more_go_before_an_item_than_was_said(callers: list[str], caller: str) -> None:
    queue = filled(callers)
    ahead, mine = queue.ahead_of(caller), (caller, -1)
    queue.put(caller, mine)
    before = 0
    while queue.take() != mine:
        before += 1
    assert before <= ahead


@given(Callers)
def test_callers_take_turns(callers: list[str]) -> None:
    queue = filled(callers)
    while len(queue):
        waiting = {caller for caller in "abcd" if queue.of(caller)}
        assert {queue.take()[0] for _ in waiting} == waiting


@given(Callers, st.data())
def test_what_is_removed_is_not_taken(callers: list[str], data: st.DataObject) -> None:
    queue = filled(callers)
    items = list(zip(callers, range(len(callers)), strict=True))
    gone = data.draw(st.lists(st.sampled_from(items), unique=True)) if items else []
    assert all(queue.remove(item[0], item) for item in gone)
    assert not any(queue.remove(item[0], item) for item in gone)
    assert sorted(queue.take() for _ in range(len(queue))) == sorted(set(items) - set(gone))


@given(Callers, st.sampled_from("abcde"))
def test_the_longest_line_makes_room_for_a_shorter(callers: list[str], caller: str) -> None:
    queue = filled(callers)
    before = {one: queue.of(one) for one in "abcde"}
    displaced = queue.take_newest_of_longest(caller)
    if displaced is None:
        assert max(before.values()) <= before[caller] + 1
    else:
        assert before[displaced[0]] == max(before.values()) > before[caller] + 1
        assert displaced[1] == max(number for number, one in enumerate(callers) if one == displaced[0])
        assert queue.of(displaced[0]) == before[displaced[0]] - 1
