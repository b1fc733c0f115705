"""One sentence for each thing that a task can be busy with, and never more than is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from streaming.events import rfc3339
from streaming.records import CancelReceipt, Eta, Record, TaskError, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.lifecycle import Cause
from streaming.rules.waits import Frame, Stack, Wait
from streaming.rules.why import Hindrance, Protection, Seen, Stopping, Turn, sentence, span, why

EPOCH_S = 1_800_000_000.0
LINE = "report.py:40 in save"
OWN = (Frame(LINE, "mine/report.py:save", own=True),)
HOLDER = "b" * 32


def at(seconds: float) -> str:
    return rfc3339(EPOCH_S + seconds)


def record(status: TaskStatus = TaskStatus.RUNNING, **fields: Any) -> Record:
    started = None if status is TaskStatus.PENDING else at(0)
    return Record(
        "a" * 32, "work", status, {}, 60.0, at(-5), at(0), **{"started_at": started, "heartbeat_at": at(20), **fields}
    )


def seen(status: TaskStatus = TaskStatus.RUNNING, *, of: dict[str, Any] | None = None, **facts: Any) -> Seen:
    return Seen(record(status, **(of or {})), at(30), 100.0, **facts)


def running(wait: Wait = Wait.LOCK, **facts: Any) -> Seen:
    return seen(stack=Stack(OWN, wait), **facts)


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (Wait.LOCK, "It waits for a lock at report.py:40 in save;"),
        (Wait.ROOM, "It waits until the store has taken more of its events at report.py:40 in save;"),
        (Wait.PROCESS, "It works in a process of its own, into which nobody can see from here"),
        (Wait.SLEEP, "It sleeps at report.py:40 in save;"),
    ],
)
def test_a_handler_is_said_to_wait_for_what_it_waits_for(wait: Wait, words: str) -> None:
    assert sentence(running(wait)).startswith(words)


@pytest.mark.parametrize("wait", Wait)
def test_every_wait_has_its_words(wait: Wait) -> None:
    assert sentence(running(wait)).startswith("It ")
    assert why(running(wait))["reason"] == wait


def test_a_sleep_says_how_long_it_takes_yet() -> None:
    asleep = seen(stack=Stack(OWN, Wait.SLEEP, until=112.5))
    assert "sleeps for another 12.5 s at report.py:40" in sentence(asleep)
    assert why(asleep)["waits_until"] == 12.5
    overdue = seen(stack=Stack(OWN, Wait.SLEEP, until=90.0))
    assert "sleeps for another 0 s" in sentence(overdue)


def test_a_child_is_named() -> None:
    assert f"waits for its child task {HOLDER} at" in sentence(seen(stack=Stack(OWN, Wait.CHILD, task_id=HOLDER)))
    assert "waits for a child task at" in sentence(running(Wait.CHILD))


def test_asyncio_tasks_are_followed_to_what_the_first_of_them_waits_for() -> None:
    leaf = Stack(OWN, Wait.SOCKET)
    one = seen(stack=Stack((Frame("m.py:1 in run", "a/m.py:run", own=True),), Wait.TASKS, branches=(leaf,)))
    assert "It waits at m.py:1 in run for an asyncio task, which waits for a socket at report.py:40" in sentence(one)
    many = seen(stack=Stack((), Wait.TASKS, branches=(leaf, leaf), more=3))
    assert "It waits for 5 asyncio tasks, the first of which waits for a socket at" in sentence(many)


def test_a_task_whose_handler_is_not_there_is_about_to_begin() -> None:
    assert sentence(seen(TaskStatus.PENDING)) == "It is about to begin."
    assert why(seen(TaskStatus.PENDING))["reason"] == "not_begun"


# -- times -------------------------------------------------------------------------------------------------------------


def test_only_what_is_known_of_time_is_said() -> None:
    assert sentence(running()).endswith("; it has run for 30 s and was last heard of 10 s ago.")
    for unheard in (None, at(0)):  # that it has begun is no word of its own
        assert sentence(running(of={"heartbeat_at": unheard})).endswith("save; it has run for 30 s.")
    unmoved = running(unmoved_since=at(12))
    assert ", has been in this very wait for 18 s at least and was last heard of 10 s ago." in sentence(unmoved)
    assert (why(running())["silent_s"], why(running())["elapsed_s"], why(running())["heard_at"]) == (10, 30, at(20))


def test_a_clock_that_went_back_makes_no_negative_times() -> None:
    early = dataclasses.replace(running(), time=at(-100))
    assert (why(early)["elapsed_s"], why(early)["silent_s"]) == (0, 0)


def test_it_is_compared_with_past_runs() -> None:
    assert "(longer than 2 of the last 3 runs of its type)" in sentence(running(past=[50, 1, 2]))
    assert "(longer than the last run of its type)" in sentence(running(past=[7]))
    assert "(the last 2 runs of its type took 40 s at least)" in sentence(running(past=[50, 40]))
    assert why(running(past=[50, 1, 2]))["past"] == {"runs": 3, "p50_s": 2, "p90_s": 50, "p99_s": 50, "shorter": 2}
    assert why(running())["past"] == {"runs": 0, "p50_s": None, "p90_s": None, "p99_s": None, "shorter": 0}
    assert why(seen(TaskStatus.PENDING))["past"]["shorter"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00001, "0 s"),
        (3.14159, "3.14 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 days"),
        (864_000_000, "1e+04 days"),
    ],
)
def test_a_length_has_the_digits_that_count(seconds: float, text: str) -> None:
    assert span(seconds) == text


# -- stops -------------------------------------------------------------------------------------------------------------


CANCEL = {"cancel": CancelReceipt(at(10), "anna", "enough")}


def test_who_was_told_to_stop_is_said_not_to_have() -> None:
    told = running(of=CANCEL, stopping=Stopping(Cause.CANCEL, 12.0, 1))
    assert sentence(told).startswith(
        "It was told 12 s ago to stop (a cancel by anna), and has not; waits for a lock at"
    )
    assert why(told)["reason"] == "stopping"
    assert why(told)["stopping"] == {"cause": "cancel", "delivered_s": 12.0, "deliveries": 1}
    assert why(told)["cancel"]["by"] == "anna"


def test_who_was_told_again_and_again_is_said_to_have_been() -> None:
    assert "(its time is over, 3 times by now)" in sentence(running(stopping=Stopping(Cause.TIMEOUT, 12.0, 3)))


def test_a_protected_section_is_named_with_the_time_it_has_left() -> None:
    held = running(
        of=CANCEL,
        stopping=Stopping(Cause.CANCEL),
        protections=(Protection("old", 0.0), Protection("a page is written", 4.0)),
    )
    assert sentence(held).startswith(
        "It is to stop (a cancel by anna), which its protected section 'a page is written' holds back for 4 s at most; "
    )
    assert why(held)["reason"] == "protected"
    assert why(held)["protected"][1] == {"reason": "a page is written", "left_s": 4.0}


def test_a_stop_that_is_not_stored_yet_was_not_told_yet() -> None:
    waiting = running(stopping=Stopping(Cause.SHUTDOWN))
    assert sentence(waiting).startswith("It is to stop (the server is stopping), and has not been told yet; ")
    assert why(waiting)["reason"] == "lock"
    overrun = running(stopping=Stopping(Cause.SHUTDOWN), protections=(Protection("x", 0.0),))
    assert why(overrun)["reason"] == "lock"


def test_a_cancel_whose_receipt_is_not_visible_yet_is_a_cancel_of_somebody() -> None:
    assert "(a cancel)" in sentence(running(stopping=Stopping(Cause.CANCEL)))


# -- tasks that wait for their turn, or are worked on elsewhere --------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (Turn(Hindrance.PLACES, 3), "as no more tasks may run at the same time, with 3 waiting tasks ahead of it."),
        (Turn(Hindrance.TYPE, 1), "as no more tasks of its type may run at the same time, with 1 waiting task ahead"),
        (Turn(Hindrance.PRINCIPAL), "as no more tasks of its principal may run at the same time, with 0 waiting"),
        (Turn(Hindrance.KEY, 2, HOLDER), f"as task {HOLDER} has its key, with 2 waiting tasks ahead of it."),
        (Turn(Hindrance.DRAINING), "It waits for the next server, as this one is stopping."),
        (Turn(Hindrance.NOTHING), "It is about to begin."),
    ],
)
def test_a_task_that_waits_for_its_turn_says_for_what(turn: Turn, words: str) -> None:
    waiting = seen(TaskStatus.PENDING, turn=turn)
    assert words in sentence(waiting)
    assert why(waiting)["reason"] == turn.hindrance
    assert why(waiting)["turn"] == {"hindrance": turn.hindrance, "ahead": turn.ahead, "holder": turn.holder}


def test_a_pause_between_attempts_says_when_it_is_over() -> None:
    paused = seen(TaskStatus.RETRYING, of={"attempt": 2, "retry_at": at(60)}, turn=Turn(Hindrance.PAUSE))
    assert sentence(paused) == f"It pauses before attempt 2 until {at(60)}."
    assert why(paused)["retry_at"] == at(60)


def test_a_worker_elsewhere_is_silent_since_it_was_heard_of() -> None:
    working = seen(external=True, silent_s=90.0)
    assert sentence(working).startswith(
        "It is worked on elsewhere, by a worker that was last heard of 90 s ago; it has run"
    )
    assert (why(working)["reason"], why(working)["silent_s"]) == ("worker", 90.0)
    waiting = seen(TaskStatus.PENDING, external=True, silent_s=5.0)
    assert sentence(waiting) == "It waits for a worker elsewhere, which has not been heard of for 5 s."


# -- the end, and the rest ---------------------------------------------------------------------------------------------


def test_a_task_that_has_ended_says_how() -> None:
    done = seen(TaskStatus.COMPLETED, of={"finished_at": at(3)})
    assert sentence(done) == "It has ended: completed after a run of 3 s."
    failed = seen(TaskStatus.TIMED_OUT, of={"finished_at": at(60), "error": TaskError("timed_out", "Too long.")})
    assert sentence(failed) == "It has ended: timed out after a run of 60 s (timed_out: Too long)."
    never = seen(TaskStatus.CANCELLED, of={"started_at": None, "finished_at": at(3)})
    assert sentence(never) == "It has ended: cancelled."
    assert why(done)["reason"] == "completed"
    assert why(dataclasses.replace(done, external=True))["silent_s"] == 10


def test_what_was_seen_besides_is_on_the_wire() -> None:
    document = why(
        running(
            children=((HOLDER, "fetch", TaskStatus.PENDING),),
            deadlines=((Limit.RUN, at(60)),),
            eta=Eta(at(40), at(50)),
        )
    )
    assert document["children"] == [{"id": HOLDER, "type": "fetch", "status": "pending"}]
    assert document["deadlines"] == [{"limit": "timeout_s", "at": at(60)}]
    assert document["eta"] == {"earliest": at(40), "latest": at(50)}
    assert (document["task_id"], document["type"], document["status"]) == ("a" * 32, "work", "running")
