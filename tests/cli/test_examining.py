"""What ``streaming doctor`` sees of the machine, the settings and the store; and that it leaves all of it as it was."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from streaming.cli import examining
from streaming.config import Settings
from streaming.rules.finding import Finding, Verdict
from streaming.store import open_database
from tests.process.server import running
from tests.process.test_no_space import NEEDED, mount_small, no_space, unmount
from tests.store.test_migrate import make_first

OK, WARNING, PROBLEM, UNREACHABLE = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNREACHABLE

Set = Callable[..., None]

#: All addresses of a machine; nobody listens there in these tests.
EVERYWHERE = "0.0.0.0"  # noqa: S104  # see above


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default store lies in a folder of the test, and the port is one that nobody has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMING_PORT", "0")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Set settings."""

    def give(**settings: object) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"STREAMING_{name.upper()}", str(value))

    return give


def examined() -> list[Finding]:
    return list(examining.examine(os.environ))


def bad() -> list[Finding]:
    """All that is not well."""
    found = [finding for finding in examined() if finding.verdict is not OK]
    assert all(finding.advice for finding in found)
    return found


def only_bad() -> Finding:
    (finding,) = bad()
    return finding


def upgraded(path: Path) -> None:
    with closing(open_database(Settings(store_url=f"sqlite:///{path}"))) as database:
        database.open(lambda step: None)


# -- all is well -------------------------------------------------------------------------------------------------------


def test_a_new_set_up_is_well_and_stays_empty(tmp_path: Path) -> None:
    found = examined()

    assert {finding.verdict for finding in found} == {OK}
    assert [finding.check for finding in found] == [
        *("software", "clock", "settings", "port"),
        *("durability", "disk", "store", "schema", "lock", "open files", "credentials"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_left_as_it_was(tmp_path: Path) -> None:
    upgraded(tmp_path / "streaming.db")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert bad() == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# -- the machine -------------------------------------------------------------------------------------------------------


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "PARTS", ("uvicorn", "no-such-thing"))
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("software", PROBLEM)
    assert "no-such-thing" in finding.found


@pytest.mark.parametrize(
    ("ticks", "walls", "verdict"),
    [
        ([0.0, 0.01, 0.005, 0.03], [0.0, 0.01, 0.01, 0.03, 0.03], PROBLEM),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 10.0], PROBLEM),  # it stands
        ([0.0, 0.01, 0.03], [0.0, 0.01, 0.01, 9.0], WARNING),
    ],
)
def test_clocks_that_do_not_go(
    ticks: list[float], walls: list[float], verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick, wall = iter(ticks), iter(walls)
    clocks = SimpleNamespace(monotonic=lambda: next(tick), time=lambda: next(wall))
    monkeypatch.setattr(examining, "time", clocks)

    finding = examining._ticking()
    assert (finding.check, finding.verdict) == ("clock", verdict)


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 64))
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("open files", PROBLEM)
    assert "64 may be open in this process" in finding.found


@pytest.mark.process
async def test_the_limits_are_those_of_the_server_that_runs(tmp_path: Path, given: Set) -> None:
    """Whoever asks may have others."""
    few = ("/bin/sh", "-c", 'ulimit -n 256; exec "$0" "$@"', sys.executable, "-m", "streaming.cli", "serve")
    async with running(tmp_path, few, port=0) as server:
        given(port=server.port, store_url=f"sqlite:///{tmp_path}/tasks.db")
        finding = await asyncio.to_thread(only_bad)
        assert (finding.check, finding.verdict) == ("open files", PROBLEM)
        assert f"256 may be open in process {server.process.pid}" in finding.found
        await server.stop()


@pytest.mark.parametrize("holder", ["process 999999999", "process unknown", "process 5 on another machine"])
def test_the_limits_of_a_process_that_is_not_here_are_not_known(holder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 64))
    assert "this process" in examining._files(Settings(), holder).found


# -- the settings ------------------------------------------------------------------------------------------------------


def test_every_wrong_setting_is_named_and_the_rest_is_not_looked_at(given: Set) -> None:
    given(grace_s="-1", max_streams="many")
    found = bad()

    assert [finding.verdict for finding in found] == [PROBLEM, PROBLEM]
    assert {finding.found.split(":")[0] for finding in found} == {"STREAMING_GRACE_S", "STREAMING_MAX_STREAMS"}
    assert "store" not in [finding.check for finding in examined()]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": "no_such_module"},
        {"retention": '{"*": {"records": {"age": 1}}}'},
        {"api_keys": "no-colon"},
        {"proxy_user_header": "x-user"},
        {"jwt_secret_file": "/no/such/file"},
    ],
)
def test_what_a_start_would_refuse(wrong: dict[str, str], given: Set) -> None:
    given(**wrong)
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("settings", PROBLEM)


def test_limits_that_do_not_go_together(given: Set) -> None:
    given(max_connections=100, max_streams=100)
    assert [(each.check, each.verdict) for each in bad()] == [("limits", WARNING)]


def test_secrets_are_not_shown(given: Set, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-s3cret-s3cret-s3cret-s3cret")
    secret.chmod(0o644)
    given(api_keys="s3cret:anna", jwt_secret_file=secret, host=EVERYWHERE)
    found = examined()

    assert [(each.check, each.verdict) for each in found if each.verdict is not OK] == [
        ("credentials", PROBLEM),
        ("credentials", WARNING),
    ]
    assert "s3cret" not in str(found)


def test_a_public_server_without_credentials(given: Set) -> None:
    given(host=EVERYWHERE)
    assert only_bad().verdict is PROBLEM
    given(insecure_public="true")
    assert only_bad().verdict is WARNING


def test_a_key_of_the_store_opens_it_until_it_is_revoked(given: Set, streaming: Callable[..., object]) -> None:
    given(host=EVERYWHERE)
    streaming("key", "create", "anna")
    assert bad() == []
    streaming("key", "revoke", "--all", "--yes")
    with closing(sqlite3.connect("streaming.db")) as database, database:
        database.execute("UPDATE api_keys SET revoked_at = '2020-01-01T00:00:00.000000Z'")
    assert only_bad().check == "credentials"


# -- the port ----------------------------------------------------------------------------------------------------------


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Somebody who says the same to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(65_536)
                        client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


HEALTHY = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (HEALTHY, OK),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", PROBLEM),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", PROBLEM),
        (b"220 mail.example ESMTP\r\n", PROBLEM),
        (b"", PROBLEM),
    ],
)
def test_who_has_the_port(answer: bytes, verdict: Verdict, given: Set) -> None:
    with listening(answer) as port:
        given(port=port)
        (found,) = [finding for finding in examined() if finding.check == "port"]
    assert found.verdict is verdict


def test_a_server_of_ours_on_all_addresses(given: Set) -> None:
    with listening(HEALTHY) as port:
        given(port=port, host=EVERYWHERE, insecure_public="true")
        (found,) = [finding for finding in examined() if finding.check == "port"]
    assert found.verdict is OK


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1", "x" * 70])
def test_an_address_that_is_not_ours(host: str, given: Set) -> None:
    given(host=host, api_keys="0123456789abcdef0123456789abcdef:anna")
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("port", PROBLEM)


def test_a_port_that_is_taken_and_says_nothing(given: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bound, and nobody listens: as between two lives of a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        given(port=bound.getsockname()[1])
        finding = only_bad()
    assert (finding.check, finding.verdict) == ("port", PROBLEM)


# -- SQLite ------------------------------------------------------------------------------------------------------------


def test_who_else_has_the_file(tmp_path: Path, given: Set) -> None:
    with closing(open_database(Settings(store_url=f"sqlite:///{tmp_path}/streaming.db"))) as database:
        database.open()
        finding = only_bad()
        assert (finding.check, finding.verdict) == ("lock", WARNING)
        assert f"Process {os.getpid()}" in finding.found
        with listening(HEALTHY) as port:
            given(port=port)
            assert bad() == []


def test_an_older_schema_and_a_newer_one(tmp_path: Path) -> None:
    make_first(tmp_path / "streaming.db")
    older = only_bad()
    with closing(sqlite3.connect("streaming.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = only_bad()

    assert {(each.check, each.verdict) for each in (older, newer)} == {("schema", PROBLEM)}
    assert "streaming db upgrade" in older.advice
    assert "upgrade the program" in newer.advice


def test_a_file_of_another_program(tmp_path: Path) -> None:
    with closing(sqlite3.connect("streaming.db")) as database, database:
        database.execute("CREATE TABLE tasks (a)")
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("store", PROBLEM)
    assert "another program" in finding.found


def test_no_database_at_all(tmp_path: Path) -> None:
    (tmp_path / "streaming.db").write_bytes(b"no database" * 1000)
    assert only_bad().check == "store"


@pytest.mark.parametrize("folder", ["/no/such/folder", "/proc"])
def test_a_folder_that_cannot_be_written(folder: str, given: Set) -> None:
    given(store_url=f"sqlite:///{folder}/tasks.db")
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("store", PROBLEM)
    assert folder in finding.found


def test_a_disk_without_room(tmp_path: Path, given: Set) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        mount_small(folder)
    except OSError:
        pytest.skip(NEEDED)
    try:
        given(store_url=f"sqlite:///{folder}/tasks.db")
        assert [(each.check, each.verdict) for each in bad()] == [("disk", PROBLEM)], "16 MiB are too few"
        with no_space(folder):
            full = only_bad()
        assert (full.check, full.verdict) == ("store", PROBLEM)
        assert "No space left" in full.found
    finally:
        unmount(folder)


def test_memory(given: Set) -> None:
    given(store_url="memory://")
    assert [(each.check, each.verdict) for each in bad()] == [("durability", WARNING)]


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def test_postgres(given: Set, postgres_url: str) -> None:
    given(store_url=postgres_url)
    assert bad() == []
    with closing(open_database(Settings(store_url=postgres_url))) as database:
        database.open()
        assert [each.check for each in bad()] == ["lock"]
    found = {finding.check: finding.found for finding in examined()}
    assert "agrees" in found["clock"]
    assert "MiB" in found["disk"]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [(("127.0.0.1", "no-such-host.invalid"), UNREACHABLE), (("/test", "/no_such_database"), PROBLEM)],
)
def test_postgres_that_cannot_be_used(change: tuple[str, str], verdict: Verdict, given: Set, postgres_url: str) -> None:
    given(store_url=postgres_url.replace(*change), host=EVERYWHERE)
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("store", verdict)


def test_a_copy_that_only_reads(given: Set, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one server here, which is no copy: the question is answered for it."""
    monkeypatch.setattr(examining, "_ASKED", examining._ASKED.replace("pg_is_in_recovery()", "true"))
    given(store_url=postgres_url)
    finding = only_bad()
    assert (finding.check, finding.verdict) == ("store", PROBLEM)
    assert "target_session_attrs" in finding.advice
