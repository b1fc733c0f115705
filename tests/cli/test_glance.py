"""A quick look ends in time and says nothing, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from streaming.cli.glance import glance
from tests.scripted_server import LOST, Answer, ScriptedServer, refused, said, said_json

Script = Callable[..., ScriptedServer]

#: The clock of a busy machine says nothing.
LONG_S = 30.0


def test_a_document_comes_with_the_credential_of_the_environment(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = script(said_json({"a": 1}))
    monkeypatch.setenv("STREAMING_URL", f"{server.url}/below/")
    assert glance("/types?x=1", limit_s=LONG_S) == {"a": 1}
    assert "authorization" not in server.asked[0].headers
    assert server.asked[0].target == "/below/types?x=1"

    monkeypatch.setenv("STREAMING_TOKEN", "secret")
    assert glance("/types", url=server.url, limit_s=LONG_S) == {"a": 1}
    assert server.asked[1].headers["authorization"] == "Bearer secret"

    monkeypatch.delenv("STREAMING_TOKEN")
    (tmp_path / "token").write_text("of a file\n".replace(" ", "-"))
    monkeypatch.setenv("STREAMING_TOKEN_FILE", str(tmp_path / "token"))
    assert glance("/types", url=server.url, limit_s=LONG_S) == {"a": 1}
    assert server.asked[2].headers["authorization"] == "Bearer of-a-file"


@pytest.mark.parametrize(
    "answer",
    [
        LOST,
        refused(401, "unauthenticated"),
        said(200, b"<html>"),
        said(200, b"[" * 100_000),
        said(302, location="http://127.0.0.1:1/"),
        Answer(b"garbage\r\n\r\n"),
        Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"),
    ],
)
def test_what_is_no_document_is_none(answer: Answer, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    assert glance("/types", url=script(answer).url) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nowhere", "ftp://x", "http://[::1", "http://x:99999"])
def test_an_address_that_is_none_is_none(url: str) -> None:
    assert glance("/types", url=url) is None


def test_a_credential_that_cannot_be_read_is_none(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_TOKEN_FILE", "/nowhere/token")
    assert glance("/types", url=script(said_json({})).url) is None


def test_a_server_that_says_nothing_or_says_it_slowly_is_not_waited_for(script: Script) -> None:
    silent = script(replace(Answer(b"HTTP/1.1 200 OK\r\n"), then="hold"))
    began = time.monotonic()

    assert glance("/types", url=silent.url, limit_s=0.2) is None
    assert time.monotonic() - began < 5
