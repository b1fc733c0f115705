"""What all runners of a coordinator share.

Owns:   the place where it is kept together; how the call of a handler is put together of it.
Never:  calls a handler.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from streaming.config import Settings
from streaming.engine.calls import Call
from streaming.engine.context import Deadline, Links, TaskContext, Teller
from streaming.engine.family import Host, starter
from streaming.engine.hub import Hub
from streaming.engine.mailbox import Mailbox
from streaming.engine.processes import Processes
from streaming.engine.registry import TaskType
from streaming.records import Record


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all runners of a coordinator share.

    Attributes:
        hub: where they tell what happens.
        settings: the limits.
        threads: how many handlers run in threads.
        processes: where handlers run that need a process of their own.
        host: starts the tasks that a handler starts.
        chance: a random number, 0 <= chance < 1, for the pauses between attempts.
    """

    hub: Hub
    settings: Settings
    threads: anyio.CapacityLimiter
    processes: Processes
    host: Host
    chance: Callable[[], float]

    def call(
        self,
        task_type: TaskType,
        record: Record,
        remaining_s: Callable[[], float],
        teller: Teller,
        mailbox: Mailbox,
    ) -> Call:
        """A call of a handler, and what it holds.

        Args:
            task_type: its handler.
            record: of its task.
            remaining_s: says how many seconds are left.
            teller: where it tells what happens.
            mailbox: what others send into the task.
        """
        tracer = self.hub.tracer
        start = starter(self.host, record.id, record.attempt)
        links = Links(mailbox.read, start, functools.partial(tracer.headers, record))
        params = copy.deepcopy(record.params)
        context = TaskContext(record.id, record.attempt, params, Deadline(remaining_s), teller, links)
        return Call(task_type, context, self.threads, self.processes, tracer, record)
