"""The settings, described."""

from __future__ import annotations

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


def test_a_wrong_environment_is_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_PORT", "high")

    with pytest.raises(InvalidSettings, match="STREAMING_PORT"):
        describe_settings()
