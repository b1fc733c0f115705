"""A database that does not answer is left alone for a while; one that answers, whatever it says, is not."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
from structlog.testing import capture_logs

from streaming.errors import StoreUnavailable, StoreUnreachable
from streaming.store.guard import FAILURES_MAX, PAUSE_MAX_S, PAUSE_S, Guard


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> Guard:
    return Guard(clock)


def ask(guard: Guard, error: BaseException | None = None) -> None:
    guard.check()
    with guard.heard():
        if error is not None:
            raise error


def fail(guard: Guard, times: int = FAILURES_MAX) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnreachable, match="gone"):
            ask(guard, StoreUnreachable("gone"))


def test_after_some_failures_nothing_is_asked_until_one_may_try(guard: Guard, clock: Clock) -> None:
    with capture_logs() as logs:
        fail(guard)
        assert guard.circuit == "open"
        with pytest.raises(StoreUnreachable, match="it is not asked") as caught:
            ask(guard)
        assert caught.value.retry_after_s == PAUSE_S
        clock.now += PAUSE_S
        guard.check()  # this one may try
        with pytest.raises(StoreUnreachable, match="it is not asked"):
            guard.check()
        with guard.heard():
            pass
        assert guard.circuit == "closed"
        ask(guard)
    assert [(entry["was"], entry["now"]) for entry in logs] == [("closed", "open"), ("half_open", "closed")]


def test_pauses_grow_to_their_limit(guard: Guard, clock: Clock) -> None:
    fail(guard)
    pauses = []
    for _ in range(4):
        with pytest.raises(StoreUnreachable, match="not asked") as caught:
            ask(guard)
        pauses.append(caught.value.retry_after_s)
        clock.now += PAUSE_MAX_S
        fail(guard, 1)
    assert pauses == [PAUSE_S, 2 * PAUSE_S, PAUSE_MAX_S, PAUSE_MAX_S]


@pytest.mark.parametrize("answer", [StoreUnavailable("contradicts"), ZeroDivisionError(), None])
def test_an_answer_is_one_whatever_it_says(guard: Guard, answer: BaseException | None) -> None:
    for _ in range(FAILURES_MAX):
        fail(guard, FAILURES_MAX - 1)
        with nullcontext() if answer is None else pytest.raises(type(answer)):
            ask(guard, answer)
    assert guard.circuit == "closed"


def test_what_has_its_own_pauses_is_never_refused_and_may_close_it(guard: Guard, clock: Clock) -> None:
    fail(guard)
    guard.let_through()
    with guard.heard():
        pass
    assert guard.circuit == "open", "it had begun too early to tell"
    clock.now += PAUSE_S
    guard.let_through()
    with guard.heard():
        pass
    assert guard.circuit == "closed"


def test_all_threads_share_it(guard: Guard) -> None:
    threads = [threading.Thread(target=fail, args=(guard, 1)) for _ in range(FAILURES_MAX)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guard.circuit == "open"
