"""The comparison with others measures: its load client sees every mistake, its sums are right, its servers run.

No number that comes out is looked at: a machine that has other work to do is no reason to fail.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.calls import Address, get
from benchmarks.canned import STREAMS
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.emitter import log
from benchmarks.contenders.lineup import CONTENDERS
from benchmarks.contenders.node_peers import BETTER_SSE_MODULE
from benchmarks.figure import Flaw
from benchmarks.server import running
from benchmarks.speed import goals, rounds
from benchmarks.speed.command import Scales, run
from benchmarks.speed.crowd import Crowd, Reader
from benchmarks.speed.goals import GOALS, verdict
from benchmarks.speed.replayer import Replayer
from benchmarks.speed.report import Report, write
from benchmarks.speed.results import Cell, Results
from benchmarks.speed.segments import CHUNKED, Book, State, dechunked
from benchmarks.speed.workload import FULL, QUICK, Scale
from benchmarks.speed.workloads import WORKLOADS

TINY = Scale(
    readers=20,
    live_s=0.3,
    burst_s=0.05,
    streams=60,
    tasks=10,
    tasks_s=0.5,
    lead_s=1.0,
    log_events=500,
    log_readers=5,
    starts=40,
    shorts=40,
    canned_events=10,
    tries=1,
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """The command keeps this process off the server's core."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


class Wire(asyncio.Transport):
    """What a reader believes to be its connection."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        pass


def frame(n: int, *, id: int | None = None, end: str = "\n") -> bytes:
    named = f"id: {id}{end}" if id is not None else ""
    return f'{named}data: {{"n":{n},"at":{1000 + n}.5}}{end}{end}'.encode()


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def chunks(*bodies: bytes) -> bytes:
    return b"".join(map(chunk, bodies))


def crowd_of(readers: int, *, ids: bool = False) -> Crowd:
    crowd = Crowd(Address("", 0), Book(timed=True, ids=ids))
    for _ in range(readers):
        reader = Reader(crowd, b"", timed=True)
        reader.connection_made(Wire())
        crowd.readers.append(reader)
    return crowd


def feed(reader: Reader, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        reader.data_received(data[start : start + size])


# -- the load client ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1_000])
@pytest.mark.parametrize(
    "stream",
    [
        HEAD + chunks(frame(0), frame(1), frame(2), frame(3)),
        HEAD + chunks(b"retry: 2000\n" + frame(0) + frame(1), b": nothing\n\n", frame(2) + frame(3)),
        HEAD + chunks(frame(0, end="\r\n") + frame(1, end="\r\n"), frame(2, end="\r\n"), frame(3, end="\r\n")),
        HEAD + chunks((frame(0) + frame(1))[:30], (frame(0) + frame(1))[30:] + frame(2) + frame(3)[:5], frame(3)[5:]),
        HEAD.replace(b"transfer-encoding: chunked\r\n", b"") + b"".join(map(frame, range(4))),
    ],
    ids=["one a chunk", "several", "other line ends", "torn over chunks", "without chunks"],
)
async def test_events_are_read_wherever_the_bytes_are_torn(stream: bytes, size: int) -> None:
    crowd = crowd_of(3)
    crowd.expect(4)

    for reader in crowd.readers:
        feed(reader, stream, size)

    assert await crowd.reached(within_s=1)
    assert [reader.next for reader in crowd.readers] == [4, 4, 4]
    assert (crowd.deliveries, len(crowd.lags_s), crowd.began_at) == (12, 12, 1000.5)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 2, 3], "event 2 came where 1 was due"),
        ([0, 1, 1, 2], "event 1 came where 2 was due"),
        ([0, 2, 1, 3], "event 2 came where 1 was due"),
        ([1, 2, 3], "event 1 came where 0 was due"),
    ],
    ids=["lost", "repeated", "swapped", "late"],
)
@pytest.mark.parametrize("together", [False, True], ids=["apart", "together"])
async def test_what_is_lost_repeated_or_out_of_order_is_seen(order: list[int], said: str, together: bool) -> None:
    crowd = crowd_of(2)
    crowd.expect(4)
    frames = [frame(n) for n in order]
    for reader in crowd.readers:
        reader.data_received(HEAD)
        for body in [b"".join(frames)] if together else frames:
            reader.data_received(chunk(body))

    with pytest.raises(Flaw, match="in the order" if together and order[0] == 0 else said):
        await crowd.reached(within_s=1)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (chunk(frame(0) + b"data: ") + END, "half an event at the end"),
        (b"zz\r\n" + frame(0), "no chunk"),
        (chunk(frame(0, id=7) + frame(1, id=9)), "ids in the order"),
        (chunk(frame(0, id=7) + frame(1)), "ids in the order"),
        (chunk(frame(0, id=7) + frame(1, id=7)), "ids in the order"),
    ],
    ids=["half", "no chunk", "ids with a hole", "one id too few", "an id again"],
)
async def test_what_is_wrong_in_itself_is_seen(stream: bytes, said: str) -> None:
    crowd = crowd_of(1, ids=True)
    reader = crowd.readers[0]
    reader.data_received(HEAD)
    reader.data_received(stream)

    with pytest.raises(Flaw, match=said):
        crowd.check()


async def test_an_id_that_comes_again_is_seen() -> None:
    crowd = crowd_of(1, ids=True)
    for data in (HEAD, chunk(frame(0, id=7)), chunk(frame(1, id=7))):
        crowd.readers[0].data_received(data)

    with pytest.raises(Flaw, match="event 1 has the id 7"):
        crowd.check()


async def test_events_about_the_life_of_a_task_have_ids_too() -> None:
    crowd = crowd_of(1, ids=True)
    crowd.expect(2)
    life = b'id: 1\nevent: pending\ndata: {"data":{}}\n\nid: 2\nevent: running\ndata: {}\n\n'

    crowd.readers[0].data_received(HEAD + chunks(life + frame(0, id=3), frame(1, id=4)))

    assert await crowd.reached(within_s=1)


async def test_a_connection_that_ends_is_a_flaw_unless_everybody_leaves() -> None:
    crowd = crowd_of(2)
    crowd.expect(2)
    first, second = crowd.readers
    first.data_received(HEAD + chunk(frame(0)))
    first.connection_lost(None)

    with pytest.raises(Flaw, match="cut off before event 1"):
        await crowd.reached(within_s=1)
    crowd.close()
    second.connection_lost(None)
    assert len(crowd.flaws) == 1


async def test_who_has_not_got_everything_in_time_is_not_waited_for() -> None:
    crowd = crowd_of(2)
    crowd.expect(1)
    crowd.readers[0].data_received(HEAD + chunk(frame(0)))

    assert not await crowd.reached(within_s=0.01)
    assert crowd.deliveries == 1


def test_a_segment_that_was_read_is_not_read_again() -> None:
    book = Book()
    data, torn = chunk(frame(0)), State(frame=b"data: ")

    assert book.read(CHUNKED, data) is book.read(CHUNKED, bytes(bytearray(data)))
    assert book.read(torn, data) is not book.read(CHUNKED, data)
    assert book.read(torn, data) is book.read(State(frame=b"data: "), data)


@pytest.mark.parametrize("at", range(1, 24))
def test_a_chunk_may_be_torn_anywhere(at: int) -> None:
    whole = chunk(b"0123456789") + chunk(b"ab") + END
    body, left, line, ended = dechunked(CHUNKED, whole[:at])
    if not ended:
        more, left, line, ended = dechunked(State(left, line), whole[at:])
        body += more

    assert (body, ended) == (b"0123456789ab", True)


@pytest.mark.process
@pytest.mark.parametrize("kind", STREAMS)
async def test_real_streams_with_one_mistake_each(kind: str) -> None:
    """As they are for the other reader; what it knows of terminal events is none of this one's business."""
    async with running(command=(sys.executable, "-m", "benchmarks.canned")) as server:
        crowd = Crowd(server.address, Book(), first=1)
        crowd.expect(4)

        async def read() -> bool:
            await crowd.open([get(f"/flawed/{kind}")])
            crowd.expect(0)
            return await crowd.reached(within_s=5)

        if kind == "none":
            crowd.closing = True  # the end of the connection is no mistake
            assert await read()
            assert crowd.readers[0].next == 5
            return
        with pytest.raises(Flaw):
            await read()


# -- readers of a log --------------------------------------------------------------------------------------------------


def replayed(expected: bytes, stream: bytes) -> Callable[[], Replayer]:
    def read() -> Replayer:
        replayer = Replayer(b"", expected)
        replayer.connection_made(Wire())
        for start in range(0, len(stream), 100):
            replayer.data_received(stream[start : start + 100])
        return replayer

    return read


async def test_a_log_has_to_be_the_same_for_everybody() -> None:
    frames = [event.frame for event in log(5)]
    whole = b"".join(frames)
    swapped = [frames[1], frames[0], *frames[2:]]

    assert replayed(whole, HEAD + chunks(*frames) + END)().flaw is None
    assert replayed(whole, HEAD + chunks(*frames[:2], b": a comment\n\n", *frames[2:]) + END)().flaw is None
    assert "too early" in str(replayed(whole, HEAD + chunks(*frames[:4]) + END)().flaw)
    for wrong in (frames[1:], [frames[0], *frames], swapped):
        assert "another log" in str(replayed(whole, HEAD + chunks(*wrong) + END)().flaw)
    assert "no event stream" in str(replayed(whole, b"HTTP/1.1 503 Busy\r\n\r\n")().flaw)


def test_the_log_of_a_peer_has_as_many_bytes_as_ours() -> None:
    [event] = log(1)

    assert json.loads(event.data)["data"] == {"n": 0}
    assert event.frame.startswith(b'id: 1\nevent: tick\ndata: {"seq":1,"task_id":"')


# -- sums --------------------------------------------------------------------------------------------------------------


def results(**rounds: Sequence[float | None]) -> Results:
    """Of W1, in which only one number matters."""
    found = Results([WORKLOADS["live"]])
    for name, values in rounds.items():
        for value in values:
            cell = Cell(flaw="an event was lost") if value is None else Cell({"cpu_us": value, "p99_ms": 1.0})
            found.add("live", name.replace("_", "-"), cell)
    return found


def test_a_ratio_is_that_of_each_round() -> None:
    found = results(streaming=[1, 2, 30], sse_starlette=[10, 10, 100])

    assert found.ratios("live", "cpu_us", "streaming", "sse-starlette") == [0.1, 0.2, 0.3]
    assert verdict(GOALS[0], found).middle == 0.2
    assert verdict(GOALS[0], found).met is True
    assert verdict(GOALS[0], results(streaming=[3, 3, 1], sse_starlette=[10, 10, 10])).met is False


def test_a_round_that_one_of_them_lacks_makes_no_ratio() -> None:
    found = results(streaming=[1, 2, 3], sse_starlette=[10, None, 10])

    assert found.ratios("live", "cpu_us", "streaming", "sse-starlette") == [0.1, 0.3]
    assert verdict(GOALS[0], found).met is True


def test_a_promise_that_is_broken_reaches_no_goal() -> None:
    assert verdict(GOALS[0], results(streaming=[1, None, 1], sse_starlette=[10, 10, 10])).met is False
    assert verdict(GOALS[0], results(streaming=[1], sse_starlette=[None])).met is False


def test_nothing_is_said_about_what_was_not_asked_for() -> None:
    assert verdict(GOALS[0], results(streaming=[1])).met is None
    assert verdict(GOALS[0], results()).met is None


def test_a_goal_names_what_there_is() -> None:
    for goal in goals.GOALS:
        workload = WORKLOADS[goal.workload]
        wanted = {goal.contender, goal.peer} - {None}
        assert goal.key in {metric.key for metric in workload.metrics}
        assert wanted <= set(workload.contenders)
        assert wanted <= set(workload.quick)
        assert goal.title.startswith(f"{workload.number} ")


def test_workloads_name_who_there_is() -> None:
    for workload in WORKLOADS.values():
        assert set(workload.quick) <= set(workload.contenders) <= set(CONTENDERS)
    assert dataclasses.asdict(QUICK) != dataclasses.asdict(FULL)


def test_a_report_is_a_table_numbers_and_pictures(tmp_path: Path) -> None:
    found = Results([WORKLOADS["short"]])
    found.add("short", "streaming", Cell({"tasks_s": 700.0}))
    found.add("short", "streaming", Cell({"tasks_s": 900.0}, "saturated"))
    found.add("short", "streaming-memory", Cell(flaw="a task | did not complete"))
    about: dict[str, str | int] = {"cpu": "one", "cores": 2, "cores_apart": 1, "memory_mb": 1_000, "system": "Linux"}
    who = [CONTENDERS["streaming"], CONTENDERS["streaming-memory"]]
    report = Report("today", False, 2, FULL, found, who, ["nchan: none"], ["a note"], about, {"python": "3"}, 0.1)

    written = write(report, tmp_path)

    assert [path.name for path in written] == ["speed.md", "speed.json", "speed_w8_short.png"]
    table, numbers = written[0].read_text(), json.loads(written[1].read_text())
    assert "| streaming (durable) | 800 | 700 | 900 |  |  | saturated in 1 of 2 |" in table
    assert "| streaming-memory | - | - | - | | | **broken** in 1 of 1 |" in table
    assert "- streaming-memory broke a promise: a task / did not complete" in table
    assert "| W8 whole short tasks/s | >= 600 | 800 | 700 | 900 | yes |" in table
    assert "| W7 starts/s / Starlette with aiosqlite | >= 1.5 | - | - | - | not measured |" in table
    assert "![whole short tasks" in table
    assert numbers["reached"] is True
    assert len(numbers["workloads"][0]["rounds"]["streaming"]) == 2
    assert written[2].read_bytes().startswith(b"\x89PNG")


# -- real servers ------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_two_real_servers_are_measured_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["W1", "--only", "streaming,protocol", "--rounds", "2"], results=tmp_path, scales=Scales(full=TINY))

    out, told = capsys.readouterr()
    order = re.findall(r"^(\d)/2  (W\d)  (\w+)", told, re.MULTILINE)
    assert order == [(number, "W1", name) for number in "12" for name in ("streaming", "protocol")]
    assert "broken" not in told, told
    assert "broke a promise" not in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_who_is_missing_is_left_out_with_the_way_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = dataclasses.replace(CONTENDERS["nchan"], missing=lambda: "there is none: apt-get install it")
    monkeypatch.setattr(rounds, "CONTENDERS", {**CONTENDERS, "nchan": missing})

    run(["W1", "--only", "protocol,nchan", "--quick"], results=tmp_path, scales=Scales(quick=TINY))

    out, told = capsys.readouterr()
    assert "- left out: nchan: there is none: apt-get install it" in out
    assert "W1  nchan" not in told


@pytest.mark.process
def test_a_run_that_has_no_time_left_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scales = Scales(quick=dataclasses.replace(TINY, run_s=0.0))

    run(["W1", "--only", "protocol", "--quick"], results=tmp_path, scales=scales)

    assert "- left out: 1/1  W1  protocol: there was no time left for it" in capsys.readouterr().out


@pytest.mark.process
@pytest.mark.parametrize("workload", ["single", "idle", "many", "replay", "starts", "short"])
async def test_every_workload_measures_ours(workload: str) -> None:
    outcome = await WORKLOADS[workload].measure(CONTENDERS["streaming"], TINY)

    assert set(outcome.values) == {metric.key for metric in WORKLOADS[workload].metrics}


@pytest.mark.process
@pytest.mark.parametrize("name", ["sse-starlette", "starlette", "uvicorn", "protocol"])
async def test_peers_replay_a_log(name: str) -> None:
    outcome = await WORKLOADS["replay"].measure(CONTENDERS[name], TINY)

    assert outcome.mark == ""


#: Those that keep what they are asked to do, and stream nothing.
KEEPING = frozenset({"starlette-aiosqlite", "starlette-aiosqlite-kept"})

#: better-sse is fetched by the command, and not by a test.
RUNNING = sorted(
    CONTENDERS.keys() - {"streaming", "protocol"} - ({"better-sse"} if not BETTER_SSE_MODULE.exists() else set())
)


@pytest.mark.process
@pytest.mark.parametrize("name", RUNNING)
async def test_every_contender_runs_where_it_can(name: str) -> None:
    if (missing := CONTENDERS[name].missing()) is not None:
        pytest.skip(missing)
    workload = WORKLOADS["starts" if name in KEEPING else "live"]

    outcome = await workload.measure(CONTENDERS[name], TINY)

    assert all(CONTENDERS[name].versions().values())
    assert outcome.values["cpu_us"] >= 0


FLAWED = """
import asyncio

from benchmarks.contenders import protocol_server

honest = protocol_server._Server._tell

async def tell(self, name):
    order = [self._emitted[name]]
    if order == [7]:
        order = {order}
    for n in order:
        self._emitted[name] = n
        await honest(self, name)

protocol_server._Server._tell = tell
asyncio.run(protocol_server._serve())
"""
MISTAKES = {"lost": "[8]", "repeated": "[7, 7]", "swapped": "[8, 7, 9]"}


@pytest.mark.process
@pytest.mark.parametrize("kind", MISTAKES)
async def test_a_server_that_makes_a_mistake_is_caught(kind: str, tmp_path: Path) -> None:
    program = tmp_path / "flawed.py"
    program.write_text(FLAWED.format(order=MISTAKES[kind]), encoding="utf-8")
    flawed = Contender("flawed", "with one mistake", lambda: (sys.executable, str(program)))

    with pytest.raises(Flaw, match=r"event \d+ came where \d+ was due|in the order"):
        await WORKLOADS["live"].measure(flawed, TINY)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["W9"], ["nothing"], ["--only", "nobody"], ["--only", "node,nobody"], ["--rounds", "0"], ["--slow"]]
)
def test_what_is_not_understood_measures_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(words)

    assert stopped.value.code == 2
    assert "python -m benchmarks: error:" in capsys.readouterr().err


def test_help_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(["--help"])

    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(f"{each.number}  {name}" in said for name, each in WORKLOADS.items())
    assert all(name in said for name in CONTENDERS)


def test_nobody_who_can_do_it_is_nothing_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["W7", "--only", "node"]) == 1
    assert "nothing was measured" in capsys.readouterr().err
