"""All scenarios that are explored, by name.

Owns:   the list; how many schedules of each the suite runs, and how a long run is shared out among them.
Never:  runs one.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.testing.exploration import Scenario
from streaming.testing.world import World
from tests.worlds.crashes import crashes
from tests.worlds.crowd import crowd
from tests.worlds.drain import drain
from tests.worlds.feed import feed
from tests.worlds.life import life
from tests.worlds.logs import logs
from tests.worlds.starts import starts
from tests.worlds.turns import turns
from tests.worlds.wakes import wakes


@dataclass(frozen=True, slots=True)
class Entry:
    """One scenario.

    Attributes:
        scenario: to run.
        suite: how many schedules of it a run of the tests explores.
        share: which part of a long run is its own: quick ones have more of it.
        sees: statuses of tasks that a run of the tests has to see; a scenario that sees nothing proves nothing.
        steps_max: steps of one run, at most: a bug may be that something spins.
    """

    scenario: Scenario
    suite: int
    share: float
    sees: frozenset[str] = frozenset()
    steps_max: int = 5_000

    async def play(self, world: World) -> None:
        """The scenario, with an end also where it spins: the same one for the code as it is, and with a planted bug."""
        world.loop.steps_max = self.steps_max
        await self.scenario(world)


async def web(world: World) -> None:
    """The whole stack over a bad network; imported when it is played: nothing else here needs a server."""
    from tests.testing.web_scenario import web_scenario

    await web_scenario(world)


async def client(world: World) -> None:
    """The same, as seen by the client of the package."""
    from tests.testing.web_scenario import client_scenario

    await client_scenario(world)


CATALOGUE: dict[str, Entry] = {
    "life": Entry(life, suite=200, share=0.05, sees=frozenset({"completed", "cancelled", "timed_out", "failed"})),
    "crowd": Entry(crowd, suite=60, share=0.005, sees=frozenset({"completed", "cancelled", "timed_out", "failed"})),
    "crashes": Entry(
        crashes, suite=150, share=0.01, sees=frozenset({"completed", "cancelled", "interrupted", "failed"})
    ),
    "drain": Entry(drain, suite=100, share=0.12, sees=frozenset({"completed", "cancelled", "interrupted", "failed"})),
    "feed": Entry(feed, suite=100, share=0.015, sees=frozenset({"completed"})),
    "starts": Entry(starts, suite=100, share=0.015, sees=frozenset({"completed", "cancelled", "failed"})),
    "turns": Entry(turns, suite=100, share=0.04, sees=frozenset({"completed", "cancelled"})),
    "wakes": Entry(wakes, suite=200, share=0.515),
    "logs": Entry(logs, suite=200, share=0.22, sees=frozenset({"completed", "failed"})),
    "web": Entry(web, suite=20, share=0.005, sees=frozenset({"completed"}), steps_max=100_000),
    "client": Entry(client, suite=20, share=0.005, sees=frozenset({"completed"}), steps_max=100_000),
}
