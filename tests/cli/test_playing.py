"""Events at their moments, on a virtual clock: an hour takes microseconds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from streaming.cli.playing import Player, Tempo
from streaming.events import Event, rfc3339

pytestmark = pytest.mark.clock("virtual")

AT_S = 1_800_000_000.0


def at(seq: int, second: float, type: str = "tick") -> Event:
    return Event("t", seq, type, rfc3339(AT_S + second), "{}")


LOG = [at(1, 0), at(2, 1), at(3, 1), at(4, 61), at(5, 60)]  # the clock was set back before the last one


async def given(events: list[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


async def played(events: list[Event], tempo: Tempo) -> tuple[list[tuple[float, int]], list[tuple[float, float]]]:
    shown: list[tuple[float, int]] = []
    cut: list[tuple[float, float]] = []
    loop = asyncio.get_running_loop()
    player = Player(tempo, lambda *pause: cut.append(pause))
    begin = loop.time()
    await player.play(given(events), lambda event: shown.append((loop.time() - begin, event.seq)))
    return shown, cut


@pytest.mark.parametrize(
    ("tempo", "moments", "cuts"),
    [
        (Tempo(), [0, 1, 1, 61, 61], []),
        (Tempo(10), [0, 0.1, 0.1, 6.1, 6.1], []),
        (Tempo(0.5), [0, 2, 2, 122, 122], []),
        (Tempo(math.inf), [0, 0, 0, 0, 0], []),
        (Tempo(10, 2), [0, 0.1, 0.1, 2.1, 2.1], [(2, 4)]),
        (Tempo(1, 0), [0, 0, 0, 0, 0], [(0, 1), (0, 60)]),
    ],
)
async def test_the_distances_are_those_of_the_log(
    tempo: Tempo, moments: list[float], cuts: list[tuple[float, float]]
) -> None:
    shown, cut = await played(LOG, tempo)

    assert [seq for _, seq in shown] == [1, 2, 3, 4, 5]
    assert [moment for moment, _ in shown] == pytest.approx(moments)
    assert cut == cuts


async def test_a_gap_takes_no_time_and_does_not_count() -> None:
    """Its time is the moment at which it was asked for."""
    shown, _ = await played([at(3, 1e6, "gap"), at(4, 0), at(5, 2)], Tempo())

    assert shown == [(0, 3), (0, 4), (2, 5)]


async def test_small_delays_do_not_add_up() -> None:
    loop = asyncio.get_running_loop()
    begin, moments = loop.time(), []

    async def late(events: list[Event]) -> AsyncIterator[Event]:
        for event in events:
            await asyncio.sleep(0.5)
            yield event

    await Player(Tempo(), print).play(late([at(n, n) for n in range(5)]), lambda _: moments.append(loop.time() - begin))
    assert moments[0] == 0.5
    assert moments[-1] == pytest.approx(4.0, abs=0.51)


async def test_while_it_is_held_no_time_passes() -> None:
    loop = asyncio.get_running_loop()
    player, moments = Player(Tempo(), print), []
    playing = asyncio.create_task(player.play(given([at(1, 0), at(2, 10)]), lambda _: moments.append(loop.time())))
    await asyncio.sleep(4)
    player.hold(True)
    player.hold(True)
    await asyncio.sleep(100)
    assert (len(moments), player.held) == (1, True)
    player.hold(False)
    await playing

    assert moments == [0, 110]


async def test_it_may_be_held_before_it_begins_and_in_the_moment_of_an_event() -> None:
    loop = asyncio.get_running_loop()
    player, moments = Player(Tempo(), print), []
    player.hold(True)
    playing = asyncio.create_task(player.play(given([at(1, 0), at(2, 1)]), lambda _: moments.append(loop.time())))
    await asyncio.sleep(5)
    assert moments == []
    player.hold(False)
    await asyncio.sleep(1)
    player.hold(True)  # in the tick in which the second one is due
    await asyncio.sleep(5)
    player.hold(False)
    await playing

    assert moments[0] == 5
    assert moments[1] in (6, 11)
