"""Run long async tasks, and stream what they do to everyone who watches.

This is the whole public surface for those who write handlers or embed the coordinator. The server is
``streaming.server:app``, the client is ``streaming.client``.
"""

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
