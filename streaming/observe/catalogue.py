"""Every metric there is: its name, kind, labels and meaning.

Rules of this file:

- Names begin with ``streaming_``, have base units, and end in ``_total`` where they only grow.
- A label has few values, and which ones is known before: words of ours, and the types that are registered. Never an id,
  a name of a principal, an address or a URL.

Owns:   the table. Documentation, dashboard and alerts are held against it.
Never:  counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What may be done with a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric.

    Attributes:
        kind: what it is.
        help: what it means.
        labels: their names.
    """

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

_TASKS = {
    "streaming_tasks": Described(_GAUGE, "Live tasks.", ("status", "type")),
    "streaming_task_oldest_waiting_seconds": Described(_GAUGE, "Age of the oldest pending task; 0 if none is pending."),
    "streaming_tasks_created_total": Described(_COUNTER, "Tasks that were started.", ("type",)),
    "streaming_tasks_finished_total": Described(_COUNTER, "Tasks that have ended.", ("status", "type")),
    "streaming_task_waiting_seconds": Described(
        _HISTOGRAM, "Seconds from the start of a task to the beginning of its first run.", ("type",)
    ),
    "streaming_task_running_seconds": Described(_HISTOGRAM, "Seconds of a run, whatever its end.", ("type",)),
    "streaming_task_retries_total": Described(_COUNTER, "Failed runs that another one follows.", ("type",)),
    "streaming_task_requeues_total": Described(_COUNTER, "Interrupted runs that another one follows.", ("type",)),
    "streaming_timeouts_total": Described(_COUNTER, "Runs and waits that were over their time.", ("limit",)),
    "streaming_cancels_total": Described(
        _COUNTER, "Cancelled tasks that have ended, by what became of the cancel.", ("outcome",)
    ),
    "streaming_cancels_open": Described(_GAUGE, "Cancelled tasks that still go on.", ("outcome",)),
    "streaming_cancel_seconds": Described(_HISTOGRAM, "Seconds from the request to cancel a task to its stop."),
}

_STORE = {
    "streaming_events_written_total": Described(_COUNTER, "Events that are stored."),
    "streaming_commit_seconds": Described(_HISTOGRAM, "Seconds of a commit; its count is the number of commits."),
    "streaming_commit_rows_total": Described(_COUNTER, "Rows that commits have written."),
    "streaming_backlog_bytes": Described(_GAUGE, "Bytes of events that wait for their commit."),
    "streaming_store_available": Described(_GAUGE, "1 if the last commit was stored."),
    "streaming_store_breaker": Described(_GAUGE, "1 for the state of the circuit breaker of the store.", ("state",)),
    "streaming_store_errors_total": Described(
        _COUNTER, "Questions and transactions that the store has failed.", ("operation",)
    ),
}

_READERS = {
    "streaming_streams_open": Described(_GAUGE, "Open streams, and requests that wait."),
    "streaming_readers_behind": Described(_GAUGE, "Readers that have not been given all that is committed."),
    "streaming_deliveries_total": Described(_COUNTER, "Events that were sent, to each reader that got them."),
    "streaming_sent_bytes_total": Described(_COUNTER, "Bytes of events that were handed to connections."),
    "streaming_gaps_total": Described(_COUNTER, "Gaps that readers have met.", ("reason",)),
}

_SERVER = {
    "streaming_requests_total": Described(_COUNTER, "Requests that were answered.", ("method", "status")),
    "streaming_limits_hit_total": Described(_COUNTER, "Limits that were hit.", ("limit",)),
    "streaming_authentication_failures_total": Described(
        _COUNTER, "Requests without a credential that is good.", ("reason",)
    ),
    "streaming_loop_lag_seconds": Described(_HISTOGRAM, "How late the event loop calls a timer."),
    "streaming_loop_lag_max_seconds": Described(_GAUGE, "The longest lag of the event loop in the last minute."),
    "streaming_stalls_total": Described(_COUNTER, "Stalls of the event loop that were named.", ("by",)),
    "streaming_ready": Described(_GAUGE, "1 if a start would be accepted."),
    "streaming_drain_phase": Described(_GAUGE, "1 for the phase of the drain.", ("phase",)),
    "streaming_setting": Described(_GAUGE, "What a setting says that limits how much there may be.", ("name",)),
    "streaming_build_info": Described(_GAUGE, "1, with what this server is.", ("python", "store", "version")),
}

#: All of ours.
METRICS: Mapping[str, Described] = MappingProxyType({**_TASKS, **_STORE, **_READERS, **_SERVER})

#: Those of the process, which have the names that they have everywhere; on Linux.
PROCESS: Mapping[str, Described] = MappingProxyType(
    {
        "process_cpu_seconds_total": Described(_COUNTER, "CPU of the process, user and system."),
        "process_resident_memory_bytes": Described(_GAUGE, "Resident memory."),
        "process_virtual_memory_bytes": Described(_GAUGE, "Virtual memory."),
        "process_start_time_seconds": Described(_GAUGE, "When the process began, in seconds since 1970."),
        "process_open_fds": Described(_GAUGE, "Open file descriptors."),
        "process_max_fds": Described(_GAUGE, "How many it may have."),
    }
)
