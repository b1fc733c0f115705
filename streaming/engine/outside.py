"""The external tasks of one coordinator: how many there are, whose they are, and which of a key may be worked on.

Owns:   the table of external tasks, and the limits of it.
Uses:   engine.external (one of them), rules.schedule (which keys are busy).
Never:  takes a report, or ends a task but at the end of the process.
"""

from __future__ import annotations

from collections.abc import Callable

from streaming.config import Settings
from streaming.engine.draft import scoped_key
from streaming.engine.external import External
from streaming.engine.hub import Hub
from streaming.engine.limits import share_of
from streaming.engine.log import Log
from streaming.engine.registry import TaskType
from streaming.engine.tables import Tables
from streaming.errors import TooManyTasks
from streaming.rules.access import owner_of
from streaming.rules.evidence import Tally
from streaming.rules.limits import Shares
from streaming.rules.schedule import Line


class Outside:
    """The external tasks of one coordinator.

    Args:
        hub: where they are told what happens.
        settings: the limits.
        line: which keys are busy.
        on_over: called when one has ended or was lost.
    """

    def __init__(self, hub: Hub, settings: Settings, line: Line, on_over: Callable[[External], None]) -> None:
        self._hub = hub
        self._settings = settings
        self._line = line
        self._on_over = on_over
        self._tasks: dict[str, External] = {}
        self._of = Shares(*share_of(settings, "principal_external_max"))

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._tasks)

    def tables(self) -> Tables:
        """What is held here."""
        return {"external": self._tasks.keys(), "external principals": self._of.total}

    def tallies(self) -> list[Tally]:
        """How many each principal has, as it is counted and in truth."""
        return self._of.tallies("external tasks", map(_owner, self._tasks.values()))

    def recount(self) -> None:
        """Put right how many each principal has."""
        self._of.recount(map(_owner, self._tasks.values()))

    def vacate(self, task_id: str) -> bool:
        """Forget a task that nobody knows, and say whether it was there."""
        found = self._leave(task_id)
        if found is not None:
            found.rest()
        return found is not None

    def admit(self, owner: str, starting: int, starting_of: int) -> None:
        """Refuse one more, if there are too many, or too many of its principal.

        Args:
            owner: the principal.
            starting: how many are about to be stored.
            starting_of: how many of these are the principal's.

        Raises:
            TooManyTasks: there are.
        """
        if len(self) + starting >= self._settings.max_external:
            self._hub.limits_hit.hit("too_many_external")
            most = self._settings.max_external
            raise TooManyTasks(f"Too many external tasks have not ended: at most {most} may be there.")
        if not self._of.has_room(owner, starting_of):
            self._hub.limits_hit.hit("too_many_external_of_principal")
            share = self._of.most
            raise TooManyTasks(f"Too many external tasks of yours have not ended: at most {share} of one principal.")

    def take_in(self, task_type: TaskType, log: Log) -> External:
        """Follow a task that was stored just now, or by an earlier process."""
        record = log.record
        key = scoped_key(record)
        self._line.announce(record.id, key)  # after a restart those that run come first
        found = External(task_type, log, self._hub, self._settings, lambda: self._holder(record.id, key), self._over)
        self._tasks[record.id] = found
        self._of.change(_owner(found), 1)
        return found

    def close(self, *, keep: bool) -> None:
        """The process is about to end: look at no clock any more.

        Args:
            keep: leave the tasks to the next process, rather than end them.
        """
        for each in list(self._tasks.values()):
            each.rest()
            if not keep and not each.over:
                each.interrupt()

    def _holder(self, task_id: str, key: str | None) -> str | None:
        first = task_id if key is None else self._line.live(key)[0]
        return None if first == task_id else first

    def _over(self, each: External) -> None:
        self._leave(each.id)
        self._on_over(each)

    def _leave(self, task_id: str) -> External | None:
        found = self._tasks.pop(task_id, None)
        if found is not None:
            self._of.change(_owner(found), -1)
        return found


def _owner(each: External) -> str:
    record = each.log.record
    return owner_of(record.created_by, record.tenant)
