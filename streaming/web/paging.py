"""Page cursors of lists: opaque to clients, keyset-based for us.

Owns:   the place behind a page's last record, with the order and the question it belongs to -> text, and back.
Uses:   rules.sorting (keys, and whether one can be true).
Never:  reads records.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from streaming.errors import BadCursor
from streaming.rules.sorting import Key, Order, is_key, sort_text

_CHECK_BYTES = 6


def write_cursor(key: Key, order: Sequence[Order], asked: str) -> str:
    """Make the cursor behind a record.

    Args:
        key: of the record, in this order (``rules.sorting.sort_key``).
        order: of the list.
        asked: the question to the list, in its canonical form (``rules.query.Question.asked``).
    """
    return _sealed([sort_text(order), _digest(asked.encode()).hex(), *key])


def read_cursor(text: str, order: Sequence[Order], asked: str) -> Key:
    """Read a cursor as a client sends it back.

    Args:
        text: the cursor.
        order: of the list that is asked for now.
        asked: the question, as in `write_cursor`.

    Returns:
        The key of the last record of the page before.

    Raises:
        BadCursor: we have not made this one, or for another order or question; the detail says which.
    """
    made_in, made_for, *key = _opened(text)
    if made_in != sort_text(order):
        raise BadCursor(
            f"This cursor belongs to the sort order {str(made_in)[:200]}, not to {sort_text(order)}: "
            "ask for that order, or begin with the first page."
        )
    if made_for != _digest(asked.encode()).hex():
        raise BadCursor(
            "This cursor belongs to other filters: ask for the same from page to page, or begin with the first page."
        )
    if not is_key(key, order):
        raise _not_ours()
    return tuple(key)


def _sealed(parts: list[Any]) -> str:
    place = json.dumps(parts, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return urlsafe_b64encode(_digest(place) + place).rstrip(b"=").decode()


def _opened(text: str) -> list[Any]:
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        parts = json.loads(raw[_CHECK_BYTES:].decode())
        # The check inside finds damage; there is nothing to protect, a cursor opens no door that a filter does not.
        # One that was made elsewhere, with a right check, still has to fit its order.
        if isinstance(parts, list) and len(parts) > 2 and _sealed(parts) == text:
            return parts
    except (binascii.Error, ValueError, RecursionError):
        raise _not_ours() from None
    raise _not_ours()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_CHECK_BYTES).digest()


def _not_ours() -> BadCursor:
    return BadCursor("This cursor is not one of ours: send back the next_cursor of a page as it is.")
