"""Every setting and every limit, with its default and its meaning.

Owns:   names, defaults and bounds of the settings; each is an environment variable ``STREAMING_...``.
Uses:   values (what a value may be), secret_files (those that stand in a file).
Never:  acts on a setting, or reads anything but the environment and the files that it names for secrets; quotes a value
        that may be secret.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streaming.errors import FieldError, InvalidSettings
from streaming.secret_files import read_secret_files
from streaming.values import (
    check_key_set_url,
    check_not_empty,
    check_origins,
    check_rate,
    check_signing_secret,
    check_store_url,
    is_loopback,
    read_header_name,
    split,
)

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]

#: What one principal may have where nothing else is set; it does not hold for the anonymous one.
PRINCIPAL_LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "principal_running_max": 100,
        "principal_pending_max": 1000,
        "principal_external_max": 1000,
        "principal_keys_max": 1_000_000,
    }
)

HeaderName = Annotated[str, AfterValidator(read_header_name)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Settings(BaseSettings):
    """The configuration of one instance."""

    model_config = SettingsConfigDict(env_prefix="STREAMING_", extra="ignore", frozen=True, hide_input_in_errors=True)

    # -- where ---------------------------------------------------------------------------------------------------
    host: str = Field(
        "127.0.0.1", description="Address to listen on; others than loopback need credentials, or insecure_public."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one and logs it.")
    insecure_public: bool = Field(
        False, description="Serve addresses other than loopback although no credentials are configured."
    )
    store_url: Annotated[str, AfterValidator(check_store_url)] = Field(
        "sqlite:///streaming.db",
        repr=False,  # it may hold a password
        description="Where tasks and events are kept: memory://, sqlite:///path, or postgresql+psycopg://...",
    )
    tasks: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Modules with task handlers to load, separated by commas."
    )

    # -- who may call ----------------------------------------------------------------------------------------------
    api_keys: Annotated[SecretStr, AfterValidator(check_not_empty)] | None = Field(
        None, description="API keys, by commas: key:principal, or key:principal:scope scope ..."
    )
    key_cache_s: Seconds = Field(5.0, description="Seconds after which keys in the store are read once more.")
    key_stale_s: Seconds = Field(
        300.0, description="Seconds that keys stay good as they were read last, while the store is away."
    )
    jwt_secret: Annotated[SecretStr, AfterValidator(check_signing_secret)] | None = Field(
        None, description="Secret that JWTs are signed with (HS256), of 32 bytes at least."
    )
    jwt_jwks_url: Annotated[str, AfterValidator(check_key_set_url)] | None = Field(
        None, description="Where the public keys for JWTs are (RS256, ES256): https://, or http:// on this machine."
    )
    jwt_audience: Name | None = Field(None, description="What the claim aud of a JWT must be, or have.")
    jwt_issuer: Name | None = Field(None, description="What the claim iss of a JWT must be.")
    jwt_require: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: ["exp"], description="Claims that a JWT must have, by commas."
    )
    jwt_leeway_s: float = Field(
        10.0, ge=0, le=300, allow_inf_nan=False, description="Seconds that the clock of who signs JWTs may be wrong."
    )
    jwt_scope_claim: Name = Field("scope", description="Claim with the scopes: words with blanks between, or a list.")
    jwt_tenant_claim: Name | None = Field(
        None, description="Claim with the tenant, which a JWT must have then; unset: no tenants."
    )
    jwt_principal_claim: Name = Field("sub", description="Claim with the name of the principal.")
    jwt_jwks_refresh_s: Seconds = Field(300.0, description="Seconds after which public keys are fetched once more.")
    jwt_jwks_stale_s: Seconds = Field(
        86_400.0, description="Seconds that public keys stay good as they were fetched last, while nobody has them."
    )
    jwt_jwks_timeout_s: Seconds = Field(5.0, description="Seconds that fetching public keys may take.")
    jwt_jwks_bytes_max: Bytes = Field(262_144, description="Bytes of public keys at most.")
    token_bytes_max: Bytes = Field(8192, description="Bytes of a credential in a request at most.")
    stream_token_secret: Annotated[SecretStr, AfterValidator(check_signing_secret)] | None = Field(
        None, description="Secret for stream tokens, of 32 bytes at least; unset: a random one in the store."
    )
    stream_token_s: float = Field(
        300.0, gt=0, le=3600, allow_inf_nan=False, description="Seconds that a stream token is good."
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses or networks of reverse proxies whose headers count, or unix, by commas.",
    )
    proxy_user_header: HeaderName | None = Field(
        None, description="Header in which a trusted proxy names the principal."
    )
    proxy_scopes_header: HeaderName | None = Field(
        None, description="Header in which a trusted proxy names the scopes of the principal; none: no scopes."
    )
    proxy_tenant_header: HeaderName | None = Field(
        None, description="Header in which a trusted proxy names the tenant, which must be there then."
    )

    # -- pages in browsers -----------------------------------------------------------------------------------------
    cors_origins: Annotated[list[str], AfterValidator(check_origins), NoDecode] = Field(
        default_factory=list,
        description="Origins whose pages may call from a browser: https://app.example.com, by commas; or * alone.",
    )

    # -- time ------------------------------------------------------------------------------------------------------
    grace_s: float = Field(10.0, ge=0, le=86400, allow_inf_nan=False, description="Seconds from SIGTERM to the exit.")
    timeout_default_s: Seconds = Field(3600.0, description="Seconds a task may run if its start names no timeout.")
    timeout_max_s: Seconds = Field(86400.0, description="The longest timeout that a start may ask for, in seconds.")
    cancel_grace_s: Seconds = Field(
        5.0, description="Seconds a cancelled handler has to clean up before it is cancelled again."
    )
    keepalive_s: Seconds = Field(15.0, description="A silent stream gets a comment at least this often, in seconds.")
    reconnect_spread_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds over which the readers of a server that stops are told to come back; 0: nothing is said.",
    )
    send_timeout_s: Seconds = Field(30.0, description="Seconds after which a reader that takes no bytes is dropped.")
    wait_max_s: Seconds = Field(60.0, description="The longest wait_s that a request may ask for, in seconds.")
    body_timeout_s: Seconds = Field(15.0, description="Seconds within which a request body must have arrived.")
    header_timeout_s: Seconds = Field(
        10.0, description="Seconds within which the headers of a request must have arrived."
    )
    stall_s: float = Field(
        1.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds for which the event loop may be blocked before it is told who does that; 0: nobody looks.",
    )
    ageing_s: Seconds = Field(60.0, description="Seconds of waiting that count as much as one step of priority.")
    deadline_warning_s: Seconds = Field(
        60.0, description="Seconds before a deadline at which readers are warned; never more than a fifth of the time."
    )
    external_stale_s: Seconds = Field(300.0, description="Seconds of silence after which an external task is stale.")
    external_fail_s: Seconds = Field(600.0, description="Seconds of silence after which an external task has failed.")
    retention_every_s: Seconds = Field(60.0, description="Seconds between two looks for what is not to be kept.")
    query_timeout_s: Seconds = Field(5.0, description="Seconds a list, count or statistic may take in the store.")
    store_wait_s: Seconds = Field(5.0, description="Seconds a request waits for a store that does not answer.")
    store_timeout_s: Seconds = Field(
        10.0, description="Seconds that one statement of a transaction, or its wait for a lock, may take in PostgreSQL."
    )

    # -- how many, how large -----------------------------------------------------------------------------------------
    max_running: Count = Field(1000, description="Tasks that run at the same time; more wait as pending.")
    max_pending: Count = Field(10_000, description="Tasks that wait at most; a start beyond is refused with 429.")
    type_limits: Annotated[dict[str, Count], NoDecode] = Field(
        default_factory=dict,
        description='Tasks of one type that run at the same time, as JSON: {"type": 4}; it wins over the handler.',
    )
    max_external: Count = Field(10_000, description="External tasks that have not ended, at most.")
    principal_running_max: Count | None = Field(
        None, description="Tasks of one principal that run at the same time; unset: 100, but for the anonymous one."
    )
    principal_pending_max: Count | None = Field(
        None, description="Tasks of one principal that wait at most; unset: 1000, but for the anonymous one."
    )
    principal_external_max: Count | None = Field(
        None, description="External tasks of one principal at most; unset: 1000, but for the anonymous one."
    )
    principal_keys_max: Count | None = Field(
        None, description="Idempotency keys of one principal, at most; unset: 1,000,000, but for the anonymous one."
    )
    max_streams: Count = Field(5000, description="Open streams, and requests that wait, at most; one more is 429.")
    principal_streams_max: Count = Field(
        500, description="The same of one principal at most; it does not hold for the anonymous one."
    )
    watch_logs_max: int = Field(20, ge=1, le=100, description="Logs that one watch (GET /watch) follows, at most.")
    rate_limit: Annotated[str, AfterValidator(check_rate)] | None = Field(
        None, description="Requests of one principal, as 20/second; unset: 100/second, but for the anonymous one."
    )
    rate_limit_address: Annotated[str, AfterValidator(check_rate)] | None = Field(
        None, description="Requests from one address; unset: 500/second, but on a server for this machine only."
    )
    rate_limit_failures: Annotated[str, AfterValidator(check_rate)] | None = Field(
        None, description="Wrong credentials from one address before their answers are held back; unset: 10/second."
    )
    max_threads: Count = Field(40, description="Threads for handlers with run_in='thread', at most.")
    max_processes: Count = Field(2, description="Worker processes for handlers with run_in='process', at most.")
    body_bytes_max: Bytes = Field(1_048_576, description="Bytes of a request body at most.")
    max_connections: Count = Field(10_000, description="Connections at most; one more is closed at once.")
    address_connections_max: Count = Field(
        1000, description="Connections from one address at most, but for this machine and trusted proxies."
    )
    url_bytes_max: Bytes = Field(8192, description="Bytes of the target of a request, path and query, at most.")
    header_bytes_max: Bytes = Field(65_536, description="Bytes of a request line and its headers at most.")
    headers_max: Count = Field(100, description="Headers of a request at most.")
    json_depth_max: Count = Field(64, description="Levels of nesting in a request body at most.")
    json_members_max: Count = Field(2000, description="Names in one object of a request body at most.")
    json_values_max: Count = Field(20_000, description="Values in a request body at most.")
    event_bytes_max: Bytes = Field(262_144, description="Bytes of one event's data, or of a result, at most.")
    events_max: Count = Field(1_000_000, description="Events of one task at most, those of the server not refused.")
    log_bytes_max: Bytes = Field(
        1_073_741_824, description="Bytes of the events of one task at most, those of the server not refused."
    )
    backlog_events_max: Count = Field(
        512, description="Events of one task that wait for their commit; above it the handler waits at emit."
    )
    backlog_bytes_max: Bytes = Field(
        1_048_576, description="Bytes of one task that wait for their commit; above it the handler waits at emit."
    )
    backlog_total_bytes_max: Bytes = Field(
        67_108_864, description="Bytes of all tasks that wait for their commit; above it every handler waits at emit."
    )
    commit_events_max: Count = Field(1000, description="Events in one transaction at most.")
    window_events_max: Count = Field(1024, description="Committed events of a watched task kept in memory.")
    window_bytes_max: Bytes = Field(524_288, description="Bytes of committed events of a watched task kept in memory.")
    page_max: Count = Field(1000, description="Records or events on one page at most.")
    scan_max: Count = Field(20_000, description="Tasks that one question to a list looks at, at most.")
    filter_terms_max: Count = Field(20, description="Filters of one list, at most.")
    filter_values_max: Count = Field(100, description="Values of one filter, at most.")
    bulk_max: Count = Field(1000, description="Tasks that one bulk cancel or delete takes, at most.")
    report_events_max: Count = Field(1000, description="Events of one report about an external task, at most.")
    inputs_max: Count = Field(1000, description="Inputs that one task takes, at most.")
    stats_tasks_max: Count = Field(100_000, description="Tasks whose times one statistic looks at, at most.")
    retention_batch: Count = Field(
        500, description="Tasks or events that one transaction of retention removes, at most."
    )
    audit_tasks_max: Count = Field(1000, description="Tasks whose logs one audit reads, at most.")
    diary_facts_max: int = Field(
        4000, ge=0, le=20_000, description="Facts that the race diary keeps, the newest ones; 0 keeps none."
    )
    memory_events_max: Count = Field(
        10_000, description="Events of one task that the memory store keeps; older ones become a gap."
    )
    memory_tasks_max: Count = Field(10_000, description="Terminal tasks that the memory store keeps.")

    # -- store -----------------------------------------------------------------------------------------------------
    store_connections: int = Field(5, ge=2, description="Connections to PostgreSQL: one writes, the others read.")
    sqlite_synchronous: Literal["normal", "full"] = Field(
        "normal", description="normal survives kill -9; full survives a power cut too, at one fsync a commit."
    )

    retention: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict,
        description='What is kept of each type, as JSON: {"*": {"records": {"age_s": 86400}, "events": {"count": 9}}}.',
    )

    # -- what built-in task types may do ---------------------------------------------------------------------------
    fetch_allow: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Hosts, host:ports or networks that http_fetch may reach although they are private, by commas.",
    )
    fetch_bytes_max: Bytes = Field(1_073_741_824, description="Bytes http_fetch downloads at most.")
    fetch_dir: Path | None = Field(None, description="Directory http_fetch may save files in; unset: to results only.")
    checksum_roots: Annotated[list[Path], NoDecode] = Field(
        default_factory=list, description="Directories whose files checksum may read, by commas."
    )
    checksum_entries_max: Count = Field(
        1_000_000, description="Files, directories and links checksum looks at, at most."
    )
    checksum_bytes_max: Bytes = Field(1_099_511_627_776, description="Bytes that checksum reads, at most.")
    commands: Annotated[dict[str, str | dict[str, Any]], NoDecode] = Field(
        default_factory=dict,
        description='What command may run, as JSON: {"name": "program arg ..."}, or with places; see task-types.',
    )
    command_dir: Path | None = Field(None, description="Where programs get their directories; unset: as is usual here.")
    command_cpu_s: Count = Field(3600, description="Seconds of processor time that one process of a program may take.")
    command_memory_bytes_max: int = Field(
        4_294_967_296, ge=67_108_864, description="Bytes of address space that one process of a program may have."
    )
    command_file_bytes_max: Bytes = Field(
        1_073_741_824, description="Bytes of one file that a program writes, at most."
    )
    command_files_max: int = Field(256, ge=16, description="Files that one process of a program has open, at most.")
    command_output_bytes_max: Bytes = Field(67_108_864, description="Bytes of output that a program may write.")
    command_lines_max: Count = Field(1_000_000, description="Lines, or pieces of long ones, that a program may write.")

    # -- what is counted -----------------------------------------------------------------------------------------
    metrics: bool = Field(True, description="Count what happens, and answer GET /metrics.")

    # -- log lines ---------------------------------------------------------------------------------------------------
    otel: bool = Field(
        False, description="on: traces are recorded with OpenTelemetry, as the variables OTEL_... of its SDK say."
    )
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Log lines from this level on.")

    @field_validator(
        "tasks", "fetch_allow", "checksum_roots", "jwt_require", "trusted_proxies", "cors_origins", mode="before"
    )
    @classmethod
    def _lists(cls, value: object) -> object:
        return split(value)

    @field_validator("commands", "type_limits", "retention", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value  # a ValueError names the setting

    @field_validator("commands")
    @classmethod
    def _command_lines(cls, value: dict[str, str | dict[str, Any]]) -> dict[str, str | dict[str, Any]]:
        for name, line in value.items():
            if isinstance(line, str) and not shlex.split(line):
                raise ValueError(f"command {name!r} is empty")
        return value

    @property
    def credentials(self) -> bool:
        """Whether a setting says who may call; the store may have keys as well."""
        return any((self.api_keys, self.jwt_secret, self.jwt_jwks_url, self.proxy_user_header))

    @property
    def loopback(self) -> bool:
        """Whether ``host`` is this machine only."""
        return is_loopback(self.host)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, and secrets from the files that it names.

    Args:
        overrides: settings that win over the environment, by field name; None means not given.

    Returns:
        The settings, checked.

    Raises:
        InvalidSettings: one or more values are wrong; each is named with its environment variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**{**read_secret_files(os.environ), **given})
    except ValidationError as error:
        wrong = [_field_error(item["loc"], item["msg"]) for item in error.errors()]
        raise InvalidSettings("; ".join(f"{field.field}: {field.message}" for field in wrong), errors=wrong) from None


def _field_error(place: tuple[int | str, ...], message: str) -> FieldError:
    name = ".".join(map(str, place)).upper()
    return FieldError(f"STREAMING_{name}", message.removeprefix("Value error, "))
