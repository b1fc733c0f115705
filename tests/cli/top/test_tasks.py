"""What events say of tasks between two lists."""

from __future__ import annotations

from streaming.cli.top.tasks import WINDOW_S, Rate, after_event, matches, stale
from streaming.records import Progress, TaskError, TaskStatus
from tests.scripted_server import TASK_ID, event, record

KNOWN = record(TaskStatus.RUNNING, last_seq=3, attempt=1)


def test_an_event_changes_what_it_says() -> None:
    assert after_event(KNOWN, event(4, "completed")).status is TaskStatus.COMPLETED
    again = after_event(KNOWN, event(4, "running", {"attempt": 2}))
    assert (again.attempt, again.last_seq) == (2, 4)
    half = after_event(KNOWN, event(4, "progress", {"percent": 50, "message": "half"}))
    assert half.progress == Progress(50.0, "half")
    assert after_event(KNOWN, event(4, "progress", {"percent": 50})).progress == Progress(50.0, None)


def test_an_old_event_and_one_that_says_nothing_change_nothing() -> None:
    assert after_event(KNOWN, event(3, "failed")) is KNOWN
    wrong: list[object] = [{}, [], "x", {"percent": "much"}]
    for data in wrong:
        assert after_event(KNOWN, event(4, "progress", data)).progress is None
    assert after_event(KNOWN, event(4, "running", {"attempt": "x"})).attempt == 1
    assert after_event(KNOWN, event(4, "tick")).status is TaskStatus.RUNNING


def test_a_list_is_stale_when_a_task_is_new_or_has_another_status() -> None:
    assert stale({}, event(1))
    assert stale({TASK_ID: KNOWN}, event(4, "failed"))
    assert not stale({TASK_ID: KNOWN}, event(4, "progress"))


def test_a_search_finds_words_in_what_is_shown() -> None:
    task = record(tags=("Nightly",), error=TaskError("x", "Bad luck"), progress=Progress(1, "Ünder way"))
    for words in ("", "COUNT", "nightly luck", "ünder", TASK_ID[:9], "running"):
        assert matches(task, words)
    assert not matches(task, "nightly moon")


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_s(0.0) == 0
    for number in range(100):
        rate.count(number / 10)
    assert rate.per_s(10.0) == 99 / WINDOW_S
    assert rate.per_s(100.0) == 0
