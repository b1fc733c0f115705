"""The composition root: what is plugged together, what a failed start leaves, and who may reach the server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import structlog
import uvicorn

from streaming import server as module
from streaming import task
from streaming.access.keys import new_key
from streaming.config import Settings
from streaming.engine.journal import RecordQuery
from streaming.errors import InvalidSettings, InvalidTaskType, StoreUnavailable
from streaming.exit import HELD_UP_S
from streaming.listener import SEND_BUFFER_BYTES, listen
from streaming.observe.lag import LoopLag
from streaming.observe.tally import Tally
from streaming.rules.access import SCOPES_DEFAULT, Principal
from streaming.server import KEEP_ALIVE_S, Server, load_registry, run
from streaming.store import open_key_store
from streaming.store.memory import MemoryStore
from streaming.web.protocol import HeadLimits, ProblemProtocol
from tests.host import SOON_S, Host, end_watchdogs, hosting, logging_as_it_was
from tests.real_server import RealServer

FAILED = {"type": "lifespan.startup.failed"}
COMPLETE = {"type": "lifespan.startup.complete"}
OVER = {"type": "lifespan.shutdown.complete"}

BUILT_IN = ["checksum", "command", "countdown", "external", "http_fetch"]


@task
async def mine() -> None:
    """A handler of a user's module."""


@pytest.fixture
def my_tasks(monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module with one handler."""
    made = ModuleType("my_tasks")
    vars(made)["mine"] = mine
    monkeypatch.setitem(sys.modules, "my_tasks", made)
    return "my_tasks"


def in_memory(**settings: Any) -> Settings:
    return Settings(**{"store_url": "memory://", "grace_s": 2.0, **settings})


# -- plugged together --------------------------------------------------------------------------------------------------


async def test_the_environment_decides_what_runs(my_tasks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", "memory://")
    monkeypatch.setenv("STREAMING_TASKS", my_tasks)
    with hosting(Server(), monkeypatch) as host:
        await host.start()
        assert [task_type.name for task_type in host.coordinator.registry] == [*BUILT_IN, "mine"]
        started, _ = await host.coordinator.start("mine", {})
        assert len(started.id) == 32
        assert (await host.ask("GET", f"/tasks/{started.id}"))[0] == 200
        await host.stop()

    assert host.said == [COMPLETE, OVER]


async def test_ids_of_tasks_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [module._new_id() for _ in range(100)]

    assert ids == sorted(set(ids))


async def test_one_application_can_live_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Server(Settings(store_url=f"sqlite:///{tmp_path / 'tasks.db'}", grace_s=1))
    for number in range(2):
        with hosting(app, monkeypatch) as host:
            await host.start()
            assert len(await host.coordinator.list(RecordQuery())) == number
            await host.coordinator.start("countdown", {"count": 0})
            assert (await host.ask("GET", "/healthz"))[0] == 200
            await host.stop()
            assert (await host.ask("GET", "/healthz"))[0] == 503
            app.shutdown_handler(signal.SIGTERM)  # to nobody


async def test_metrics_begin_before_the_tasks_of_before_are_looked_at_and_end_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'tasks.db'}", grace_s=1)
    begin_lag, end_lag = (counted(monkeypatch, LoopLag, name) for name in ("start", "stop"))
    with hosting(Server(settings), monkeypatch) as host:
        await host.start()
        await host.coordinator.start("external", {})
        await host.stop()
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
        database.execute("UPDATE tasks SET type = 'gone'")
    with hosting(Server(settings), monkeypatch) as host:
        await host.start()
        assert (await host.ask("GET", "/metrics"))[0] == 200
        tally = host.coordinator.parts.hub.observed.by
        assert isinstance(tally, Tally)
        assert (len(begin_lag), len(end_lag)) == (2, 1)
        await host.stop()

    assert dict(tally.finished) == {("interrupted", "other"): 1}
    assert len(end_lag) == 2


def counted(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[object]:
    """Each call of a method."""
    calls: list[object] = []
    method = getattr(kind, name)

    def call(self: object) -> None:
        calls.append(self)
        method(self)

    monkeypatch.setattr(kind, name, call)
    return calls


async def test_without_metrics_no_timer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    begin_lag = counted(monkeypatch, LoopLag, "start")
    with hosting(Server(in_memory(metrics=False)), monkeypatch) as host:
        await host.start()
        assert (await host.ask("GET", "/metrics"))[0] == 404
        await host.stop()

    assert begin_lag == []


async def test_what_is_not_to_be_kept_is_removed_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"countdown": {"records": {"count": 2}}}
    app = Server(in_memory(retention=kept, retention_every_s=0.01))
    with hosting(app, monkeypatch) as host:
        await host.start()
        ids = [(await host.coordinator.start("countdown", {"count": 0}))[0].id for _ in range(5)]
        for each in ids[-2:]:
            await host.coordinator.wait(each, 10)
        async with asyncio.timeout(30):
            while len(await host.coordinator.list(RecordQuery())) > 2:  # noqa: ASYNC110  # nobody is told of a sweep
                await asyncio.sleep(0.01)
        await host.stop()


async def test_after_a_signal_and_the_end_of_all_a_process_that_is_held_up_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosting(Server(in_memory(grace_s=60)), monkeypatch) as host:
        await host.start()
        os.kill(os.getpid(), signal.SIGTERM)
        await host.until(lambda: host.uvicorn.should_exit)
        await host.stop()
        timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
        on_watch = [each.interval for each in timers if not each.finished.is_set()]
        assert min(on_watch) <= HELD_UP_S
        await host.until(lambda: host.exits)

    assert host.exits[0] == 0


async def test_without_a_lifespan_requests_are_refused_and_signals_mean_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Server(in_memory())
    with hosting(app, monkeypatch) as host:
        app.shutdown_handler(signal.SIGTERM)
        status, headers = await host.ask("GET", "/healthz")
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert int(headers["retry-after"]) > 0
        await app({"type": "websocket"}, never, never)


async def never(*_: Any) -> Any:
    raise AssertionError("nobody is to ask or to say anything here")


# -- a start that fails ------------------------------------------------------------------------------------------------


async def failed_start(host: Host) -> dict[str, Any]:
    """What is said, once nothing is left of the start."""
    before = asyncio.all_tasks()
    await host.start()
    await host.ended()
    assert asyncio.all_tasks() == before
    assert [type(thread) for thread in threading.enumerate() if thread.name.startswith("store-")] == []
    (said,) = host.said
    return said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("STREAMING_GRACE_S", "-1", "STREAMING_GRACE_S: Input should be greater than or equal to 0"),
        ("STREAMING_TASKS", "no_such_module", "Module 'no_such_module' cannot be imported: ModuleNotFoundError"),
        ("STREAMING_STORE_URL", "sqlite:////proc/no/tasks.db", "There is no directory /proc/no"),
        ("STREAMING_STORE_URL", "sqlite:///:memory:", "names no file"),
        (
            "STREAMING_RETENTION",
            '{"*": {"records": {"age": 1}}}',
            "STREAMING_RETENTION: *.records.age: unknown; possible are age_s, count, bytes",
        ),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", "memory://")
    monkeypatch.setenv(variable, value)
    app = Server()
    with hosting(app, monkeypatch) as host:
        said = await failed_start(host)
        assert (await host.ask("GET", "/readyz"))[0] == 503

    assert app.failure is not None
    assert said == {**FAILED, "message": app.failure.detail}
    assert words in app.failure.detail
    assert "\n" not in app.failure.detail


async def test_whoever_gives_the_settings_reports_the_failure_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Server(in_memory(tasks=["no_such_module"]))
    with hosting(app, monkeypatch) as host:
        assert await failed_start(host) == {**FAILED, "message": ""}

    assert isinstance(app.failure, InvalidTaskType)


class Broken(MemoryStore):
    """A store that cannot be read while the server recovers."""

    error: Exception = StoreUnavailable("The store cannot be read: its disk does not work.")
    closed = 0

    async def unfinished(self) -> Any:
        raise self.error

    async def close(self) -> None:
        Broken.closed += 1
        await super().close()


@pytest.mark.parametrize(
    ("error", "failure"),
    [(Broken.error, Broken.error), (ZeroDivisionError("a bug"), None)],
    ids=["trouble", "bug"],
)
async def test_a_recovery_that_fails_is_a_failed_start_and_closes_the_store(
    error: Exception, failure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_store", Broken)
    monkeypatch.setattr(Broken, "error", error)
    monkeypatch.setattr(Broken, "closed", 0)
    monkeypatch.setattr(module, "configure", lambda settings: None)
    app = Server(in_memory())
    with hosting(app, monkeypatch) as host, structlog.testing.capture_logs() as lines:
        assert await failed_start(host) == {**FAILED, "message": ""}

    assert (app.failure, Broken.closed) == (failure, 1)
    bugs = [line["exc_info"] for line in lines if line["event"] == "the server could not start"]
    assert bugs == ([] if failure else [error]), "only a bug gets a traceback"


@pytest.mark.parametrize(
    ("limits", "told"), [({"countdown": 1, "coutndown": 1, "a": 2}, [["a", "coutndown"]]), ({"countdown": 1}, [])]
)
async def test_a_limit_of_a_type_that_there_is_not_is_told(
    limits: dict[str, int], told: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "configure", lambda settings: None)
    app = Server(in_memory(type_limits=limits))
    with hosting(app, monkeypatch) as host, structlog.testing.capture_logs() as lines:
        await host.start()
        await host.stop()

    assert [line["task_types"] for line in lines if "not registered" in line["event"]] == told


async def test_an_error_of_the_end_is_no_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with hosting(Server(in_memory()), monkeypatch) as host:
        await host.start()
        monkeypatch.setattr(host.coordinator, "shutdown", fails_once(host.coordinator.shutdown))
        with pytest.raises(ExceptionGroup) as raised:
            await host.stop()

    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    assert host.said == [COMPLETE]


def fails_once(shutdown: Callable[..., Any]) -> Callable[..., Any]:
    calls = itertools.count()

    async def failing(grace_s: float | None = None) -> Any:
        if next(calls) == 0:
            raise ZeroDivisionError
        return await shutdown(grace_s)

    return failing


# -- a start that is stopped -------------------------------------------------------------------------------------------


class Slow(MemoryStore):
    """A store that does not open, or does not take what recovery writes."""

    waits_at = ""
    waiting = False

    async def open(self) -> None:
        await super().open()
        await self._wait("open")

    async def last_position(self) -> int:
        await self._wait("recover")
        return 0

    async def _wait(self, where: str) -> None:
        if self.waits_at == where:
            Slow.waiting = True
            await asyncio.get_running_loop().create_future()


def slow_start(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(module, "open_store", Slow)
    monkeypatch.setattr(Slow, "waits_at", where)
    monkeypatch.setattr(Slow, "waiting", False)


@pytest.mark.parametrize("where", ["open", "recover"])
@pytest.mark.parametrize("signals", [1, 2])
async def test_a_signal_stops_a_start_that_is_under_way(
    where: str, signals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn waits for the end of a start, whatever signal comes: it must be told something."""
    slow_start(monkeypatch, where)
    with hosting(Server(in_memory()), monkeypatch) as host:
        before = asyncio.all_tasks()
        host.begin()
        await host.until(lambda: Slow.waiting)
        assert host.said == []
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGTERM)
        await host.until(lambda: host.said)
        assert host.said == [COMPLETE], "uvicorn goes on, sees that it is to stop, and stops"
        assert host.uvicorn.should_exit
        assert (await host.ask("POST", "/tasks"))[0] == 503, "whoever comes in meanwhile"
        await host.stop()
        assert asyncio.all_tasks() == before

    assert host.said == [COMPLETE, OVER]
    assert host.exits == [], "nothing was begun, nothing is lost, and nobody was in a hurry"


async def test_a_start_that_is_cancelled_by_somebody_else_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_start(monkeypatch, "open")
    with hosting(Server(in_memory()), monkeypatch) as host:
        host.begin()
        await host.until(lambda: Slow.waiting)
        host.cancel()
        with pytest.raises(asyncio.CancelledError):
            await host.ended()

    assert host.said == []


async def test_a_server_under_which_the_loop_ends_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does an event loop end in which a task raises SystemExit: every task is cancelled."""
    with hosting(Server(in_memory()), monkeypatch) as host:
        await host.start()
        host.cancel()
        with pytest.raises(asyncio.CancelledError):
            await host.ended()

    assert set(host.exits) == {1}


# -- who may reach it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_no_word(host: str) -> None:
    with structlog.testing.capture_logs() as lines, listen(Settings(host=host, port=0)) as listener:
        assert listener.getsockname()[1] > 0
        with socket.create_connection(listener.getsockname()[:2], timeout=5):
            pass  # it listens already

    assert lines == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid"])  # noqa: S104  # refused
def test_an_address_that_others_can_reach_is_refused_before_it_is_bound(host: str) -> None:
    with pytest.raises(InvalidSettings, match=f"{host} needs an API key .* or --insecure-public"):
        listen(in_memory(host=host, port=0))


@pytest.mark.parametrize(
    "settings",
    [
        {"insecure_public": True},
        {"api_keys": "a-key-of-enough-letters:anna"},
        {"jwt_secret": "x" * 32},
        {"jwt_jwks_url": "https://login.example/keys"},
        {"proxy_user_header": "x-user", "trusted_proxies": "10.0.0.1"},
        {"store_url": "postgresql+psycopg://nobody@127.0.0.1:1/nothing"},  # away: it may have keys
    ],
)
def test_an_address_that_others_can_reach_is_bound_where_they_are_asked_who_they_are(settings: dict[str, Any]) -> None:
    with listen(in_memory(host="0.0.0.0", port=0, **settings)):  # noqa: S104  # for a moment
        pass


def test_a_key_in_the_store_is_a_credential_also_a_revoked_one(tmp_path: Path) -> None:
    settings = Settings(host="0.0.0.0", port=0, store_url=f"sqlite:///{tmp_path / 'tasks.db'}")  # noqa: S104  # for a moment
    with pytest.raises(InvalidSettings):
        listen(settings)
    assert not (tmp_path / "tasks.db").exists()
    with closing(open_key_store(settings)) as keys:
        with pytest.raises(InvalidSettings):
            listen(settings)
        _, row = new_key(Principal("anna", SCOPES_DEFAULT), created_at="2020-01-01T00:00:00.000000Z")
        keys.add(row)
        with listen(settings):
            pass
        keys.revoke(row.id, "2020-01-02T00:00:00.000000Z")
        with listen(settings):
            pass


@pytest.mark.parametrize(("settings", "warned"), [({"insecure_public": True}, 1), ({}, 0), (
    {"insecure_public": True, "api_keys": "a-key-of-enough-letters:anna"}, 0)])  # fmt: skip
async def test_a_server_that_is_open_to_everybody_says_so_at_each_start(
    settings: dict[str, Any], warned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "configure", lambda _: None)
    with hosting(Server(in_memory(**settings)), monkeypatch) as host, structlog.testing.capture_logs() as lines:
        await host.start()
        await host.stop()

    assert len([line for line in lines if "whoever reaches this server" in line["event"]]) == warned


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "Address already in use"),
        ("192.0.2.1", "Cannot assign requested address"),
        ("a..b", "It is no host name"),
        ("x" * 64, "It is no host name"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(host: str, reason: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InvalidSettings, match=rf"Cannot listen on {host} port {port}: {reason}"):
            listen(Settings(host=host, port=port, insecure_public=True))


def test_the_socket_sends_at_once_holds_little_and_finds_out_who_is_gone() -> None:
    with listen(Settings(port=0, send_timeout_s=12)) as listener:
        assert listener.proto == socket.IPPROTO_TCP, "asyncio turns Nagle off where it sees the protocol"
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER_BYTES  # as Linux counts
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


def test_where_the_system_cannot_tell_who_is_gone_it_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")

    listen(Settings(port=0)).close()


# -- the whole of it ---------------------------------------------------------------------------------------------------


def test_a_registry_has_the_built_in_types_and_those_of_the_modules(my_tasks: str) -> None:
    assert [task_type.name for task_type in load_registry(Settings(tasks=[my_tasks]))] == [*BUILT_IN, "mine"]
    with pytest.raises(InvalidTaskType, match="cannot be imported"):
        load_registry(Settings(tasks=[my_tasks, "no_such_module"]))


@pytest.fixture
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Put back signal handlers and logging; the statuses with which the process would have ended at once."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    with logging_as_it_was():
        yield exits
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    end_watchdogs()


def test_run_serves_until_a_signal_and_returns_0(as_it_was: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    ports: queue.Queue[int] = queue.Queue()
    answers: list[int] = []

    def listening(settings: Settings) -> socket.socket:
        listener = listen(settings)
        ports.put(listener.getsockname()[1])
        return listener

    def client() -> None:
        port = ports.get(timeout=SOON_S)
        answers.append(httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=SOON_S, trust_env=False).status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(module, "listen", listening)
    asking = threading.Thread(target=client, daemon=True)
    asking.start()
    status = run(in_memory(port=0))
    asking.join()

    assert (status, answers) == (0, [200])
    assert as_it_was in ([], [0])


def test_run_asks_uvicorn_for_what_the_documentation_says(
    as_it_was: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[uvicorn.Config] = []

    class Noting:
        def __init__(self, config: uvicorn.Config) -> None:
            configs.append(config)

        def run(self, sockets: list[socket.socket]) -> None:
            assert len(sockets) == 1

    monkeypatch.setattr(uvicorn, "Server", Noting)

    assert run(in_memory(port=0)) == 0
    (config,) = configs
    assert isinstance(config.app, Server)
    assert isinstance(config.http, type)
    assert issubclass(config.http, ProblemProtocol)
    assert config.http.limits == HeadLimits(10.0, 65_536, 100, 8192, 10_000)
    assert (config.ws, config.lifespan, config.workers) == ("none", "on", 1)
    assert not config.proxy_headers, "a header must not say who calls"
    assert not config.server_header, "nobody needs to know what is inside"
    assert config.timeout_keep_alive == KEEP_ALIVE_S > 75, "longer than a proxy keeps its connections"
    assert (config.log_config, config.access_log) == (None, False)


def test_a_real_server_answers_what_is_no_http_with_a_problem(tmp_path: Path) -> None:
    server = RealServer(tmp_path)
    server.start()
    try:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=SOON_S) as connection:
            connection.sendall(b"FROBNICATE / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        healthy = httpx.get(f"{server.url}/healthz", timeout=SOON_S, trust_env=False)
    finally:
        status = server.end()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (400, "bad_request")
    assert "server" not in healthy.headers
    assert status == 0


def test_run_raises_why_it_could_not_start(as_it_was: list[int]) -> None:
    with pytest.raises(InvalidTaskType, match="'no_such_module' cannot be imported"):
        run(in_memory(port=0, tasks=["no_such_module"]))


def test_run_ends_with_the_status_of_uvicorn_where_there_is_no_word_for_it(
    as_it_was: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_store", Broken)
    monkeypatch.setattr(Broken, "error", ZeroDivisionError("a bug"))

    with pytest.raises(SystemExit) as ended:
        run(in_memory(port=0))

    assert ended.value.code == uvicorn.config.STARTUP_FAILURE


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_server_runs_ends_the_process_with_0(
    signum: signal.Signals, as_it_was: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException): ...

    def ending(settings: Settings) -> None:
        os.kill(os.getpid(), signum)
        raise Ended  # nothing runs after a real one

    monkeypatch.setattr(module, "listen", ending)

    with pytest.raises(Ended):
        run(in_memory())

    assert as_it_was == [0]


async def test_with_a_key_in_the_store_everybody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'tasks.db'}", grace_s=1)
    with closing(open_key_store(settings)) as keys:
        keys.add(new_key(Principal("anna", SCOPES_DEFAULT), created_at="2020-01-01T00:00:00.000000Z")[1])
    with hosting(Server(settings), monkeypatch) as host:
        await host.start()
        assert (await host.ask("GET", "/tasks"))[0] == 401
        assert (await host.ask("GET", "/healthz"))[0] == 200
        await host.stop()
