"""``streaming top`` in a real terminal, against a real server."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from typer.testing import Result

from tests.cli.terminal import Terminal, terminal
from tests.real_server import RealServer

pytestmark = pytest.mark.process

Streaming = Callable[..., Result]


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


def test_an_error_inside_leaves_the_terminal_as_it_was(own_server: RealServer, streaming: Streaming) -> None:
    """The store is another one afterwards, with less in its feed: no traceback, and it goes on."""
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
