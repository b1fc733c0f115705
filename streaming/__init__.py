"""Run long async tasks, and stream what they do to everyone who watches.

This is the whole public surface for those who write handlers or embed the coordinator. The server is
``streaming.server:app``, the client is ``streaming.client``.

Names are imported when they are used: the command line and clients need no engine, and do not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streaming.engine.context import Deadline, TaskContext, ThreadContext
    from streaming.engine.coordinator import TaskCoordinator
    from streaming.engine.registry import Registry, TaskType, task
    from streaming.errors import HandlerError, StreamingError
    from streaming.events import Event
    from streaming.records import CancelReceipt, Record, TaskStatus

__all__ = [
    "CancelReceipt",
    "Deadline",
    "Event",
    "HandlerError",
    "Record",
    "Registry",
    "StreamingError",
    "TaskContext",
    "TaskCoordinator",
    "TaskStatus",
    "TaskType",
    "ThreadContext",
    "task",
]

_HOMES = {
    "CancelReceipt": "streaming.records",
    "Deadline": "streaming.engine.context",
    "Event": "streaming.events",
    "HandlerError": "streaming.errors",
    "Record": "streaming.records",
    "Registry": "streaming.engine.registry",
    "StreamingError": "streaming.errors",
    "TaskContext": "streaming.engine.context",
    "TaskCoordinator": "streaming.engine.coordinator",
    "TaskStatus": "streaming.records",
    "TaskType": "streaming.engine.registry",
    "ThreadContext": "streaming.engine.context",
    "task": "streaming.engine.registry",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
