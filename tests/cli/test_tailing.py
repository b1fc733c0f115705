"""``streaming tail``: what it asks for, what it lets through, and from where it says one can go on."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
import typer
from typer.testing import Result

from streaming.cli.tailing import _time
from streaming.events import Event
from streaming.rules.sse import feed_frame
from tests.cli.terminal import terminal
from tests.cli.test_following import read_until, running
from tests.real_server import RealServer
from tests.scripted_server import TASK_ID, ScriptedServer, event, refused, streamed

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

OTHER = "f" * 32
GONE = refused(403, "forbidden", "Not the feed.")


def item(position: int, seq: int, type: str = "tick", task_id: str = TASK_ID) -> bytes:
    return feed_frame(event(seq, type, task_id=task_id), position)


def test_it_begins_ten_events_back_and_its_filters_go_to_the_server(streaming: Streaming, script: Script) -> None:
    server = script(streamed(item(3, 1)), GONE)
    words = ["--event", "tick,failed", "--event", "x", "--type", "a", "--type", "b", "--tag", "t"]

    assert streaming("tail", *words, url=server.url).exit_code == 4
    assert server.asked[0].target == "/events?type=tick%2Cfailed%2Cx&task_type=a%2Cb&tag=t&tail=10"


@pytest.mark.parametrize(
    ("words", "target", "cursor"),
    [
        (["--tail", "0"], "/events?tail=0", None),
        (["-n", "5"], "/events?tail=5", None),
        (["--after", "0"], "/events", "0"),
        (["--after", "7"], "/events", "7"),
        (["--since", "15m"], "/events", "0"),
    ],
)
def test_it_begins_where_it_is_told_to(
    words: list[str], target: str, cursor: str | None, streaming: Streaming, script: Script
) -> None:
    server = script(GONE)
    streaming("tail", *words, url=server.url)

    assert (server.asked[0].target, server.asked[0].headers.get("last-event-id")) == (target, cursor)


@pytest.mark.parametrize(
    "words",
    [["--tail", "1", "--after", "1"], ["--since", "1h", "--after", "1"], ["--since", "yesterday"], ["--tail", "-1"]],
)
def test_what_cannot_be_is_a_usage_error(words: list[str], streaming: Streaming) -> None:
    assert streaming("tail", *words).exit_code == 2


def test_a_time_is_one_a_day_or_how_long_ago_it_is() -> None:
    now_s = 1_800_000_000.0  # 2027-01-15T08:00:00Z
    assert _time("90s", now_s) == "2027-01-15T07:58:30.000000Z"
    assert _time("2026-11-01", now_s) == "2026-11-01T00:00:00.000000Z"
    assert _time("2026-11-01T01:00:00+01:00", now_s) == "2026-11-01T00:00:00.000000Z"
    assert _time("999999999d", now_s) == "0001-01-01T00:00:00.000000Z"
    with pytest.raises(typer.BadParameter):
        _time("2026-13-41", now_s)


def test_only_the_tasks_and_times_that_are_wanted_come_out(streaming: Streaming, script: Script) -> None:
    late = Event(OTHER, 2, "late", "2026-11-02T00:00:00.000000Z", "{}")
    server = script(streamed(item(1, 1), item(2, 1, task_id=OTHER), feed_frame(late, 3), item(4, 2)), GONE)
    of_one = streaming("tail", "--task", OTHER, url=server.url)

    assert [line.split("\t")[0] for line in of_one.stdout.splitlines()] == ["2", "3"]
    assert "this was position 4; --after 4 goes on behind it" in of_one.stderr

    server = script(streamed(item(1, 1), item(2, 1, task_id=OTHER), feed_frame(late, 3), item(4, 2)), GONE)
    new = streaming("tail", "--since", "2026-11-01T12:00:00.000001Z", "--json", url=server.url)
    assert [json.loads(line)["position"] for line in new.stdout.splitlines()] == [3]


def test_a_break_is_told_and_so_is_the_way_back(streaming: Streaming, script: Script) -> None:
    server = script(streamed(b"retry: 100\n", item(1, 1)), streamed(b"retry: 100\n", item(2, 2)), GONE)
    result = streaming("tail", url=server.url)

    assert len(result.stdout.splitlines()) == 2
    assert "trying again in 0.1 s" in result.stderr
    assert result.stderr.count("connected again\n") == 1
    assert result.stderr.splitlines()[-2:] == [
        "streaming: this was position 2; --after 2 goes on behind it",
        "streaming: Not the feed.",
    ]


def test_where_no_position_is_known_it_says_that_something_may_be_missing(streaming: Streaming, script: Script) -> None:
    server = script(streamed(b"retry: 100\n\n"), streamed(b"retry: 100\n\n"), GONE)
    result = streaming("tail", url=server.url)

    assert "events of the meantime may be missing" in result.stderr
    assert "there is no position to go on from" in result.stderr


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_ctrl_c_leaves_with_the_position_and_going_on_misses_and_repeats_nothing(own_server: RealServer) -> None:
    """Also when the server is killed in between."""
    with running("run", "patient", "count=300", url=own_server.url) as runner:
        with running("tail", "--after", "0", "--json", url=own_server.url) as first:
            read_until(first, '"number":20}')
            own_server.end(signal.SIGKILL)
            own_server.start()
            read_until(first, '"attempt":2,"number":5}')
            first.send_signal(signal.SIGINT)
            rest, err = first.communicate(timeout=20)
        assert first.returncode == 130
        assert "Traceback" not in err
        assert "connected again" in err
        position = int(err.split("--after ")[1].split()[0])
        last = [json.loads(line) for line in rest.splitlines()[1:]]  # a part of the first one was read before
        assert not last or last[-1]["position"] == position
        with running("tail", "--after", str(position), "--json", url=own_server.url) as second:
            assert second.stdout is not None
            following = json.loads(second.stdout.readline())
            read_until(second, '"completed"')
        assert following["position"] == position + 1
        runner.communicate(timeout=20)


@pytest.mark.process
def test_a_reader_that_leaves_is_noticed_though_nothing_happens(real_url: str, streaming: Streaming) -> None:
    streaming("start", "countdown", "count=1", "interval=0", url=real_url)
    with running("tail", "--event", "tick", url=real_url) as process:
        read_until(process, "tick")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.process
def test_a_reader_of_the_pipe_that_leaves_is_no_trouble(real_url: str, streaming: Streaming) -> None:
    with (
        running("run", "countdown", "count=1000", "interval=0.01", url=real_url) as runner,
        running("tail", "--event", "tick", url=real_url) as process,
    ):
        read_until(process, "tick")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""
        runner.send_signal(signal.SIGINT)
        runner.wait(20)


@pytest.mark.process
def test_in_a_narrow_terminal_an_id_is_whole_and_ctrl_c_is_said(real_url: str, streaming: Streaming) -> None:
    task_id = json.loads(streaming("start", "countdown", "count=1", "interval=0", "-o", "json", url=real_url).stdout)[
        "id"
    ]
    with terminal("tail", "--task", task_id, "-n", "1000", columns=40, STREAMING_URL=real_url) as screen:
        screen.until(task_id, "completed")
        screen.type("\x03")
        assert screen.ended() == 130
    assert "goes on behind it" in screen.text
    assert "Traceback" not in screen.text
    assert "\x1b[32mcompleted" not in screen.raw  # the environment says NO_COLOR
