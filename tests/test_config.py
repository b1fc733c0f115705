"""Every setting is an environment variable, checked before anything starts."""

from __future__ import annotations

import os
import traceback
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
        ("STREAMING_PRINCIPAL_RUNNING_MAX", "7", "principal_running_max", 7),
        ("STREAMING_FETCH_ALLOW", "localhost:8080,10.0.0.0/8", "fetch_allow", ["localhost:8080", "10.0.0.0/8"]),
        ("STREAMING_CHECKSUM_ROOTS", "/usr, /opt", "checksum_roots", [Path("/usr"), Path("/opt")]),
        ("STREAMING_CORS_ORIGINS", "*", "cors_origins", ["*"]),
        (
            "STREAMING_CORS_ORIGINS",
            "https://a.example, http://localhost:3000,http://[::1]:8080,https://xn--bcher-kva.example",
            "cors_origins",
            ["https://a.example", "http://localhost:3000", "http://[::1]:8080", "https://xn--bcher-kva.example"],
        ),
        ("STREAMING_COMMANDS", '{"up": "uptime -p"}', "commands", {"up": "uptime -p"}),
        ("STREAMING_COMMANDS", '{"ls": {"argv": ["ls"]}}', "commands", {"ls": {"argv": ["ls"]}}),
        ("STREAMING_RETENTION", '{"*": {"events": {"count": 1}}}', "retention", {"*": {"events": {"count": 1}}}),
        ("STREAMING_JWT_REQUIRE", "exp, iat", "jwt_require", ["exp", "iat"]),
        ("STREAMING_JWT_REQUIRE", "", "jwt_require", []),
        ("STREAMING_TRUSTED_PROXIES", "10.0.0.0/8,unix", "trusted_proxies", ["10.0.0.0/8", "unix"]),
        ("STREAMING_PROXY_USER_HEADER", "X-Forwarded-User", "proxy_user_header", "x-forwarded-user"),
        ("STREAMING_JWT_JWKS_URL", "https://a.example:8443/k?x=1", "jwt_jwks_url", "https://a.example:8443/k?x=1"),
        ("STREAMING_JWT_JWKS_URL", "http://localhost/k", "jwt_jwks_url", "http://localhost/k"),
        ("STREAMING_JWT_JWKS_URL", "http://127.0.0.1:1/k", "jwt_jwks_url", "http://127.0.0.1:1/k"),
        ("STREAMING_JWT_JWKS_URL", "http://[::1]/k", "jwt_jwks_url", "http://[::1]/k"),
        ("STREAMING_STREAM_TOKEN_S", "3600", "stream_token_s", 3600.0),
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
        ("principal_running_max", 0),
        ("principal_pending_max", -1),
        ("principal_external_max", "many"),
        ("principal_keys_max", 0),
        ("events_max", 0),
        ("log_bytes_max", 0),
        ("event_bytes_max", 0),
        ("store_url", "mysql://x"),
        ("store_url", "sqlite://"),
        ("log_level", "loud"),
        ("sqlite_synchronous", "off"),
        ("commands", '{"empty": ""}'),
        ("command_memory_bytes_max", 67_108_863),
        ("command_files_max", 15),
        ("command_cpu_s", 0),
        ("checksum_entries_max", 0),
        ("commands", '{"open": "echo \\"x"}'),
        ("retention", "[]"),
        ("retention", "{not json"),
        ("retention_every_s", 0),
        ("retention_batch", 0),
        ("max_connections", 0),
        ("address_connections_max", 0),
        ("json_members_max", 0),
        ("json_values_max", 0),
        ("url_bytes_max", 0),
        *(
            ("cors_origins", origin)
            for origin in (
                "null",
                "https://a.example,null",
                "*,https://a.example",
                "https://*.a.example",
                "a.example",
                "//a.example",
                "https://a.example/",
                "https://a.example.",
                "https://a.example:443",
                "http://a.example:80",
                "https://a.example:0443",
                "https://a.example:65536",
                "https://A.example",
                "HTTPS://a.example",
                "https://me@a.example",
                "https://a..example",
                "https://a.example?",
                "https://a b",
                "https://\u00e4.example",
                "https://",
            )
        ),
        ("api_keys", ""),
        ("api_keys", " ,\n"),
        ("api_keys", "\udcff:alice"),
        ("jwt_secret", ""),
        ("jwt_secret", "x" * 31),
        ("jwt_secret", "\udcff" * 40),
        ("stream_token_secret", "x" * 31),
        ("jwt_jwks_url", ""),
        ("jwt_jwks_url", "keys.example"),
        ("jwt_jwks_url", "https://"),
        ("jwt_jwks_url", "http://keys.example/"),
        ("jwt_jwks_url", "http://localhost.keys.example/"),
        ("jwt_jwks_url", "http://10.0.0.1/"),
        ("jwt_jwks_url", "ftp://localhost/"),
        ("jwt_jwks_url", "file:///etc/passwd"),
        ("jwt_jwks_url", "https://user:secret@keys.example/"),
        ("jwt_jwks_url", "https://keys.example/#x"),
        ("jwt_jwks_url", "https://keys.example:0/"),
        ("jwt_jwks_url", "https://keys.example:65536/"),
        ("jwt_jwks_url", "https://[::1/"),
        ("jwt_audience", ""),
        ("jwt_leeway_s", -1),
        ("jwt_leeway_s", 301),
        ("jwt_scope_claim", ""),
        ("stream_token_s", 0),
        ("stream_token_s", 3601),
        ("token_bytes_max", 0),
        ("proxy_user_header", ""),
        ("proxy_user_header", "X User"),
        ("proxy_user_header", "X" * 65),
        ("proxy_user_header", "Authorization"),
        ("proxy_scopes_header", "X-API-Key"),
        ("proxy_tenant_header", "x-forwarded-for"),
    ],
)
def test_a_wrong_setting_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    variable = f"STREAMING_{name.upper()}"
    monkeypatch.setenv(variable, str(value))

    with pytest.raises(InvalidSettings) as caught:
        load_settings()

    assert [field.field.split(".")[0] for field in caught.value.errors] == [variable]
    assert variable in caught.value.detail


@pytest.mark.parametrize("name", ["api_keys", "jwt_secret", "stream_token_secret", "store_url"])
def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    secret = "postgresql+psycopg://me:hushhush@here/db" if name == "store_url" else f"{'x' * 32}hushhush:alice"
    settings = load_settings(**{name: secret})

    assert "hushhush" not in f"{settings!r} {settings} {settings.model_dump_json(exclude={'store_url'})}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jwt_secret", "hushhush"),
        ("stream_token_secret", "hushhush"),
        ("jwt_secret", "hushhush" * 8 + "\udcff"),
        ("api_keys", "hushhush:alice\udcff"),
        ("store_url", "mysql://me:hushhush@here/db"),
        ("jwt_jwks_url", "https://me:hushhush@here/"),
    ],
)
def test_a_wrong_secret_is_not_quoted(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"STREAMING_{name.upper()}", text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings()

    assert "hushhush" not in f"{caught.value!r} {caught.value.errors} {caught.value.__context__!r}"
    assert "udcff" not in caught.value.detail
    assert "hushhush" not in "".join(traceback.format_exception(caught.value))


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
