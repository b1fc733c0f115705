"""Filters, places and orders as SQL that means exactly what ``rules`` say.

Owns:   which column a field is; the SQL of every operator, on both databases.
Uses:   rules.filters, rules.sorting (the meaning), rules.plan (what is walked over), schema.
Never:  chooses an index, or runs a statement.

Two values that are distinct are not equal, also where one is null: so ``ne`` is SQL's ``IS DISTINCT FROM``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeGuard

from sqlalchemy import (
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Table,
    Tuple,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.elements import UnaryExpression

from streaming.rules.fields import FIELDS, Kind, Operator, Value, place
from streaming.rules.filters import Filter, Term
from streaming.rules.patterns import Wildcard, prefix_end, read_pattern
from streaming.rules.plan import Lead, Own, Piece, Source, Word
from streaming.rules.sorting import Key, Order
from streaming.store.schema import Text, tasks, terms

Condition: TypeAlias = ColumnElement[bool]

#: Fields whose column has another name.
_COLUMNS = MappingProxyType({"progress": "percent", "error": "error_code"})
_GLOB = MappingProxyType({Wildcard.RUN: "*", Wildcard.ONE: "?"})


def column_name(field: str) -> str:
    """The name of the column that has the values of a field."""
    return _COLUMNS.get(field, field)


def column_of(field: str, rows: FromClause) -> ColumnElement[Any]:
    """The column itself."""
    return rows.c[column_name(field)]


def matches(filter: Filter, rows: FromClause, dialect: str, *, probe: bool = True) -> list[Condition]:
    """The conditions of a filter.

    Args:
        filter: which records.
        rows: what has their columns, and always ``id``.
        dialect: ``sqlite`` or ``postgresql``.
        probe: whether terms are looked up for one row after the other; if not, the database may begin with them.
    """
    words = [_has_term("word", [word], rows, probe) for word in sorted(filter.words)]
    return [*(_condition(term, rows, dialect, probe) for term in filter.terms), *words]


def names_in(filter: Filter) -> set[str]:
    """The columns that `matches` asks for, besides the id."""
    return {column_name(term.field) for term in filter.terms if FIELDS[term.field].kind is not Kind.TAGS}


def is_source(source: Source | None, dialect: str) -> tuple[Table, list[Condition]]:
    """The table that a source is about, ``terms`` or ``tasks``, and what is true of its rows."""
    if source is None:
        return tasks, []
    if isinstance(source, Word):
        return terms, [terms.c.kind == "word", terms.c.term == source.text]
    if isinstance(source, Own):
        return tasks, is_led_by(source, tasks, dialect)
    if FIELDS[source.field].kind is Kind.TAGS:
        return terms, [terms.c.kind == "tag", _is_any(terms.c.term, list(map(str, source.values)))]
    return tasks, [is_true(source, tasks, dialect)]


def is_led_by(lead: Lead | None, rows: FromClause, dialect: str) -> list[Condition]:
    """The conditions of what a walk is led by."""
    if lead is None:
        return []
    if isinstance(lead, Own):
        return [rows.c.created_by == literal(lead.principal, Text), rows.c.tenant.is_(None)]
    return [is_true(lead, rows, dialect)]


def is_true(term: Term, rows: FromClause, dialect: str) -> Condition:
    """The condition of one term."""
    return _condition(term, rows, dialect, probe=True)


def _condition(term: Term, rows: FromClause, dialect: str, probe: bool) -> Condition:
    field = FIELDS[term.field]
    if field.kind is Kind.TAGS:
        return _of_tags(term, rows, probe)
    column = column_of(term.field, rows)
    if term.operator is Operator.NULL:
        return column.is_(None) if term.values[0] else column.is_not(None)
    if term.operator in _MATCHED:
        return _MATCHED[term.operator](column, str(term.values[0]), dialect)
    return _COMPARED[term.operator](column, [_bound(term.field, value) for value in term.values])


def _bound(field: str, value: Value | None) -> ColumnElement[Any]:
    """A value as a parameter: a number is never cut to the type of its column."""
    compared = place(value)  # type: ignore[arg-type]  # null is no value of a filter, but of a place
    kind = Float() if FIELDS[field].kind is Kind.NUMBER else Integer() if field == "priority" else Text
    return literal(compared, kind)


_COMPARED: Mapping[Operator, Callable[[Any, list[ColumnElement[Any]]], Condition]] = MappingProxyType(
    {
        Operator.EQ: lambda column, values: column == values[0],
        Operator.NE: lambda column, values: column.is_distinct_from(values[0]),
        Operator.GT: lambda column, values: column > values[0],
        Operator.GTE: lambda column, values: column >= values[0],
        Operator.LT: lambda column, values: column < values[0],
        Operator.LTE: lambda column, values: column <= values[0],
        Operator.IN: lambda column, values: column.in_(values),
        Operator.NIN: lambda column, values: or_(column.is_(None), column.not_in(values)),
        Operator.BETWEEN: lambda column, values: and_(column >= values[0], column <= values[1]),
    }
)


def _starts(column: ColumnElement[Any], text: str, dialect: str) -> Condition:
    """A range, so that an index can answer it."""
    end = prefix_end(text)
    return (
        column >= literal(text, Text)
        if end is None
        else and_(column >= literal(text, Text), column < literal(end, Text))
    )


def _contains(column: ColumnElement[Any], text: str, dialect: str) -> Condition:
    found = func.instr if dialect == "sqlite" else func.strpos
    return found(column, literal(text, Text), type_=Integer()) > 0


def _like(column: ColumnElement[Any], pattern: str, dialect: str) -> Condition:
    """SQLite's own LIKE does not tell apart the case of letters; its GLOB does."""
    if dialect == "sqlite":
        return column.bool_op("GLOB")(literal(_glob(pattern), Text))
    return column.like(literal(pattern, Text), escape="\\")


def _ilike(column: ColumnElement[Any], pattern: str, dialect: str) -> Condition:
    """Both fold the letters A to Z only: SQLite always, PostgreSQL in the collation C that the column has."""
    if dialect == "sqlite":
        return column.like(literal(pattern, Text), escape="\\")
    return column.bool_op("ILIKE")(literal(pattern, Text))


def _glob(pattern: str) -> str:
    """A pattern of ``like`` in the words of GLOB, where a bracket takes a wildcard as it is."""
    return "".join(
        _GLOB[each] if isinstance(each, Wildcard) else f"[{each}]" if each in "*?[" else each
        for each in read_pattern(pattern)
    )


_MATCHED: Mapping[Operator, Callable[[Any, str, str], Condition]] = MappingProxyType(
    {
        Operator.STARTSWITH: _starts,
        Operator.CONTAINS: _contains,
        Operator.LIKE: _like,
        Operator.ILIKE: _ilike,
    }
)


def _of_tags(term: Term, rows: FromClause, probe: bool) -> Condition:
    tags = [str(value) for value in term.values]
    if term.operator is Operator.CONTAINS:
        return and_(*(_has_term("tag", [tag], rows, probe) for tag in tags))
    found = _has_term("tag", tags, rows, probe)
    return not_(found) if term.operator in (Operator.NE, Operator.NIN) else found


def _has_term(kind: str, wanted: Sequence[str], rows: FromClause, probe: bool) -> Condition:
    its = terms.alias()
    found = select(its.c.task_id).where(its.c.kind == kind, _is_any(its.c.term, wanted))
    if not probe:
        return rows.c.id.in_(found)
    # PostgreSQL leaves a question with an OFFSET where it is; others it turns into a join, of all there is.
    return found.where(its.c.task_id == rows.c.id).limit(1).offset(0).exists()


def _is_any(column: ColumnElement[str], values: Sequence[str]) -> Condition:
    """Whether a text is one of these."""
    return column == values[0] if len(values) == 1 else column.in_(values)


# -- orders and places -------------------------------------------------------------------------------------------------


def sorted_by(order: Sequence[Order], rows: FromClause) -> list[UnaryExpression[Any]]:
    """A whole order: null comes first, and last where it descends."""
    return [_direction(each, rows) for each in order]


def _direction(each: Order, rows: FromClause) -> UnaryExpression[Any]:
    column = column_of(each.field, rows)
    if FIELDS[each.field].nullable:
        return column.desc().nulls_last() if each.descending else column.asc().nulls_first()
    return column.desc() if each.descending else column.asc()


def behind(order: Sequence[Order], key: Key, rows: FromClause) -> Condition:
    """What comes behind a place: greater in one field, and equal in those before it; the id is the last that counts."""
    choices: list[Condition] = []
    equal: list[Condition] = []
    for each, value in zip(order, key, strict=True):
        column = column_of(each.field, rows)
        choices.append(and_(*equal, _beyond(each, value, column)))
        equal.append(column.is_(None) if value is None else column == _bound(each.field, value))
        if each.field == "id":
            break
    return or_(*choices)


def _beyond(each: Order, value: str | float | None, column: ColumnElement[Any]) -> Condition:
    if value is None:
        return false() if each.descending else column.is_not(None)
    if not each.descending:
        return column > _bound(each.field, value)
    lower = column < _bound(each.field, value)
    return or_(lower, column.is_(None)) if FIELDS[each.field].nullable else lower


def in_piece(lead: Lead | None, piece: Piece, rows: FromClause, dialect: str) -> list[Condition]:
    """What belongs to a part of an index, from its place on."""
    first = piece.order[0]
    column = column_of(first.field, rows)
    part = column.is_(None) if piece.null else column.is_not(None) if FIELDS[first.field].nullable else true()
    owner = _owner(lead, piece, rows)
    if owner is not None:
        return [part, *_among_its_own(owner, piece, rows)]
    bounds = [is_true(term, rows, dialect) for term in piece.bounds]
    return [*is_led_by(lead, rows, dialect), part, *bounds, *_from_place(piece, rows)]


def _from_place(piece: Piece, rows: FromClause, owner: _Owner | None = None) -> list[Condition]:
    """What an index can begin with, and what is exact."""
    if piece.after is None:
        return []
    order = piece.order[1:] if piece.null else piece.order
    key = piece.after[1:] if piece.null else piece.after
    columns = [column_of(each.field, rows) for each in order]
    values = [_bound(each.field, value) for each, value in zip(order, key, strict=True)]
    down = order[0].descending
    if len({each.descending for each in order}) == 1:
        here, there = _behind_owner(columns, values, owner)
        return [here < there if down else here > there]
    here, there = _behind_owner(columns[:1], values[:1], owner)
    return [here <= there if down else here >= there, behind(order, key, rows)]


def in_piece_order(lead: Lead | None, piece: Piece, rows: FromClause) -> list[UnaryExpression[Any]]:
    """The order of a part of an index: it has only nulls, or none."""
    columns = [(column_of(each.field, rows), each.descending) for each in piece.order]
    owner = _owner(lead, piece, rows)
    if owner is not None:
        columns.insert(0, (owner.column, piece.order[0].descending))
    return [column.desc() if descending else column.asc() for column, descending in columns]


# -- the tasks of one owner --------------------------------------------------------------------------------------------


class _Owner(NamedTuple):
    """Whose tasks are walked over, as a range of an index that has those of everybody.

    An equality would mean the same. But it leaves PostgreSQL another index in the same order, over everybody's tasks,
    which it takes where it guesses wrong how many there are.
    """

    column: ColumnElement[Any]
    value: ColumnElement[Any]
    indexed: Condition


def owner_columns(lead: Lead | None) -> set[str]:
    """The columns that the order of an owner's tasks begins with."""
    return {"created_by"} if isinstance(lead, Own) else {"tenant"} if _is_tenant(lead) else set()


def _is_tenant(lead: Lead | None) -> TypeGuard[Term]:
    return isinstance(lead, Term) and lead.field == "tenant"


def _owner(lead: Lead | None, piece: Piece, rows: FromClause) -> _Owner | None:
    """None where nobody's are meant alone; and among those that have not ended, which are few."""
    if piece.null:
        return None
    if isinstance(lead, Own):
        return _Owner(rows.c.created_by, literal(lead.principal, Text), rows.c.tenant.is_(None))
    if _is_tenant(lead):
        return _Owner(rows.c.tenant, literal(str(lead.values[0]), Text), rows.c.tenant.is_not(None))
    return None


def _among_its_own(owner: _Owner, piece: Piece, rows: FromClause) -> list[Condition]:
    """Those of a piece. An index has one begin and one end: those of the piece, else those of the owner."""
    first = piece.order[0]
    column = column_of(first.field, rows)
    found = [owner.indexed, *_from_place(piece, rows, owner)]
    ends = {None if piece.after is None else Operator.LT if first.descending else Operator.GT}
    for term in piece.bounds:
        here, there = _behind_owner([column], [_bound(term.field, term.values[0])], owner)
        found.append(_COMPARED[term.operator](here, [there]))
        ends.add(term.operator)
    if ends.isdisjoint((Operator.GT, Operator.GTE)):
        found.append(owner.column >= owner.value)
    if ends.isdisjoint((Operator.LT, Operator.LTE)):
        found.append(owner.column <= owner.value)
    return found


def _behind_owner(
    columns: Sequence[ColumnElement[Any]], values: Sequence[ColumnElement[Any]], owner: _Owner | None
) -> tuple[Tuple, Any]:
    """Columns and their values for a comparison of whole rows, with the owner in front."""
    if owner is None:
        return tuple_(*columns), tuple_(*values)
    return tuple_(owner.column, *columns), tuple_(owner.value, *values)
