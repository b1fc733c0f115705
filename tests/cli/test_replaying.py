"""``streaming replay``: which part is played, how fast, and with which keys."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
from typer.testing import Result

from streaming.rules.sse import envelope
from tests.cli.terminal import terminal
from tests.scripted_server import TASK_ID, Answer, ScriptedServer, event, record, refused, said_json

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]


def page(*seqs: int, following: int | None = None) -> Answer:
    found = [event(seq, "tick", {"n": seq}) for seq in seqs]
    return said_json({"events": [json.loads(envelope(each)) for each in found], "next_cursor": following})


HEAD = said_json(record(last_seq=4).as_json())


def seqs(result: Result) -> list[int]:
    return [int(line.split("\t")[1]) for line in result.stdout.splitlines()]


def test_the_whole_log_is_played_page_by_page(streaming: Streaming, script: Script) -> None:
    server = script(HEAD, page(1, 2, following=2), page(3, 4))
    result = streaming("replay", TASK_ID, "--speed", "max", url=server.url)

    assert (result.exit_code, seqs(result), result.stderr) == (0, [1, 2, 3, 4], "")
    assert [asked.target for asked in server.asked[1:]] == [
        f"/tasks/{TASK_ID}/events?last_event_id=0",
        f"/tasks/{TASK_ID}/events?last_event_id=2",
    ]
    assert server.asked[1].headers["accept"] == "application/json"


def test_a_task_that_goes_on_is_played_as_far_as_it_was(streaming: Streaming, script: Script) -> None:
    server = script(HEAD, page(1, 2, 3, 4, 5, 6, following=6))

    assert seqs(streaming("replay", TASK_ID, "--speed", "0", url=server.url)) == [1, 2, 3, 4]


def test_a_part_is_played(streaming: Streaming, script: Script) -> None:
    server = script(HEAD, page(2, 3, 4))
    result = streaming("replay", TASK_ID, "--speed", "0", "--from", "2", "--to", "3", "-o", "json", url=server.url)

    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [2, 3]
    assert server.asked[1].target.endswith("?last_event_id=1")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--speed", "-1"], "is no speed"),
        (["--speed", "nan"], "is no speed"),
        (["--speed", "inf"], "is no speed"),
        (["--speed", "fast"], "is no speed"),
        (["--from", "3", "--to", "2"], "2 comes before 3"),
        (["--from", "9"], "has 4 events so far"),
        (["--from", "0"], "--from"),
        (["--max-pause-s", "-1"], "--max-pause-s"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    words: list[str], complaint: str, streaming: Streaming, script: Script
) -> None:
    result = streaming("replay", TASK_ID, *words, url=script(HEAD).url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in " ".join(result.stderr.replace("│", " ").split())


def test_an_unknown_task_is_not_found(streaming: Streaming, script: Script) -> None:
    assert streaming("replay", TASK_ID, url=script(refused(404, "not_found")).url).exit_code == 3


@pytest.mark.parametrize("following", [1, "x"])
def test_a_page_that_does_not_lead_on_is_an_error(following: object, streaming: Streaming, script: Script) -> None:
    server = script(HEAD, said_json({"events": [], "next_cursor": following}))
    result = streaming("replay", TASK_ID, "--from", "2", url=server.url)

    assert result.exit_code == 5
    assert "must lead on" in result.stderr


# -- a real server -----------------------------------------------------------------------------------------------------


@pytest.fixture
def task_id(real_url: str, streaming: Streaming) -> str:
    """A task that has ended, with half a second between its ticks."""
    run = streaming("run", "countdown", "count=3", "interval=0.5", url=real_url)
    return run.stderr.split("started task ")[1].split()[0]


@pytest.mark.process
def test_pauses_are_cut_and_it_is_said(task_id: str, real_url: str, streaming: Streaming) -> None:
    result = streaming("replay", task_id, "--speed", "2", "--max-pause-s", "0.1", url=real_url)

    assert (result.exit_code, result.stdout.splitlines()[-1].split("\t")[2]) == (0, "completed")
    assert result.stderr.count("is cut to 0.1 s") == 3


@pytest.mark.process
def test_space_stops_the_time_and_the_terminal_is_left_as_it_was(task_id: str, real_url: str) -> None:
    with terminal("replay", task_id, "--speed", "0.1", columns=60, STREAMING_URL=real_url) as screen:
        screen.until("running", "space stops")
        screen.type(" ")
        screen.until("stopped; space goes on")
        screen.type(" ")
        screen.type("q")
        assert screen.ended() == 130
        assert screen.mode() == screen.before
    assert "Traceback" not in screen.text
    assert "completed" not in screen.text


@pytest.mark.process
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(
    signum: signal.Signals, status: int, task_id: str, real_url: str
) -> None:
    with terminal("replay", task_id, "--speed", "0.1", STREAMING_URL=real_url) as screen:
        screen.until("running", "space stops")
        screen.process.send_signal(signum)
        assert screen.ended() == status
        assert screen.mode() == screen.before
    assert "Traceback" not in screen.text
    assert screen.raw.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in screen.raw  # the cursor is there again


@pytest.mark.process
def test_at_full_speed_the_bar_arrives(task_id: str, real_url: str) -> None:
    with terminal("replay", task_id, "--speed", "max", STREAMING_URL=real_url) as screen:
        assert screen.ended() == 0
    assert "completed" in screen.text
    last = int(screen.text.rpartition(" of ")[2].split()[0])
    assert f"{last} of {last}" in screen.text
