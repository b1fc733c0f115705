# Written by `python -m tests.sync_client` from streaming/client/refusals.py: change that one.
"""Refusals that need to know the task: the code in the server's answer becomes a class that a caller can catch.

Owns:   error code -> class, for a task that is not in the right status.
Uses:   client.wire (to look the task up).
Never:  hides an answer: what is not known here is raised as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from streaming.client.answers import document_from, record_from
from streaming.client.sync.wire import Wire, path_of
from streaming.errors import NotExternal, ServerError, StatusConflict, StreamingError, TaskActive, TaskTerminal
from streaming.records import Record

#: Given the record and what was wanted of the task.
_KINDS: Mapping[str, Callable[[Record, str], StreamingError]] = MappingProxyType(
    {
        TaskTerminal.code: lambda record, wanted: TaskTerminal(record.id, record.status),
        TaskActive.code: lambda record, wanted: TaskActive(record.id, record.status, wanted),
        NotExternal.code: lambda record, wanted: NotExternal(record.id, record.type),
        StatusConflict.code: lambda record, wanted: StatusConflict(record.id, record.status, wanted),
    }
)


@contextmanager
def refusals(wire: Wire, task_id: str, wanted: str = "") -> Iterator[None]:
    """Raise the refusals of one task as what they are.

    Args:
        wire: to the server.
        task_id: the task.
        wanted: what is asked for in the block: a status, or what becomes of the task.

    Raises:
        TaskTerminal: it has ended.
        TaskActive: it has not ended.
        NotExternal: its handler runs in the server.
        StatusConflict: the wanted status cannot follow the one that it has.
    """
    try:
        yield
    except ServerError as error:
        if error.code not in _KINDS:
            raise
        record = record_from(document_from(wire.send("GET", path_of(task_id), task_id=task_id)))
        raise _KINDS[error.code](record, wanted) from error
