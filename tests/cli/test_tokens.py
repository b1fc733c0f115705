"""The credential of a command comes from the environment or from a file, and is shown to nobody but the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from streaming.cli.app import app
from streaming.cli.asking import shown_address
from streaming.cli.tokens import token_from
from streaming.errors import InvalidSettings
from tests.scripted_server import LOST, TASK_ID, ScriptedServer, block, record, refused, said_json, streamed

Streaming = Callable[..., Result]
Script = Callable[..., ScriptedServer]

FOUND = said_json(record().as_json())
NOT_GOOD = refused(401, "unauthenticated", "Who are you?")
SECRET = "s3cr3t-of-mine"


def test_without_any_nothing_is_shown_and_a_refusal_says_where_one_may_stand(
    streaming: Streaming, script: Script
) -> None:
    server = script(NOT_GOOD)
    result = streaming("show", TASK_ID, url=server.url)

    assert "authorization" not in server.asked[0].headers
    assert (result.exit_code, result.stderr.splitlines()) == (
        4,
        [
            "streaming: no credential was sent: STREAMING_TOKEN can have it, or a file that STREAMING_TOKEN_FILE names",
            "streaming: Who are you?",
        ],
    )


def test_one_in_the_environment_is_shown_to_the_server_alone(
    streaming: Streaming, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMING_TOKEN", SECRET)
    server = script(FOUND, NOT_GOOD)
    good, bad = streaming("ack", TASK_ID, url=server.url), streaming("ack", TASK_ID)

    assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {SECRET}"] * 2
    assert (good.exit_code, bad.exit_code, bad.stderr) == (0, 4, "streaming: Who are you?\n")
    assert SECRET not in good.output + bad.output


def test_one_in_a_file_is_read_again_when_it_is_refused(
    streaming: Streaming, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes such a file replaces it before the token is over; a watch goes on with the new one."""
    file = tmp_path / "token"
    file.write_text("first\n")
    monkeypatch.setenv("STREAMING_TOKEN_FILE", str(file))
    server = script(streamed(block(1, "pending")), NOT_GOOD, streamed(block(2, "completed")))
    found = server._next

    def replaced(target: str) -> object:
        if len(server.asked) == 1:
            file.write_text("second\n")
        return found(target)

    monkeypatch.setattr(server, "_next", replaced)
    result = streaming("watch", TASK_ID, url=server.url)

    assert result.exit_code == 0
    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer first"] * 2 + ["Bearer second"]


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "a\n\n", "\u00e9"])
@pytest.mark.parametrize("variable", ["STREAMING_TOKEN", "STREAMING_TOKEN_FILE"])
def test_what_is_no_token_is_named_by_its_variable_and_not_quoted(
    variable: str, text: str, tmp_path: Path, streaming: Streaming, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(text)
    monkeypatch.setenv(variable, text if variable == "STREAMING_TOKEN" else str(tmp_path / "token"))
    server = script(FOUND)
    result = streaming("show", TASK_ID, url=server.url)

    assert (result.exit_code, server.asked) == (2, [])
    assert result.stderr == (
        f"streaming: {variable}: a token is one word of ASCII that can be seen: no blank, no end of a line, and not "
        "nothing.\n"
    )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"STREAMING_TOKEN_FILE": "/no/such/file"}, "STREAMING_TOKEN_FILE: '/no/such/file' cannot be read"),
        ({"STREAMING_TOKEN_FILE": "/dev/null"}, "is no file"),
        ({"STREAMING_TOKEN_FILE": "/x", "STREAMING_TOKEN": SECRET}, "set this or STREAMING_TOKEN, not both"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words) as caught:
        token_from(environ)

    assert SECRET not in str(caught.value)


def test_a_file_that_goes_away_ends_the_command(
    streaming: Streaming, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    monkeypatch.setenv("STREAMING_TOKEN_FILE", str(file))
    server = script(NOT_GOOD)
    found = server._next

    def removed(target: str) -> object:
        file.unlink()
        return found(target)

    monkeypatch.setattr(server, "_next", removed)
    result = streaming("show", TASK_ID, url=server.url)

    assert (result.exit_code, len(server.asked)) == (2, 1)
    assert "STREAMING_TOKEN_FILE" in result.stderr


def test_there_is_no_option_for_it() -> None:
    """What is on a command line is in the list of processes, and in the history of a shell."""
    import typer.main

    def options(group: object) -> set[str]:
        commands = getattr(group, "commands", {})
        own = {word for parameter in getattr(group, "params", []) for word in parameter.opts}
        return own.union(*map(options, commands.values()))

    found = options(typer.main.get_command(app))
    assert "--url" in found
    assert not [word for word in found if "token" in word or "secret" in word or "password" in word]


def test_a_password_in_the_address_is_not_said(
    streaming: Streaming, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = script(LOST, FOUND)
    result = streaming("show", TASK_ID, url=server.url.replace("//", "//me:p@ss@"))

    assert "trying again" in result.stderr
    assert "p@ss" not in result.output
    monkeypatch.setenv("STREAMING_TOKEN", SECRET)
    both = streaming("show", TASK_ID)
    assert (both.exit_code, "only one of them can be sent" in both.stderr.replace("\n", " ")) == (2, True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:word@host:1/below", "http://host:1/below"),
        ("http://host", "http://host"),
        ("http://host/a@b", "http://host/a@b"),
    ],
)
def test_an_address_is_said_without_its_user(url: str, shown: str) -> None:
    assert shown_address(url) == shown
