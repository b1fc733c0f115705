"""What code waits for, told by the frames that it stands in.

Rules of this file:

- The frames between the handler's own last line and what it awaits belong to libraries, and a library function that is
  known says what is waited for. Of several the one that says more wins: a socket more than the event behind it, what
  this product does more than either; of equals the innermost.
- What no known function is behind is a future of somebody's own, or an asyncio task.

Owns:   `Wait`, `Stack`, and the table of known functions.
Never:  reads a frame (``engine.stack``), or makes sentences (``rules.why``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Wait(StrEnum):
    """What code waits for."""

    SLEEP = "sleep"
    LOCK = "lock"
    SEMAPHORE = "semaphore"
    EVENT = "event"
    CONDITION = "condition"
    BARRIER = "barrier"
    QUEUE = "queue"
    FULL_QUEUE = "full_queue"
    SOCKET = "socket"
    PROGRAM = "program"
    THREAD = "thread"
    TASKS = "tasks"
    FUTURE = "future"
    ROOM = "room"
    INPUT = "input"
    CHILD = "child"
    PLACE = "place"
    STORE = "store"
    PROCESS_PLACE = "process_place"
    PROCESS = "process"
    THREAD_PLACE = "thread_place"
    THREAD_CODE = "thread_code"
    NEXT_STEP = "next_step"
    NOT_BEGUN = "not_begun"


#: Known functions by what they say, what says least first: plain asyncio and anyio, then what stands for something
#: outside, then this product's own.
_KNOWN: tuple[Mapping[Wait, tuple[str, ...]], ...] = (
    {
        Wait.SLEEP: ("asyncio/tasks.py:sleep",),
        Wait.LOCK: ("asyncio/locks.py:Lock.acquire",),
        Wait.EVENT: ("asyncio/locks.py:Event.wait", "engine/alarm.py:Latch.wait"),
        Wait.TASKS: (
            "asyncio/tasks.py:_wait",
            "asyncio/tasks.py:wait_for",
            "asyncio/taskgroups.py:TaskGroup.__aexit__",
            "asyncio/taskgroups.py:TaskGroup._aexit",
            "_backends/_asyncio.py:TaskGroup.__aexit__",
        ),
    },
    {
        Wait.LOCK: ("_backends/_asyncio.py:Lock.acquire",),
        Wait.SEMAPHORE: (
            "asyncio/locks.py:Semaphore.acquire",
            "_backends/_asyncio.py:Semaphore.acquire",
            "_backends/_asyncio.py:CapacityLimiter.acquire_on_behalf_of",
        ),
        Wait.CONDITION: ("asyncio/locks.py:Condition.wait", "_core/_synchronization.py:Condition.wait"),
        Wait.BARRIER: ("asyncio/locks.py:Barrier.wait",),
        Wait.QUEUE: (
            "asyncio/queues.py:Queue.get",
            "asyncio/queues.py:Queue.join",
            "streams/memory.py:MemoryObjectReceiveStream.receive",
        ),
        Wait.FULL_QUEUE: ("asyncio/queues.py:Queue.put", "streams/memory.py:MemoryObjectSendStream.send"),
        Wait.SOCKET: (
            "asyncio/streams.py:StreamReader._wait_for_data",
            "asyncio/streams.py:FlowControlMixin._drain_helper",
            "asyncio/streams.py:StreamWriter.drain",
            "asyncio/streams.py:StreamWriter.wait_closed",
            "asyncio/streams.py:open_connection",
            "asyncio/base_events.py:BaseEventLoop.create_connection",
            "asyncio/base_events.py:BaseEventLoop.getaddrinfo",
            "asyncio/selector_events.py:BaseSelectorEventLoop.sock_recv",
            "asyncio/selector_events.py:BaseSelectorEventLoop.sock_sendall",
            "asyncio/selector_events.py:BaseSelectorEventLoop.sock_connect",
            "asyncio/selector_events.py:BaseSelectorEventLoop.sock_accept",
            "_backends/_asyncio.py:SocketStream.receive",
            "_backends/_asyncio.py:SocketStream.send",
            "_backends/_asyncio.py:UNIXSocketStream.receive",
            "_backends/_asyncio.py:UNIXSocketStream.send",
            "_core/_sockets.py:connect_tcp",
            "_core/_sockets.py:connect_unix",
        ),
        Wait.PROGRAM: (
            "asyncio/subprocess.py:Process.wait",
            "asyncio/subprocess.py:Process.communicate",
            "_backends/_asyncio.py:Process.wait",
        ),
        Wait.THREAD: (
            "asyncio/threads.py:to_thread",
            "anyio/to_thread.py:run_sync",
            "_backends/_asyncio.py:AsyncIOBackend.run_sync_in_worker_thread",
        ),
    },
    {
        Wait.TASKS: (
            "asyncio/tasks.py:as_completed.<locals>._wait_for_one",
            "asyncio/tasks.py:_AsCompletedIterator._wait_for_one",
        )
    },
    {
        Wait.ROOM: ("engine/backlog.py:Backlog.room",),
        Wait.INPUT: ("engine/mailbox.py:Mailbox._more",),
        Wait.CHILD: ("engine/family.py:Child.result",),
        Wait.STORE: ("engine/mailbox.py:Mailbox._stored", "engine/starts.py:Starts.start"),
        Wait.PROCESS_PLACE: ("engine/processes.py:Processes.run",),
    },
    {
        Wait.PLACE: ("engine/turns.py:Turns._come_back",),
        Wait.PROCESS: ("engine/processes.py:Processes._ask",),
    },
)

_WAITS: Mapping[str, tuple[int, Wait]] = MappingProxyType(
    {code: (rank, wait) for rank, known in enumerate(_KNOWN) for wait, codes in known.items() for code in codes}
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a chain.

    Attributes:
        where: as ``file.py:12 in function``.
        code: folder, file and qualified name of its function.
        own: the handler's own, and not of a library.
    """

    where: str
    code: str
    own: bool

    @property
    def shown(self) -> bool:
        """Whether it says something to who has written the handler: our own code does not."""
        return self.own or not self.code.startswith("engine/")


@dataclass(frozen=True, slots=True)
class Stack:
    """A chain of frames, what its last one waits for, and what is behind that.

    Attributes:
        frames: the outermost first.
        wait: what for.
        name: of the function that it begins with.
        until: when the sleep is over, on the loop's clock.
        task_id: of the child task that is waited for.
        branches: the asyncio tasks that are waited for, as far as they are followed.
        more: so many of them are not.
    """

    frames: tuple[Frame, ...]
    wait: Wait
    name: str = ""
    until: float | None = None
    task_id: str | None = None
    branches: tuple[Stack, ...] = ()
    more: int = 0

    @property
    def where(self) -> str | None:
        """The innermost line that is the handler's own; of one that is installed like a library, its outermost."""
        own = [frame.where for frame in self.frames if frame.own]
        return own[-1] if own else next((frame.where for frame in self.frames if frame.shown), None)

    def as_json(self) -> dict[str, Any]:
        """The chain as it goes over the wire."""
        return {
            "function": self.name,
            "waits_for": self.wait.value,
            "where": self.where,
            "frames": [{"where": frame.where, "own": frame.own} for frame in self.frames if frame.shown],
            "tasks": [branch.as_json() for branch in self.branches],
            "more": self.more,
        }


def wait_of(frames: Sequence[Frame], *, waits: bool, begun: bool, tasks: int) -> Wait:
    """What a chain waits for.

    Args:
        frames: the outermost first.
        waits: whether there is a future behind the last one; if not, its next step is due.
        begun: whether its first line has run.
        tasks: how many asyncio tasks are behind it.
    """
    if not begun:
        return Wait.NOT_BEGUN
    if not waits:
        return Wait.NEXT_STEP
    known = []
    for frame in reversed(frames):
        if frame.own:
            break
        if frame.code in _WAITS:
            known.append(_WAITS[frame.code])
    if not known:
        return Wait.TASKS if tasks else Wait.FUTURE
    return max(known, key=lambda each: each[0])[1]
