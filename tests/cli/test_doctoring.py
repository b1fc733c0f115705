"""``streaming doctor``: a table for people, a document for programs, and a status that says whether all is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.ports import reserve_port

Streaming = Callable[..., Result]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMING_PORT", "0")


def test_a_good_set_up_and_what_it_says(streaming: Streaming, real_url: str) -> None:
    assert streaming("types", url=real_url).exit_code == 0, "it has started"
    result = streaming("doctor", "--url", real_url)

    assert result.exit_code == 0, result.stdout
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert {len(line) for line in lines} == {4}
    assert {line[1] for line in lines} <= {"ok", "warning"}
    assert lines[0][0] == "software"
    assert lines[-1][0] == "stream"
    assert [line[0] for line in lines].count("clock") == 2, "this machine's, and that of the server"
    assert result.stderr.startswith(f"streaming: {len(lines)} checks: ")


def test_a_document_for_programs(streaming: Streaming, real_url: str) -> None:
    for words in (("--json",), ("-o", "json")):
        document = json.loads(streaming("doctor", *words, url=real_url).stdout)
        assert set(document) == {"verdict", "findings"}
        assert {"check", "verdict", "found", "advice"} == set(document["findings"][0])
        assert document["findings"][-1]["check"] == "stream", "STREAMING_URL is the URL as well"


def test_warnings_are_no_failure(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", "memory://")
    monkeypatch.setenv("STREAMING_KEEPALIVE_S", "60")
    result = streaming("doctor")

    assert result.exit_code == 0
    assert "2 warnings" in result.stderr


def test_a_problem_is_status_1(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", "sqlite:////no/such/folder/a.db")
    result = streaming("doctor", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["verdict"] == "problem"


def test_nobody_there_is_status_5_whatever_else_is_wrong(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_GRACE_S", "-1")
    port, reserved = reserve_port()
    with reserved:
        result = streaming("doctor", "--url", f"http://127.0.0.1:{port}")

    assert result.exit_code == 5
    assert "1 unreachable, 1 problem, " in result.stderr


@pytest.mark.parametrize("words", [("--url", "ftp://x"), ("--url",), ("--no-such-option",)])
def test_usage_is_status_2(words: tuple[str, ...], streaming: Streaming) -> None:
    assert streaming("doctor", *words).exit_code == 2


def test_a_token_that_is_none_is_usage(streaming: Streaming, monkeypatch: pytest.MonkeyPatch, real_url: str) -> None:
    monkeypatch.setenv("STREAMING_TOKEN", "two words")
    assert streaming("doctor", url=real_url).exit_code == 2
