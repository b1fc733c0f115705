"""What every route needs.

Owns:   the coordinator, the settings, the open streams, the door, a look at the breaker and the
        forecast, the description and its page, and what ends with the server, in one value.
Never:  does anything. Tasks are reached through `Site.view` only: what one principal may see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streaming.config import Settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.forecast import Forecast
from streaming.engine.view import View
from streaming.observe.metrics import Metrics
from streaming.observe.overview import Overview
from streaming.rules.breaker import Circuit
from streaming.web.door import Door
from streaming.web.heartbeat import Heartbeat
from streaming.web.reply import Reply
from streaming.web.request import Request

if TYPE_CHECKING:
    from streaming.web.assets import Asset  # which answers requests to a site


@dataclass(frozen=True, slots=True)
class Site:
    """One application."""

    coordinator: TaskCoordinator
    settings: Settings
    heartbeat: Heartbeat
    circuit: Callable[[], Circuit | None]
    forecast: Forecast
    door: Door
    metrics: Metrics | None
    overview: Overview
    descriptions: dict[tuple[str, str], Reply] = field(default_factory=dict)
    docs: dict[tuple[str, bool], Asset] = field(default_factory=dict)
    #: Called when the server ends, for what no task ends.
    endings: set[Callable[[], object]] = field(default_factory=set)

    def view(self, request: Request) -> View:
        """The tasks that are there for whoever calls."""
        credential = request.credential
        return View(self.coordinator, credential.principal, granted=credential.task_id)
