"""Times that others write, as the product writes its own.

Owns:   reading RFC 3339 of any offset, and lengths like 15m; a time some seconds before another, and the midnight
        before it.
Never:  reads a clock: ``now`` is always given.

All results are in the fixed-width form of ``events.rfc3339``, so that texts compare like times.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,18}))?(?:[Zz]|([+-])(\d\d):([0-5]\d))\Z", re.ASCII
)

_LENGTH = re.compile(r"([1-9][0-9]{0,8})([smhd])\Z")
DAY_S = 86_400
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}


def read_time(text: str) -> str:
    """Read RFC 3339.

    Args:
        text: with any offset from UTC, and any fraction of a second; what is finer than a microsecond is cut off.
            A leap second is the beginning of the next one.

    Returns:
        The same time in UTC, with microseconds.

    Raises:
        ValueError: it is no such time, or not between the years 1 and 9999 in UTC.
    """
    found = _RFC3339.match(text)
    if found is None:
        raise ValueError(f"{text[:64]!r} is no RFC 3339 time")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    leap = timedelta(seconds=1 if second == 60 else 0)
    micros = int((found[7] or "").ljust(6, "0")[:6])
    zone = timezone(_offset(found[8], found[9], found[10]))
    try:
        local = datetime(year, month, day, hour, minute, 59 if leap else second, micros, zone)
        return _written(local.astimezone(UTC) + leap)
    except OverflowError:
        raise ValueError(f"{text[:64]!r} is out of range") from None


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timedelta:
    if sign is None:
        return timedelta()
    east = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return -east if sign == "-" else east


def _written(time: datetime) -> str:
    # Not strftime: its %Y has no leading zeros everywhere.
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_length(text: str) -> float:
    """Read how long something takes: a whole number with ``s``, ``m``, ``h`` or ``d``.

    Args:
        text: for example ``15m`` or ``7d``.

    Returns:
        Seconds, more than 0.

    Raises:
        ValueError: it is none.
    """
    found = _LENGTH.match(text)
    if found is None:
        raise ValueError(f"{text[:64]!r} is no number of seconds, minutes, hours or days, like 15m, 24h or 7d")
    return float(int(found[1]) * _UNITS_S[found[2]])


def earlier(time: str, seconds: float) -> str:
    """The time so many seconds before another; the year 1 is the earliest.

    Args:
        time: RFC 3339.
        seconds: not negative.
    """
    try:
        return _written(datetime.fromisoformat(read_time(time)) - timedelta(seconds=seconds))
    except OverflowError:
        return _written(datetime.min)


def midnight(time: str) -> str:
    """When the day of a time began, in UTC."""
    return read_time(time)[:10] + "T00:00:00.000000Z"
