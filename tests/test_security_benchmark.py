"""The figures of security measure: their attackers attack, their readers see what is lost, their servers ask for keys.

No number that comes out is looked at: a machine that has other work to do is no reason to fail.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import security
from benchmarks.calls import call_all, get, post_task
from benchmarks.canned import STREAMS
from benchmarks.command import run
from benchmarks.figure import Flaw, Scale
from benchmarks.security_figures import FIGURES, attacker, guarded, honest, hostile, starts
from benchmarks.security_figures.besieged import attacked, words_of
from benchmarks.security_figures.guarded import bearer, key_of, with_header
from benchmarks.security_figures.hostile import HABITS
from benchmarks.security_figures.wrong import SIGNATURE_BYTES, wrong_requests
from tests.fuzz import hostility
from tests.fuzz.siege import Summary

TINY = Scale(
    duration_s=0.4,
    readers=20,
    pairs=1,
    pair_starts=16,
    honest=10,
    wrong_rate=500.0,
    wrong_connections=30,
    hostile=30,
    hostile_s=1.0,
    fuzz_requests=60,
)
COMMAND = dataclasses.replace(security.COMMAND, quick=TINY)


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """The command keeps this process off the server's core."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


#: From how many addresses wrong credentials come is a number, and starts are measured below.
MEASURED = ["deliveries", "credentials-many", "connections", "fuzz"]


@pytest.mark.process
def test_figures_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(COMMAND, [*MEASURED, "--quick"], results=tmp_path)

    out, told = capsys.readouterr()
    assert [figure.name for figure in FIGURES if figure.title in out] == MEASURED
    assert "broken" not in told + out, told
    assert [line for line in out.splitlines() if "| - |" in line] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
async def test_starts_are_measured_with_credentials_and_without() -> None:
    values = await starts.measure(TINY, ("plain", "rates", "stored", "new_rs256"))

    assert set(values) == {"plain_us", "rates", "stored", "stored_time", "stored_alone", "new_rs256"}
    assert all(value > 0 for value in values.values())


def test_what_is_told_of_starts_is_measured() -> None:
    [figure] = starts.FIGURES
    kinds = {
        "plain_us",
        *(name for name in starts.NAMES if name != "plain"),
        *(f"{name}_{what}" for name in starts.KINDS for what in ("time", "alone")),
    }

    assert {metric.key for metric in figure.metrics} == kinds


def test_names_of_figures_and_metrics_are_used_once() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
    assert {figure.name for figure in FIGURES} == {"starts", "credentials-one", *MEASURED}
    assert all(len({metric.key for metric in figure.metrics}) == len(figure.metrics) for figure in FIGURES)


def test_what_is_not_understood_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(COMMAND, ["nothing"])

    assert stopped.value.code == 2
    assert "python -m benchmarks.security: error:" in capsys.readouterr().err


# -- credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.process
async def test_what_opens_a_server_opens_it_and_what_is_wrong_does_not(tmp_path: Path) -> None:
    stored = await guarded.stored_key(tmp_path)
    right = [bearer(token) for token in (key_of("one"), stored, guarded.hs256(), guarded.rs256(), guarded.rs256(7))]
    wrong = wrong_requests(guarded.KID, 1, 20)
    settings = {
        "api_keys": guarded.api_keys("one", "two"),
        "jwt_secret": guarded.SECRET,
        "rate_limit_failures": "1000/second",
    }
    async with (
        guarded.public_keys() as url,
        guarded.guarded({**settings, "jwt_jwks_url": url}, tmp_path) as server,
    ):
        begin_s = server.cpu_s
        await call_all(server.address, [with_header(post_task("bench_noop"), header) for header in right], status=201)
        await call_all(server.address, [get("/tasks"), *wrong], status=401)
        assert server.cpu_s > begin_s


def test_wrong_credentials_are_of_all_kinds_and_each_is_another() -> None:
    requests = wrong_requests("known", 3, 500)

    assert len(set(requests)) == 500
    assert wrong_requests("known", 4, 500) != requests
    assert {request[:32] for request in requests} == {b"GET /tasks?limit=1 HTTP/1.1\r\nHos"}
    kinds = [request.split(b"\r\n")[2] for request in requests]
    assert sum(kind.startswith(b"Authorization: Bearer strm_") for kind in kinds) == 100
    assert sum(kind.startswith(b"X-API-Key: ") for kind in kinds) >= 100
    tokens = [kind.removeprefix(b"Authorization: Bearer ").split(b".") for kind in kinds if b"Bearer eyJ" in kind]
    heads = [json.loads(base64.urlsafe_b64decode(head + b"==")) for head, _, _ in tokens]
    assert {(head["alg"], head.get("kid")) for head in heads} == {("HS256", None), ("RS256", "known")}
    for head, (_, _, signature) in zip(heads, tokens, strict=True):
        assert len(base64.urlsafe_b64decode(signature + b"==")) == SIGNATURE_BYTES[head["alg"]]


# -- honest readers ----------------------------------------------------------------------------------------------------


def heard(stream: bytes, size: int = 1_000) -> honest.HonestReader:
    reader = honest.HonestReader(b"")
    for start in range(0, len(stream), size):
        reader.data_received(stream[start : start + size])
    return reader


async def test_readers_of_the_same_log_have_the_same_digest() -> None:
    whole, torn = heard(STREAMS["none"]), heard(STREAMS["none"], 3)
    other = heard(STREAMS["none"].replace(b'"n":3', b'"n":4'))

    assert whole.digest.digest() == torn.digest.digest() != other.digest.digest()
    whole.check(4)
    other.check(4)


@pytest.mark.parametrize("kind", sorted(STREAMS.keys() - {"none", "refused"}))
async def test_an_honest_reader_sees_what_is_lost(kind: str) -> None:
    reader = heard(STREAMS[kind])
    reader.connection_lost(None)

    with pytest.raises(Flaw):
        reader.check(4)


# -- attackers ---------------------------------------------------------------------------------------------------------


class Listening(asyncio.Protocol):
    """It counts requests, and answers some of them, or cuts the connection."""

    def __init__(self, seen: SimpleNamespace) -> None:
        self.seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.seen.connections += 1

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.seen.requests += data.count(b"GET /tasks")
        if self.seen.cut:
            self.transport.abort()
        elif self.seen.answer:
            self.transport.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n" * data.count(b"GET /tasks"))


async def attack_on(seen: SimpleNamespace, seconds: float = 0.3) -> attacker.Done:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Listening(seen), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        attack = attacker.Attack("127.0.0.1", port, 2_000.0, 10, ["127.0.1.1", "127.0.1.2"], wrong_requests("k", 0, 50))
        await attack.connect()
        until: asyncio.Future[object] = loop.create_future()
        loop.call_later(seconds, until.set_result, None)
        await attack.run(until)
        for each in attack.open:
            each.close()
        await asyncio.sleep(0)
    return attack.done


@pytest.mark.parametrize("answer", [True, False])
async def test_an_attacker_sends_what_is_due_whether_it_is_answered_or_not(answer: bool) -> None:
    seen = SimpleNamespace(connections=0, requests=0, cut=False, answer=answer)

    done = await attack_on(seen)

    assert done.offered <= 2_000 * done.seconds
    assert done.sent == done.offered > 100
    assert bool(done.statuses) is answer
    assert seen.connections == 10


async def test_an_attacker_that_is_cut_comes_back() -> None:
    seen = SimpleNamespace(connections=0, requests=0, cut=True, answer=False)

    done = await attack_on(seen)

    assert done.cut > 10
    assert seen.connections > 20
    assert done.as_json()["statuses"] == {}


@pytest.mark.process
async def test_hostile_connections_have_all_habits_and_are_answered() -> None:
    async with guarded.guarded({"api_keys": guarded.api_keys("mallory"), "header_timeout_s": 0.2}) as server:
        header = bearer(key_of("mallory"))
        [answer] = await call_all(server.address, [with_header(post_task("bench_noop"), header)], status=201)
        words = {"port": server.address.port, "connections": 2 * len(HABITS), "key": key_of("mallory")}
        words["task"] = answer.json()["id"]
        crowd = hostile.Crowd(hostile._parser().parse_args(words_of(words)))
        attack = asyncio.create_task(crowd.run())
        async with asyncio.timeout(30):
            await crowd.everybody()
            while not {"200", "400", "408", "431"} <= set(crowd.statuses):  # noqa: ASYNC110  # a real server answers
                await asyncio.sleep(0.05)
        assert set(crowd.opened) == set(HABITS)
        assert crowd.open > 0
        attack.cancel()
        await asyncio.wait([attack])
        await call_all(server.address, [get("/readyz")], status=200)

    assert crowd.open == 0


@pytest.mark.parametrize("module", [attacker, hostile])
def test_an_attacker_knows_its_arguments(module: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module._parser().parse_args(["--help"])  # type: ignore[attr-defined]  # both have one

    assert "--connections" in capsys.readouterr().out


async def test_an_attacker_that_does_not_begin_is_a_flaw() -> None:
    with pytest.raises(Flaw, match="has not begun"):
        async with attacked("attacker", no_such_option=1):
            pass


def test_an_attacker_may_have_any_key() -> None:
    given = hostile._parser().parse_args(words_of({"port": 80, "connections": 7, "key": "-k", "task": "--task"}))

    assert (given.port, given.connections, given.key, given.task) == (80, 7, "-k", "--task")


# -- fuzzing -----------------------------------------------------------------------------------------------------------


def test_whatever_is_found_is_a_broken_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def besiege(*_: object, **__: object) -> Summary:
        return Summary(requests=1, failures={"it tells a secret": "request 5 of seed 9"})

    monkeypatch.setattr(hostility, "besiege", besiege)

    assert run(COMMAND, ["fuzz", "--quick"], results=tmp_path) == 1
    assert "it tells a secret: request 5 of seed 9" in capsys.readouterr().out
