"""The limits that are hit: how often each of them was, and that of a log.

Owns:   the names of the limits, and one number for each; what is refused to who writes into a log that is full.
Never:  stops the server's own events: a task that has too many of its own still has its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias, get_args

from streaming.config import PRINCIPAL_LIMITS, Settings
from streaming.engine.log import Log
from streaming.errors import LogTooLarge, TooManyEvents
from streaming.rules.access import ANONYMOUS_NAME

#: All limits that are counted. Where a limit has an error code of its own, it has that name.
LimitName: TypeAlias = Literal[
    # Of starts: the queue, the external tasks, and what one principal may have of each; idempotency keys.
    "too_many_tasks",
    "too_many_external",
    "too_many_tasks_of_principal",
    "too_many_external_of_principal",
    "too_many_keys",
    # Of one task: by its handler, its worker, and those who send something into it.
    "event_too_large",
    "result_too_large",
    "report_too_large",
    "input_too_large",
    "too_many_events",
    "log_too_large",
    "too_many_lines",
    "too_many_inputs",
    # Of requests and streams.
    "rate_limited",
    "authentication_failed",
    "held_back",
    "too_many_streams",
    "too_many_streams_of_principal",
    "body_too_large",
    "json_too_deep",
    "json_too_wide",
    "query_too_large",
    "query_too_slow",
    "uri_too_long",
    "headers_too_large",
    "request_timeout",
    "too_many_connections",
]


class LimitsHit(Mapping[str, int]):
    """How often each limit was hit since the process has begun; every name is there from the first moment.

    Attributes:
        on_hit: is told of each one, and of whose task has hit it, or None for whoever is asking; None tells nobody.
    """

    __slots__ = ("_counts", "on_hit")

    def __init__(self) -> None:
        self.on_hit: Callable[[LimitName, str | None], object] | None = None
        self._counts: dict[str, int] = dict.fromkeys(get_args(LimitName), 0)

    def hit(self, name: LimitName, owner: str | None = None) -> None:
        """Count one, and tell of it.

        Args:
            name: of the limit.
            owner: the principal whose task has hit it; None if whoever asks has.
        """
        self.count(name)
        if self.on_hit is not None:
            self.on_hit(name, owner)

    def count(self, name: LimitName) -> None:
        """Count one of which somebody else tells."""
        self._counts[name] += 1

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


def check_fits(log: Log, settings: Settings, limits_hit: LimitsHit, *, events: int, size: int) -> None:
    """Refuse what does not fit into a log any more.

    Args:
        log: of the task.
        settings: how much there may be.
        limits_hit: where it is counted.
        events: so many are to be written.
        size: so many bytes their data have.

    Raises:
        TooManyEvents: they would be too many.
        LogTooLarge: they would be too large.
    """
    if log.window.last + events > settings.events_max:
        limits_hit.hit("too_many_events", log.record.created_by)
        raise TooManyEvents(f"The task has {log.window.last} events, and can have {settings.events_max}.")
    if log.bytes + size > settings.log_bytes_max:
        limits_hit.hit("log_too_large", log.record.created_by)
        raise LogTooLarge(f"The events of the task have {log.bytes} bytes, and can have {settings.log_bytes_max}.")


def share_of(settings: Settings, name: str) -> tuple[int, str | None]:
    """How much of something one principal may have, and who may have all of it.

    Args:
        settings: where a limit is unset, the usual one holds for everybody who has a name.
        name: of the setting, one of `PRINCIPAL_LIMITS`.
    """
    most: int | None = getattr(settings, name)
    return (PRINCIPAL_LIMITS[name], ANONYMOUS_NAME) if most is None else (most, None)
