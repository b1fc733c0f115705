"""Page cursors of lists: opaque to clients, keyset-based for us.

Owns:   (created_at, id) of a page's last record -> text, and back.
Never:  reads records.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from streaming.errors import BadCursor

_CHECK_BYTES = 6
_PLACE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([0-9a-f]{32})\Z", re.ASCII)


def write_cursor(created_at: str, task_id: str) -> str:
    """Make the cursor behind a record."""
    place = f"{created_at} {task_id}".encode()
    check = blake2b(place, digest_size=_CHECK_BYTES).digest()
    return urlsafe_b64encode(check + place).rstrip(b"=").decode()


def read_cursor(text: str) -> tuple[str, str]:
    """Read a cursor as a client sends it back.

    Returns:
        (created_at, id) of the last record of the page before.

    Raises:
        BadCursor: we have not made this one.
    """
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        place = _PLACE.match(raw[_CHECK_BYTES:].decode("ascii"))
    except (binascii.Error, UnicodeError):
        place = None
    # The check inside finds damage; there is nothing to protect, a cursor opens no door that a filter does not.
    if place is None or write_cursor(place[1], place[2]) != text:
        raise BadCursor("This cursor is not one of ours: send back the next_cursor of a page as it is.")
    return place[1], place[2]
