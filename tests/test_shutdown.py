"""Shutting down: who is told, who gets time, what is left, and that the process ends."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import importlib
import inspect
import os
import signal
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

import streaming
from streaming import TaskContext, TaskCoordinator, TaskStatus, task
from streaming.config import Settings
from streaming.errors import Draining, StoreUnavailable
from streaming.server import Server
from tests.host import Host, hosting
from tests.kit import TestedStore, build, collect, events_of, types
from tests.leftovers import RESIDENT, leftovers
from tests.process.server import ON_ASYNCIO, WAYS
from tests.process.server import running as running_server
from tests.stage import Gate, deaf, forever, gone, instant, now, rounds, running, ticks, tidy

virtual = pytest.mark.clock("virtual")
process = pytest.mark.process

SIGNALS = [signal.SIGTERM, signal.SIGINT]
WITHOUT_A_FILE: dict[str, Any] = {"store_url": "memory://", "grace_s": 5.0}


def readers_of(coordinator: TaskCoordinator, task_ids: list[str]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(events_of(coordinator, task_id)) for task_id in task_ids]


# -- from the signal to the coordinator ------------------------------------------------------------------------------


@pytest.mark.scenario("shutdown", 1)
@pytest.mark.scenario("shutdown", 2)
@pytest.mark.parametrize("signum", SIGNALS)
async def test_a_signal_drains_and_then_lets_the_server_that_runs_us_stop(
    signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosting(Server(Settings(**WITHOUT_A_FILE)), monkeypatch) as host:
        of_uvicorn = signal.getsignal(signum)
        await host.start()
        assert signal.getsignal(signum) not in (of_uvicorn, signal.SIG_DFL), "ours now"
        assert await host.ask("GET", "/readyz") == (200, await headers_of(host, "/readyz"))

        os.kill(os.getpid(), signum)
        await host.until(lambda: host.uvicorn.should_exit)
        assert (await host.ask("GET", "/readyz"))[0] == 503
        await host.stop()

    assert host.said[-1] == {"type": "lifespan.shutdown.complete"}
    assert host.uvicorn._captured_signals == [], "uvicorn would raise it again, and exit with a status other than 0"
    assert host.exits in ([], [0])


async def headers_of(host: Host, path: str) -> dict[str, str]:
    return (await host.ask("GET", path))[1]


@pytest.mark.scenario("shutdown", 3)
def test_the_shutdown_handler_is_importable_from_the_server_and_only_from_there() -> None:
    module = importlib.import_module("streaming.server")

    assert list(inspect.signature(module.shutdown_handler).parameters) == ["signum", "frame"], "made for signal.signal"
    assert "shutdown_handler" not in dir(streaming)


@pytest.mark.scenario("shutdown", 3)
@pytest.mark.scenario("shutdown", 4)
async def test_the_shutdown_handler_drains_the_coordinator_of_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from inside, as by somebody who installs it for a signal of their own."""
    for name, value in WITHOUT_A_FILE.items():
        monkeypatch.setenv(f"STREAMING_{name.upper()}", str(value))
    module = importlib.import_module("streaming.server")
    module.shutdown_handler(signal.SIGTERM, None)  # before the start: there is nothing to drain
    with hosting(module.app, monkeypatch) as host:
        await host.start()
        previous = signal.signal(signal.SIGUSR1, module.shutdown_handler)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            await host.until(lambda: host.coordinator.draining)
            status, headers = await host.ask("GET", "/readyz")
            await host.stop()
        finally:
            signal.signal(signal.SIGUSR1, previous)

    assert (status, "retry-after" in headers) == (503, True)
    assert host.said[-1] == {"type": "lifespan.shutdown.complete"}


# -- the drain ---------------------------------------------------------------------------------------------------------


@virtual
@pytest.mark.scenario("shutdown", 5)
async def test_open_streams_get_a_last_event_and_end() -> None:
    coordinator, _ = build([forever, ticks])
    async with coordinator:
        stopped, finished = await running(coordinator, "forever"), await running(coordinator, "ticks", n=2)
        feed = asyncio.create_task(collect(await coordinator.follow()))
        readers = readers_of(coordinator, [stopped, finished])
        await coordinator.shutdown(10)
        logs = await asyncio.gather(*readers)

        assert types(logs[0]) == ["pending", "running", "interrupted"]
        assert logs[0][-1].data["error"]["code"] == "shutdown"
        assert types(logs[1]) == ["pending", "running", "tick", "tick", "completed"], "it had the time to finish"
        assert sorted(map(repr, await feed)) == sorted(map(repr, logs[0] + logs[1])), "and so has the feed"


@virtual
@pytest.mark.scenario("shutdown", 6)
@pytest.mark.parametrize("grace_s", [0.01, 1.0, 10.0, 600.0])
async def test_a_stuck_handler_does_not_hold_the_shutdown_beyond_its_grace(grace_s: float) -> None:
    coordinator, _ = build([deaf])
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=2000)
        began_at = now()
        assert await coordinator.shutdown(grace_s) == 0, "all is stored"
        assert now() - began_at <= grace_s
        assert (await coordinator.get(task_id)).status is TaskStatus.INTERRUPTED
        await gone(task_id)


@virtual
@pytest.mark.scenario("shutdown", 7)
async def test_the_log_names_each_task_that_did_not_finish_and_the_line_on_which_it_stood() -> None:
    coordinator, _ = build([deaf, forever, instant])
    async with coordinator:
        stuck, stopped = await running(coordinator, "deaf"), await running(coordinator, "forever")
        done, _ = await coordinator.start("instant", {})
        await coordinator.wait(done.id, 60)
        with structlog.testing.capture_logs() as lines:
            await coordinator.shutdown(10)

        stopping = {line["task_id"]: line["where"] for line in lines if line["event"] == "stopping a task"}
        unfinished = {line["task_id"]: line["where"] for line in lines if line["log_level"] == "error"}
        assert stopping == {stuck: place_in(deaf, "sleep"), stopped: place_in(forever, "create_future")}
        assert unfinished == {stuck: place_in(deaf, "sleep")}
        assert coordinator.places() == [(stuck, place_in(deaf, "sleep"))], "nobody calls it stopped"
        await gone(stuck)


def place_in(handler: Callable[..., Any], text: str) -> str:
    """The line of a handler with this text, as the log names it."""
    lines, first = inspect.getsourcelines(handler)
    number = next(number for number, line in enumerate(lines, first) if text in line)
    return f"{Path(inspect.getfile(handler)).name}:{number} in {handler.__name__}"


@pytest.mark.scenario("shutdown", 8)
def test_shutdown_is_a_method_of_the_public_class() -> None:
    assert "TaskCoordinator" in streaming.__all__
    assert inspect.iscoroutinefunction(streaming.TaskCoordinator.shutdown)


@virtual
@pytest.mark.scenario("shutdown", 9)
async def test_every_task_is_stopped() -> None:
    coordinator, store = build([forever, tidy])
    async with coordinator:
        ids = [await running(coordinator, name) for name in ["forever", "tidy"] * 10]
        handlers = [each for each in asyncio.all_tasks() if each.get_name().startswith("streaming-handler-")]
        await coordinator.shutdown(60)

    assert len(handlers) == 20
    assert all(each.cancelled() for each in handlers)
    assert {(await store.record(task_id)).status for task_id in ids} == {TaskStatus.INTERRUPTED}
    assert await store.unfinished() == []


@virtual
@pytest.mark.scenario("shutdown", 10)
async def test_a_shutdown_waits_for_the_cleanup_and_the_cleanup_may_emit() -> None:
    coordinator, _ = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=3)
        reader = readers_of(coordinator, [task_id])[0]
        await coordinator.shutdown(60)

    events = await reader
    assert types(events) == ["pending", "running", "cleanup", "cleanup", "interrupted"]
    assert [event.data for event in events[2:4]] == [{"step": 1}, {"step": 2}]


@virtual
@pytest.mark.scenario("shutdown", 11)
@pytest.mark.parametrize("how", ["argument", "setting"])
async def test_the_grace_is_an_argument_or_else_the_setting(how: str) -> None:
    coordinator, _ = build([deaf, ticks], grace_s=100)
    async with coordinator:
        stuck, finishing = await running(coordinator, "deaf", for_s=2000), await running(coordinator, "ticks", n=20)
        began_at = now()
        await coordinator.shutdown(*[30] if how == "argument" else [])
        took_s = now() - began_at
        await gone(stuck)
        record = await coordinator.get(finishing)

    assert (25 < took_s <= 30) if how == "argument" else (90 < took_s <= 100)
    assert record.status is TaskStatus.COMPLETED, "most of the grace is for those that end by themselves"


@virtual
@pytest.mark.scenario("shutdown", 11)
async def test_a_shutdown_ends_with_its_last_task_and_not_with_its_grace() -> None:
    coordinator, _ = build([ticks])
    async with coordinator:
        await running(coordinator, "ticks", n=3, pause_s=1)
        await coordinator.shutdown(3600)

        assert now() == 3


@virtual
@pytest.mark.scenario("shutdown", 12)
async def test_shutting_down_again_waits_for_the_same_end_also_at_the_same_time() -> None:
    coordinator, store = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy", takes_s=2)
        await asyncio.gather(*(coordinator.shutdown(60) for _ in range(3)), coordinator.shutdown(60))
        commits, ended_at = len(store.commits), now()
        await coordinator.shutdown(60)

    assert (len(store.commits), now()) == (commits, ended_at), "the second time there is nothing to do"
    events = await store.events_after(task_id, 0, last_seq=99, limit=99)
    assert types(events) == ["pending", "running", "cleanup", "cleanup", "interrupted"], "one terminal event"


@virtual
@pytest.mark.scenario("shutdown", 12)
@pytest.mark.parametrize("graces", [(100, 10), (10, 100)])
async def test_of_two_graces_the_one_that_ends_first_holds(graces: tuple[float, float]) -> None:
    coordinator, _ = build([deaf])
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=2000)
        both = [asyncio.create_task(coordinator.shutdown(grace_s)) for grace_s in graces]
        await asyncio.gather(*both)

        assert 5 < now() <= 10
        await gone(task_id)


@virtual
@pytest.mark.scenario("shutdown", 12)
async def test_a_caller_that_is_cancelled_does_not_stop_the_shutdown() -> None:
    coordinator, store = build([tidy])
    async with coordinator:
        task_id = await running(coordinator, "tidy")
        caller = asyncio.create_task(coordinator.shutdown(60))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.wait({caller})
        assert caller.cancelled()
        await coordinator.shutdown(60)

    assert (await store.record(task_id)).status is TaskStatus.INTERRUPTED


@virtual
@pytest.mark.scenario("shutdown", 12)
@pytest.mark.parametrize("handler", [forever, tidy, deaf])
async def test_a_program_that_is_cancelled_while_it_leaves_its_coordinator_leaves_at_once(
    handler: Callable[..., Any],
) -> None:
    coordinator, _ = build([handler], grace_s=60)
    left: list[float] = []

    async def program() -> None:
        async with coordinator:
            await running(coordinator, handler.__name__)
        left.append(now())

    ended = asyncio.create_task(program())
    await asyncio.sleep(1)
    ended.cancel()
    await asyncio.wait({ended})

    assert ended.cancelled()
    assert (now(), left) == (1, [])
    assert RESIDENT.isdisjoint(each.get_name() for each in asyncio.all_tasks())
    if handler is forever:
        await rounds()
        assert leftovers(coordinator) == {}, "it has ended as soon as it was told to"


@virtual
@pytest.mark.scenario("shutdown", 12)
@pytest.mark.parametrize(("protected_s", "cancelled_at"), [(0, 1), (3, 3)])
async def test_without_a_grace_a_handler_is_stopped_all_the_same(protected_s: float, cancelled_at: float) -> None:
    """Its task has ended by then; but the process may be somebody's who goes on, and no ghost is to stay in it."""
    cancelled: list[float] = []

    @task
    async def guarded(ctx: TaskContext) -> None:
        try:
            async with ctx.protected("upload", at_most_s=10):
                await asyncio.sleep(protected_s)
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    coordinator, store = build([guarded])
    async with coordinator:
        task_id = await running(coordinator, "guarded")
        await asyncio.sleep(1)
        await coordinator.shutdown(0)
        assert now() == 1
        await asyncio.sleep(10)

    assert (await store.record(task_id)).status is TaskStatus.INTERRUPTED
    assert cancelled == [cancelled_at]
    assert coordinator.places() == []


@virtual
@pytest.mark.scenario("shutdown", 12)
async def test_a_handler_whose_cancel_was_never_stored_is_stopped_at_the_end_all_the_same() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        cancelling = asyncio.create_task(coordinator.cancel_task(task_id))
        await asyncio.sleep(1)
        assert gate.cancelled_at == [], "its cause comes first"
        assert await coordinator.shutdown(0) > 0
        with pytest.raises(StoreUnavailable):
            await cancelling
        store.release()

    assert gate.cancelled_at == [1]


@virtual
@pytest.mark.scenario("shutdown", 13)
async def test_no_reference_to_a_task_is_left() -> None:
    coordinator, _ = build([forever, tidy, instant], max_running=2)
    async with coordinator:
        ids = [(await coordinator.start(name, {}))[0].id for name in ["forever", "tidy", "instant", "forever"]]
        await asyncio.sleep(1)
        readers = readers_of(coordinator, ids)
        runners = [weakref.ref(runner) for runner in coordinator._tasks.values()]
        handlers = weakref.WeakSet(each for each in asyncio.all_tasks() if each.get_name().startswith("streaming-ha"))
        assert (len(runners), len(handlers)) == (4, 2)
        await coordinator.shutdown(60)
        await asyncio.gather(*readers)
        del readers

        assert leftovers(coordinator) == {}
        gc.collect()
        assert [runner() for runner in runners if runner() is not None] == []
        assert list(handlers) == []


@virtual
@pytest.mark.scenario("shutdown", 14)
async def test_every_reader_is_told() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        ids = [await running(coordinator, "forever") for _ in range(5)]
        readers = readers_of(coordinator, ids * 20)
        feeds = [asyncio.create_task(collect(await coordinator.follow())) for _ in range(20)]
        waiting = [asyncio.create_task(coordinator.wait(task_id, 3600)) for task_id in ids]
        await asyncio.sleep(0)
        await coordinator.shutdown(10)
        logs, told, records = [await asyncio.gather(*each) for each in (readers, feeds, waiting)]

    assert [types(log)[-1] for log in logs] == ["interrupted"] * 100
    assert [types(feed).count("interrupted") for feed in told] == [5] * 20
    assert [record.status for record in records] == [TaskStatus.INTERRUPTED] * 5


@virtual
@pytest.mark.scenario("shutdown", 14)
async def test_readers_of_a_task_that_waits_for_its_turn_are_let_go_and_the_task_waits_for_the_next_server() -> None:
    gate = Gate()
    coordinator, store = build([gate.handler], max_running=1)
    async with coordinator:
        await running(coordinator, "gate")
        waiting, _ = await coordinator.start("gate", {})
        reader = readers_of(coordinator, [waiting.id])[0]
        await coordinator.shutdown(10)

    assert types(await reader) == ["pending"], "no end is invented"
    assert [record.id for record in await store.unfinished()] == [waiting.id]


@virtual
@pytest.mark.scenario("shutdown", 14)
async def test_without_a_durable_store_a_task_that_waits_for_its_turn_ends() -> None:
    gate = Gate()
    coordinator, _ = build([gate.handler], TestedStore(Settings(), durable=False), max_running=1)
    async with coordinator:
        await running(coordinator, "gate")
        waiting, _ = await coordinator.start("gate", {})
        reader = readers_of(coordinator, [waiting.id])[0]
        await coordinator.shutdown(10)

    events = await reader
    assert types(events) == ["pending", "interrupted"]
    message = "The server stopped before the task had its turn."
    assert events[-1].data == {"error": {"code": "shutdown", "message": message}}


@pytest.mark.scenario("shutdown", 15)
async def test_no_lock_thread_or_task_is_left_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'tasks.db'}", grace_s=5)
    for _ in range(2):  # the second one finds everything free
        with hosting(Server(settings), monkeypatch) as host:
            before = asyncio.all_tasks()
            await host.start()
            with (tmp_path / "tasks.db.lock").open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            await host.stop()

        assert asyncio.all_tasks() == before
        with (tmp_path / "tasks.db.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert sorted(os.listdir(tmp_path)) == ["tasks.db", "tasks.db.lock"], "and the store is whole in its one file"


@task
async def chatter(ctx: TaskContext) -> None:
    """Emit without a pause until it is stopped, and once more then."""
    number = 0
    try:
        while True:
            number += 1
            await ctx.emit("n", {"n": number})
            await asyncio.sleep(0.001)
    finally:
        await ctx.emit("last", {"n": number})


@virtual
@pytest.mark.scenario("shutdown", 16)
@pytest.mark.parametrize("begins_at", [0.0, 0.0004, 0.001, 0.0115])
async def test_a_shutdown_in_the_middle_of_an_emit_loses_nothing(begins_at: float) -> None:
    coordinator, store = build([chatter])
    async with coordinator:
        task_id = await running(coordinator, "chatter")
        reader = readers_of(coordinator, [task_id])[0]
        await asyncio.sleep(begins_at)
        assert await coordinator.shutdown(0.5) == 0

    events = await reader
    assert types(events)[-2:] == ["last", "interrupted"]
    assert [event.data["n"] for event in events[2:-2]] == list(range(1, events[-2].data["n"] + 1))
    assert events == await store.events_after(task_id, 0, last_seq=10**6, limit=10**6)


@virtual
@pytest.mark.scenario("shutdown", 16)
@pytest.mark.parametrize("first", ["emit", "shutdown"])
async def test_an_emit_that_waits_for_room_is_let_go_by_the_shutdown(first: str) -> None:
    """The backlog is full because the store does not answer; then it does."""
    coordinator, store = build([chatter], backlog_events_max=3)
    async with coordinator:
        task_id = await running(coordinator, "chatter")
        if first == "emit":
            store.hold()
            await asyncio.sleep(0.1)
            assert coordinator._hub._backlog.waiting, "the handler waits at emit"
        leaving = asyncio.create_task(coordinator.shutdown(1))
        await asyncio.sleep(0.1)
        store.hold()
        await asyncio.sleep(0.1)
        assert coordinator._hub._backlog.waiting, "the handler waits at emit"
        store.release()
        assert await leaving == 0
        record = await store.record(task_id)
        events = await store.events_after(task_id, 0, last_seq=10**6, limit=10**6)

    assert record.status is TaskStatus.INTERRUPTED
    assert types(events)[-2:] == ["last", "interrupted"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


@virtual
@pytest.mark.scenario("shutdown", 16)
async def test_what_the_store_does_not_take_until_the_end_is_counted_and_was_never_shown() -> None:
    coordinator, store = build([chatter])
    async with coordinator:
        task_id = await running(coordinator, "chatter")
        reader = readers_of(coordinator, [task_id])[0]
        await asyncio.sleep(0.01)
        store.away = True
        with structlog.testing.capture_logs() as lines:
            lost = await coordinator.shutdown(10)

        assert now() <= 10.02
        assert lost > 0
        assert [line["events"] for line in lines if line["event"] == "events could not be stored before the end"] == [
            lost
        ]
        shown = await reader
        assert shown == await store.events_after(task_id, 0, last_seq=10**6, limit=10**6)
        assert "interrupted" not in types(shown), "an end that is not stored is no end"


@virtual
@pytest.mark.scenario("shutdown", 17)
@pytest.mark.parametrize("before", ["nothing", "a finished task"])
async def test_with_nothing_running_a_shutdown_takes_no_time(before: str) -> None:
    coordinator, store = build([instant])
    async with coordinator:
        if before != "nothing":
            started, _ = await coordinator.start("instant", {})
            await coordinator.wait(started.id, 60)
        commits = len(store.commits)
        assert await coordinator.shutdown(3600) == 0

    assert (now(), len(store.commits)) == (0, commits)


@virtual
@pytest.mark.scenario("shutdown", 18)
async def test_a_start_after_the_shutdown_has_begun_is_refused_with_a_clear_error() -> None:
    coordinator, store = build([tidy, instant])
    async with coordinator:
        await running(coordinator, "tidy")
        leaving = asyncio.create_task(coordinator.shutdown(60))
        await asyncio.sleep(1)
        with pytest.raises(Draining, match="shutting down") as refused:
            await coordinator.start("instant", {})
        with pytest.raises(Draining):
            await coordinator.start("instant", {}, idempotency_key="once")
        await leaving
        with pytest.raises(Draining):
            await coordinator.start("instant", {})

    assert refused.value.retry_after_s is not None
    assert [record.type for commit in store.commits for record in commit.created] == ["tidy"], "and leaves no trace"


@virtual
@pytest.mark.scenario("shutdown", 18)
@pytest.mark.parametrize("first", ["stored", "shutdown"])
async def test_a_start_that_is_being_stored_when_the_shutdown_begins_is_kept(first: str) -> None:
    """201 was on its way: the task is there after the restart, whether or not it had its turn."""
    coordinator, store = build([forever])
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("forever", {}))
        await store.entered.wait()
        if first == "stored":
            store.release()
            await asyncio.sleep(0)
        leaving = asyncio.create_task(coordinator.shutdown(10))
        await asyncio.sleep(0.1)
        store.release()
        started, _ = await starting
        await leaving
        record = await store.record(started.id)

    assert record.status in (TaskStatus.PENDING, TaskStatus.INTERRUPTED)
    assert record.status is TaskStatus.PENDING or first == "stored"


# -- the process -------------------------------------------------------------------------------------------------------


@process
@pytest.mark.scenario("shutdown", 19)
@pytest.mark.scenario("shutdown", 20)
@pytest.mark.parametrize("second", SIGNALS)
async def test_a_second_signal_forces_the_exit(second: signal.Signals, tmp_path: Path) -> None:
    async with running_server(tmp_path, grace_s=60) as server:
        stuck = await server.stream(await server.running("deaf"))
        server.signal(signal.SIGTERM)
        await server.until_said("draining")
        began_at = time.monotonic()
        server.signal(second)

        assert await server.exited() == 0, "all of it is stored"
        assert time.monotonic() - began_at < 2.5
        await stuck.read()
        assert (stuck.types[-1], stuck.ended) == ("interrupted", True)
        assert [line["forced"] for line in server.said("signal")] == [False, True]
        assert server.said("a handler did not stop within the grace")[0]["where"].endswith("in deaf")


@process
@pytest.mark.scenario("shutdown", 5)
@pytest.mark.scenario("shutdown", 18)
@pytest.mark.scenario("shutdown", 21)
@pytest.mark.parametrize("way", WAYS)
async def test_sigterm_with_tasks_and_streams_ends_everything_and_the_process_with_0(way: str, tmp_path: Path) -> None:
    async with running_server(tmp_path, way, grace_s=3) as server:
        assert server.on_uvloop is (way not in ON_ASYNCIO)
        ids = [
            await server.running("sleeper"),
            await server.running("tidy"),
            await server.running("burst", pause_s=0.001),
        ]
        streams = [await server.stream(task_id) for task_id in ids * 3]
        feed = await server.open("/events")
        began_at = time.monotonic()
        server.signal(signal.SIGTERM)
        await server.until_said("draining")
        ready = await server.http.get("/readyz")
        start = await server.http.post("/tasks", json={"type": "countdown"})
        seen = await server.get(ids[0])

        assert await server.exited() == 0
        assert time.monotonic() - began_at < 3.5
        for stream in [*streams, feed]:
            await stream.read()

    for answer in (ready, start):
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert int(answer.headers["retry-after"]) > 0
    assert seen["status"] == "running", "what is there can still be looked at"
    assert all(stream.ended for stream in [*streams, feed]), "no stream is cut"
    assert [stream.types[-1] for stream in streams] == ["interrupted"] * 9
    assert streams[1].types[-3:] == ["cleanup", "cleanup", "interrupted"]
    assert streams[2].body == streams[5].body == streams[8].body, "all readers have seen the same bytes"
    assert feed.types.count("interrupted") == 3
    assert [entry for entry in server.entries if entry["level"] != "info"] == [], "log lines, and no complaint"
