"""The window of a log against a plain list that forgets nothing."""

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from streaming.errors import BadCursor, TaskEnded
from streaming.events import Event
from streaming.rules.log import (
    BATCH_BYTES_MAX,
    BATCHES_KEPT,
    Batch,
    LogWindow,
    Reading,
    batch_of,
    gap_event,
    with_gap,
)
from streaming.rules.sse import frame

TIME = "2026-11-01T12:00:00.000000Z"
ID = "0" * 32


def event(seq: int, size: int = 2, type: str = "tick") -> Event:
    return Event(ID, seq, type, TIME, '"' + "x" * (size - 2) + '"')


def window_of(count: int, *, committed: int | None = None, size: int = 2) -> LogWindow:
    window = LogWindow(ID)
    for seq in range(1, count + 1):
        window.append(event(seq, size))
    window.commit(count if committed is None else committed)
    return window


def seqs(found: Batch | Reading) -> list[int]:
    assert isinstance(found, Batch)
    return [each.seq for each in found.events]


class WindowAgainstList(RuleBasedStateMachine):
    """Whatever is appended, committed, trimmed and read: the window shows what a plain list would."""

    cursors = Bundle("cursors")

    @initialize(last_seq=st.integers(0, 50))
    def begin(self, last_seq: int) -> None:
        self.window = LogWindow(ID, last_seq=last_seq)
        self.start = last_seq
        self.events: list[Event] = []
        self.committed = last_seq
        self.trimmed = last_seq
        self.ended = False

    @property
    def last(self) -> int:
        return self.start + len(self.events)

    @rule(size=st.sampled_from([2, 100, 20_000, 40_000, 70_000]), terminal=st.sampled_from([False] * 9 + [True]))
    def append(self, size: int, terminal: bool) -> None:
        new = event(self.last + 1, size)
        if self.ended:
            with pytest.raises(TaskEnded):
                self.window.append(new, terminal=terminal)
            return
        self.window.append(new, terminal=terminal)
        self.events.append(new)
        self.ended = terminal

    @rule(skip=st.sampled_from([-1, 0, 2, 3]))
    def append_out_of_order(self, skip: int) -> None:
        with pytest.raises(TaskEnded if self.ended else ValueError):
            self.window.append(event(self.last + skip))

    @rule(part=st.floats(0, 1))
    def commit(self, part: float) -> None:
        self.committed += round(part * (self.last - self.committed))
        self.window.commit(self.committed)

    @rule(beyond=st.integers(1, 5), back=st.booleans())
    def commit_nonsense(self, beyond: int, back: bool) -> None:
        with pytest.raises(ValueError, match="cannot commit"):
            self.window.commit(self.committed - beyond if back else self.last + beyond)

    @rule(events_max=st.integers(0, 6), bytes_max=st.sampled_from([0, 300, 50_000, 10**9]))
    def trim(self, events_max: int, bytes_max: int) -> None:
        self.window.trim(events_max=events_max, bytes_max=bytes_max)
        while self.trimmed < self.committed:
            kept = self.events[self.trimmed - self.start :]
            if len(kept) <= events_max and sum(len(frame(each)) for each in kept) <= bytes_max:
                break
            self.trimmed += 1

    @rule(target=cursors, part=st.floats(0, 1))
    def choose_cursor(self, part: float) -> int:
        return round(part * self.committed)

    @rule(cursor=cursors)
    def read(self, cursor: int) -> None:
        found = self.window.after(cursor)
        behind = self.events[max(0, cursor - self.start) : self.committed - self.start]
        if cursor < self.trimmed:
            assert found is Reading.BELOW
        elif behind:
            self.check_batch(found, behind)
        else:
            assert found is (Reading.END if self.ended and self.committed == self.last else Reading.WAIT)

    @rule(beyond=st.integers(1, 10**6), negative=st.booleans())
    def read_nonsense(self, beyond: int, negative: bool) -> None:
        with pytest.raises(BadCursor):
            self.window.after(-beyond if negative else self.committed + beyond)

    @invariant()
    def every_reader_gets_everything_committed(self) -> None:
        cursor, collected = self.trimmed, list[Event]()
        while isinstance(found := self.window.after(cursor), Batch):
            collected.extend(found.events)
            cursor = found.last
        assert collected == self.events[self.trimmed - self.start : self.committed - self.start]

    def check_batch(self, found: Batch | Reading, behind: list[Event]) -> None:
        assert isinstance(found, Batch)
        assert list(found.events) == behind[: len(found.events)]
        assert found.last == found.events[-1].seq
        assert found.sse == b"".join(map(frame, found.events))
        assert len(found.sse) <= BATCH_BYTES_MAX or len(found.events) == 1
        rest = behind[len(found.events) :]
        assert not rest or len(found.sse) + len(frame(rest[0])) > BATCH_BYTES_MAX


WindowAgainstList.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWindowAgainstList = WindowAgainstList.TestCase


def test_what_is_not_committed_is_not_visible() -> None:
    window = window_of(3, committed=2)

    assert seqs(window.after(0)) == [1, 2]
    assert window.after(2) is Reading.WAIT
    with pytest.raises(BadCursor, match="it ends at 2"):
        window.after(3)


def test_the_end_is_visible_only_with_the_terminal_event() -> None:
    window = window_of(1)
    window.append(event(2), terminal=True)

    assert window.after(1) is Reading.WAIT
    window.commit(2)
    assert seqs(window.after(1)) == [2]
    assert window.after(2) is Reading.END


def test_nothing_follows_the_terminal_event() -> None:
    window = LogWindow(ID)
    window.append(event(1), terminal=True)

    with pytest.raises(TaskEnded):
        window.append(event(2))


def test_a_log_that_had_ended_in_the_store_is_at_its_end() -> None:
    window = LogWindow(ID, last_seq=7, ended=True)

    assert window.after(7) is Reading.END
    assert window.after(6) is Reading.BELOW
    with pytest.raises(TaskEnded):
        window.append(event(8))


def test_a_log_goes_on_behind_what_the_store_has() -> None:
    window = LogWindow(ID, last_seq=7)
    window.append(event(8))
    window.commit(8)

    assert seqs(window.after(7)) == [8]
    assert window.after(6) is Reading.BELOW


def test_all_readers_at_one_cursor_share_the_same_bytes() -> None:
    window = window_of(5)

    assert window.after(2) is window.after(2)


def test_few_joined_batches_are_kept_however_many_cursors_there_are() -> None:
    window = window_of(100, size=2000)
    first = window.after(0)
    for cursor in range(1, BATCHES_KEPT):
        window.after(cursor)
    assert window.after(0) is first

    window.after(BATCHES_KEPT)

    assert window.after(0) is not first
    assert window.after(0) == first


def test_a_joined_batch_is_not_shown_to_a_reader_once_there_is_more() -> None:
    window = window_of(3, committed=2)
    assert seqs(window.after(0)) == [1, 2]

    window.commit(3)

    assert seqs(window.after(0)) == [1, 2, 3]


def test_a_form_of_a_batch_is_made_once_for_all_readers() -> None:
    batch = window_of(5).after(2)
    assert isinstance(batch, Batch)
    made: list[int] = []

    def last(batch: Batch) -> bytes:
        made.append(batch.last)
        return b"%d" % batch.last

    assert batch.as_bytes(last) is batch.as_bytes(last)
    assert batch.as_bytes(lambda batch: b"another") == b"another"
    assert made == [5]


def test_trimming_to_nothing_keeps_what_is_not_committed() -> None:
    window = window_of(5, committed=3)

    window.trim(events_max=0, bytes_max=0)

    assert window.after(2) is Reading.BELOW
    window.commit(5)
    assert seqs(window.after(3)) == [4, 5]


def test_trimming_by_bytes_forgets_only_as_much_as_it_must() -> None:
    window = window_of(10, size=1000)
    one = len(frame(event(5, 1000)))

    window.trim(events_max=100, bytes_max=3 * one + one // 2)

    assert window.after(6) is Reading.BELOW
    assert seqs(window.after(7)) == [8, 9, 10]


def test_a_window_of_exactly_the_limit_forgets_nothing() -> None:
    window = window_of(10, size=1000)
    size = sum(len(frame(event(seq, 1000))) for seq in range(1, 11))

    window.trim(events_max=10, bytes_max=size)
    assert seqs(window.after(0))[0] == 1

    window.trim(events_max=10, bytes_max=size - 1)
    assert window.after(0) is Reading.BELOW
    assert seqs(window.after(1))[0] == 2


def test_a_batch_is_cut_at_the_byte_limit_and_never_before_its_first_event() -> None:
    large = event(2, BATCH_BYTES_MAX)
    batch = batch_of([(each, frame(each)) for each in (event(1), large, event(3))])
    alone = batch_of([(each, frame(each)) for each in (large, event(3))])

    assert seqs(batch) == [1]
    assert seqs(alone) == [2]


def test_a_batch_of_exactly_the_limit_is_one_write() -> None:
    size = BATCH_BYTES_MAX // 2 - len(frame(event(1, 2))) + 2
    pair = [event(1, size), event(2, size)]
    assert sum(len(frame(each)) for each in pair) == BATCH_BYTES_MAX

    assert seqs(batch_of((each, frame(each)) for each in [*pair, event(3)])) == [1, 2]


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_gap_names_the_exact_range_and_carries_the_last_missing_id(first: int, more: int) -> None:
    gap = gap_event(ID, first, first + more, "retention", TIME)

    assert (gap.type, gap.seq, gap.task_id) == ("gap", first + more, ID)
    assert gap.data == {"from": first, "to": first + more, "reason": "retention"}


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 30))
def test_what_is_missing_in_front_is_named_and_nothing_else_is(after: int, more: int, forgotten: int) -> None:
    upto = after + more
    stored = [event(seq) for seq in range(max(after, forgotten) + 1, upto + 1)]

    found = with_gap(stored, task_id=ID, after=after, upto=upto, time=TIME)

    gaps = list(takewhile(lambda each: each.type == "gap", found))
    missing = [seq for gap in gaps for seq in range(gap.data["from"], gap.data["to"] + 1)]
    assert len(gaps) <= 1
    assert missing + [each.seq for each in found[len(gaps) :]] == list(range(after + 1, upto + 1))


def test_each_hole_between_stored_events_has_its_gap() -> None:
    stored = [event(seq) for seq in (3, 4, 7, 9)]

    found = with_gap(stored, task_id=ID, after=1, upto=12, time=TIME)

    assert [each for each in found if each.type != "gap"] == stored
    assert [(each.seq, each.data) for each in found if each.type == "gap"] == [
        (2, {"from": 2, "to": 2, "reason": "retention"}),
        (6, {"from": 5, "to": 6, "reason": "retention"}),
        (8, {"from": 8, "to": 8, "reason": "retention"}),
    ]


@given(st.sets(st.integers(1, 30)), st.integers(0, 30), st.integers(1, 7))
def test_page_by_page_every_seq_is_an_event_or_in_one_gap(stored: set[int], after: int, page: int) -> None:
    """Whatever is missing, a reader that asks again and again gets to the end, and is told of every event."""
    told: list[int] = []
    cursor = after
    while cursor < 30:
        events = [event(seq) for seq in sorted(stored) if seq > cursor][:page]
        found = with_gap(events, task_id=ID, after=cursor, upto=30, time=TIME)
        for each in found:
            told += range(each.data["from"], each.data["to"] + 1) if each.type == "gap" else [each.seq]
        cursor = found[-1].seq

    assert told == list(range(after + 1, 31))
