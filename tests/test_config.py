"""Every setting is an environment variable, checked before anything starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from streaming.config import Settings, load_settings
from streaming.errors import InvalidSettings


@pytest.fixture(autouse=True)
def _without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("STREAMING_"):
            monkeypatch.delenv(name)


def test_without_any_setting_the_server_is_private_and_durable() -> None:
    settings = load_settings()

    assert settings.loopback
    assert (settings.host, settings.port, settings.store_url) == ("127.0.0.1", 8000, "sqlite:///streaming.db")
    assert not settings.insecure_public


def test_every_setting_says_what_it_is_for_and_has_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def test_every_number_has_bounds() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            assert field.metadata, name


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("STREAMING_HOST", "::1", "host", "::1"),
        ("STREAMING_PORT", "0", "port", 0),
        ("STREAMING_STORE_URL", "memory://", "store_url", "memory://"),
        ("STREAMING_STORE_URL", "sqlite:////var/lib/s.db", "store_url", "sqlite:////var/lib/s.db"),
        ("STREAMING_TASKS", "a, b.c ,", "tasks", ["a", "b.c"]),
        ("STREAMING_GRACE_S", "0", "grace_s", 0.0),
        ("STREAMING_MAX_RUNNING", "1", "max_running", 1),
        ("STREAMING_FETCH_ALLOW", "localhost:8080,10.0.0.0/8", "fetch_allow", ["localhost:8080", "10.0.0.0/8"]),
        ("STREAMING_CHECKSUM_ROOTS", "/usr, /opt", "checksum_roots", [Path("/usr"), Path("/opt")]),
        ("STREAMING_COMMANDS", '{"up": "uptime -p"}', "commands", {"up": "uptime -p"}),
        ("STREAMING_RETENTION", '{"*": {"events": {"count": 1}}}', "retention", {"*": {"events": {"count": 1}}}),
    ],
)
def test_the_environment_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, name: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)

    assert getattr(load_settings(), name) == value


def test_what_is_given_wins_over_the_environment_and_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_PORT", "1")
    monkeypatch.setenv("STREAMING_HOST", "127.0.0.2")

    settings = load_settings(port=2, host=None, tasks=["a", "b"])

    assert (settings.port, settings.host, settings.tasks) == (2, "127.0.0.2", ["a", "b"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("grace_s", -1),
        ("grace_s", "inf"),
        ("grace_s", "nan"),
        ("timeout_default_s", 0),
        ("cancel_grace_s", "inf"),
        ("max_running", 0),
        ("event_bytes_max", 0),
        ("store_url", "mysql://x"),
        ("store_url", "sqlite://"),
        ("log_level", "loud"),
        ("sqlite_synchronous", "off"),
        ("commands", '{"empty": ""}'),
        ("commands", '{"open": "echo \\"x"}'),
        ("retention", "[]"),
        ("retention", "{not json"),
        ("retention_every_s", 0),
        ("retention_batch", 0),
    ],
)
def test_a_wrong_setting_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    variable = f"STREAMING_{name.upper()}"
    monkeypatch.setenv(variable, str(value))

    with pytest.raises(InvalidSettings) as caught:
        load_settings()

    assert [field.field.split(".")[0] for field in caught.value.errors] == [variable]
    assert variable in caught.value.detail


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(port=-1, grace_s=-1, store_url="mongodb://x")

    assert {field.field for field in caught.value.errors} == {
        "STREAMING_PORT",
        "STREAMING_GRACE_S",
        "STREAMING_STORE_URL",
    }


@pytest.mark.parametrize("text", ["{not json", "[]", '"uptime"', "", '{"up": 1}'])
def test_command_lines_that_are_no_json_object_of_texts_are_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STREAMING_COMMANDS", text)

    with pytest.raises(InvalidSettings, match="STREAMING_COMMANDS"):
        load_settings()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104  # that is what must be told apart
        ("::", False),
        ("192.168.0.1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert load_settings(host=host).loopback is loopback


def test_settings_cannot_be_changed_while_running() -> None:
    settings: Any = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
