"""How many connections come from where.

Owns:   the connections of each address, and how many one may have.
Uses:   access.proxy (what counts as one address, and who is a proxy).
Never:  holds a connection.
"""

from __future__ import annotations

from collections import Counter

from streaming.access.proxy import Proxies, bucket
from streaming.config import Settings
from streaming.values import is_loopback_address


class Crowd:
    """The connections of one server by address.

    This machine and proxies that are trusted bring the connections of many: they may have as many as there are.

    Args:
        settings: ``address_connections_max``, ``trusted_proxies``.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = settings.address_connections_max
        self._proxies = Proxies(settings)
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, address: str | None) -> None:
        """A connection was made; None is over a unix socket."""
        if address is not None:
            self._open[bucket(address)] += 1

    def leave(self, address: str | None) -> None:
        """A connection that was made is lost."""
        if address is None:
            return
        where = bucket(address)
        self._open[where] -= 1
        if not self._open[where]:
            del self._open[where]

    def has_room_for(self, address: str | None) -> bool:
        """Whether an address has no more connections than it may have."""
        if address is None or self._open[bucket(address)] <= self._most:
            return True
        return is_loopback_address(address) or self._proxies.trusts(address)
