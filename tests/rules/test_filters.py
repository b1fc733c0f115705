"""A filter means what it says, or is refused with the names of what would mean something."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import BadFilter
from streaming.records import Priority, Progress, Record, TaskError, TaskStatus
from streaming.rules.fields import FIELDS, Field, Kind, Operator
from streaming.rules.filters import Filter, FilterLimits, Term, parse_filter
from streaming.rules.words import words_of
from tests.rules.tasks import LETTERS, RECORDS, TIMES

LIMITS = FilterLimits(terms_max=20, values_max=100)
TIME = "2026-11-01T12:00:00.000000Z"
NAMES = sorted(FIELDS)


def record(**changes: Any) -> Record:
    return Record(**{**_PLAIN, **changes})


_PLAIN: dict[str, Any] = {
    "id": "0" * 32,
    "type": "fetch",
    "status": TaskStatus.RUNNING,
    "params": {},
    "timeout_s": 60.0,
    "created_at": TIME,
    "updated_at": TIME,
}


def parsed(*pairs: tuple[str, str]) -> Filter:
    return parse_filter(pairs, LIMITS)


def matches(found: Record, *pairs: tuple[str, str]) -> bool:
    return parsed(*pairs).matches(found, words_of(found))


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "term"),
    [
        ("status", "running", Term("status", Operator.EQ, (TaskStatus.RUNNING,))),
        ("status", "running, failed", Term("status", Operator.IN, (TaskStatus.FAILED, TaskStatus.RUNNING))),
        ("priority", "urgent,low,urgent", Term("priority", Operator.IN, (Priority.LOW, Priority.URGENT))),
        ("priority[gte]", "high", Term("priority", Operator.GTE, (Priority.HIGH,))),
        ("key[eq]", "a,b", Term("key", Operator.EQ, ("a,b",))),
        ("key[in]", "a,a", Term("key", Operator.EQ, ("a",))),
        ("key[nin]", "a", Term("key", Operator.NE, ("a",))),
        ("key[nin]", "b,a", Term("key", Operator.NIN, ("a", "b"))),
        ("key[null]", "true", Term("key", Operator.NULL, (True,))),
        ("tag", "a", Term("tag", Operator.EQ, ("a",))),
        ("tag", "b,a", Term("tag", Operator.IN, ("a", "b"))),
        ("tag[contains]", "b,a", Term("tag", Operator.CONTAINS, ("a", "b"))),
        ("tag[contains]", "b", Term("tag", Operator.EQ, ("b",))),
        ("type[contains]", "a,b", Term("type", Operator.CONTAINS, ("a,b",))),
        ("type[like]", r"%\%", Term("type", Operator.LIKE, (r"%\%",))),
        ("progress[lt]", "50", Term("progress", Operator.LT, (50.0,))),
        ("progress[between]", "1, 2", Term("progress", Operator.BETWEEN, (1.0, 2.0))),
        ("created_at[gte]", "2026-11-01T13:00:00+01:00", Term("created_at", Operator.GTE, (TIME,))),
    ],
)
def test_a_parameter_is_one_comparison(name: str, value: str, term: Term) -> None:
    assert parsed((name, value)) == Filter((term,))


def test_a_field_that_is_repeated_without_an_operator_asks_for_any_of_the_values() -> None:
    assert parsed(("type", "b"), ("status", "failed"), ("type", "a,c")) == parsed(
        ("type", "a,b,c"), ("status", "failed")
    )


def test_an_operator_that_is_repeated_asks_for_both() -> None:
    assert len(parsed(("created_at[gte]", TIME), ("created_at[gte]", TIME), ("created_at", TIME)).terms) == 3


def test_nothing_asked_restricts_nothing() -> None:
    assert parsed() == Filter()
    assert matches(record())


def test_the_text_is_its_words_in_one_order() -> None:
    assert parsed(("q", "Hello, wOrld hello!")).text == "hello world"
    assert parsed(("q", "Hello, wOrld hello!")).words == {"hello", "world"}
    assert Filter().words == frozenset()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("colour", "red", ["no filter 'colour'", "possible: id, type, status", "acked_at, q, limit, cursor"]),
        ("", "red", ["no filter ''", "possible: id, type"]),
        ("status[eq", "running", ["no filter 'status[eq'"]),
        ("status[eq][ne]", "running", ["no filter"]),
        ("Q", "x", ["no filter 'Q'"]),
        ("q[eq]", "x", ["no filter 'q[eq]'"]),
        ("x" * 1000, "", ["no filter '" + "x" * 64 + "'"]),
        ("status[like]", "r%", ["status has no operator 'like'", "possible: eq, ne, in, nin."]),
        ("status[]", "running", ["status has no operator ''"]),
        ("id[null]", "true", ["id has no operator 'null'", "startswith."]),
        ("tag[gt]", "a", ["tag has no operator 'gt'", "possible: eq, ne, in, nin, contains."]),
        ("status", "done", ["value of status is wrong", "'done' is none of pending, running, retrying, completed"]),
        ("status", "", ["value of status is wrong", "none of pending"]),
        ("status[in]", "running,,failed", ["value of status[in] is wrong", "''"]),
        ("key[null]", "yes", ["value of key[null] is wrong", "'yes' is none of true, false"]),
        ("progress[between]", "1", ["between takes two values", "not 1"]),
        ("progress[between]", "1,2,3", ["between takes two values", "not 3"]),
        ("progress[between]", "2,1", ["begins behind its end"]),
        ("priority[between]", "urgent,low", ["begins behind its end"]),
        ("type[like]", "a\\", ["value of type[like] is wrong", "backslash"]),
        ("type[ilike]", "%" * 9, ["at most 8 wildcards"]),
        ("type", "a," * 10_000, ["it has 10001 values, at most 100 are possible"]),
        ("type[between]", "a," * 10_000, ["it has 10001 values, at most 100 are possible"]),
        ("tag[contains]", "a," * 100, ["it has 101 values"]),
        ("tag[contains]", ",".join(map(str, range(33))), ["a task has at most 32 tags"]),
        ("type", "x" * 256, ["1 to 255 characters, not 256"]),
        ("created_at[gt]", "now", ["'now' is no RFC 3339 time"]),
        ("q", "x" * 256, ["at most 255 characters"]),
        ("q", "", ["q has 1 to 10 words of letters and digits, not 0"]),
        ("q", "...", ["not 0"]),
        ("q", "a b c d e f g h i j k", ["not 11"]),
    ],
)
def test_what_is_none_is_refused_with_what_would_be(name: str, value: str, said: list[str]) -> None:
    with pytest.raises(BadFilter) as caught:
        parse_filter([(name, value)], LIMITS, besides=("limit", "cursor"))

    for words in said:
        assert words in caught.value.detail
    assert len(caught.value.detail) < 500


def test_the_limits_are_reached_and_not_passed() -> None:
    values = ",".join(map(str, range(100)))
    assert {len(term.values) for term in parsed(("type", values), ("tag", values)).terms} == {100}
    tags = ",".join(map(str, range(32)))
    assert len(parsed(("tag[contains]", f"{tags},{tags}")).terms[0].values) == 32
    assert len(parsed(*[("type[ne]", str(number)) for number in range(19)], ("key", "a"), ("key", "b")).terms) == 20
    with pytest.raises(BadFilter, match="more than 20 filters"):
        parsed(*[("type[ne]", str(number)) for number in range(20)], ("key", "a"))
    with pytest.raises(BadFilter, match="it has 101 values"):
        parsed(("type", values), ("type", "100"))


def test_the_text_is_given_once() -> None:
    with pytest.raises(BadFilter, match="q is given once"):
        parsed(("q", "a"), ("q", "a"))
    assert len(parsed(("q", "a b c d e f g h i j a b c")).words) == 10


@given(st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.sampled_from([*Operator, "", "x"]), st.text())))
def test_whatever_is_asked_it_is_a_filter_or_a_bad_one(asked: list[tuple[str, str, str]]) -> None:
    pairs = [(f"{name}[{operator}]" if operator else name, value) for name, operator, value in asked]
    try:
        found = parsed(*pairs)
    except BadFilter as error:
        found = None
        detail = error.detail
    else:
        detail = "."

    assert detail.endswith(".")
    assert found is None or len(found.terms) <= 20


# -- what it means -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name", "value", "wanted"),
    [
        ({}, "status", "running,failed", True),
        ({}, "status[nin]", "running,failed", False),
        ({"priority": Priority.HIGH}, "priority[gt]", "normal", True),
        ({"priority": Priority.LOW}, "priority[gt]", "high", False),  # by name, low comes behind high
        ({"priority": Priority.NORMAL}, "priority[between]", "low,high", True),
        ({"key": "b"}, "key[between]", "a,b", True),
        ({"key": "Z"}, "key[lt]", "a", True),
        ({"key": "é"}, "key[gt]", "z", True),
        ({"key": "😀"}, "key[gt]", "\uffee", True),  # UTF-16 would say otherwise
        ({"type": "http_fetch"}, "type[contains]", "p_f", True),
        ({"type": "httpxfetch"}, "type[contains]", "p_f", False),
        ({"type": "http_fetch"}, "type[startswith]", "http", True),
        ({"type": "http_fetch"}, "type[startswith]", "fetch", False),
        ({"type": "http_fetch"}, "type[like]", "%fetch", True),
        ({"type": "HTTP_fetch"}, "type[like]", "http%", False),
        ({"type": "HTTP_fetch"}, "type[ilike]", "http%", True),
        ({"type": "É"}, "type[ilike]", "é", False),
        ({"progress": Progress(50.0)}, "progress[lte]", "50", True),
        ({"attempt": 2}, "attempt", "1,2", True),
        ({"error": TaskError("timed_out", "x")}, "error", "timed_out", True),
        ({"tags": ("a", "b")}, "tag", "b", True),
        ({"tags": ("a", "b")}, "tag", "b,c", True),
        ({"tags": ("a", "b")}, "tag[ne]", "b", False),
        ({"tags": ("a", "b")}, "tag[nin]", "b,c", False),
        ({"tags": ("a", "b")}, "tag[nin]", "c,d", True),
        ({"tags": ("a", "b")}, "tag[contains]", "a,b", True),
        ({"tags": ("a", "b")}, "tag[contains]", "a,c", False),
        ({}, "tag[nin]", "c,d", True),
        ({}, "tag[ne]", "c", True),
        ({"key": "a"}, "key[null]", "false", True),
        ({"key": "a"}, "key[null]", "true", False),
        ({}, "key[null]", "true", True),
        ({}, "key[null]", "false", False),
        ({"type": "http_fetch", "params": {"url": "https://example.org/Ä"}}, "q", "HTTP ä ORG", True),
        ({"type": "http_fetch"}, "q", "htt", False),
        ({"type": "http_fetch"}, "q", "http other", False),
    ],
)
def test_examples(changes: dict[str, Any], name: str, value: str, wanted: bool) -> None:
    assert matches(record(**changes), (name, value)) is wanted


@pytest.mark.parametrize("field", [field for field in FIELDS.values() if field.nullable], ids=lambda field: field.name)
def test_a_comparison_with_null_is_never_true_but_for_ne_and_nin(field: Field) -> None:
    value = {Kind.NUMBER: "1", Kind.TIME: TIME}.get(field.kind, "a")
    values = {Operator.NULL: "true", Operator.BETWEEN: f"{value},{value}"}
    two = {Operator.IN, Operator.NIN}
    other = {Kind.NUMBER: "2", Kind.TIME: "2026-11-02T12:00:00Z"}.get(field.kind, "b")
    true = {
        operator
        for operator in field.operators
        if matches(
            record(),
            (f"{field.name}[{operator}]", f"{value},{other}" if operator in two else values.get(operator, value)),
        )
    }

    assert true == {Operator.NE, Operator.NIN, Operator.NULL}


def text_of(field: Field) -> st.SearchStrategy[str]:
    if field.choices:
        return st.sampled_from([choice.value for choice in field.choices])
    return {Kind.NUMBER: st.integers(0, 4).map(str), Kind.TIME: TIMES}.get(field.kind, LETTERS)


@pytest.mark.parametrize("field", FIELDS.values(), ids=list(FIELDS))
@given(data=st.data())
def test_the_laws_of_equality(field: Field, data: st.DataObject) -> None:
    found, one, other = data.draw(RECORDS), data.draw(text_of(field)), data.draw(text_of(field))
    name = field.name

    assert matches(found, (f"{name}[ne]", one)) is not matches(found, (f"{name}[eq]", one))
    assert matches(found, (name, f"{one},{other}")) is (matches(found, (name, one)) or matches(found, (name, other)))
    assert matches(found, (f"{name}[nin]", f"{one},{other}")) is not matches(found, (name, f"{one},{other}"))


@pytest.mark.parametrize(
    "field", [each for each in FIELDS.values() if Operator.LT in each.operators], ids=lambda f: f.name
)
@given(data=st.data())
def test_the_laws_of_order(field: Field, data: st.DataObject) -> None:
    found, one, other = data.draw(RECORDS), data.draw(text_of(field)), data.draw(text_of(field))
    name, there = field.name, field.get(found) is not None

    def is_(operator: str, value: str) -> bool:
        return matches(found, (f"{name}[{operator}]", value))

    assert is_("lt", one) + is_("eq", one) + is_("gt", one) == there
    assert is_("lte", one) is (is_("lt", one) or is_("eq", one))
    assert is_("gte", one) is (is_("gt", one) or is_("eq", one))
    low, high = sorted([field.read(one), field.read(other)], key=lambda value: getattr(value, "rank", value))
    between = Term(name, Operator.BETWEEN, (low, high)).matches(found)
    assert between is (
        Term(name, Operator.GTE, (low,)).matches(found) and Term(name, Operator.LTE, (high,)).matches(found)
    )


@given(RECORDS, st.sampled_from(["type", "key", "error"]), LETTERS)
def test_the_laws_of_patterns(found: Record, name: str, text: str) -> None:
    escaped = re.sub(r"([%_\\])", r"\\\1", text)

    assert matches(found, (f"{name}[contains]", text)) is matches(found, (f"{name}[like]", f"%{escaped}%"))
    assert matches(found, (f"{name}[startswith]", text)) is matches(found, (f"{name}[like]", f"{escaped}%"))
    assert matches(found, (f"{name}[eq]", text)) is matches(found, (f"{name}[like]", escaped))
    assert matches(found, (f"{name}[ilike]", escaped)) or not matches(found, (f"{name}[like]", escaped))


# -- filters together --------------------------------------------------------------------------------------------------

ASKED = [("type", "a,b"), ("status", "running"), ("created_at[gte]", TIME), ("q", "one two"), ("key[null]", "true")]


@given(RECORDS, st.lists(st.sampled_from(ASKED), unique=True))
def test_a_record_passes_when_it_passes_each_part(found: Record, pairs: list[tuple[str, str]]) -> None:
    assert matches(found, *pairs) is all(matches(found, pair) for pair in pairs)


@given(RECORDS, st.sets(st.sampled_from(ASKED)), st.sets(st.sampled_from(ASKED)))
def test_a_narrowed_filter_wants_what_both_want(
    found: Record, one: set[tuple[str, str]], other: set[tuple[str, str]]
) -> None:
    both = parsed(*one).narrowed(parsed(*other))

    assert both.matches(found, words_of(found)) is (matches(found, *one) and matches(found, *other))
    assert both.json() == parsed(*(one | other)).json()


@given(st.permutations(ASKED))
def test_the_order_of_the_parameters_does_not_matter_to_the_canonical_form(pairs: list[tuple[str, str]]) -> None:
    assert parsed(*pairs).json() == parsed(*ASKED).json()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("type", "b,a"), ("type[in]", "a, b,a")),
        (("type", "a"), ("type[in]", "a")),
        (("attempt", "1"), ("attempt", "1.0")),
        (("attempt", "0"), ("attempt", "-0e5")),
        (("created_at", TIME), ("created_at", "2026-11-01T14:00:00+02:00")),
        (("q", "b a"), ("q", "A, b!")),
    ],
)
def test_the_same_question_in_other_words_has_the_same_canonical_form(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert parsed(one).json() == parsed(other).json()


def test_different_questions_have_different_canonical_forms() -> None:
    different = [*ASKED, ("type", "a"), ("type[ne]", "a"), ("type[like]", "a"), ("key", "a"), ("key[eq]", "a,b")]
    different += [
        ("key", "a,b"),
        ("key[null]", "false"),
        ("key", "true"),
        ("q", "one"),
        ("attempt", "1"),
        ("key", "1.0"),
    ]

    assert len({parsed(pair).json() for pair in different}) == len(different)
    assert parsed().json() == '{"terms":[],"text":null}'
