"""The way out: in order, in time, and with the right status, whatever stands in it."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
import uvicorn

from streaming import exit as module
from streaming.config import Settings
from streaming.engine.diary import Diary
from streaming.exit import FORCED_GRACE_S, HELD_UP_S, STOP_S, STREAMS_END_S, TELL_S, Exit

TERM, INT = signal.SIGTERM, signal.SIGINT


class Timer:
    """A `threading.Timer` on the clock of the test."""

    made: list[Timer]

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self.due_at = now() + seconds
        self.function = function
        self.started = self.cancelled = self.daemon = False
        Timer.made.append(self)

    def start(self) -> None:
        self.started = True

    def cancel(self) -> None:
        self.cancelled = True


def now() -> float:
    return time.monotonic()


def watchdogs() -> list[float]:
    """When each watchdog that is not called off would end the process, in seconds from the beginning."""
    on_watch = [timer for timer in Timer.made if timer.started and not timer.cancelled]
    pairs = list(zip(on_watch[::2], on_watch[1::2], strict=True))
    assert [second.due_at - first.due_at for first, second in pairs] == [pytest.approx(TELL_S)] * len(pairs)
    return [round(first.due_at - 1000, 3) for first, _ in pairs]


def bite() -> None:
    """Let the newest watchdog end the process."""
    Timer.made[-2].function()


class Drained:
    """A coordinator and a web application that end when the test says so."""

    def __init__(self) -> None:
        self.graces: list[float] = []
        self.ends: list[float] = []
        self.drained: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stuck = [("a task", "a place")]
        self.diary = Diary(10, lambda: 0.0)

    async def shutdown(self, grace_s: float) -> int:
        self.graces.append(grace_s)
        return await self.drained

    def hurry(self, grace_s: float) -> None:
        self.graces.append(grace_s)

    def places(self) -> list[tuple[str, str]]:
        return self.stuck

    async def end(self, within_s: float) -> int:
        self.ends.append(within_s)
        return await self.ended


class Clock:
    """Stands for the module `time` in the way out."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses with which the process would have ended at once."""
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    return statuses


@pytest.fixture
def host(clock: Clock, exits: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    """A uvicorn whose signal handlers are installed; watchdogs do not bite."""
    Timer.made = []
    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(__name__ + ".now", clock.monotonic)
    server = uvicorn.Server(uvicorn.Config(lambda: None, log_config=None))
    with server.capture_signals():
        yield server


def leaving(grace_s: float = 10.0) -> tuple[Exit, Any]:
    """A way out of a server that has started."""
    way_out, inside = Exit(Settings(grace_s=grace_s)), Drained()
    way_out.started(inside, inside)  # type: ignore[arg-type]  # as far as it looks
    return way_out, inside


async def rounds() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# -- in order ----------------------------------------------------------------------------------------------------------


async def test_first_the_drain_then_the_streams_then_the_server(host: uvicorn.Server) -> None:
    way_out, inside = leaving()
    os.kill(os.getpid(), TERM)
    await rounds()
    assert (len(inside.graces), inside.ends, host.should_exit) == (1, [], False)
    inside.drained.set_result(0)
    await rounds()
    assert (len(inside.ends), host.should_exit) == (1, False)
    inside.ended.set_result(0)
    await rounds()
    assert host.should_exit
    await way_out.drain()
    way_out.done()

    assert host._captured_signals == []


@pytest.mark.parametrize("signum", [TERM, INT])
async def test_another_server_gets_its_signal_once_we_are_done_and_its_handlers_back(
    signum: signal.Signals, clock: Clock, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    Timer.made = []
    monkeypatch.setattr(threading, "Timer", Timer)
    told: list[tuple[int, Any]] = []

    def of_another_server(signum: int, frame: Any) -> None:
        told.append((signum, frame))

    before = signal.signal(signum, of_another_server)
    try:
        way_out, inside = leaving()
        os.kill(os.getpid(), signum)
        await rounds()
        assert told == []
        inside.drained.set_result(0)
        inside.ended.set_result(0)
        await way_out.drain()
        assert told == [(signum, None)]
        way_out.done()
        assert signal.getsignal(signum) is of_another_server
    finally:
        signal.signal(signum, before)


async def test_without_a_signal_the_drain_takes_the_grace_and_tells_nobody_to_stop(host: uvicorn.Server) -> None:
    """The server that runs us is stopping already."""
    way_out, inside = leaving(grace_s=4)
    draining = [asyncio.create_task(way_out.drain()) for _ in range(2)]
    await rounds()
    assert inside.graces == [pytest.approx(3.6)]
    inside.drained.set_result(0)
    inside.ended.set_result(0)
    await asyncio.gather(*draining)
    way_out.done()

    assert (host.should_exit, watchdogs()) == (False, []), "whose process it is, nobody knows"


async def test_a_signal_during_such_a_drain_forces_nothing_but_starts_the_watchdog(
    host: uvicorn.Server, clock: Clock
) -> None:
    way_out, inside = leaving(grace_s=10)
    draining = asyncio.create_task(way_out.drain())
    await rounds()
    clock.now += 4
    os.kill(os.getpid(), TERM)
    await rounds()
    assert watchdogs() == [10.0], "the grace has begun before"
    assert inside.graces == [pytest.approx(9.5), pytest.approx(5.5)]
    inside.drained.set_result(0)
    inside.ended.set_result(0)
    await draining


async def test_the_log_lines_of_the_drain_belong_to_no_task(host: uvicorn.Server) -> None:
    """The signal comes in the middle of a handler, with that one's context."""
    way_out, _ = leaving()

    def in_a_handler() -> None:
        structlog.contextvars.bind_contextvars(task_id="somebody's")
        way_out.on_signal(TERM)

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        contextvars.copy_context().run(in_a_handler)
        await rounds()

    assert [(line["event"], line["signal"], line["forced"], "task_id" in line) for line in lines] == [
        ("signal", "SIGTERM", False, False)
    ]


async def test_what_is_no_signal_is_refused(host: uvicorn.Server) -> None:
    way_out, inside = leaving()
    with pytest.raises(ValueError, match="0 is not a valid Signals"):
        way_out.on_signal(0)
    await rounds()

    assert (inside.graces, watchdogs()) == ([], [])


# -- in time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grace_s", "for_drain_s"), [(10, 9.5), (2, 1.8), (0.1, 0.09), (0, 0), (600, 599.5)])
async def test_a_part_of_the_grace_is_kept_for_what_follows_the_drain(
    grace_s: float, for_drain_s: float, host: uvicorn.Server
) -> None:
    _, inside = leaving(grace_s)
    os.kill(os.getpid(), TERM)
    await rounds()

    assert inside.graces == [pytest.approx(for_drain_s)]
    assert watchdogs() == [grace_s]


@pytest.mark.parametrize(("left_s", "for_streams_s"), [(9, STREAMS_END_S), (3, 1.5), (0, 0), (-1, 0)])
async def test_streams_get_half_of_what_is_left_but_not_for_ever(
    left_s: float, for_streams_s: float, host: uvicorn.Server, clock: Clock
) -> None:
    _, inside = leaving(10)
    os.kill(os.getpid(), TERM)
    clock.now += 10 - left_s
    inside.drained.set_result(0)
    await rounds()

    assert inside.ends == [for_streams_s]


async def test_no_signal_and_no_phase_puts_the_exit_off(host: uvicorn.Server, clock: Clock) -> None:
    way_out, inside = leaving(10)
    ends = []
    for signum, at in [(TERM, 0.0), (TERM, 9.5), (INT, 9.6), (TERM, 9.9)]:
        clock.now = 1000 + at
        os.kill(os.getpid(), signum)
        await rounds()
        ends += watchdogs()
    inside.drained.set_result(0)
    inside.ended.set_result(0)
    await way_out.drain()
    way_out.done()

    assert [*ends, *watchdogs()] == [10.0] * 5
    assert len(inside.graces) == 4
    assert inside.graces == sorted(inside.graces, reverse=True)


async def test_a_second_signal_forces_the_exit_soon(host: uvicorn.Server, clock: Clock) -> None:
    _, inside = leaving(60)
    os.kill(os.getpid(), TERM)
    clock.now += 3
    os.kill(os.getpid(), INT)
    await rounds()

    assert watchdogs() == [3 + FORCED_GRACE_S]
    assert inside.graces[-1] < FORCED_GRACE_S
    assert [fact["name"] for fact in inside.diary.as_json()["facts"]] == ["SIGTERM", "SIGINT"]


async def test_a_second_signal_does_not_lengthen_a_grace_that_is_shorter(host: uvicorn.Server) -> None:
    leaving(0.2)
    os.kill(os.getpid(), TERM)
    os.kill(os.getpid(), TERM)

    assert watchdogs() == [0.2]


async def test_once_all_is_stored_the_rest_has_little_time(host: uvicorn.Server) -> None:
    way_out, inside = leaving(600)
    os.kill(os.getpid(), TERM)
    inside.drained.set_result(0)
    inside.ended.set_result(0)
    await rounds()
    assert watchdogs() == [STOP_S], "for the server that runs us"
    way_out.done()
    assert watchdogs() == [HELD_UP_S], "for what is left of the process"


async def test_a_signal_after_the_end_finds_no_loop_but_a_watchdog(host: uvicorn.Server) -> None:
    way_out, inside = leaving(600)
    inside.drained.set_result(0)
    inside.ended.set_result(0)
    await way_out.drain()
    way_out.done()
    assert watchdogs() == []
    os.kill(os.getpid(), TERM)
    await rounds()

    assert watchdogs() == [600]
    assert len(inside.graces) == 1


# -- with the right status ---------------------------------------------------------------------------------------------


async def test_the_watchdog_says_what_is_unfinished_and_ends_with_1(host: uvicorn.Server, exits: list[int]) -> None:
    leaving()
    os.kill(os.getpid(), TERM)
    with structlog.testing.capture_logs() as lines:
        bite()

    assert exits == [1]
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["task_id"], line["where"]) == (
        "unfinished at the end of the grace",
        "a task",
        "a place",
    )


async def test_what_is_stored_and_only_held_up_ends_with_0_and_names_the_thread(
    host: uvicorn.Server, exits: list[int]
) -> None:
    way_out, inside = leaving()
    os.kill(os.getpid(), TERM)
    inside.drained.set_result(0)
    inside.ended.set_result(0)
    await way_out.drain()
    way_out.done()
    leave = threading.Event()
    stuck = threading.Thread(target=leave.wait, name="stuck")
    stuck.start()
    try:
        with structlog.testing.capture_logs() as lines:
            bite()
    finally:
        leave.set()
        stuck.join()

    assert exits == [0]
    held_up = [line for line in lines if line["event"] == "a thread still runs at the exit"]
    assert "stuck" in [line["thread"] for line in held_up]
    assert all(line["where"] for line in held_up)


async def test_what_could_not_be_stored_ends_with_1_at_once(host: uvicorn.Server, exits: list[int]) -> None:
    way_out, inside = leaving()
    os.kill(os.getpid(), TERM)
    inside.drained.set_result(3)
    inside.ended.set_result(0)
    await way_out.drain()
    way_out.done()

    assert exits == [1]


async def test_a_server_that_ends_without_a_drain_ends_with_1_within_the_grace(
    host: uvicorn.Server, exits: list[int]
) -> None:
    way_out, _ = leaving(grace_s=7)
    with structlog.testing.capture_logs() as lines:
        way_out.broken()
        assert watchdogs() == [7]
        assert exits == [], "handlers may clean up first"
        way_out.done()

    assert exits == [1]
    assert lines[0]["log_level"] == "critical"


async def test_a_start_that_is_given_up_has_nothing_to_store(host: uvicorn.Server, exits: list[int]) -> None:
    way_out = Exit(Settings(grace_s=5))
    os.kill(os.getpid(), TERM)
    bite()
    with pytest.raises(asyncio.CancelledError):
        await rounds()

    assert way_out.early
    assert exits == [0]


async def test_last_words_that_nobody_takes_do_not_hold_the_exit(host: uvicorn.Server, exits: list[int]) -> None:
    """stderr may be a full pipe; whoever writes to it waits for ever. And there are no new threads at the end."""
    _, inside = leaving()
    inside.stuck = None  # whoever asked would fail
    os.kill(os.getpid(), TERM)
    threads = threading.enumerate()
    Timer.made[-1].function()

    assert exits == [1]
    assert threading.enumerate() == threads


async def test_last_words_that_fail_do_not_hold_the_exit(
    host: uvicorn.Server, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, inside = leaving()
    monkeypatch.setattr(inside, "stuck", [("a task",)])
    os.kill(os.getpid(), TERM)
    with pytest.raises(ValueError, match="not enough values"):
        bite()

    assert exits == [1]


# -- whose process it is -----------------------------------------------------------------------------------------------


async def test_where_nobody_handles_signals_they_are_left_alone(exits: list[int]) -> None:
    before = {signum: signal.signal(signum, signal.SIG_DFL) for signum in (TERM,)}
    before[INT] = signal.signal(INT, signal.default_int_handler)
    try:
        way_out, inside = leaving()
        assert (signal.getsignal(TERM), signal.getsignal(INT)) == (signal.SIG_DFL, signal.default_int_handler)
        way_out.on_signal(TERM)  # asked for from inside
        await rounds()
        inside.drained.set_result(0)
        inside.ended.set_result(0)
        await way_out.drain()
        way_out.done()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    assert len(inside.graces) == 1
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert exits == []


async def test_outside_of_the_main_thread_signals_are_left_alone(host: uvicorn.Server) -> None:
    of_uvicorn = signal.getsignal(TERM)

    def elsewhere() -> None:
        asyncio.run(made())

    async def made() -> None:
        leaving()

    await asyncio.to_thread(elsewhere)

    assert signal.getsignal(TERM) == of_uvicorn


async def test_a_signal_in_the_middle_of_a_signal_leaves_a_watchdog_for_the_shorter_time(host: uvicorn.Server) -> None:
    """Python runs handlers between any two steps, also of a handler."""
    way_out, _ = leaving(60)
    calls = itertools.count()
    make = Timer.__init__

    def interrupted(self: Timer, seconds: float, function: Callable[[], None]) -> None:
        make(self, seconds, function)
        if next(calls) == 0:
            way_out.on_signal(TERM)

    Timer.__init__ = interrupted  # type: ignore[method-assign]  # put back below
    try:
        way_out.on_signal(TERM)
    finally:
        Timer.__init__ = make  # type: ignore[method-assign]  # as it was before the test

    on_watch = [timer.due_at - 1000 for timer in Timer.made if timer.started and not timer.cancelled]
    assert min(on_watch) == FORCED_GRACE_S
