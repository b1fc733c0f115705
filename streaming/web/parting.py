"""What a stream says that ends although what it reads goes on: when to come back.

A server that stops ends all its streams in the same moment. Without a word their readers would come back in the same
moment too, to the next server, which has just begun. So each is given a delay of its own.

It is one line without an empty one behind it. EventSource takes a ``retry`` with the line; httpx-sse would make an
event without data of the empty line, and so makes nothing. The client of this package reads the line itself.

Owns:   the delays.
Never:  knows why a stream ends.
"""

from __future__ import annotations

from collections.abc import Callable

from streaming.rules.sse import RETRY_MS, retry_line


class Parting:
    """The parting words of one server.

    Args:
        spread_s: seconds over which readers are to come back, after the usual delay; 0 says nothing.
        chance: a random number, 0 <= chance < 1, for each stream.
    """

    def __init__(self, spread_s: float, chance: Callable[[], float]) -> None:
        self._spread_s = spread_s
        self._chance = chance

    def words(self) -> bytes:
        """For one stream."""
        if not self._spread_s:
            return b""
        return retry_line(RETRY_MS + int(1000 * self._spread_s * self._chance()))
