"""On the loop, in a thread, in a process: a handler is told, waited for, or killed, and never called stopped before."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest
import structlog

from streaming import Deadline, HandlerError, Record, TaskContext, TaskCoordinator, ThreadContext, task
from streaming.engine.calls import Call
from streaming.engine.processes import Processes
from streaming.engine.tracer import UNTRACED
from streaming.errors import Stopped
from streaming.records import CancelOutcome
from streaming.rules.deadlines import Limit
from streaming.rules.waits import Wait
from tests.engine.process_handlers import HANDLERS, cannot_prepare
from tests.kit import build, events_of, types

SOON_S = 10.0


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens outside the loop."""
    async with asyncio.timeout(SOON_S):
        while not true():  # noqa: ASYNC110  # nobody there could set an event of asyncio
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(handlers: Any, **settings: Any) -> AsyncIterator[TaskCoordinator]:
    coordinator, _ = build(handlers, **settings)
    async with coordinator:
        yield coordinator


async def result_of(coordinator: TaskCoordinator, type: str, **params: Any) -> Record:
    record, _ = await coordinator.start(type, params)
    return await coordinator.wait(record.id, SOON_S)


def error_of(record: Record) -> tuple[str, str, str]:
    assert record.error is not None
    return record.status.value, record.error.code, record.error.message


# -- on the loop -------------------------------------------------------------------------------------------------------


@task
async def exits(how: str) -> None:
    raise {"SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt()}[how]


@pytest.mark.parametrize("how", ["SystemExit", "KeyboardInterrupt"])
async def test_a_handler_cannot_end_the_server(how: str) -> None:
    async with running([exits]) as coordinator:
        record = await result_of(coordinator, "exits", how=how)

    assert error_of(record) == ("failed", "handler_exit", f"The handler raised {how}.")


@task
async def speaks_late(ctx: TaskContext, gate: str) -> None:
    GATES[gate].entered.set()
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.to_thread(GATES[gate].leave.wait)
        await ctx.emit("late")


async def test_a_handler_that_speaks_after_its_task_has_ended_ends_without_a_word(gate: str) -> None:
    """It was told to stop, and nobody is left to hear of it: the end of the loop would report it as a bug."""
    coordinator, _ = build([speaks_late])
    async with coordinator:
        record, _ = await coordinator.start("speaks_late", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        (handler,) = (each for each in asyncio.all_tasks() if each.get_name() == f"streaming-handler-{record.id}")
        await coordinator.shutdown(0.05)
        GATES[gate].leave.set()
        await asyncio.wait({handler})

    assert handler.cancelled()


# -- in a thread -------------------------------------------------------------------------------------------------------


class Gate:
    """Lets a thread wait for the test, and the test for the thread."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()


GATES: dict[str, Gate] = {}


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Any:
    name = request.node.name
    GATES[name] = Gate()
    yield name
    GATES.pop(name).leave.set()


@task(run_in="thread")
def tells(ctx: ThreadContext, n: int) -> dict[str, Any]:
    for i in range(n):
        ctx.emit("tick", {"i": i})
        ctx.progress(100 * (i + 1) / n)
    ctx.log("done", n=n)
    ctx.check()
    left_s = ctx.deadline.remaining_s
    return {"thread": threading.get_ident(), "in_time": 0 < left_s <= 60, "stopping": ctx.stopping}


async def test_a_thread_tells_and_returns_like_any_handler() -> None:
    async with running([tells]) as coordinator:
        record, _ = await coordinator.start("tells", {"n": 2}, timeout_s=60)
        events = await events_of(coordinator, record.id)
        record = await coordinator.get(record.id)

    assert types(events) == ["pending", "running", "tick", "progress", "tick", "progress", "log", "completed"]
    assert record.result["thread"] != threading.get_ident()
    assert (record.result["in_time"], record.result["stopping"]) == (True, False)
    assert record.progress is not None
    assert record.progress.percent == 100.0


@task(run_in="thread")
def without_context(a: int) -> int:
    return a + 1


async def test_a_thread_needs_no_context() -> None:
    async with running([without_context]) as coordinator:
        assert (await result_of(coordinator, "without_context", a=1)).result == 2


@task(run_in="thread")
def raises(ctx: ThreadContext, how: str) -> None:
    errors: dict[str, BaseException] = {
        "KeyError": KeyError("count"),
        "HandlerError": HandlerError("no_disk", "There is no disk."),
        "Stopped": Stopped(),
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "StopIteration": StopIteration(),
        "CancelledError": asyncio.CancelledError(),
    }
    if how == "InvalidEvent":
        ctx.emit("running")
    raise errors[how]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("KeyError", "handler_error"),
        ("HandlerError", "no_disk"),
        ("InvalidEvent", "invalid_event"),
        ("Stopped", "handler_cancelled_itself"),
        ("CancelledError", "handler_cancelled_itself"),
        ("SystemExit", "handler_exit"),
        ("KeyboardInterrupt", "handler_exit"),
        ("StopIteration", "handler_error"),
    ],
)
async def test_whatever_a_thread_raises_fails_its_task_and_nothing_else(how: str, code: str) -> None:
    async with running([raises, without_context]) as coordinator:
        record = await result_of(coordinator, "raises", how=how)
        assert error_of(record)[:2] == ("failed", code)

        assert (await result_of(coordinator, "without_context", a=1)).result == 2


@task(run_in="thread")
def checks(ctx: ThreadContext, gate: str) -> None:
    GATES[gate].entered.set()
    try:
        while not GATES[gate].leave.wait(0.001):
            ctx.check()
    finally:
        ctx.emit("cleaned")


async def test_a_thread_that_checks_is_stopped_and_cleans_up(gate: str) -> None:
    async with running([checks]) as coordinator:
        record, _ = await coordinator.start("checks", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        receipt = await coordinator.cancel_task(record.id, wait_s=SOON_S)
        events = await events_of(coordinator, record.id)

    assert receipt.outcome is CancelOutcome.STOPPED
    assert types(events)[-2:] == ["cleaned", "cancelled"]


async def test_a_thread_over_its_time_is_told_and_timed_out(gate: str) -> None:
    async with running([checks]) as coordinator:
        record, _ = await coordinator.start("checks", {"gate": gate}, timeout_s=0.05)
        record = await coordinator.wait(record.id, SOON_S)

    assert error_of(record) == ("timed_out", "timed_out", "Ran longer than its timeout_s of 0.05 s.")


@task(run_in="thread")
def returns_when_told(ctx: ThreadContext, gate: str) -> str:
    GATES[gate].entered.set()
    while not ctx.stopping:
        GATES[gate].leave.wait(0.001)
    return "what I have"


async def test_a_thread_that_is_told_may_return_what_it_has(gate: str) -> None:
    async with running([returns_when_told]) as coordinator:
        record, _ = await coordinator.start("returns_when_told", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        await coordinator.cancel_task(record.id, wait_s=SOON_S)
        record = await coordinator.get(record.id)

    assert (record.status, record.result) == ("cancelled", "what I have")


@task(run_in="thread")
def waits(gate: str) -> None:
    GATES[gate].entered.set()
    GATES[gate].leave.wait()


async def test_a_thread_that_does_not_check_is_named_with_its_line_and_not_called_stopped(gate: str) -> None:
    async with running([waits], cancel_grace_s=0.02) as coordinator:
        record, _ = await coordinator.start("waits", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        await coordinator.cancel_task(record.id)
        events = await coordinator.watch(record.id)
        found: list[Any] = []
        while "cancel_ignored" not in types(found):
            batch = await events.next()
            assert batch is not None
            found.extend(batch.events)
        ignored = (await coordinator.get(record.id)).cancel
        assert ignored is not None
        assert ignored.outcome is CancelOutcome.IGNORED
        line = waits.__code__.co_firstlineno + 3
        assert ignored.where == f"test_calls.py:{line} in waits"
        assert (await coordinator.get(record.id)).status == "running"

        GATES[gate].leave.set()
        record = await coordinator.wait(record.id, SOON_S)

    assert record.status == "cancelled"
    assert record.cancel is not None
    assert (record.cancel.outcome, record.cancel.where) == (CancelOutcome.STOPPED, None)


async def test_a_thread_that_is_stuck_at_the_end_is_told_truthfully(gate: str) -> None:
    coordinator, store = build([waits])
    async with coordinator:
        record, _ = await coordinator.start("waits", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        await coordinator.shutdown(0.1)
        assert [(runner.id, runner.stuck) for runner in coordinator.stuck] == [(record.id, True)]
        assert coordinator.places() == [(record.id, f"test_calls.py:{waits.__code__.co_firstlineno + 3} in waits")]
        record = await store.record(record.id)
        (handler,) = (each for each in asyncio.all_tasks() if each.get_name() == f"streaming-handler-{record.id}")
        GATES[gate].leave.set()
        await asyncio.wait({handler})

    assert record.status == "interrupted"
    assert "stood at test_calls.py" in record.error.message


async def test_a_task_cancelled_while_it_waits_for_a_thread_never_runs(gate: str) -> None:
    async with running([waits, without_context], max_threads=1) as coordinator:
        first, _ = await coordinator.start("waits", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        second, _ = await coordinator.start("waits", {"gate": gate})
        await until(lambda: coordinator._workshop.threads.statistics().tasks_waiting == 1)
        GATES[gate].entered.clear()

        receipt = await coordinator.cancel_task(second.id, wait_s=SOON_S)

        assert receipt.outcome is CancelOutcome.STOPPED
        GATES[gate].leave.set()
        assert (await coordinator.wait(first.id, SOON_S)).status == "completed"
        assert not GATES[gate].entered.is_set()
        assert (await result_of(coordinator, "without_context", a=1)).result == 2
        assert coordinator._workshop.threads.borrowed_tokens == 0


async def test_a_thread_whose_turn_comes_in_the_step_of_its_cancel_runs_nothing() -> None:
    """The other order: told after its turn has come, but before its first line."""
    ran: list[str] = []
    told = threading.Event()
    told.set()
    limiter = anyio.CapacityLimiter(1)
    coordinator, _ = build([without_context])
    nobody = cast("Any", None)
    context = TaskContext("7", 1, {}, Deadline(lambda: 1.0), nobody, nobody)
    call = Call(coordinator.registry.get("without_context"), context, limiter, Processes(1), UNTRACED, nobody)

    with pytest.raises(Stopped):
        await anyio.to_thread.run_sync(call._enter_thread, lambda: ran.append("ran"), told)

    assert ran == []
    assert call._thread is None


@task(run_in="thread")
def floods(ctx: ThreadContext, gate: str) -> str:
    try:
        while True:
            ctx.emit("tick")
    except Stopped:
        return "stopped"
    finally:
        GATES[gate].entered.set()


async def test_a_thread_that_waits_for_room_goes_on_when_there_is_some(gate: str) -> None:
    coordinator, store = build([tells], backlog_events_max=1)
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("tells", {"n": 3}))
        await store.entered.wait()
        store.release()
        record, _ = await starting
        assert (await coordinator.wait(record.id, SOON_S)).status == "completed"


async def test_a_thread_that_waits_for_a_store_that_is_away_is_stopped_all_the_same(gate: str) -> None:
    """Its emit would wait for as long as the disk is full."""
    coordinator, store = build([floods], backlog_events_max=10, store_wait_s=SOON_S)
    async with coordinator:
        record, _ = await coordinator.start("floods", {"gate": gate})
        await until(lambda: len(store.commits) > 3)
        store.away = True
        await until(lambda: not coordinator.ready)
        cancelling = asyncio.create_task(coordinator.cancel_task(record.id))

        await until(GATES[gate].entered.is_set)

        assert not coordinator.ready
        store.away = False
        await cancelling
        record = await coordinator.wait(record.id, SOON_S)
        assert (record.status, record.result) == ("cancelled", "stopped")


@task
async def quick() -> str:
    return "done"


@task(run_in="thread")
def waits_late(ctx: ThreadContext, gate: str, what: str) -> None:
    child = ctx.start("quick")
    GATES[gate].entered.set()
    while not ctx.stopping:
        GATES[gate].leave.wait(0.001)
    if what == "input":
        next(ctx.inputs())
    child.result()


@pytest.mark.parametrize("what", ["input", "result"])
async def test_a_thread_that_is_told_to_stop_begins_no_wait_without_end(gate: str, what: str) -> None:
    """Nobody would wake it up before the grace of its cancel is over."""
    async with running([waits_late, quick], cancel_grace_s=SOON_S) as coordinator:
        record, _ = await coordinator.start("waits_late", {"gate": gate, "what": what})
        await until(GATES[gate].entered.is_set)
        receipt = await coordinator.cancel_task(record.id, wait_s=SOON_S / 2)
        record = await coordinator.wait(record.id, 0)

    assert (receipt.outcome, record.status, record.error and record.error.code) == (
        CancelOutcome.STOPPED,
        "cancelled",
        "cancelled",
    )


async def test_a_thread_cannot_speak_after_its_task_has_ended(gate: str) -> None:
    @task(run_in="thread")
    def late(ctx: ThreadContext, gate: str) -> None:
        GATES[gate].entered.set()
        GATES[gate].leave.wait()
        try:
            ctx.emit("late")
        except Exception as error:
            said.append(error)

    said: list[Exception] = []
    coordinator, store = build([late])
    async with coordinator:
        record, _ = await coordinator.start("late", {"gate": gate})
        await until(GATES[gate].entered.is_set)
        await coordinator.shutdown(0.05)
        GATES[gate].leave.set()
        await until(lambda: bool(said))
        await until(lambda: not [each for each in asyncio.all_tasks() if "streaming-handler" in each.get_name()])

    assert [type(error).__name__ for error in said] == ["TaskEnded"]
    assert types(await store.events_after(record.id, 0, last_seq=99, limit=99))[-1] == "interrupted"


# -- in a process ------------------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def pid_in(file: Path) -> int:
    await until(lambda: file.exists() and bool(file.read_text()))
    return int(file.read_text())  # noqa: ASYNC240  # a few bytes


async def test_a_process_returns_its_result() -> None:
    async with running(HANDLERS) as coordinator:
        record = await result_of(coordinator, "p-add", a=1)

    assert record.result["sum"] == 3
    assert record.result["pid"] != os.getpid()


@pytest.mark.parametrize("way", ["cancel", "timeout", "shutdown"])
async def test_a_process_that_is_stopped_is_killed(way: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("p-forever", {"pid_file": str(file)})
        pid = await pid_in(file)
        if way == "cancel":
            receipt = await coordinator.cancel_task(record.id, wait_s=SOON_S)
            assert receipt.outcome is CancelOutcome.STOPPED
        elif way == "shutdown":
            await coordinator.shutdown(0.5)
        else:
            await coordinator.extend(record.id, {Limit.RUN: 0.01})
            await coordinator.wait(record.id, SOON_S)
        record = await store.record(record.id)

    assert record.status == {"cancel": "cancelled", "timeout": "timed_out", "shutdown": "interrupted"}[way]
    await until(lambda: not alive(pid))


async def test_a_killed_process_frees_its_place(tmp_path: Path) -> None:
    async with running(HANDLERS, max_processes=1) as coordinator:
        file = tmp_path / "pid"
        first, _ = await coordinator.start("p-forever", {"pid_file": str(file)})
        pid = await pid_in(file)
        waiting, _ = await coordinator.start("p-forever", {"pid_file": str(tmp_path / "never")})
        await until(lambda: coordinator._workshop.processes.places.statistics().tasks_waiting == 1)

        assert (await coordinator.cancel_task(waiting.id, wait_s=SOON_S)).outcome is CancelOutcome.STOPPED
        assert not (tmp_path / "never").exists()
        assert alive(pid)
        assert (await coordinator.cancel_task(first.id, wait_s=SOON_S)).outcome is CancelOutcome.STOPPED
        assert (await result_of(coordinator, "p-add", a=1)).result["sum"] == 3


@pytest.mark.parametrize(
    ("type", "code", "message"),
    [
        ("p-raise", "handler_error", "KeyError: 'count'"),
        ("p-own-code", "no_disk", "There is no disk."),
        ("p-exit", "handler_exit", "The handler raised SystemExit."),
        ("p-crash", "handler_process", "The handler's process ended without a word; maybe it was killed."),
    ],
)
async def test_whatever_a_process_does_fails_its_task_and_nothing_else(type: str, code: str, message: str) -> None:
    async with running(HANDLERS) as coordinator:
        assert error_of(await result_of(coordinator, type)) == ("failed", code, message)
        assert (await result_of(coordinator, "p-add", a=1)).result["sum"] == 3


async def test_a_result_that_cannot_leave_its_process_fails_the_task() -> None:
    async with running(HANDLERS) as coordinator:
        assert error_of(await result_of(coordinator, "p-strange"))[:2] == ("failed", "handler_error")


async def test_what_a_process_logs_has_the_id_of_its_task() -> None:
    async with running(HANDLERS) as coordinator:
        for _ in range(2):
            record = await result_of(coordinator, "p-bound")
            assert record.result == {"task_id": record.id}


async def test_a_process_that_cannot_be_prepared_fails_the_task_and_only_the_log_lines_say_why() -> None:
    coordinator, _ = build(HANDLERS, prepare_worker=cannot_prepare)
    with structlog.testing.capture_logs() as lines:
        async with coordinator:
            found = [error_of(await result_of(coordinator, "p-add", a=1)) for _ in range(2)]

    message = "The handler's process could not be prepared; the server's log lines say why."
    assert found == [("failed", "handler_process", message)] * 2
    causes = [repr(line["exc_info"].__cause__) for line in lines if "could not be prepared" in line["event"]]
    assert causes == ["KeyError('secret')"] * 2


async def test_a_process_that_is_left_behind_is_killed_at_the_end(tmp_path: Path) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        await coordinator.start("p-forever", {"pid_file": str(tmp_path / "pid")})
        pid = await pid_in(tmp_path / "pid")
        await coordinator.shutdown(0)
    assert not alive(pid)


async def test_a_process_does_not_survive_a_program_that_is_cancelled_as_it_leaves(tmp_path: Path) -> None:
    coordinator, _ = build(HANDLERS, grace_s=60)

    async def program() -> None:
        async with coordinator:
            await coordinator.start("p-forever", {"pid_file": str(tmp_path / "pid")})

    ended = asyncio.create_task(program())
    pid = await pid_in(tmp_path / "pid")
    ended.cancel()
    await asyncio.wait({ended})

    assert ended.cancelled()
    assert not alive(pid)


async def test_a_process_that_is_cancelled_again_is_still_gone(tmp_path: Path) -> None:
    async with running(HANDLERS) as coordinator:
        file = tmp_path / "pid"
        record, _ = await coordinator.start("p-forever", {"pid_file": str(file)})
        pid = await pid_in(file)
        receipts = await asyncio.gather(*(coordinator.cancel_task(record.id, wait_s=SOON_S) for _ in range(5)))

    assert {receipt.outcome for receipt in receipts} == {CancelOutcome.STOPPED}
    await until(lambda: not alive(pid))


# -- where -------------------------------------------------------------------------------------------------------------


@task
async def sleeps(ctx: TaskContext) -> None:
    await asyncio.sleep(3600)


async def test_each_way_says_where_its_handler_stands(gate: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with running([sleeps, waits, *HANDLERS], cancel_grace_s=0.05, grace_s=0.2) as coordinator:
        on_loop, _ = await coordinator.start("sleeps", {})
        in_thread, _ = await coordinator.start("waits", {"gate": gate})
        in_process, _ = await coordinator.start("p-forever", {"pid_file": str(file)})
        await until(GATES[gate].entered.is_set)
        await pid_in(file)
        found = dict(coordinator.places())
        GATES[gate].leave.set()

    assert found[on_loop.id] == f"test_calls.py:{sleeps.__code__.co_firstlineno + 2} in sleeps"
    assert found[in_thread.id] == f"test_calls.py:{waits.__code__.co_firstlineno + 3} in waits"
    assert found[in_process.id] == "in a process of its own"


@task(run_in="thread")
def hears(ctx: ThreadContext) -> None:
    for _ in ctx.inputs():
        pass


async def test_each_way_says_what_its_handler_waits_for(gate: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    settings = {"cancel_grace_s": 0.05, "grace_s": 0.2, "max_threads": 2, "max_processes": 1}
    async with running([waits, hears, *HANDLERS], **settings) as coordinator:
        ids = [(await coordinator.start("waits", {"gate": gate}))[0].id, (await coordinator.start("hears", {}))[0].id]
        await until(GATES[gate].entered.is_set)
        ids.append((await coordinator.start("hears", {}))[0].id)
        for name in ("pid", "never"):
            ids.append((await coordinator.start("p-forever", {"pid_file": str(tmp_path / name)}))[0].id)
            await pid_in(file)
        await asyncio.sleep(0.1)
        found = [(await coordinator.why(task_id)).stack for task_id in ids]
        GATES[gate].leave.set()

    assert [stack and stack.wait for stack in found] == [
        Wait.THREAD_CODE,
        Wait.INPUT,
        Wait.THREAD_PLACE,
        Wait.PROCESS,
        Wait.PROCESS_PLACE,
    ]
    assert [stack and stack.where for stack in found] == [
        f"test_calls.py:{waits.__code__.co_firstlineno + 3} in waits",
        f"test_calls.py:{hears.__code__.co_firstlineno + 2} in hears",
        None,
        None,
        None,
    ]
