"""Which representation a client wants: RFC 9110, section 12.5.1.

Owns:   reading an ``Accept`` header, and choosing among what we have.
Never:  raises for a header it cannot read: such an element counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_ELEMENT = re.compile(
    r"\s*(?P<type>[\w!#$&^.+*-]+)/(?P<subtype>[\w!#$&^.+*-]+)\s*"
    r"(?P<params>(?:;[^,]*)?)\Z",
    re.ASCII,
)
_Q = re.compile(r";\s*q\s*=\s*([^;\s]*)", re.IGNORECASE)
_QVALUE = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z", re.ASCII)


#: Ranges of one header that are looked at.
RANGES_MAX = 64


class _Range(NamedTuple):
    type: str
    subtype: str
    q: float

    def precision(self, media_type: str) -> int:
        """0: no match; the higher, the more exactly this range names the media type."""
        type, _, subtype = media_type.partition("/")
        if (self.type, self.subtype) == (type, subtype):
            return 3
        if (self.type, self.subtype) == (type, "*"):
            return 2
        return 1 if (self.type, self.subtype) == ("*", "*") else 0


def choose(accept: str | None, offers: Sequence[str]) -> str | None:
    """Choose a media type.

    Args:
        accept: the header; None or nothing readable in it means anything.
        offers: media types that we have, the one we prefer first.

    Returns:
        The offer that the client likes best, ours first among equals; None if it likes none.
    """
    if accept in offers:
        return accept  # as most clients say it
    parts = [] if accept is None else accept.split(",", RANGES_MAX)[:RANGES_MAX]
    ranges = [found for part in parts if (found := _read(part)) is not None]
    if not ranges:
        return offers[0]
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    return best if _quality(best, ranges) > 0 else None


def _quality(media_type: str, ranges: list[_Range]) -> float:
    """The weight of the most precise range that matches; among equally precise ones, the highest."""
    _, weight = max(
        (precision, each.q if precision else 0.0) for each in ranges for precision in [each.precision(media_type)]
    )
    return weight


def _read(element: str) -> _Range | None:
    match = _ELEMENT.match(element)
    if match is None:
        return None
    weight = _Q.search(match["params"])
    if weight is None:
        return _Range(match["type"].lower(), match["subtype"].lower(), 1.0)
    if not _QVALUE.match(weight[1]):
        return None
    return _Range(match["type"].lower(), match["subtype"].lower(), float(weight[1]))
