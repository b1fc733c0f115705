"""The settings, described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming.cli.settings import describe_settings
from streaming.config import Settings
from streaming.errors import InvalidSettings


def test_every_setting_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_TASKS", "a, b")

    described = {row["variable"]: row for row in describe_settings()}

    assert len(described) == len(Settings.model_fields)
    assert all(row["description"] for row in described.values())
    assert (described["STREAMING_TASKS"]["value"], described["STREAMING_TASKS"]["default"]) == (["a", "b"], [])
    assert (described["STREAMING_PORT"]["value"], described["STREAMING_PORT"]["default"]) == (8000, 8000)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
        ("postgresql+psycopg://me@here/tasks", "postgresql+psycopg://me@here/tasks"),
        ("postgresql+psycopg://me:secret@here:5432/tasks", "postgresql+psycopg://me:***@here:5432/tasks"),
        ("postgresql+psycopg://me:se@cr:e/t@here/tasks", "postgresql+psycopg://me:***@here/tasks"),
        ("postgresql+psycopg://here/t?password=secret&user=me", "postgresql+psycopg://here/t?password=***&user=me"),
        ("postgresql+psycopg://here/t?sslpassword=secret", "postgresql+psycopg://here/t?sslpassword=***"),
    ],
)
def test_no_password_is_shown(url: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", url)

    described = {row["variable"]: row for row in describe_settings()}

    assert described["STREAMING_STORE_URL"]["value"] == shown


@pytest.mark.parametrize("name", ["API_KEYS", "JWT_SECRET", "STREAM_TOKEN_SECRET"])
@pytest.mark.parametrize("in_a_file", [False, True])
def test_of_a_secret_only_is_shown_that_it_is_set(
    name: str, in_a_file: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = f"{'hush' * 8}:alice"
    if in_a_file:
        tmp_path.joinpath("secret").write_text(secret)
    monkeypatch.setenv(
        *((f"STREAMING_{name}_FILE", f"{tmp_path}/secret") if in_a_file else (f"STREAMING_{name}", secret))
    )

    described = {row["variable"]: row for row in describe_settings()}

    assert (described[f"STREAMING_{name}"]["value"], described[f"STREAMING_{name}"]["default"]) == ("***", None)
    assert "hush" not in json.dumps(list(described.values()))
    monkeypatch.undo()
    assert {row["variable"]: row["value"] for row in describe_settings()}[f"STREAMING_{name}"] is None


def test_a_wrong_environment_is_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_PORT", "high")

    with pytest.raises(InvalidSettings, match="STREAMING_PORT"):
        describe_settings()
