"""One fetch for all who wait, and it goes on when they leave."""

from __future__ import annotations

import asyncio

from streaming.access.flight import Flight


class Fetches:
    """Counts them; each waits until it is told to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.go = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        await self.go.wait()
        self.ended += 1


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_wait_share_one_fetch() -> None:
    fetches = Fetches()
    flight = Flight(fetches)
    waiting = [asyncio.create_task(flight.join()) for _ in range(10)]
    await turns()

    assert (fetches.begun, flight.under_way, any(task.done() for task in waiting)) == (1, True, False)

    fetches.go.set()
    await asyncio.gather(*waiting)

    assert (fetches.ended, flight.under_way) == (1, False)


async def test_the_next_one_fetches_again() -> None:
    fetches = Fetches()
    fetches.go.set()
    flight = Flight(fetches)

    await flight.join()
    await flight.join()

    assert fetches.ended == 2


async def test_who_leaves_does_not_end_it() -> None:
    fetches = Fetches()
    flight = Flight(fetches)
    leaving, staying = asyncio.create_task(flight.join()), asyncio.create_task(flight.join())
    await turns()
    leaving.cancel()
    await turns()
    fetches.go.set()
    await staying

    assert (leaving.cancelled(), fetches.begun, fetches.ended) == (True, 1, 1)


async def test_a_fetch_that_has_begun_before_is_not_enough_for_who_wants_a_new_one() -> None:
    fetches = Fetches()
    flight = Flight(fetches)
    flight.start()
    flight.start()
    await turns()
    waiting = [asyncio.create_task(flight.anew()) for _ in range(3)]
    await turns()
    fetches.go.set()
    await asyncio.gather(*waiting)

    assert (fetches.begun, fetches.ended) == (2, 2)


async def test_without_one_under_way_a_new_one_is_one() -> None:
    fetches = Fetches()
    fetches.go.set()

    await Flight(fetches).anew()

    assert fetches.ended == 1


async def test_closing_ends_what_is_under_way_and_nothing_else() -> None:
    fetches = Fetches()
    flight = Flight(fetches)
    await flight.close()
    flight.start()
    await turns()
    await flight.close()
    await flight.close()

    assert (fetches.begun, fetches.ended, flight.under_way) == (1, 0, False)
