"""What every route needs.

Owns:   the coordinator, the settings, the open streams, a look at the breaker and the forecast, in one value.
Never:  does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streaming.config import Settings
from streaming.engine.coordinator import TaskCoordinator
from streaming.engine.forecast import Forecast
from streaming.rules.breaker import Circuit
from streaming.web.heartbeat import Heartbeat

#: Who calls, as long as there are no credentials.
PRINCIPAL = "anonymous"


@dataclass(frozen=True, slots=True)
class Site:
    """One application."""

    coordinator: TaskCoordinator
    settings: Settings
    heartbeat: Heartbeat
    circuit: Callable[[], Circuit | None]
    forecast: Forecast
