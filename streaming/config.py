"""Every setting and every limit, with its default and its meaning.

Owns:   names, defaults and bounds of the settings; each is an environment variable ``STREAMING_...``.
Never:  acts on a setting, or reads anything but the environment.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streaming.errors import FieldError, InvalidSettings

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]


def _split(value: object) -> object:
    """Accept ``a, b`` where a list is asked for."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _store_url(value: str) -> str:
    if value == "memory://" or value.startswith(("sqlite:///", "postgresql+psycopg://")):
        return value
    raise ValueError(
        "possible are memory://, sqlite:///path/to/file.db (four slashes for an absolute path), and "
        "postgresql+psycopg://user@host/database"
    )


class Settings(BaseSettings):
    """The configuration of one instance."""

    model_config = SettingsConfigDict(env_prefix="STREAMING_", extra="ignore", frozen=True)

    # -- where ---------------------------------------------------------------------------------------------------
    host: str = Field("127.0.0.1", description="Address to listen on; others than loopback need insecure_public.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one and logs it.")
    insecure_public: bool = Field(
        False, description="Serve addresses other than loopback although no credentials are configured."
    )
    store_url: Annotated[str, AfterValidator(_store_url)] = Field(
        "sqlite:///streaming.db",
        description="Where tasks and events are kept: memory://, sqlite:///path, or postgresql+psycopg://...",
    )
    tasks: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Modules with task handlers to load, separated by commas."
    )

    # -- time ------------------------------------------------------------------------------------------------------
    grace_s: float = Field(10.0, ge=0, le=86400, allow_inf_nan=False, description="Seconds from SIGTERM to the exit.")
    timeout_default_s: Seconds = Field(3600.0, description="Seconds a task may run if its start names no timeout.")
    timeout_max_s: Seconds = Field(86400.0, description="The longest timeout that a start may ask for, in seconds.")
    cancel_grace_s: Seconds = Field(
        5.0, description="Seconds a cancelled handler has to clean up before it is cancelled again."
    )
    keepalive_s: Seconds = Field(15.0, description="A silent stream gets a comment at least this often, in seconds.")
    send_timeout_s: Seconds = Field(30.0, description="Seconds after which a reader that takes no bytes is dropped.")
    wait_max_s: Seconds = Field(60.0, description="The longest wait_s that a request may ask for, in seconds.")
    body_timeout_s: Seconds = Field(15.0, description="Seconds within which a request body must have arrived.")
    header_timeout_s: Seconds = Field(
        10.0, description="Seconds within which the headers of a request must have arrived."
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
    max_streams: Count = Field(5000, description="Open streams at most; one more is refused with 429.")
    max_threads: Count = Field(40, description="Threads for handlers with run_in='thread', at most.")
    max_processes: Count = Field(2, description="Worker processes for handlers with run_in='process', at most.")
    body_bytes_max: Bytes = Field(1_048_576, description="Bytes of a request body at most.")
    header_bytes_max: Bytes = Field(65_536, description="Bytes of a request line and its headers at most.")
    headers_max: Count = Field(100, description="Headers of a request at most.")
    json_depth_max: Count = Field(64, description="Levels of nesting in a request body at most.")
    event_bytes_max: Bytes = Field(262_144, description="Bytes of one event's data, or of a result, at most.")
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
    commands: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description='Command lines that command may run, as JSON: {"name": "program arg ..."}.',
    )

    # -- log lines ---------------------------------------------------------------------------------------------------
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Log lines from this level on.")

    @field_validator("tasks", "fetch_allow", "checksum_roots", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        return _split(value)

    @field_validator("commands", "type_limits", "retention", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value  # a ValueError names the setting

    @field_validator("commands")
    @classmethod
    def _command_lines(cls, value: dict[str, str]) -> dict[str, str]:
        for name, line in value.items():
            if not shlex.split(line):
                raise ValueError(f"command {name!r} is empty")
        return value

    @property
    def loopback(self) -> bool:
        """Whether ``host`` is this machine only."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        overrides: settings that win over the environment, by field name; None means not given.

    Returns:
        The settings, checked.

    Raises:
        InvalidSettings: one or more values are wrong; each is named with its environment variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = [_field_error(item["loc"], item["msg"]) for item in error.errors()]
        raise InvalidSettings("; ".join(f"{field.field}: {field.message}" for field in wrong), errors=wrong) from None


def _field_error(place: tuple[int | str, ...], message: str) -> FieldError:
    name = ".".join(map(str, place)).upper()
    return FieldError(f"STREAMING_{name}", message.removeprefix("Value error, "))
