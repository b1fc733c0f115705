"""One task, described for people: its fields in groups, its history, the tasks under it.

Owns:   which field stands in which group.
Uses:   cli.output (how it is printed).
Never:  asks a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from streaming.cli.output import print_fields, print_table, printable
from streaming.records import Record
from streaming.rules.history import Span

#: All fields of a task.
GROUPS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "task": (
            *(
                "id",
                "type",
                "status",
                "priority",
                "key",
                "external_id",
                "parent",
                "retry_of",
                "tags",
                "created_by",
                "tenant",
                "traceparent",
            ),
            "params",
        ),
        "work": ("attempt", "retries_left", "retry_at", "progress", "steps", "eta", "result", "error", "cancel"),
        "times": ("created_at", "started_at", "updated_at", "heartbeat_at", "finished_at", "acked_at"),
        "limits": (
            *("timeout_s", "queue_timeout_s", "heartbeat_timeout_s", "total_timeout_s"),
            *("retry", "on_unwatched", "keep_until_ack"),
        ),
        "log": ("last_seq", "client_seq"),
    }
)


def print_details(record: Record, history: Sequence[Span], children: Sequence[Record]) -> None:
    """Print everything that is known of a task."""
    document = record.as_json()
    for group, names in GROUPS.items():
        _heading(group)
        print_fields((name, document[name]) for name in names if document[name] != [])
    _heading("history")
    print_table(
        ["status", "time", "by", "lasted", "reason"],
        [[span.status, span.time, span.by, _lasted(span), span.reason] for span in history],
    )
    if children:
        _heading("children")
        print_table(["id", "status", "type"], [[child.id, child.status, child.type] for child in children])


def _heading(text: str) -> None:
    print(f"-- {printable(text)} --")


def _lasted(span: Span) -> str | None:
    return None if span.lasted_s is None else f"{span.lasted_s:.3f} s"
