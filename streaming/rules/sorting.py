"""The order of a list, and the place of a record in it.

Owns:   sort orders, sort keys, and what comes behind a key: the keyset that a page cursor holds.
Uses:   rules.fields.
Never:  writes a cursor (``web.paging``), or knows SQL.

Null comes before every value, so behind all of them where the order descends. Texts compare by code point, priorities
by rank. Every order ends with the id: so no two records share a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from streaming.errors import BadFilter
from streaming.records import Priority, Record
from streaming.rules.fields import FIELDS, NUMBER_MAX, Field, Kind, is_storable, place

FIELDS_MAX = 3

#: The place of a record: one value for each field of the order; the rank of a priority, None for null.
Key: TypeAlias = tuple[str | float | None, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One field of a sort order.

    Attributes:
        field: a name in `FIELDS`.
        descending: the greatest value comes first.
    """

    field: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.field}" if self.descending else self.field


#: Newest first.
DEFAULT_ORDER = (Order("created_at", descending=True), Order("id", descending=True))


def parse_sort(text: str) -> tuple[Order, ...]:
    """Read a sort order such as ``-created_at,id``: a minus puts the greatest first.

    Returns:
        The order; with the id behind it, in the direction of the last field, unless it has the id already.

    Raises:
        BadFilter: a field is none to sort by, is there twice, or is one too many.
    """
    if text.count(",") >= FIELDS_MAX:
        raise BadFilter(f"A list is sorted by at most {FIELDS_MAX} fields, not {text.count(',') + 1}.")
    order = tuple(_order(part.strip()) for part in text.split(","))
    names = [each.field for each in order]
    for name in names:
        if names.count(name) > 1:
            raise BadFilter(f"The sort order has {name} twice; once is possible.")
    return order if "id" in names else (*order, Order("id", order[-1].descending))


def _order(part: str) -> Order:
    name = part.removeprefix("-")
    if name not in FIELDS or not FIELDS[name].sortable:
        possible = ", ".join(field.name for field in FIELDS.values() if field.sortable)
        raise BadFilter(f"A list cannot be sorted by {part[:64]!r}; possible, with or without a minus: {possible}.")
    return Order(name, part.startswith("-"))


def sort_text(order: Sequence[Order]) -> str:
    """The text that `parse_sort` reads as this order."""
    return ",".join(map(str, order))


def sort_key(record: Record, order: Sequence[Order]) -> Key:
    """The place of a record in an order."""
    values = (FIELDS[each.field].get(record) for each in order)
    return tuple(None if value is None else place(value) for value in values)


def is_after(key: Key, cursor_key: Key, order: Sequence[Order]) -> bool:
    """Whether the record of one key comes behind that of another; never behind itself, as it was at another time."""
    for each, mine, other in zip(order, key, cursor_key, strict=True):
        if mine != other:
            return (_rank(mine) < _rank(other)) is each.descending
        if each.field == "id":
            break
    return False


def in_order(records: Iterable[Record], order: Sequence[Order]) -> list[Record]:
    """Sort records."""
    found = list(records)
    for each in reversed(order):  # the last field first: a sort leaves what it finds equal in its order
        found.sort(key=_ranked_by(each), reverse=each.descending)
    return found


_NULL = (False, 0)


def _ranked_by(each: Order) -> Callable[[Record], tuple[bool, Any]]:
    get = FIELDS[each.field].get

    def rank(record: Record) -> tuple[bool, Any]:
        value = get(record)
        return _NULL if value is None else (True, place(value))

    return rank


def _rank(value: str | float | None) -> tuple[bool, Any]:
    """What puts null before every other value of its field."""
    return _NULL if value is None else (True, value)


def is_key(values: Sequence[object], order: Sequence[Order]) -> bool:
    """Whether these are values that a record can have in the fields of an order."""
    return len(values) == len(order) and all(
        _fits(value, FIELDS[each.field]) for value, each in zip(values, order, strict=True)
    )


def _fits(value: object, field: Field) -> bool:
    if value is None:
        return field.nullable
    if isinstance(value, bool):
        return False
    if field.kind is Kind.NUMBER:
        return isinstance(value, int | float) and abs(value) <= NUMBER_MAX
    if field.name == "priority":
        return isinstance(value, int) and 0 <= value < len(Priority)
    return isinstance(value, str) and is_storable(value)
