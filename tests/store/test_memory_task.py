"""One log of the memory store."""

from __future__ import annotations

from streaming.store.memory_task import MemoryTask
from tests.store.samples import event, record, ticks


def logged(last: int) -> MemoryTask:
    task = MemoryTask(record(1, last_seq=77))
    for one in ticks(1, 1, last):
        task.append(one, one.seq * 10)
    return task


def test_the_snapshot_counts_what_was_stored() -> None:
    assert logged(5).snapshot() == record(1, last_seq=5)
    assert logged(0).snapshot() == record(1, last_seq=0)


def test_cut_drops_the_oldest_and_says_where_they_stood() -> None:
    task = logged(5)
    assert task.cut(5) == []
    assert task.cut(2) == [10, 20, 30]
    assert task.after(0, 99) == ticks(1, 4, 5)
    assert task.snapshot().last_seq == 5


def test_an_event_stands_where_it_was_put_if_it_is_exactly_this_one() -> None:
    task = logged(5)
    task.cut(3)
    assert task.position(event(1, 4)) == 40
    assert task.position(event(1, 4, payload="[]")) is None
    assert task.position(event(1, 1)) is None
    assert task.position(event(1, 6)) is None


def test_a_terminal_event_ends_it_for_good() -> None:
    task = logged(1)
    assert not task.ended
    task.append(event(1, 2, "failed"), 20)
    task.append(event(1, 3), 30)
    assert task.ended
