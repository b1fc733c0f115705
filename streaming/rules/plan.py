"""How a list is read without looking at more records than a question may.

Owns:   which conditions an index answers, which orders one gives, and which of them a list is read by.
Uses:   rules.filters, rules.sorting.
Never:  knows SQL, counts, or reads a record.

There are two ways. *Gather*: one condition leaves few candidates; all of them are looked at and sorted, in any order.
*Walk*: an index has the records in the wanted order; they are looked at one by one from the place of the page on, until
it is full. The choice depends on what is asked and on how much there is, so that every database makes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from streaming.errors import BadFilter
from streaming.records import TaskStatus
from streaming.rules.fields import FIELDS, Kind, Operator, Value, place
from streaming.rules.filters import Filter, Term
from streaming.rules.sorting import Key, Order, is_after, sort_text

_LOW, _HIGH = (Operator.GT, Operator.GTE), (Operator.LT, Operator.LTE)
_RANGES = (Operator.EQ, *_LOW, *_HIGH, Operator.BETWEEN)
_TEXT = (*_RANGES, Operator.IN, Operator.STARTSWITH)

#: Fields that an index finds, by which operators; those that leave the fewest records as a rule come first.
_INDEXED: Mapping[str, Sequence[Operator]] = {
    "id": _TEXT,
    "external_id": _TEXT,
    "retry_of": _TEXT,
    "key": _TEXT,
    "parent": _TEXT,
    "tenant": _TEXT,
    "finished_at": (*_RANGES, Operator.IN),
    "created_at": (*_RANGES, Operator.IN),
    "type": _TEXT,
    "status": (Operator.EQ, Operator.IN),
}

#: Fields whose index goes on with the time of the start: records of one value come in that order.
_LEADS = ("external_id", "retry_of", "key", "parent", "status", "type")

#: No id is less, or greater.
_LEAST, _GREATEST = "", "\U0010ffff"

#: Orders that an index gives, as a caller writes them; and those in which it has the tasks of one owner together.
ORDERS = ("created_at", "finished_at", "id")
OWN_ORDERS = ("created_at", "finished_at")


@dataclass(frozen=True, slots=True)
class Own:
    """A condition: a record is of this principal, and of no tenant."""

    principal: str


@dataclass(frozen=True, slots=True)
class Word:
    """A condition: a record has this word."""

    text: str


#: One condition that an index answers.
Source: TypeAlias = Term | Word | Own

#: A condition whose index goes on with the order of a list.
Lead: TypeAlias = Term | Own


@dataclass(frozen=True, slots=True)
class Gather:
    """Look at all that one condition leaves.

    Attributes:
        source: the condition; None leaves everything.
    """

    source: Source | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an index, in its order.

    Attributes:
        null: whether the first field of the order is null in this part.
        bounds: comparisons of the first field that the part ends with.
        order: as the index has it.
        after: the place behind which to begin, None for the beginning.
    """

    null: bool
    bounds: tuple[Term, ...]
    order: tuple[Order, ...]
    after: Key | None


@dataclass(frozen=True, slots=True)
class Walk:
    """Look at records in the order of an index.

    Attributes:
        lead: an equality in front of the order; what does not fulfil it is not looked at.
        pieces: what is walked over, one after the other.
        fixed: fields of the whole order that have the same value in all wanted records.
    """

    lead: Lead | None
    pieces: tuple[Piece, ...]
    fixed: Mapping[str, Value]

    def place(self, values: Mapping[str, str | float | None], order: Sequence[Order]) -> Key:
        """The place of a record that was looked at and may not be wanted.

        Args:
            values: its own in the fields of the order.
            order: the whole one.
        """
        return tuple(
            place(self.fixed[each.field]) if each.field in self.fixed else values[each.field] for each in order
        )


def sources(filter: Filter) -> list[Source]:
    """The conditions of a filter that an index answers, each of which leaves all that is wanted."""
    found: list[Source] = [term for field in _INDEXED for term in filter.terms if _is_indexed(term, field)]
    tags = [tag for term in filter.terms if FIELDS[term.field].kind is Kind.TAGS for tag in _tags(term)]
    return [*(Word(word) for word in sorted(filter.words)), *tags, *found, *_own(filter)]


def _own(filter: Filter) -> list[Own]:
    """Of a principal, as an index has it: without a tenant."""
    if Term("tenant", Operator.NULL, (True,)) not in filter.terms:
        return []
    return [Own(str(value)) for value in _equal(filter, "created_by")]


def _equal(filter: Filter, field: str) -> list[Value]:
    """The values that a field must all be equal to."""
    return [term.values[0] for term in filter.terms if term.field == field and term.operator is Operator.EQ]


def orders(filter: Filter) -> Sequence[str]:
    """The orders in which any number of the wanted records can be had."""
    return ORDERS if owner(filter) is None else OWN_ORDERS


def owner(filter: Filter) -> Lead | None:
    """Whose tasks are wanted, if they are of one owner: nobody who asks for these is to hear of others."""
    for tenant in _equal(filter, "tenant"):
        return Term("tenant", Operator.EQ, (tenant,))
    return next(iter(_own(filter)), None)


def _is_impossible(filter: Filter, fixed: Mapping[str, Value]) -> bool:
    """Whether a field that is fixed is to have another value as well, or none."""
    return any(
        term.field in fixed
        and (
            (term.operator is Operator.EQ and term.values[0] != fixed[term.field])
            or (term.operator is Operator.NULL and term.values[0] is True)
        )
        for term in filter.terms
    )


def _is_indexed(term: Term, field: str) -> bool:
    return term.field == field and term.operator in _INDEXED[field]


def _tags(term: Term) -> list[Term]:
    """Of tags that a record must all have, each is a condition of its own."""
    if term.operator is Operator.CONTAINS:
        return [Term(term.field, Operator.EQ, (value,)) for value in term.values]
    return [term] if term.operator in (Operator.EQ, Operator.IN) else []


def walk(filter: Filter, order: Sequence[Order], after: Key | None) -> Walk | None:
    """The walk for a list.

    Args:
        filter: what is wanted.
        order: the order of the list; it has the id.
        after: the place behind which the page begins.

    Returns:
        None where no index has this order, or would lead over the tasks of others to those of one owner.
    """
    fixed = {
        term.field: term.values[0] for term in filter.terms if term.operator is Operator.EQ and term.field != "tag"
    }
    names = [each.field for each in order]
    rest = [each for each in order[: names.index("id") + 1] if each.field not in fixed]
    fields = [each.field for each in rest]
    if fields not in (["created_at", "id"], ["finished_at", "id"], ["id"]):
        return None
    lead = owner(filter)
    if lead is not None and fields == ["id"]:
        return None
    if lead is None and fields[0] == "created_at":
        lead = _lead(filter)
    begin = None if after is None else _begin(order, fixed, after)
    nothing = begin == () or _is_impossible(filter, fixed)
    return Walk(lead, () if nothing else tuple(_pieces(tuple(rest), filter, begin)), fixed)


def _lead(filter: Filter) -> Lead | None:
    """The equality that leaves the fewest records as a rule: most tasks are completed, and few are anything else."""
    equal = [term for field in _LEADS for term in filter.terms if term.field == field and term.operator is Operator.EQ]
    rare = (term for term in equal if term.values != (TaskStatus.COMPLETED,))
    return next(rare, equal[0] if equal else None)


def _begin(order: Sequence[Order], fixed: Mapping[str, Value], after: Key) -> Key | None:
    """The place in what is left of an order: None in front of all that is wanted, empty behind it.

    Where a fixed field has another value in the place, the fields before it decide: of the records that are equal in
    them, all that are wanted come behind the place, or none.
    """
    last = [each.field for each in order].index("id")  # nothing behind it counts
    begin: list[str | float | None] = []
    for each, value in zip(order[: last + 1], after[: last + 1], strict=True):
        if each.field not in fixed:
            begin.append(value)
        elif (wanted := place(fixed[each.field])) != value:
            all_behind = is_after((wanted,), (value,), (each,))
            if not begin:
                return None if all_behind else ()
            return (*begin, _LEAST if all_behind is not order[last].descending else _GREATEST)
    return tuple(begin)


def _pieces(order: tuple[Order, ...], filter: Filter, begin: Key | None) -> list[Piece]:
    """Null comes first, or last where the order descends; among nulls only the id counts."""
    first, last = order[0], order[-1]
    terms = [term for term in filter.terms if term.field == first.field]
    ends = list(_ends(terms))
    low = max((end for end in ends if end.operator in _LOW), key=_value, default=None)
    high = min((end for end in ends if end.operator in _HIGH), key=_value, default=None)
    in_nulls = begin is not None and begin[0] is None
    in_values = begin is not None and begin[0] is not None
    wanted = {term.values[0] for term in terms if term.operator is Operator.NULL}
    pieces: list[Piece] = []
    if FIELDS[first.field].nullable and not (low or high or False in wanted or (in_values and not first.descending)):
        nulls = tuple(Order(each.field, last.descending) for each in order)
        pieces.append(Piece(True, (), nulls, begin if in_nulls else None))
    if not (True in wanted or (in_nulls and first.descending)):
        pieces.append(_values(order, low, high, begin if in_values else None))
    return pieces[::-1] if first.descending else pieces


def _values(order: tuple[Order, ...], low: Term | None, high: Term | None, begin: Key | None) -> Piece:
    """An index has one begin: the place, or the bound that is behind it."""
    near, far = (high, low) if order[0].descending else (low, high)
    if begin is not None and near is not None:
        if _value(near) != begin[0] and (_value(near) < str(begin[0])) is order[0].descending:
            begin = None
        else:
            near = None
    return Piece(False, tuple(term for term in (near, far) if term is not None), order, begin)


def _ends(terms: Sequence[Term]) -> Iterator[Term]:
    """Ranges with one end each."""
    for term in terms:
        if term.operator is Operator.BETWEEN:
            yield Term(term.field, Operator.GTE, term.values[:1])
            yield Term(term.field, Operator.LTE, term.values[1:])
        elif term.operator in (*_LOW, *_HIGH):
            yield term


def _value(term: Term) -> str:
    return str(term.values[0])


def choose(
    walk: Walk | None,
    fewest: tuple[Source | None, int],
    order: Sequence[Order],
    scan_max: int,
    possible: Sequence[str] = ORDERS,
) -> Gather | Walk:
    """The way in which a list is read.

    Args:
        walk: the possible one.
        fewest: the condition that leaves the fewest records, and how many these are; counted up to one over
            ``scan_max``.
        order: of the list.
        scan_max: how many records may be looked at.
        possible: orders without such a limit.

    Raises:
        BadFilter: there are too many for this order.
    """
    source, candidates = fewest
    if walk is not None and (candidates > scan_max or (source is not None and source == walk.lead)):
        return walk
    if candidates > scan_max:
        raise BadFilter(
            f"So many tasks cannot be sorted by {sort_text(order)}: add a filter that leaves at most {scan_max:,} "
            f"tasks, or sort by one of {', '.join(possible)}, with or without a minus."
        )
    return Gather(source)
