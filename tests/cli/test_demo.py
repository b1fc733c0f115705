"""The demo proves itself, fails when something is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from streaming.cli import demo
from streaming.cli.child import ServerProcess
from streaming.cli.demo import run_demo
from tests.real_server import command

pytestmark = pytest.mark.process


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo puts its folder; in the end neither it nor a process that works there is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    assert [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info)] == []


@contextmanager
def telling(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = command("demo", *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if word in line:
            return text
    _, err = process.communicate(timeout=50)
    raise AssertionError(f"{word!r} never came: {text}{err}")


def test_the_demo_does_real_work_and_ends_with_0(temporary: Path) -> None:
    with telling() as process:
        out, err = process.communicate(timeout=50)

    assert (process.returncode, err) == (0, "")
    assert out.count("\n  ok  ") == 4
    assert "event: running\n" in out
    assert "exit status 0" in out


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_cleans_up(signum: signal.Signals, status: int, temporary: Path) -> None:
    with telling() as process:
        read_until(process, "Three tasks")
        process.send_signal(signum)
        _, err = process.communicate(timeout=50)

    assert process.returncode == status
    assert err == "streaming: interrupted; the server is stopped and the files are removed\n"


def test_with_keep_the_curl_lines_work_until_ctrl_c(temporary: Path) -> None:
    with telling("--keep") as process:
        told = read_until(process, "until Ctrl-C")
        lines = [shlex.split(line) for line in told.splitlines() if line.startswith("  curl") and "--json" in line]
        starts = [words for words in lines if words[0] == "curl" and "/cancel" not in " ".join(words)]
        answers = [_start_as_curl_would(words) for words in starts]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=50)

    assert len(answers) == 3
    assert all("text/event-stream" in kind and "event: completed" in text for kind, text in answers[:2]), answers
    assert "countdown" in answers[2][1]
    assert (process.returncode, err) == (0, "")
    assert "exit status 0" in out


def _start_as_curl_would(words: list[str]) -> tuple[str, str]:
    url = next(word for word in words if word.startswith("http://"))
    accept = "text/event-stream" if "Accept: text/event-stream" in words else "application/json"
    body = json.loads(words[words.index("--json") + 1])
    answer = httpx.post(url, json=body, headers={"Accept": accept}, timeout=20, trust_env=False)
    return answer.headers["content-type"], answer.text


def test_with_keep_a_server_that_dies_ends_the_demo(temporary: Path) -> None:
    with telling("--keep") as process:
        read_until(process, "until Ctrl-C")
        for found in psutil.process_iter(["cmdline"]):
            if str(temporary) in str(found.info["cmdline"]):
                found.kill()
        out, _ = process.communicate(timeout=50)

    assert process.returncode == 1
    assert "NOT AS EXPECTED  the server left with exit status -9" in out


def test_a_result_that_is_not_as_expected_ends_with_1(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "checksum_of", lambda folder, suffix: (1, "0" * 64))

    assert run_demo(keep=False) == 1
    assert "NOT AS EXPECTED  checksum is completed" in capsys.readouterr().out


def test_a_server_that_does_not_start_ends_with_5_and_its_words(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.Stage, "settings", {"STREAMING_PORT": "0", "STREAMING_LOG_LEVEL": "shouting"})

    assert run_demo(keep=False) == 5
    assert "STREAMING_LOG_LEVEL" in capsys.readouterr().err


def test_a_demo_that_takes_too_long_ends_with_5(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TIME_S", 0.05)

    assert run_demo(keep=False) == 5
    assert "was not through after 0.05 s" in capsys.readouterr().err


def test_a_second_ctrl_c_ends_the_server_at_once(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one comes with the address, the second while the server is being stopped."""
    stop, url = ServerProcess.stop, ServerProcess.url

    async def stop_slowly(server: ServerProcess) -> int:
        os.kill(server.pid, signal.SIGSTOP)  # so that it cannot hear SIGTERM
        signal.raise_signal(signal.SIGINT)
        return await stop(server)

    async def url_with_signal(server: ServerProcess) -> str:
        signal.raise_signal(signal.SIGINT)
        return await url(server)

    monkeypatch.setattr(ServerProcess, "stop", stop_slowly)
    monkeypatch.setattr(ServerProcess, "url", url_with_signal)

    assert run_demo(keep=False) == 130
