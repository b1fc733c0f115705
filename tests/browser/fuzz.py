"""Streams at random, read by the standard, by Chromium and by our client: who makes something else of them?

    python3 dev.py run python -m tests.browser.fuzz --streams 20000

Half of them are anything at all, the others are what our server writes for events at random. A stream that is read in
different ways is made as small as it can be, and shown.

Owns:   drawing streams in batches, comparing, the command.
Never:  knows how a stream is to be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from rich.progress import Progress

from streaming.client.answers import event_from
from streaming.events import Event
from tests.browser.chromium import Chromium, NoChromium
from tests.browser.raw import RawServer, raw_server
from tests.browser.readers import Pieces, Reading, by_chromium, by_client, by_standard, for_client
from tests.browser.streams import anything, ours, smallest, told
from tests.browser.tab import Tab

T = TypeVar("T")

#: Streams that one page reads, before it is replaced by a new one.
BATCH = 500


def drawn(draw: Callable[[Random], T], count: int, number: int) -> list[T]:
    """So many of a kind, the same ones for the same number."""
    chance = Random(number)
    return [draw(chance) for _ in range(count)]


@dataclass
class Table:
    """Where streams are read: a page of the browser, and the server that it reads from."""

    tab: Tab
    raw: RawServer

    async def differing(self, streams: Sequence[Pieces]) -> list[tuple[Pieces, Reading, Reading]]:
        """The streams that Chromium and the standard read differently, with what each of them reads."""
        readings = zip(streams, map(by_standard, streams), await by_chromium(self.tab, self.raw, streams), strict=True)
        self.raw.said.clear()
        return [(pieces, right, read) for pieces, right, read in readings if right != read]

    async def explain(self, pieces: Pieces) -> str:
        """The smallest stream with a difference that is left of this one, and the difference."""

        async def differs(stream: bytes) -> bool:
            return bool(await self.differing([[stream]]))

        whole = b"".join(pieces)
        if not await differs(whole):
            return f"only when it comes in these pieces: {pieces!r}"
        small = await smallest(whole, differs)
        ((_, right, read),) = await self.differing([[small]])
        return f"{small!r}\n    by the standard: {right}\n    by Chromium:     {read}"


@asynccontextmanager
async def table(chromium: Chromium) -> AsyncIterator[Table]:
    async with raw_server() as raw, chromium.tab(raw.url) as tab:
        yield Table(tab, raw)


async def read_anything(table: Table, streams: Sequence[Pieces]) -> list[str]:
    """What is wrong with the reading of these."""
    wrong = [await table.explain(pieces) for pieces, _, _ in (await table.differing(streams))[:3]]
    wrong += [f"by our client: {pieces!r}" for pieces in streams if by_client(pieces) != for_client(pieces)][:3]
    return wrong


async def read_ours(table: Table, streams: Sequence[tuple[Pieces, list[Event]]]) -> list[str]:
    """What is wrong with the reading of what our server has written: it must be what was sent, value for value."""
    readings = await by_chromium(table.tab, table.raw, [pieces for pieces, _ in streams])
    table.raw.said.clear()
    wrong = []
    for (pieces, sent), reading in zip(streams, readings, strict=True):
        expected = [told(event) for event in sent]
        for reader, events in {
            "Chromium": reading.events,
            "the standard": by_standard(pieces).events,
            "our client": by_client(pieces),
        }.items():
            if [(id, type, json.loads(data)) for id, type, data in events] != expected:
                wrong.append(f"by {reader}: {pieces!r}")
        if [event_from(data) for _, _, data in reading.events] != sent:
            wrong.append(f"by the client's reader of events: {pieces!r}")
    return wrong


# -- the command -------------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What has been read so far."""

    streams: int = 0
    bytes: int = 0
    events: int = 0

    def add(self, streams: Sequence[Pieces]) -> None:
        self.streams += len(streams)
        self.bytes += sum(len(piece) for pieces in streams for piece in pieces)
        self.events += sum(len(by_standard(pieces).events) for pieces in streams)


async def fuzz(chromium: Chromium, streams: int, number: int) -> tuple[Figures, list[str]]:
    """Read so many streams, with a bar that shows how far it is; ends with the first batch that has a difference."""
    figures, wrong = Figures(), list[str]()
    with Progress() as bar:
        reading = bar.add_task(f"seed {number}", total=streams)
        while figures.streams < streams and not wrong:
            half = (min(BATCH, streams - figures.streams) + 1) // 2
            any_streams, our_streams = drawn(anything, half, number), drawn(ours, half, number)
            async with table(chromium) as here:
                wrong += await read_anything(here, any_streams)
                wrong += await read_ours(here, our_streams)
            figures.add([*any_streams, *(pieces for pieces, _ in our_streams)])
            bar.update(reading, completed=figures.streams)
            number += 1
    return figures, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--streams", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--seed", type=int, default=1, help="a number; the same one gives the same streams (1)")
    asked = parser.parse_args()
    begin = time.monotonic()
    try:
        with Chromium() as chromium:
            version = chromium.version
            figures, wrong = asyncio.run(fuzz(chromium, asked.streams, asked.seed))
    except NoChromium as reason:
        parser.exit(2, f"{reason}\n")
    took_s = time.monotonic() - begin
    print(
        f"Chromium {version}: {figures.streams:,} streams, {figures.bytes:,} bytes, {figures.events:,} events "
        f"in {took_s:.0f} s; {len(wrong)} differences"
    )
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
