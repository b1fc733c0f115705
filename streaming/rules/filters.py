"""Filters of a list: what a caller asks for, read from query parameters, and which records that is.

Owns:   the term and the filter, their limits and their canonical form; the plain meaning that every store has to keep.
Uses:   rules.fields (fields, operators, values), rules.patterns (like), rules.words (words).
Never:  knows SQL, HTTP or an index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from streaming.errors import BadFilter, QueryTooLarge
from streaming.records import Record
from streaming.rules.fields import FIELDS, TAGS_MAX, TEXT_MAX, Field, Kind, Operator, Value, place
from streaming.rules.patterns import fold_ascii, is_like, read_pattern
from streaming.rules.words import words_in

WORDS_MAX = 10

#: The parameter of the full-text search.
TEXT = "q"

_NAME = re.compile(r"([^\[\]]*)(?:\[([^\[\]]*)\])?\Z", re.DOTALL)

#: Operators that take a set of values, and what they are for a set of one.
_SETS = MappingProxyType({Operator.IN: Operator.EQ, Operator.NIN: Operator.NE})


@dataclass(frozen=True, slots=True)
class FilterLimits:
    """How much one filter may ask: terms, and values of one term."""

    terms_max: int = 20
    values_max: int = 100


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison.

    Attributes:
        field: a name in `FIELDS`.
        operator: one of the field's.
        values: those of its kind: one; two for ``between``; one or more for ``in``, ``nin``, and ``contains`` of
            tags, in ascending order and each once; true or false for ``null``; a pattern for ``like`` and ``ilike``.
            Numbers are floats, times are in UTC with microseconds.
    """

    field: str
    operator: Operator
    values: tuple[Value, ...]

    def matches(self, record: Record) -> bool:
        """Whether the comparison is true; see `Operator` for what null means."""
        field = FIELDS[self.field]
        found = field.get(record)
        if field.kind is Kind.TAGS:
            return _OF_TAGS[self.operator](found, self.values)
        if self.operator is Operator.NULL:
            return (found is None) is self.values[0]
        if found is None:
            return self.operator in (Operator.NE, Operator.NIN)
        return _OF_VALUES[self.operator](place(found), tuple(map(place, self.values)))


_OF_TAGS: Mapping[Operator, Callable[[tuple[str, ...], tuple[Value, ...]], bool]] = MappingProxyType(
    {
        Operator.EQ: lambda tags, values: values[0] in tags,
        Operator.NE: lambda tags, values: values[0] not in tags,
        Operator.IN: lambda tags, values: any(value in tags for value in values),
        Operator.NIN: lambda tags, values: all(value not in tags for value in values),
        Operator.CONTAINS: lambda tags, values: all(value in tags for value in values),
    }
)

_OF_VALUES: Mapping[Operator, Callable[[Any, tuple[Any, ...]], bool]] = MappingProxyType(
    {
        Operator.EQ: lambda found, values: found == values[0],
        Operator.NE: lambda found, values: found != values[0],
        Operator.GT: lambda found, values: found > values[0],
        Operator.GTE: lambda found, values: found >= values[0],
        Operator.LT: lambda found, values: found < values[0],
        Operator.LTE: lambda found, values: found <= values[0],
        Operator.IN: lambda found, values: found in values,
        Operator.NIN: lambda found, values: found not in values,
        Operator.BETWEEN: lambda found, values: values[0] <= found <= values[1],
        Operator.CONTAINS: lambda found, values: values[0] in found,
        Operator.STARTSWITH: lambda found, values: found.startswith(values[0]),
        Operator.LIKE: lambda found, values: is_like(found, read_pattern(values[0])),
        Operator.ILIKE: lambda found, values: is_like(fold_ascii(found), read_pattern(fold_ascii(values[0]))),
    }
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted: those for which everything here is true.

    Attributes:
        terms: comparisons; none of them restricts nothing.
        text: words that a record must all have, sorted and with a blank between; None for no search.
    """

    terms: tuple[Term, ...] = ()
    text: str | None = None

    @property
    def words(self) -> frozenset[str]:
        """The words searched for."""
        return frozenset((self.text or "").split())

    def matches(self, record: Record, words_of: frozenset[str]) -> bool:
        """Whether a record is wanted.

        Args:
            record: any.
            words_of: its words (``rules.words.words_of``).
        """
        return self.words <= words_of and all(term.matches(record) for term in self.terms)

    def narrowed(self, further: Filter) -> Filter:
        """What both filters want."""
        words = self.words | further.words
        return Filter((*self.terms, *further.terms), " ".join(sorted(words)) or None)

    def json(self) -> str:
        """The canonical form: the same text for filters that ask the same of the same fields, in whatever order."""
        terms = sorted({_term_json(term) for term in self.terms})
        return f'{{"terms":[{",".join(terms)}],"text":{json.dumps(self.text)}}}'


#: Restricts nothing.
EVERYTHING = Filter()


def _term_json(term: Term) -> str:
    return json.dumps([term.field, term.operator, term.values], separators=(",", ":"))


def parse_filter(pairs: Iterable[tuple[str, str]], limits: FilterLimits, *, besides: Sequence[str] = ()) -> Filter:
    """Read the filter of a request.

    ``field=a`` means ``eq`` and ``field=a,b`` means ``in``, also when it is repeated: ``field=a&field=b``. Other
    operators are named in brackets: ``created_at[gte]=...``, ``key[eq]=a,b`` for a value that has a comma.

    Args:
        pairs: names and values, decoded.
        limits: how much it may ask.
        besides: other names that are possible in this request, for the words of an error.

    Raises:
        BadFilter: a field, operator or value is none; the detail lists the valid ones.
    """
    bare: dict[str, list[str]] = {}
    terms: list[Term] = []
    texts: list[str] = []
    for name, value in pairs:
        if name == TEXT:
            texts.append(value)
            continue
        field, operator = _named(name, besides)
        if operator is None:
            bare.setdefault(field.name, []).append(value)
        else:
            terms.append(_term(field, operator, value, limits, name))
        if len(terms) + len(bare) > limits.terms_max:
            raise QueryTooLarge(f"There are more than {limits.terms_max} filters.")
    terms += [_term(FIELDS[name], Operator.IN, ",".join(values), limits, name) for name, values in bare.items()]
    return Filter(tuple(terms), _searched(texts))


def _named(name: str, besides: Sequence[str]) -> tuple[Field, Operator | None]:
    found = _NAME.match(name)
    field = FIELDS.get(found[1]) if found else None
    if found is None or field is None:
        possible = ", ".join((*FIELDS, TEXT, *besides))
        raise BadFilter(f"There is no filter {name[:64]!r}; possible: {possible}; with an operator: created_at[gte].")
    if found[2] is None:
        return field, None
    if found[2] not in field.operators:
        possible = ", ".join(field.operators)
        raise BadFilter(f"{field.name} has no operator {found[2][:64]!r}; possible: {possible}.")
    return field, Operator(found[2])


def _term(field: Field, operator: Operator, text: str, limits: FilterLimits, name: str) -> Term:
    """Read the values of one comparison, and settle on its one form."""
    if _has_several(field, operator) and text.count(",") >= limits.values_max:
        count, most = text.count(",") + 1, limits.values_max
        raise QueryTooLarge(f"The value of {name} is wrong: it has {count} values, at most {most} are possible.")
    try:
        values = _values(field, operator, text)
    except ValueError as error:
        raise BadFilter(f"The value of {name} is wrong: {error}.") from None
    if _is_set(field, operator):
        values = tuple(sorted(set(values), key=place))
        operator = _SETS.get(operator, Operator.EQ) if len(values) == 1 else operator
    return Term(field.name, operator, values)


def _is_set(field: Field, operator: Operator) -> bool:
    return operator in _SETS or (operator is Operator.CONTAINS and field.kind is Kind.TAGS)


def _has_several(field: Field, operator: Operator) -> bool:
    return _is_set(field, operator) or operator is Operator.BETWEEN


def _values(field: Field, operator: Operator, text: str) -> tuple[Value, ...]:
    if operator is Operator.NULL:
        return (_yes_or_no(text),)
    if _has_several(field, operator):
        values = tuple(field.read(part.strip()) for part in text.split(","))
        if operator is Operator.CONTAINS and len(set(values)) > TAGS_MAX:
            raise ValueError(f"a task has at most {TAGS_MAX} tags")
    else:
        values = (field.read(text),)
    if operator is Operator.BETWEEN:
        _check_ends(values)
    if operator in (Operator.LIKE, Operator.ILIKE):
        read_pattern(text)
    return values


def _yes_or_no(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text[:64]!r} is none of true, false")
    return text == "true"


def _check_ends(values: tuple[Value, ...]) -> None:
    if len(values) != 2:
        raise ValueError(f"between takes two values with a comma between, not {len(values)}")
    first, last = map(place, values)
    if first > last:
        raise ValueError("between begins behind its end")


def _searched(texts: list[str]) -> str | None:
    if not texts:
        return None
    if len(texts) > 1 or len(texts[0]) > TEXT_MAX:
        raise BadFilter(f"{TEXT} is given once, with at most {TEXT_MAX} characters.")
    words = set(words_in(texts[0]))
    if not 1 <= len(words) <= WORDS_MAX:
        raise BadFilter(f"{TEXT} has 1 to {WORDS_MAX} words of letters and digits, not {len(words)}.")
    return " ".join(sorted(words))
