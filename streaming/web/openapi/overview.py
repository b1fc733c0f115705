"""What ``GET /server`` answers.

Owns:   its schema, and an example of it and of metrics.
Never:  describes a task: what is of the whole server has none.
"""

from __future__ import annotations

from typing import Any

from streaming.engine.journal import TROUBLES
from streaming.rules.breaker import Circuit
from streaming.rules.drain import Phase
from streaming.web.openapi.answers import Schema, or_null, ref

_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_YES_OR_NO: Schema = {"type": "boolean"}


def _object(properties: dict[str, Schema], *optional: str, description: str = "") -> Schema:
    required = [name for name in properties if name not in optional]
    found: Schema = {"type": "object", "required": required, "properties": properties}
    return {**found, "description": description} if description else found


def _measured(**properties: Schema) -> Schema:
    """Null where nothing is counted (STREAMING_METRICS)."""
    return or_null(_object(properties))


_TASKS = _object(
    {
        **dict.fromkeys(("pending", "running", "retrying", "running_max", "pending_max"), _COUNT),
        "oldest_waiting_s": _NUMBER,
    },
    description="Those of everybody that are live.",
)

_STREAMS = _object(
    {
        "open": _COUNT,
        "open_max": _COUNT,
        "behind": {**_COUNT, "description": "Readers that have not been given all that is committed."},
        "by_principal": {
            "type": "array",
            "items": _object({"principal": _TEXT, "tenant": or_null(_TEXT), "open": _COUNT}),
            "description": "Those with most of them; for admins only.",
        },
    },
    "by_principal",
)

_STORE = _object(
    {
        "kind": {"enum": ["memory", "sqlite", "postgresql"]},
        "available": {**_YES_OR_NO, "description": "The last commit was stored."},
        "breaker": {"enum": [*(circuit.value for circuit in Circuit), None]},
        "errors": _object(dict.fromkeys(TROUBLES, _COUNT)),
    }
)

#: What they look like.
SERVER_EXAMPLE: dict[str, Any] = {
    "version": "0.1.0",
    "started_at": "2026-11-20T21:50:00.000000Z",
    "time": "2026-11-20T21:53:05.994807Z",
    "ready": True,
    "warnings": [],
    "tasks": {
        "pending": 0, "running": 2, "retrying": 1, "running_max": 1000, "pending_max": 10000, "oldest_waiting_s": 0.0
    },
    "streams": {"open": 3, "open_max": 5000, "behind": 0},
    "events_per_s": {"last_1_s": 120.0, "last_10_s": 98.4},
    "commit_s": {"p50": 0.0021, "p99": 0.0087, "window_s": 60.0},
    "loop_lag_s": {"max": 0.004, "mean": 0.0006},
    "backlog_bytes": 0,
    "memory_bytes": 112156672,
    "limits_hit": {"rate_limited": 4},
    "store": {"kind": "sqlite", "available": True, "breaker": None, "errors": {"read": 0, "write": 0}},
    "drain": {"phase": "none", "ends_at": None, "outlook": None},
}  # fmt: skip
METRICS_EXAMPLE = """\
# HELP streaming_streams_open Open streams, and requests that wait.
# TYPE streaming_streams_open gauge
streaming_streams_open 2.0
"""

#: By its name.
OVERVIEW: dict[str, Schema] = {
    "Server": _object(
        {
            "version": _TEXT,
            "started_at": _TIME,
            "time": _TIME,
            "ready": {**_YES_OR_NO, "description": "A start would be accepted."},
            "warnings": {"type": "array", "items": _TEXT},
            "tasks": _TASKS,
            "streams": _STREAMS,
            "events_per_s": _measured(last_1_s=_NUMBER, last_10_s=_NUMBER),
            "commit_s": _measured(p50=or_null(_NUMBER), p99=or_null(_NUMBER), window_s=_NUMBER),
            "loop_lag_s": _measured(max=_NUMBER, mean=_NUMBER),
            "backlog_bytes": _COUNT,
            "memory_bytes": or_null(_COUNT),
            "limits_hit": {"type": "object", "additionalProperties": _COUNT},
            "store": _STORE,
            "drain": _object(
                {
                    "phase": {"enum": [phase.value for phase in Phase]},
                    "ends_at": or_null(_TIME),
                    "outlook": {"anyOf": [ref("DrainOutlook"), {"type": "null"}]},
                }
            ),
        },
        description="How a server is, in one look.",
    )
}
