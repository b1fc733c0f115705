"""Prove that handlers hold: explore interleavings, cancel at every await, break the world around them.

Most tests need nothing of this but the pytest plugin that comes with it: the marker ``simulated`` and the fixtures
``world`` and ``cancel_sweep``. Names are imported when they are used: a plugin must not slow down who does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streaming.testing.choices import Choices, Stream, Trace
    from streaming.testing.exploration import Attempt, Exploration, Failure, explore, replay
    from streaming.testing.faults import CALM, STORMY, Faults
    from streaming.testing.instance import Instance, Killed
    from streaming.testing.loop import Deadlock, Endless, SimulatedLoop, run
    from streaming.testing.network import SimulatedNetwork
    from streaming.testing.open_loop import OpenLoop
    from streaming.testing.outside import OutsideWorld
    from streaming.testing.reader import Reader
    from streaming.testing.reenactment import reenact
    from streaming.testing.store import SimulatedDisk
    from streaming.testing.sweeping import sweep
    from streaming.testing.verdict import Fault, Finding, Kind, Verdict
    from streaming.testing.weather import FAIR, FOUL, Weather
    from streaming.testing.world import Violations, World, current_world

__all__ = [
    "CALM",
    "FAIR",
    "FOUL",
    "STORMY",
    "Attempt",
    "Choices",
    "Deadlock",
    "Endless",
    "Exploration",
    "Failure",
    "Fault",
    "Faults",
    "Finding",
    "Instance",
    "Killed",
    "Kind",
    "OpenLoop",
    "OutsideWorld",
    "Reader",
    "SimulatedDisk",
    "SimulatedLoop",
    "SimulatedNetwork",
    "Stream",
    "Trace",
    "Verdict",
    "Violations",
    "Weather",
    "World",
    "current_world",
    "explore",
    "reenact",
    "replay",
    "run",
    "sweep",
]

_HOMES = {
    "CALM": "streaming.testing.faults",
    "FAIR": "streaming.testing.weather",
    "FOUL": "streaming.testing.weather",
    "STORMY": "streaming.testing.faults",
    "Attempt": "streaming.testing.exploration",
    "Choices": "streaming.testing.choices",
    "Deadlock": "streaming.testing.loop",
    "Endless": "streaming.testing.loop",
    "Exploration": "streaming.testing.exploration",
    "Failure": "streaming.testing.exploration",
    "Fault": "streaming.testing.verdict",
    "Faults": "streaming.testing.faults",
    "Finding": "streaming.testing.verdict",
    "Instance": "streaming.testing.instance",
    "Killed": "streaming.testing.instance",
    "Kind": "streaming.testing.verdict",
    "OpenLoop": "streaming.testing.open_loop",
    "OutsideWorld": "streaming.testing.outside",
    "Reader": "streaming.testing.reader",
    "SimulatedDisk": "streaming.testing.store",
    "SimulatedLoop": "streaming.testing.loop",
    "SimulatedNetwork": "streaming.testing.network",
    "Stream": "streaming.testing.choices",
    "Trace": "streaming.testing.choices",
    "Verdict": "streaming.testing.verdict",
    "Violations": "streaming.testing.world",
    "Weather": "streaming.testing.weather",
    "World": "streaming.testing.world",
    "current_world": "streaming.testing.world",
    "explore": "streaming.testing.exploration",
    "reenact": "streaming.testing.reenactment",
    "replay": "streaming.testing.exploration",
    "run": "streaming.testing.loop",
    "sweep": "streaming.testing.sweeping",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
