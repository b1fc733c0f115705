"""A password does not stand on a command line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from streaming.cli.app import app
from streaming.cli.stores import no_password

COMMANDS = [["serve"], ["db", "check"], ["db", "upgrade"], ["prune"], ["key", "create", "ci"], ["key", "list"]]
COMMANDS += [["key", "revoke", "x"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hunter2@there/tasks",
        "postgresql+psycopg://me:hunt@er2@there/tasks",
        "postgresql+psycopg://me@there/tasks?password=hunter2",
        "postgresql+psycopg://there/tasks?sslpassword=hunter2",
    ],
)
def test_each_command_that_takes_a_store_refuses_one(command: list[str], url: str) -> None:
    result = CliRunner().invoke(app, [*command, "--store", url])

    assert result.exit_code == 2
    assert "STREAMING_STORE_URL_FILE" in result.output
    assert "hunt" not in result.output


@pytest.mark.parametrize(
    "url", [None, "memory://", "sqlite:////tmp/a:b@c.db", "postgresql+psycopg://me@there:5432/tasks?sslmode=require"]
)
def test_what_has_none_is_taken(url: str | None) -> None:
    assert no_password(url) == url
