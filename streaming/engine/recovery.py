"""After a crash: what became of the tasks that the last process left behind.

Owns:   writing it down, before anybody can ask; what their logs say of their viewers.
Uses:   rules.lifecycle (what becomes of which status).
Never:  runs a task: those that wait for their turn are handed back.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Sequence

import structlog

from streaming.engine.audience import Audience
from streaming.engine.hub import Hub
from streaming.engine.log import Log
from streaming.engine.registry import Registry
from streaming.engine.transitions import end, may_restart, requeue
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Record, TaskError
from streaming.rules.lifecycle import Transition, recovery
from streaming.rules.outcome import Outcome

#: Seconds until a store is asked again that could not be read.
RETRY_S = 1.0

_PAGE = 512

_log = structlog.get_logger(__name__)


async def recover(hub: Hub, registry: Registry) -> list[Log]:
    """Take up every task that is not terminal, and see it stored.

    Args:
        hub: of the new process, open.
        registry: the task types that exist now.

    Returns:
        The logs of the tasks that wait for their turn, or go on elsewhere, oldest first.

    Raises:
        StoreUnavailable: the store cannot be read, or the hub was closed meanwhile.
    """
    waiting = take_up(hub, registry, await hub.journal.unfinished())
    await hub.committed()
    return waiting


def take_up(hub: Hub, registry: Registry, records: Iterable[Record]) -> list[Log]:
    """Take up stored tasks that nobody runs; what is written of them is not stored yet when this returns.

    Args:
        hub: where.
        registry: the task types that exist now.
        records: as they are stored; none is terminal.

    Returns:
        The logs of those that wait for their turn, or go on elsewhere, in the order of the records.
    """
    return [log for record in records if _take_up(hub, registry, log := hub.resume(record), record)]


def _take_up(hub: Hub, registry: Registry, log: Log, record: Record) -> bool:
    """Write down what becomes of one task, and say whether it is live."""
    known = record.type in registry
    transition = recovery(
        record.status,
        cancelled=record.to_be_cancelled,
        restartable=known and may_restart(registry.get(record.type), record),
        known=known,
        outside=known and registry.get(record.type).outside,
        orphaned=record.parent is not None,
    )
    _log.info("recovering a task", task_id=record.id, status=record.status.value, transition=transition)
    if transition is None:
        return True
    if transition is Transition.REQUEUE:
        requeue(hub, log, "crash")
        return True
    end(hub, log, Outcome(transition, _error(transition, record, known=known)))
    hub.when_committed(functools.partial(hub.drop, log))
    return False


def _error(transition: Transition, record: Record, *, known: bool) -> TaskError:
    if transition is Transition.CANCEL:
        return TaskError("cancelled", "It was cancelled; then the server crashed.")
    if not known:
        message = f"The server has restarted, and knows no task type {record.type!r} any more."
        return TaskError("unknown_type", message)
    who = "task" if record.parent is None else "task that has started it"
    return TaskError("crash", f"The server crashed or was killed while the {who} was running.")


class LookBack:
    """Finds out whose viewers an earlier process has seen leave; logs may be long, so nobody waits for that.

    Args:
        hub: of the logs.
        group: where the task belongs that looks.
    """

    def __init__(self, hub: Hub, group: asyncio.TaskGroup) -> None:
        self._hub = hub
        self._group = group
        self._looking: set[asyncio.Task[None]] = set()

    def begin(self, logs: Sequence[Log]) -> None:
        """Look at the logs of tasks that go on."""
        asking = [(log, log.audience) for log in logs if log.audience is not None and log.record.cancel is None]
        if asking:
            looking = self._group.create_task(self._resume(asking), name="streaming-look-back")
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    def stop(self) -> None:
        """The next process looks again."""
        for looking in self._looking:
            looking.cancel()

    async def _resume(self, asking: Sequence[tuple[Log, Audience]]) -> None:
        for log, audience in asking:
            if await was_watched(self._hub, log):
                audience.resume()


async def was_watched(hub: Hub, log: Log) -> bool:
    """Whether the last viewer of a task has left an earlier process; yes, where its log cannot tell any more.

    A store that is away is waited for.

    Args:
        hub: of the log.
        log: of a task that was taken up.
    """
    seq, last_seq = 0, log.window.committed
    while seq < last_seq:
        page = await _stored(hub, log, seq, last_seq)
        if not page or page[0].seq > seq + 1 or any(event.type in ("unwatched", "gap") for event in page):
            return True
        seq = page[-1].seq
    return False


async def _stored(hub: Hub, log: Log, seq: int, last_seq: int) -> list[Event]:
    while True:
        try:
            return await hub.journal.events_after(log.record.id, seq, last_seq=last_seq, limit=_PAGE)
        except StoreUnavailable as problem:
            _log.warning("who has watched a task cannot be read", task_id=log.record.id, reason=problem.detail)
            await asyncio.sleep(RETRY_S)
