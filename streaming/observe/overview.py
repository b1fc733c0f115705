"""How a server is at this moment: the figures of the engine, for one look.

Owns:   which figures there are, and their names.
Uses:   observe.live (what is live), observe.metrics (what was counted), engine.parts (where everything is).
Never:  shows a task, or who has one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streaming.engine.parts import Parts
from streaming.events import rfc3339
from streaming.observe.live import look, readers_behind
from streaming.observe.metrics import Metrics
from streaming.observe.process import resident_bytes
from streaming.observe.recent import COMMITS_S, LONG_S, SHORT_S
from streaming.records import TaskStatus
from streaming.rules.drain import Phase


class Overview:
    """A look at one instance.

    Args:
        parts: of the instance.
        metrics: what was counted; None if nothing was.
    """

    def __init__(self, parts: Parts, metrics: Metrics | None) -> None:
        self._parts = parts
        self._metrics = metrics
        self._started_at = parts.hub.now()

    def times(self) -> dict[str, str]:
        """When it began, and when this is."""
        return {"started_at": self._started_at, "time": self._parts.hub.now()}

    def tasks(self) -> dict[str, Any]:
        """Those of everybody that are live, and how many there may be."""
        live, settings = look(self._parts, lambda type: type), self._parts.settings
        statuses = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING)
        return {
            **{status.value: live.of_status(status) for status in statuses},
            "running_max": settings.max_running,
            "pending_max": settings.max_pending,
            "oldest_waiting_s": live.oldest_waiting_s,
        }

    def readers_behind(self) -> int:
        """How many have not been given all that is committed."""
        return readers_behind(self._parts)

    def measured(self) -> dict[str, Any]:
        """What has to be counted all the time; null where nobody counts."""
        if self._metrics is None:
            return {"events_per_s": None, "commit_s": None, "loop_lag_s": None}
        recent, lag = self._metrics.tally.recent, self._metrics.lag
        return {
            "events_per_s": {f"last_{window_s:g}_s": recent.events_per_s(window_s) for window_s in (SHORT_S, LONG_S)},
            "commit_s": {"p50": recent.commit_s(50), "p99": recent.commit_s(99), "window_s": COMMITS_S},
            "loop_lag_s": {"max": lag.max_s, "mean": lag.mean_s},
        }

    def memory(self) -> dict[str, int | None]:
        """What waits for its commit, and the whole process."""
        return {"backlog_bytes": self._parts.hub.backlog_bytes, "memory_bytes": resident_bytes()}

    def limits_hit(self) -> dict[str, int]:
        """Those that were."""
        return {name: count for name, count in self._parts.hub.limits_hit.items() if count}

    def store(self) -> dict[str, Any]:
        """What it is, whether it can be written, the state of its breaker, and what has failed."""
        hub = self._parts.hub
        circuit = hub.journal.circuit
        return {
            "kind": self._parts.settings.store_url.partition(":")[0].partition("+")[0],
            "available": hub.available,
            "breaker": None if circuit is None else circuit.value,
            "errors": dict(hub.journal.troubles),
        }

    def drain(self) -> dict[str, Any]:
        """How far the server is on its way out, and when that ends at the latest."""
        drain = self._parts.drain
        if drain.phase is Phase.NONE:
            return {"phase": drain.phase.value, "ends_at": None}
        left_s = drain.end_at - asyncio.get_running_loop().time()
        return {"phase": drain.phase.value, "ends_at": rfc3339(self._parts.hub.wall() + left_s)}
