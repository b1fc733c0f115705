"""The sweep: what is not to be kept any more is removed, a little at a time.

Rules of this file:

- Each step is one short transaction, and a pause follows that is at least as long: commits of tasks go in between.
  Where a step takes longer than it should, the next ones are smaller.
- A sweep looks at all records that are too many, at the logs of all live tasks, and at so many others, in turn: after
  some sweeps every log was looked at, however many there are.
- What goes wrong is logged, and the next sweep begins anew. In a drain no step is begun.

Owns:   `Sweeper`; what of the setting is refused.
Uses:   rules.retention (what is kept), engine.journal (what removes it).
Never:  decides what is removed, or holds up whoever commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

from streaming.config import Settings
from streaming.engine.journal import Journal, Pruned, Walk
from streaming.errors import FieldError, InvalidSettings, StoreUnavailable
from streaming.rules.retention import Kept, Retention, parse_retention

#: Seconds between two steps, at least; and how long a step should take, at most.
PAUSE_S = 0.05
STEP_S = 0.05

#: Steps become smaller down to this part: each has costs of its own, and a sweep has to get ahead.
PARTS_MAX = 8

#: Logs of one type that one sweep looks at; those of live tasks are no part of it.
LOGS_MAX = 20_000

_VARIABLE = "STREAMING_RETENTION"

_log = structlog.get_logger(__name__)

#: Told what each step has removed.
Tell = Callable[[Pruned], None]


def policy_of(settings: Settings) -> Retention:
    """What is to be kept, by the settings.

    Raises:
        InvalidSettings: the message and its field name every wrong place.
    """
    try:
        return parse_retention(settings.retention)
    except ValueError as error:
        wrong = [FieldError(_VARIABLE, str(error))]
        raise InvalidSettings(f"{_VARIABLE}: {error}", errors=wrong) from None


class Sweeper:
    """Removes what is not to be kept, every ``retention_every_s`` seconds, as long as it is entered.

    Args:
        journal: where.
        policy: what is kept.
        settings: how often, and how much at once.
        now: the time, RFC 3339.
        stopped: whether nothing is to be begun any more.
    """

    def __init__(
        self,
        journal: Journal,
        policy: Retention,
        settings: Settings,
        now: Callable[[], str],
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._journal = journal
        self._policy = policy
        self._every_s = settings.retention_every_s
        self._batch = settings.retention_batch
        self._now = now
        self._stopped = stopped
        self._walks: dict[str, Walk] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="streaming-retention")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                done = await self.sweep()
            except StoreUnavailable as problem:
                _log.warning("retention waits for the store", reason=problem.detail)
            except Exception:
                _log.exception("retention has failed; it is tried again")
            else:
                if done:
                    _log.info("removed what is not to be kept", records=done.records, events=done.events)

    async def sweep(
        self, *, only: str | None = None, everything: bool = False, tell: Tell = lambda step: None
    ) -> Pruned:
        """Look for what is not to be kept, once, and remove it.

        Args:
            only: look at tasks of this type.
            everything: look at all logs, and not at some of them in turn.
            tell: told of each step.

        Returns:
            All that was removed.

        Raises:
            StoreUnavailable: the store cannot be read or written.
        """
        types = [type for type in await self._journal.task_types() if only in (None, type)]
        kept = {type: self._policy.for_type(type) for type in types}
        steps = _Steps(self._batch, tell, self._stopped)
        for type, bounds in kept.items():
            if bounds.records.limited:
                await self._prune(type, bounds, steps)
        trimmed = [type for type, bounds in kept.items() if bounds.events.limited]
        if trimmed and not everything:
            await self._trim(Walk(), steps)
        for type in trimmed:
            rest = await self._trim(self._walks.pop(type, Walk(type)), steps, None if everything else LOGS_MAX)
            if rest is not None:
                self._walks[type] = rest
        return steps.done

    async def _prune(self, type: str, kept: Kept, steps: _Steps) -> None:
        async def step(limit: int) -> Pruned:
            return await self._journal.prune(type, kept.records, now=self._now(), limit=limit)

        while await steps.take(step):
            pass

    async def _trim(self, walk: Walk, steps: _Steps, logs_max: int | None = None) -> Walk | None:
        """Walk through logs, and trim them; where the walk goes on, if it has not come to its end."""
        looked = 0
        rest: Walk | None = walk
        while rest is not None and not self._stopped() and (logs_max is None or looked < logs_max):
            ids, rest = await self._journal.outgrown(self._policy, rest, now=self._now(), limit=self._batch)
            looked += self._batch
            if ids:
                await self._trim_logs(ids, steps)
            elif rest is not None:
                await asyncio.sleep(PAUSE_S)
        return rest

    async def _trim_logs(self, ids: list[str], steps: _Steps) -> None:
        async def step(limit: int) -> Pruned:
            return Pruned(events=await self._journal.trim(ids, self._policy, now=self._now(), limit=limit))

        while await steps.take(step):
            pass


class _Steps:
    """The steps of one sweep.

    Args:
        most: what one step removes at most.
        tell: told of each.
        stopped: whether no other is to be begun.

    Attributes:
        done: what they have removed together.
    """

    def __init__(self, most: int, tell: Tell, stopped: Callable[[], bool]) -> None:
        self.done = Pruned()
        self._most = self._limit = most
        self._least = max(1, most // PARTS_MAX)
        self._tell = tell
        self._stopped = stopped

    async def take(self, step: Callable[[int], Awaitable[Pruned]]) -> Pruned:
        """Take a step, and pause; what it has removed: nothing, where no step is to be begun any more."""
        if self._stopped():
            return Pruned()
        clock = asyncio.get_running_loop().time
        begun = clock()
        done = await step(self._limit)
        if done:
            took_s = clock() - begun
            self._limit = self._limit // 2 if took_s > STEP_S else self._limit * 2
            self._limit = min(self._most, max(self._least, self._limit))
            self.done += done
            self._tell(done)
            await asyncio.sleep(max(PAUSE_S, took_s))
        return done
