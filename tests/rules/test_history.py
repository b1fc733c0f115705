"""A history is told by the changes alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.events import rfc3339
from streaming.records import Change, TaskStatus
from streaming.rules.history import spans

TASK_ID = "0" * 32


def change(seq: int, status: TaskStatus, at_s: float, by: str = "server", reason: str = "") -> Change:
    return Change(TASK_ID, seq, status, rfc3339(1e9 + at_s), by, reason)


def test_a_history_tells_from_where_to_where_who_why_and_how_long() -> None:
    story = spans(
        [
            change(1, TaskStatus.PENDING, 0, "anna"),
            change(2, TaskStatus.RUNNING, 1.5),
            change(7, TaskStatus.CANCELLED, 3.75, "bert", "too slow"),
        ]
    )

    assert [span.as_json() for span in story] == [
        {
            "seq": 1,
            "from": None,
            "to": "pending",
            "time": "2001-09-09T01:46:40.000000Z",
            "by": "anna",
            "reason": "",
            "lasted_s": 1.5,
        },
        {
            "seq": 2,
            "from": "pending",
            "to": "running",
            "time": "2001-09-09T01:46:41.500000Z",
            "by": "server",
            "reason": "",
            "lasted_s": 2.25,
        },
        {
            "seq": 7,
            "from": "running",
            "to": "cancelled",
            "time": "2001-09-09T01:46:43.750000Z",
            "by": "bert",
            "reason": "too slow",
            "lasted_s": None,
        },
    ]


def test_without_changes_there_is_no_history() -> None:
    assert spans([]) == []


def test_a_clock_that_was_set_back_makes_no_negative_length() -> None:
    first, _ = spans([change(1, TaskStatus.PENDING, 5), change(2, TaskStatus.RUNNING, 3)])

    assert first.lasted_s == 0


@given(st.lists(st.floats(0, 1e8).map(lambda s: round(s, 6)), min_size=1, max_size=10).map(sorted))
def test_the_lengths_add_up_to_the_time_between_the_first_and_the_last(times: list[float]) -> None:
    story = spans([change(seq, TaskStatus.RUNNING, at_s) for seq, at_s in enumerate(times, 1)])

    lengths = [span.lasted_s for span in story[:-1] if span.lasted_s is not None]
    assert len(lengths) == len(times) - 1
    assert abs(sum(lengths) - (times[-1] - times[0])) < 1e-4
    assert story[-1].lasted_s is None
