"""The parts of an instance that hold something, for whoever looks at all of them.

Owns:   which parts there are; what all of them hold and count.
Uses:   engine.tables (the form in which each tells it).
Never:  judges (``engine.audit``), or changes anything (``engine.mending``).
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.config import Settings
from streaming.engine.drain import Drain
from streaming.engine.family import Family
from streaming.engine.hub import Hub
from streaming.engine.lookup import LiveTask
from streaming.engine.outside import Outside
from streaming.engine.starts import Starts
from streaming.engine.tables import Table, Tables
from streaming.engine.turns import Turns
from streaming.rules.evidence import Tally


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one instance.

    Attributes:
        hub: the logs.
        settings: the limits.
        tasks: the live tasks.
        turns: who waits and runs.
        family: who was started by whom.
        starts: what is about to be stored.
        outside: the external tasks.
        drain: whether the shutdown has begun.
    """

    hub: Hub
    settings: Settings
    tasks: dict[str, LiveTask]
    turns: Turns
    family: Family
    starts: Starts
    outside: Outside
    drain: Drain

    def tables(self) -> Tables:
        """What is held, by name; at rest nothing, but for `BUSY_AT_REST`."""
        tables: dict[str, Table] = {"tasks": self.tasks.keys()}
        for tell in (self.turns, self.family, self.starts, self.outside, self.hub):
            tables |= tell.tables()
        return tables

    def creating(self) -> frozenset[str]:
        """The tasks that are about to be stored."""
        return frozenset(
            task_id for task_id, log in self.hub.logs.items() if task_id not in self.tasks and not log.window.committed
        )

    def tallies(self) -> list[Tally]:
        """What the parts count, and in truth."""
        starting = self.starts.tallies(len(self.creating()))
        return [*self.turns.tallies(), *starting, *self.outside.tallies(), *self.hub.tallies()]
