"""``streaming top`` in a real terminal, against a real server."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from typer.testing import Result

from streaming.rules.sse import feed_frame
from tests.cli.terminal import Terminal, terminal
from tests.real_server import RealServer
from tests.scripted_server import TASK_ID, Answer, ScriptedServer, event, record, refused, said_json, streamed

pytestmark = pytest.mark.process

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]


@contextmanager
def top(url: str, *words: str, columns: int = 120, lines: int = 24, **environment: str) -> Iterator[Terminal]:
    """A sitting; in the end the terminal is as it was, whatever has happened."""
    with terminal("top", *words, columns=columns, lines=lines, STREAMING_URL=url, COLUMNS="", **environment) as screen:
        yield screen
        screen.ended()
        assert screen.mode() == screen.before
        assert screen.raw.count("\x1b[?1049h") == screen.raw.count("\x1b[?1049l")
        assert screen.raw.count("\x1b[?25l") <= screen.raw.count("\x1b[?25h") or not screen.raw
        assert "Traceback" not in screen.text


def started(streaming: Streaming, url: str, *words: str) -> str:
    return str(json.loads(streaming("start", *words, "-o", "json", url=url).stdout)["id"])


def status_of(task_id: str, streaming: Streaming, url: str) -> str:
    return str(json.loads(streaming("show", task_id, "-o", "json", url=url).stdout)["status"])


def test_a_task_is_found_opened_and_cancelled_by_keys(real_url: str, streaming: Streaming) -> None:
    task_id = started(streaming, real_url, "countdown", "count=100000", "interval=0.05", "--tag", "seven")
    started(streaming, real_url, "countdown", "count=0")
    with top(real_url) as screen:
        screen.until("streaming top", "running", "q quit")
        screen.type("/seven\r")
        screen.until("1 found", task_id)
        screen.type("\r")
        screen.until("esc back", "tick")
        screen.type("\x1b")
        screen.until("/ search")
        screen.type("c")
        screen.until(f"Cancel {task_id}? y/n")
        screen.type("n")
        screen.until("q quit")
        screen.type("cy")
        screen.until("cancelled")
        screen.type("q")
        assert screen.ended() == 0
    assert status_of(task_id, streaming, real_url) == "cancelled"


def test_a_new_task_comes_by_itself_and_a_held_screen_stays(real_url: str, streaming: Streaming) -> None:
    with top(real_url, "--tag", "fresh", columns=200) as screen:
        screen.until("There are no such tasks.")
        task_id = started(streaming, real_url, "countdown", "count=0", "--tag", "fresh")
        screen.until(task_id, "completed")
        screen.type("p")
        screen.until("PAUSED")
        other = started(streaming, real_url, "countdown", "count=0", "--tag", "fresh")
        screen.until("PAUSED")
        assert other not in screen.text
        screen.type("p")
        screen.until(other)
        screen.type("q")


def test_a_terminal_may_change_its_size(real_url: str, streaming: Streaming) -> None:
    started(streaming, real_url, "countdown", "count=0")
    with top(real_url, columns=40, lines=10) as screen:
        screen.until("status", "q quit")
        assert " attempt " not in screen.text
        screen.resize(160, 30)
        screen.process.send_signal(signal.SIGWINCH)
        screen.until("attempt", "message")
        screen.type("q")


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(signum: signal.Signals, status: int, real_url: str) -> None:
    with top(real_url) as screen:
        screen.until("q quit")
        screen.process.send_signal(signum)
        assert screen.ended() == status


def test_ctrl_c_that_is_typed_leaves_and_ctrl_z_does_nothing(real_url: str) -> None:
    with top(real_url) as screen:
        screen.until("q quit")
        screen.type("\x1a")
        screen.type("p")
        screen.until("PAUSED")
        screen.type("\x03")
        assert screen.ended() == 130


def test_a_server_that_dies_and_comes_back_is_told_and_then_shown(own_server: RealServer, streaming: Streaming) -> None:
    first = started(streaming, own_server.url, "countdown", "count=0")
    with top(own_server.url, columns=200) as screen:
        screen.until(first, "completed", "ready")
        own_server.end(signal.SIGKILL)
        screen.until("no contact; trying again")
        own_server.start()
        second = started(streaming, own_server.url, "countdown", "count=0")
        screen.until(second)
        screen.type("q")
        assert screen.ended() == 0


def test_a_server_that_comes_back_with_another_store_is_shown_as_it_is(
    own_server: RealServer, streaming: Streaming
) -> None:
    """The position in the feed is none any more."""
    for _ in range(3):
        started(streaming, own_server.url, "countdown", "count=3", "interval=0")
    with top(own_server.url, columns=200) as screen:
        screen.until("completed 3")
        started(streaming, own_server.url, "countdown", "count=3", "interval=0")  # so that there is a position
        screen.until("completed 4")
        own_server.end(signal.SIGKILL)
        own_server.forget()
        own_server.start()
        screen.until("There are no such tasks.")
        task_id = started(streaming, own_server.url, "countdown", "count=0")
        screen.until(task_id)
        screen.type("q")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_is_told_what_else_there_is(term: str, real_url: str) -> None:
    with terminal("top", STREAMING_URL=real_url, TERM=term) as screen:
        assert screen.ended() == 2
    assert "streaming list or streaming tail" in screen.text
    assert "\x1b[?1049h" not in screen.raw


def test_without_a_terminal_it_says_so(streaming: Streaming, real_url: str) -> None:
    result = streaming("top", url=real_url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "top needs a terminal" in result.stderr


def test_without_a_server_there_is_no_screen() -> None:
    with terminal("top", STREAMING_URL="http://127.0.0.1:1") as screen:
        assert screen.ended() == 5
    assert "cannot be reached" in screen.text
    assert "\x1b[?1049h" not in screen.raw


# -- a scripted server -------------------------------------------------------------------------------------------------


def answers(feed: Answer) -> list[Answer]:
    """What is asked for the screen of one task."""
    return [
        replace(said_json({"count": 1, "groups": [{"status": "running", "count": 1}]}), at="/tasks/count"),
        replace(said_json({"status": "ok", "warnings": []}), at="/readyz"),
        replace(feed, at="/events"),
        said_json({"tasks": [record().as_json()], "next_cursor": None}),
    ]


def test_an_error_inside_leaves_the_terminal_as_it_was_and_is_said_below(script: Script) -> None:
    server = script(*answers(refused(403, "forbidden", "The feed is not for you.")))
    with top(server.url) as screen:
        assert screen.ended() == 4
    assert "streaming: The feed is not for you." in screen.raw.rpartition("\x1b[?1049l")[2]


def test_where_nothing_happens_next_to_nothing_is_asked(script: Script) -> None:
    server = script(*answers(streamed(then="hold")))
    with top(server.url) as screen:
        screen.until(TASK_ID, "ready")
        for _ in range(30):
            screen.read(0.1)
            time.sleep(0.1)
        screen.type("q")
    asked = [asked.target.partition("?")[0] for asked in server.asked]
    assert asked.count("/events") == 1
    assert asked.count("/tasks") <= 2  # at the beginning, and when the feed stood
    assert len(asked) <= 7


def test_a_storm_of_events_is_no_storm_of_questions(script: Script) -> None:
    storm = b"".join(feed_frame(event(1, "pending", task_id=f"{number:032x}"), number) for number in range(1, 500))
    server = script(*answers(streamed(storm, then="hold")))
    with top(server.url) as screen:
        screen.until("49.9 events/s")
        screen.type("q")
    assert sum(asked.target.startswith("/tasks?") for asked in server.asked) <= 8


def test_a_refused_cancel_is_said_until_the_next_key(script: Script) -> None:
    no = replace(refused(403, "forbidden", "Not your task."), at="/cancel")
    server = script(no, *answers(streamed(then="hold")))
    with top(server.url) as screen:
        screen.until(TASK_ID)
        screen.type("cy")
        screen.until("streaming top  Not your task.")
        screen.type("j")
        screen.until("streaming top  0.0 events/s")
        screen.type("q")
