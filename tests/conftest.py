"""Which event loop a test runs on: the ordinary one, or with ``pytest.mark.clock("virtual")`` one that jumps, or with
``pytest.mark.clock("each")`` one after the other of those that servers run on.

And how patient Hypothesis is, how many processes run the tests, and the PostgreSQL that each of these has.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from streaming.heap import loading
from tests.virtual import VirtualLoop

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

pytest_plugins = ["pytester"]

_LOOPS: dict[str, Mapping[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "real": {"real": asyncio.new_event_loop},
    "virtual": {"virtual": VirtualLoop},
    "each": {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop},
}

# In a fresh clone the first text that is drawn waits for a table of Unicode: longer than this check allows.
# And an example that waits for a processor is not a slow one: pytest-timeout ends what really hangs.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


#: Many tests wait for servers, so that one process more than a small machine has processors saves a fifth of the time.
PROCESSES = 3


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many ``-n auto`` means: files and tests that are named run in one, which starts at once, as with ``-n 0``."""
    return 0 if all(".py" in name for name in config.args) else PROCESSES


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; tests send it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "asyncio_only: about what only the client with asyncio does")
    config.addinivalue_line("markers", "clock(name): 'virtual' is a loop whose time jumps, 'each' also uvloop; 'real'")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Each process imports all tests: in half the time."""
    with loading():
        return (yield)


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    mark = item.get_closest_marker("clock")
    name = "real" if mark is None else mark.args[0]
    return _LOOPS[name]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for this test process alone, started when it is first asked for: a test may stop it or kill it."""
    from tests.postgres import NoPostgres, PostgresServer

    try:
        server = PostgresServer()
    except NoPostgres as reason:
        pytest.skip(str(reason))
    with server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer) -> str:
    """The database that one test after the other gets empty."""
    return postgres_server.create_database("test")


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_database: str) -> Iterator[str]:
    """An empty database, as SQLAlchemy opens it."""
    yield postgres_server.url(postgres_database)
    if not postgres_server.runs:
        postgres_server.start()
    postgres_server.empty_database(postgres_database)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failed test, what its PostgreSQL said meanwhile."""
    report = yield
    server: PostgresServer | None = getattr(item, "funcargs", {}).get("postgres_server")
    if server is not None and report.failed:
        report.sections.append(("PostgreSQL", server.log()[-5000:]))
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of the client is one of both clients, but for what is about asyncio."""
    if "each_client" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("asyncio_only") is not None
        metafunc.parametrize("each_client", ["asyncio"] if only else ["asyncio", "sync"], indirect=True)


@pytest.fixture
def each_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name ``Client`` of the test's module is either of them."""
    if request.param == "sync":
        from tests.twin import Twin

        monkeypatch.setattr(request.module, "Client", Twin)
