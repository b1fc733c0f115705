"""Ctrl-C, exit statuses and broken pipes: real processes with real signals."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from typer.testing import Result

from streaming.records import TaskStatus
from tests.real_server import RealServer, command
from tests.scripted_server import (
    TASK_ID,
    Answer,
    ScriptedServer,
    block,
    record,
    refused,
    said_json,
    streamed,
)

pytestmark = pytest.mark.process

Script = Callable[..., ScriptedServer]
Streaming = Callable[..., Result]


@contextmanager
def running(*words: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """A command line that does not outlive its test."""
    process = command(*words, STREAMING_URL=url)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], word: str, *, stream: str = "stdout") -> str:
    """Read lines until one has this word; that line."""
    lines = process.stdout if stream == "stdout" else process.stderr
    assert lines is not None
    for line in lines:
        if word in line:
            return line
    raise AssertionError(f"{word} never came")


def task_id_of(process: subprocess.Popen[str]) -> str:
    return read_until(process, "started task", stream="stderr").split()[-1]


def status_of(task_id: str, streaming: Streaming, url: str) -> str:
    return str(json.loads(streaming("show", task_id, "-o", "json", url=url).stdout)["status"])


# -- a real server -----------------------------------------------------------------------------------------------------


def test_a_task_runs_to_its_end(real_url: str) -> None:
    with running("run", "countdown", "count=3", "interval=0", "-o", "json", url=real_url) as process:
        out, err = process.communicate()

    events = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[-1]["type"], events[-1]["data"]["result"]) == ("completed", {"count": 3})
    assert re.fullmatch(r"streaming: started task [0-9a-f]{32}\n", err)


def test_a_task_that_fails_ends_with_1_and_unknown_ones_with_2_and_3(real_url: str, streaming: Streaming) -> None:
    failing = streaming("run", "broken", "why=bad luck", url=real_url)
    unknown = streaming("run", "no_such_type")
    missing = streaming("watch", "0" * 32)
    wrong = streaming("run", "countdown", "count=-1", "more=5")

    assert [result.exit_code for result in (failing, unknown, missing, wrong)] == [1, 2, 3, 2]
    assert "\tfailed\t" in failing.stdout
    assert "no_such_type" in unknown.stderr
    assert "There is no task" in missing.stderr
    assert "params.count: " in wrong.stderr
    assert "params.more: " in wrong.stderr


def test_ctrl_c_cancels_the_task_and_waits_for_the_receipt(real_url: str, streaming: Streaming) -> None:
    with running("run", "countdown", "count=100000", "interval=0.02", url=real_url) as process:
        task_id = task_id_of(process)
        read_until(process, "tick")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert out.splitlines()[-1].split("\t")[2] == "cancelled"
    assert "cancel stopped: requested" in err
    assert "Traceback" not in err
    assert status_of(task_id, streaming, real_url) == "cancelled"


def test_a_second_ctrl_c_leaves_the_task_to_itself(real_url: str) -> None:
    with running("run", "stubborn", url=real_url) as process:
        read_until(process, "running")
        process.send_signal(signal.SIGINT)
        read_until(process, "ignored")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "is left to itself; nobody here watches it any more" in err
    assert "Traceback" not in err


def test_ctrl_c_in_watch_leaves_and_the_task_goes_on(real_url: str, streaming: Streaming) -> None:
    with running("run", "countdown", "count=100000", "interval=0.02", url=real_url) as runner:
        task_id = task_id_of(runner)
        with running("watch", task_id, url=real_url) as process:
            read_until(process, "tick")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)

        assert (process.returncode, err) == (130, "")
        assert status_of(task_id, streaming, real_url) == "running"
        runner.send_signal(signal.SIGINT)
        assert runner.wait(20) == 130


def test_ctrl_c_leaves_a_task_that_was_joined(real_url: str, streaming: Streaming) -> None:
    words = ("run", "countdown", "count=100000", "interval=0.02", "--key", "shared", "--if-running", "join")
    with running(*words, url=real_url) as runner:
        task_id = task_id_of(runner)
        with running(*words, url=real_url) as process:
            assert read_until(process, task_id, stream="stderr").startswith(f"streaming: joined task {task_id};")
            read_until(process, "tick")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)

        assert (process.returncode, err) == (130, "")
        shown = json.loads(streaming("show", task_id, "-o", "json", url=real_url).stdout)
        assert (shown["status"], shown["cancel"]) == ("running", None)
        runner.send_signal(signal.SIGINT)
        assert runner.wait(20) == 130


def test_watch_survives_kill_9_of_the_server_and_shows_everything_once(own_server: RealServer) -> None:
    with running("run", "patient", "-o", "json", url=own_server.url) as process:
        seen = [read_until(process, '"number":20')]
        own_server.end(signal.SIGKILL)
        own_server.start()
        seen.append(read_until(process, '"attempt":2,"number":20'))
        out, err = process.communicate(timeout=40)

    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["type"] == "completed"
    assert "trying again" in err


def test_the_cancel_command_waits_and_the_list_has_the_task(real_url: str, streaming: Streaming) -> None:
    with running("run", "countdown", "count=100000", "interval=0.02", "--tag", "mine", url=real_url) as runner:
        task_id = task_id_of(runner)
        cancelled = streaming("cancel", task_id, "--reason", "enough", "--wait-s", "10", url=real_url)
        assert runner.wait(20) == 1

    assert cancelled.exit_code == 0
    assert "outcome       stopped" in cancelled.stdout
    listed = streaming("list", "--tag", "mine", "--status", "cancelled").stdout
    assert listed.startswith(f"{task_id}\tcountdown\tcancelled\t")
    assert "countdown\tcount?: integer = 10, interval?: number = 1.0\t" in streaming("types").stdout
    assert streaming("cancel", task_id).exit_code == 0


# -- pipes and terminals -----------------------------------------------------------------------------------------------


def closed_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("words", [["config"], ["config", "-o", "json"], ["run", "countdown", "count=1"]])
def test_a_broken_pipe_is_no_traceback(words: list[str], real_url: str) -> None:
    pipe = closed_pipe()
    try:
        process = subprocess.run(
            [sys.executable, "-m", "streaming.cli", *words],
            env={**os.environ, "STREAMING_URL": real_url},
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(pipe)

    assert process.returncode == 141
    assert "rror" not in process.stderr
    assert ("is left to itself" in process.stderr) == (words[0] == "run")


def test_ctrl_c_still_brings_the_receipt_when_it_ended_the_reader_of_the_pipe_as_well(real_url: str) -> None:
    """As in ``streaming run ... | tee log``: the terminal sends SIGINT to both."""
    with running("run", "countdown", "count=100000", "interval=30", url=real_url) as process:
        read_until(process, "tick")  # the next event is the end
        assert process.stdout is not None
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        err = process.stderr.read()

        assert process.wait(20) == 130
    assert "cancel stopped: requested" in err


def test_on_a_terminal_there_is_a_bar(real_url: str) -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "streaming.cli", "run", "countdown", "count=20", "interval=0.05"],
        env={**os.environ, "STREAMING_URL": real_url, "TERM": "xterm", "COLUMNS": "100"},
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        text = b""
        try:
            while chunk := os.read(screen, 65536):
                text += chunk
        except OSError:  # Linux's way to say that the terminal has no other end any more
            pass
        finally:
            os.close(screen)

    assert process.returncode == 0
    assert "━".encode() in text
    assert b"100%" in text
    assert b"completed" in text
    assert b'"percent"' not in text


# -- a scripted server -------------------------------------------------------------------------------------------------


def wait_for_requests(server: ScriptedServer, number: int) -> None:
    deadline = time.monotonic() + 20
    while len(server.asked) < number:
        assert time.monotonic() < deadline, server.asked
        time.sleep(0.01)


SILENT = Answer(b"", "hold")
STARTED = said_json(record().as_json(), 201)


def test_ctrl_c_before_the_answer_to_the_start_cancels_as_soon_as_the_id_is_known(script: Script) -> None:
    """The answer is lost once, so that the signal surely comes before the second one."""
    busy = refused(503, "store_unavailable", retry_after="0")
    ended = streamed(block(1, "pending"), block(2, "cancelled", {"error": None}))
    server = script(
        busy,
        STARTED,
        replace(said_json(record().as_json(), 202), at="/cancel"),
        replace(ended, at="/events"),
        said_json(record().as_json()),
    )
    with running("run", "countdown", url=server.url) as process:
        read_until(process, "trying again", stream="stderr")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "cancelling task" in err
    assert f"/tasks/{TASK_ID}/cancel" in [asked.target for asked in server.asked]


def test_two_ctrl_c_before_the_answer_to_the_start_leave_at_once(script: Script) -> None:
    server = script(SILENT)
    with running("run", "countdown", url=server.url) as process:
        wait_for_requests(server, 1)
        process.send_signal(signal.SIGINT)
        read_until(process, "is being started", stream="stderr")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "may have been started" in err


def test_ctrl_c_before_the_answer_to_a_start_that_joins_leaves_as_soon_as_that_is_known(script: Script) -> None:
    server = script(refused(503, "store_unavailable", retry_after="0"), said_json(record().as_json(), 200))
    with running("run", "countdown", "--key", "k", "--if-running", "join", url=server.url) as process:
        read_until(process, "trying again", stream="stderr")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert f"joined task {TASK_ID};" in err
    assert {asked.target for asked in server.asked} == {"/tasks"}


def test_ctrl_c_cancels_a_task_whose_start_was_sent_twice(script: Script) -> None:
    """The server answers 200 as if it was joined, but there is nothing to join without being asked to."""
    ended = streamed(block(1, "pending"), block(2, "cancelled", {"error": None}))
    server = script(
        refused(503, "store_unavailable", retry_after="0"),
        said_json(record().as_json(), 200),
        replace(said_json(record().as_json(), 202), at="/cancel"),
        replace(ended, at="/events"),
        said_json(record().as_json()),
    )
    with running("run", "countdown", "--key", "k", url=server.url) as process:
        read_until(process, "trying again", stream="stderr")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert f"started task {TASK_ID}" in err
    assert f"/tasks/{TASK_ID}/cancel" in [asked.target for asked in server.asked]


def test_a_cancel_that_is_refused_is_told_at_once(script: Script) -> None:
    server = script(
        STARTED,
        replace(refused(403, "forbidden", "Not yours."), at="/cancel"),
        replace(streamed(block(1, "pending"), then="hold"), at="/events"),
    )
    with running("run", "countdown", url=server.url) as process:
        read_until(process, "pending")
        process.send_signal(signal.SIGINT)
        assert "Not yours." in read_until(process, "was not cancelled", stream="stderr")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    assert process.returncode == 130


def test_a_task_that_was_faster_than_ctrl_c_has_no_receipt(script: Script) -> None:
    """The stream breaks, so that the signal comes before the client has seen the end."""
    server = script(
        STARTED,
        replace(refused(409, "task_terminal"), at="/cancel"),
        replace(streamed(b"retry: 4000\n", block(1, "pending")), at="/events"),
        replace(streamed(block(2, "completed", {"result": 1})), at="/events"),
        said_json(record(TaskStatus.COMPLETED).as_json()),
    )
    with running("run", "countdown", url=server.url) as process:
        read_until(process, "pending")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "completed" in out
    assert "ended before it could be cancelled" in err
