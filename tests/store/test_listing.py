"""Every store finds exactly what the rules say, in their order, and looks at no more than it may."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.config import Settings
from streaming.engine.journal import RecordQuery
from streaming.errors import BadFilter
from streaming.records import Priority, Progress, Record, TaskError, TaskStatus
from streaming.rules.fields import FIELDS, Kind, Operator, place
from streaming.rules.filters import Filter, Term
from streaming.rules.plan import walk
from streaming.rules.sorting import Key, Order, in_order, is_after, parse_sort, sort_key
from streaming.rules.words import words_of
from streaming.store import open_database
from tests.store.asking import Asked, AskedMemory, AskedSql
from tests.store.samples import at, record, task_id, wanted


@pytest.fixture
def sqlite_asked(tmp_path: Path) -> Iterator[AskedSql]:
    database = open_database(Settings(store_url=f"sqlite:///{tmp_path / 'list.db'}"))
    database.open()
    yield AskedSql(database)
    database.close()


@pytest.fixture
def postgres_asked(our_database: str) -> Iterator[AskedSql]:
    database = open_database(Settings(store_url=our_database))
    database.open()
    yield AskedSql(database)
    database.close()


@pytest.fixture
def memory_asked() -> AskedMemory:
    return AskedMemory()


@pytest.fixture(params=["memory_asked", "sqlite_asked", "postgres_asked"])
def asked(request: pytest.FixtureRequest) -> Asked:
    found: Asked = request.getfixturevalue(request.param)
    return found


# -- records and questions by chance -----------------------------------------------------------------------------------

letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
few_texts = st.sampled_from(
    [
        *("a", "A", "ab", "aB", "b", "a%b", "a_b", "a\\b", "a*b", "a?b", "[a]", "[", "]", "é", "É", "K", "k", "\u212a"),
        *("\U0001f600", "a\U0001f600b", "\ud7ff", "\ue000", "\U0010ffff", "a\U0010ffff", "a b", "a,b", "10", "9"),
        *("-", "'", '"', "\n"),
    ]
)
texts = few_texts | st.text(letters, min_size=1, max_size=3)
times = st.integers(0, 5).map(lambda second: f"2026-11-01T12:00:{second:02}.000000Z")
ids = st.integers(0, 40).map(lambda number: f"{number * 7919:032x}")
numbers = st.sampled_from([0, 1, 2, 3, 0.5, 1.5, 1e15, -1.0, 100, 99.9])
tags = st.lists(few_texts, max_size=3, unique=True).map(tuple)


def or_null(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


records = st.builds(
    Record,
    id=ids,
    type=texts,
    status=st.sampled_from(TaskStatus),
    params=st.dictionaries(texts, texts | st.integers(), max_size=2),
    timeout_s=numbers,
    created_at=times,
    updated_at=times,
    created_by=texts,
    priority=st.sampled_from(Priority),
    key=or_null(texts),
    external_id=or_null(texts),
    parent=or_null(ids),
    retry_of=or_null(ids),
    tags=tags,
    attempt=st.integers(1, 3),
    retries_left=st.integers(0, 2),
    retry_at=or_null(times),
    progress=or_null(st.builds(Progress, numbers)),
    heartbeat_at=or_null(times),
    eta=st.none(),
    result=st.none(),
    error=or_null(st.builds(TaskError, texts, texts)),
    cancel=st.none(),
    acked_at=or_null(times),
    started_at=or_null(times),
    finished_at=or_null(times),
    policy=st.just(Record.__dataclass_fields__["policy"].default),
    steps=st.none(),
    last_seq=st.just(0),
    client_seq=st.just(0),
    log_bytes=st.just(0),
    tenant=or_null(texts),
    traceparent=st.none(),
    tracestate=st.none(),
)
many_records = st.lists(records, max_size=25, unique_by=lambda record: record.id)


def escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "%_\\" else letter for letter in text)


patterns = st.lists(st.sampled_from("%_") | texts.map(escaped), min_size=1, max_size=4).map("".join)


@st.composite
def some_terms(draw: st.DrawFn) -> Term:
    field = draw(st.sampled_from(sorted(FIELDS.values(), key=lambda field: field.name)))
    operator = draw(st.sampled_from(field.operators))
    one: st.SearchStrategy[Any] = (
        st.sampled_from(field.choices)
        if field.choices
        else numbers.map(float)
        if field.kind is Kind.NUMBER
        else times
        if field.kind is Kind.TIME
        else ids
        if field.name in ("id", "parent", "retry_of")
        else texts
    )
    if operator is Operator.NULL:
        return Term(field.name, operator, (draw(st.booleans()),))
    if operator in (Operator.LIKE, Operator.ILIKE):
        return Term(field.name, operator, (draw(patterns),))
    if operator is Operator.BETWEEN:
        return Term(field.name, operator, tuple(sorted((draw(one), draw(one)), key=place)))
    if operator in (Operator.IN, Operator.NIN) or (operator is Operator.CONTAINS and field.kind is Kind.TAGS):
        return Term(field.name, operator, tuple(draw(st.lists(one, min_size=1, max_size=3, unique=True))))
    return Term(field.name, operator, (draw(one),))


words = st.sampled_from(["a", "b", "ab", "k", "é", "s", "10"])
filters = st.builds(
    Filter,
    st.lists(some_terms(), max_size=3).map(tuple),
    st.none() | st.none() | st.lists(words, min_size=1, max_size=2, unique=True).map(sorted).map(" ".join),
)
sortable = [field.name for field in FIELDS.values() if field.sortable]
leading = st.sampled_from(["created_at", "finished_at", "id", "status"]) | st.sampled_from(sortable)


@st.composite
def orders(draw: st.DrawFn) -> tuple[Order, ...]:
    names = draw(st.lists(leading, min_size=1, max_size=3, unique=True))
    order = tuple(Order(name, draw(st.booleans())) for name in names)
    return order if "id" in names else (*order, Order("id", draw(st.booleans())))


questions = st.tuples(filters, orders(), st.integers(1, 5), st.sampled_from([1, 2, 5, 20_000]))


def model(everything: Sequence[Record], query: RecordQuery) -> list[Record]:
    """What the rules say."""
    found = in_order((each for each in everything if query.filter.matches(each, words_of(each))), query.order)
    after = query.after
    return [each for each in found if after is None or is_after(sort_key(each, query.order), after, query.order)]


def whole_list(asked: Asked, query: RecordQuery, scan_max: int = 20_000) -> list[Record]:
    """All pages of a list."""
    found: list[Record] = []
    after = query.after
    while True:
        answer = asked.page(replace(query, after=after), scan_max)
        assert len(answer) <= query.limit
        found += answer
        if answer.more is None:
            return found
        assert after is None or is_after(answer.more, after, query.order), "each page goes on"
        after = answer.more


def by_chance(examples: int) -> Callable[[Any], Any]:
    unchecked = [HealthCheck.function_scoped_fixture, HealthCheck.data_too_large, HealthCheck.too_slow]
    return settings(max_examples=examples, suppress_health_check=unchecked)


@by_chance(40)
@given(everything=many_records, asked_for=st.lists(questions, min_size=10, max_size=10), data=st.data())
def test_every_store_finds_what_the_rules_say(
    asked: Asked, everything: list[Record], asked_for: list[Any], data: st.DataObject
) -> None:
    asked.fill(everything)
    for filter, order, limit, scan_max in asked_for:
        after = data.draw(st.none() | st.builds(sort_key, records, st.just(order)))
        query = RecordQuery(filter, order, after, limit)
        try:
            found = whole_list(asked, query, scan_max)
        except BadFilter:
            assert walk(filter, order, after) is None
            assert len(everything) > scan_max
            continue
        assert found == model(everything, query)


few_times = st.sampled_from([None, "2026-11-01T12:00:00.000000Z", "2026-11-01T12:00:01.000000Z"])
few_records = st.builds(
    lambda number, type, finished_at: record(number, type=type, finished_at=finished_at),
    st.integers(1, 9),
    st.sampled_from("abc"),
    few_times,
)


@by_chance(50)
@given(
    everything=st.lists(few_records, max_size=9, unique_by=lambda record: record.id),
    fields=st.permutations(["finished_at", "type", "id"]),
    down=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    other=few_records,
    scan_max=st.integers(1, 3),
)
def test_a_list_goes_on_behind_the_place_of_a_record_that_it_does_not_have(
    asked: Asked, everything: list[Record], fields: list[str], down: list[bool], other: Record, scan_max: int
) -> None:
    asked.fill(everything)
    order = tuple(map(Order, fields, down))
    query = RecordQuery(wanted(type="b"), order, sort_key(other, order), limit=2)

    assert whole_list(asked, query, scan_max) == model(everything, query)


few_owned = st.builds(
    lambda number, created_by, tenant, finished_at: record(
        number, created_by=created_by, tenant=tenant, finished_at=finished_at, created_at=at(number // 3)
    ),
    st.integers(1, 12),
    st.sampled_from("ab"),
    st.sampled_from([None, "a", "b"]),
    few_times,
)
created = st.sampled_from([Operator.GT, Operator.GTE, Operator.LT, Operator.LTE])
OWN = Filter((Term("created_by", Operator.EQ, ("a",)), Term("tenant", Operator.NULL, (True,))))


@by_chance(60)
@given(
    everything=st.lists(few_owned, max_size=12, unique_by=lambda record: record.id),
    asked_for=st.sampled_from(
        [
            *(OWN, wanted(tenant="a"), wanted(tenant="a", created_by="b")),
            *(OWN.narrowed(wanted(tenant="b")), wanted(created_by="b").narrowed(OWN)),
        ]
    ),
    ends=st.lists(
        st.builds(
            lambda field, operator, second: Term(field, operator, (at(second),)),
            st.sampled_from(["created_at", "finished_at"]),
            created,
            st.integers(0, 4),
        ),
        max_size=2,
    ),
    order=st.tuples(st.sampled_from(["created_at", "finished_at"]), st.booleans(), st.booleans()),
    place=st.none() | few_owned,
    scan_max=st.integers(1, 3),
)
def test_the_tasks_of_one_owner_are_found_among_those_of_others_and_no_place_of_another_is_told(
    asked: Asked,
    everything: list[Record],
    asked_for: Filter,
    ends: list[Term],
    order: tuple[str, bool, bool],
    place: Record | None,
    scan_max: int,
) -> None:
    asked.fill(everything)
    by = (Order(order[0], order[1]), Order("id", order[2]))
    after = None if place is None else sort_key(place, by)
    query = RecordQuery(asked_for.narrowed(Filter(tuple(ends))), by, after, limit=2)
    found: list[Record] = []
    owned = {sort_key(each, by) for each in everything if asked_for.matches(each, words_of(each))}
    theirs = {sort_key(each, by) for each in everything if each.tenant == "a"}
    while True:
        page = asked.page(query, scan_max)
        found += page
        if page.more is None:
            break
        assert page.more in (theirs if wanted(tenant="a").terms[0] in asked_for.terms else owned)
        query = replace(query, after=page.more)
    assert found == model(everything, RecordQuery(query.filter, by, after))


# -- texts ------------------------------------------------------------------------------------------------------------

TEXTS = [
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "a\\b",
    "a*b",
    "a?b",
    "[a]",
    "[",
    "]",
    "é",
    "É",
    "k",
    "\u212a",
    "a\U0001f600b",
    "ß",
]


@pytest.mark.parametrize("operator", [Operator.LIKE, Operator.ILIKE])
@pytest.mark.parametrize(
    "pattern",
    [
        "a%",
        "A%",
        "a_b",
        r"a\_b",
        r"a\%b",
        r"a\\b",
        "a*b",
        "a?b",
        "[a]",
        "[%",
        "%]",
        r"\a",
        r"\A%",
        "É",
        "k",
        "K",
        "a__",
        "%_%",
    ],
)
def test_wildcards_of_the_database_are_none_of_ours(asked: Asked, operator: Operator, pattern: str) -> None:
    asked.fill([record(number, key=text) for number, text in enumerate(TEXTS, start=1)])
    term = Term("key", operator, (pattern,))
    query = RecordQuery(Filter((term,)))
    everything = [record(number, key=text) for number, text in enumerate(TEXTS, start=1)]
    assert [found.key for found in whole_list(asked, query)] == [found.key for found in model(everything, query)]


# -- counts ------------------------------------------------------------------------------------------------------------

GROUPS = ["status", "type", "priority", "created_by", "error"]


@by_chance(30)
@given(
    everything=many_records,
    asked_for=st.lists(
        st.tuples(filters, st.lists(st.sampled_from(GROUPS), max_size=2, unique=True), st.sampled_from([1, 20_000])),
        min_size=8,
        max_size=8,
    ),
)
def test_every_store_counts_what_the_rules_say(asked: Asked, everything: list[Record], asked_for: list[Any]) -> None:
    asked.fill(everything)
    for filter, group_by, scan_max in asked_for:
        matching = [each for each in everything if filter.matches(each, words_of(each))]
        expected: Counter[tuple[str | None, ...]] = Counter() if group_by else Counter({(): 0})
        for each in matching:
            found = [FIELDS[name].get(each) for name in group_by]
            expected[
                tuple(None if value is None else value.value if value in GROUP_WORDS else value for value in found)
            ] += 1
        counts = asked.count(filter, group_by, scan_max)
        assert dict(counts) == dict(expected)
        assert [number for _, number in counts] == sorted((number for _, number in counts), reverse=True)


GROUP_WORDS = (*TaskStatus, *Priority)


def test_a_count_of_nothing_is_nought(asked: Asked) -> None:
    asked.fill([])
    assert asked.count(Filter(), (), 10) == [((), 0)]
    assert asked.count(wanted(status=TaskStatus.FAILED), (), 10) == [((), 0)]
    assert asked.count(Filter(), ("status",), 10) == []


def test_counts_use_the_words_of_the_api(asked: Asked) -> None:
    asked.fill(
        [
            record(1, TaskStatus.FAILED, priority=Priority.URGENT, error=TaskError("boom", "x")),
            record(2, TaskStatus.FAILED, priority=Priority.URGENT, error=TaskError("boom", "y")),
            record(3, priority=Priority.LOW),
        ]
    )
    assert asked.count(Filter(), ("priority", "status"), 10) == [(("urgent", "failed"), 2), (("low", "pending"), 1)]
    assert asked.count(Filter(), ("error",), 10) == [(("boom",), 2), ((None,), 1)]


# -- pages -------------------------------------------------------------------------------------------------------------


@by_chance(30)
@given(everything=many_records, later=many_records, question=st.tuples(filters, orders()), data=st.data())
def test_whoever_comes_or_goes_moves_no_other_record_between_pages(
    asked: Asked, everything: list[Record], later: list[Record], question: Any, data: st.DataObject
) -> None:
    """What is there all the time is on exactly one page, in its order."""
    filter, order = question
    comers = (
        {each.id: each for each in later}
        if not everything
        else {each.id: each for each in later if each.id not in {one.id for one in everything}}
    )
    goers = set(
        data.draw(
            st.lists(st.sampled_from([each.id for each in everything]), unique=True) if everything else st.just([])
        )
    )
    seen: list[str] = []
    after: Key | None = None
    there = {each.id: each for each in everything}
    while True:
        asked.fill(list(there.values()))
        page = asked.page(RecordQuery(filter, order, after, 2), 20_000)
        seen += [each.id for each in page]
        after = page.more
        if after is None:
            break
        if comers:
            there |= [comers.popitem()]
        if goers:
            there.pop(goers.pop(), None)
    stayed = [each for each in everything if each.id in there]
    expected = [each.id for each in model(stayed, RecordQuery(filter, order))]
    assert [each for each in seen if each in expected] == expected


def test_a_walk_that_finds_too_little_says_where_it_goes_on(asked: Asked) -> None:
    asked.fill([record(number, created_by="ann" if number in (1, 50) else "bob") for number in range(1, 101)])
    query = RecordQuery(wanted(created_by="ann"), limit=5)
    first = asked.page(query, 20)
    assert [int(each.id, 16) for each in whole_list(asked, query, 20)] == [50, 1]
    if not isinstance(asked, AskedMemory):
        assert (list(first), first.more) == ([], (at(81), task_id(81))), "20 records were looked at"


def test_too_many_records_are_not_sorted(asked: Asked) -> None:
    asked.fill([record(number) for number in range(1, 12)])
    query = RecordQuery(order=parse_sort("-priority"))
    assert len(whole_list(asked, query, 11)) == 11
    if not isinstance(asked, AskedMemory):
        with pytest.raises(BadFilter, match="leaves at most 10 tasks"):
            asked.page(query, 10)


def test_terms_whose_task_is_gone_find_nothing(sqlite_asked: AskedSql, tmp_path: Path) -> None:
    sqlite_asked.fill([record(number, tags=("red",)) for number in (1, 2)])
    with closing(sqlite3.connect(tmp_path / "list.db")) as other, other:
        other.execute("DELETE FROM tasks WHERE id = ?", (task_id(1),))
    assert [each.id for each in whole_list(sqlite_asked, RecordQuery(wanted(tag="red")))] == [task_id(2)]
    assert sqlite_asked.count(wanted(tag="red"), (), 10) == [((), 1)]
    assert sqlite_asked.count(wanted(tag="red"), (), 1) == [((), 1)]


# -- what others have damaged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["-created_at", "created_at", "-finished_at", "id", "-id", "-priority"])
@pytest.mark.parametrize("scan_max", [1, 3, 20_000])
def test_a_list_goes_on_behind_records_that_cannot_be_read(
    sqlite_asked: AskedSql, tmp_path: Path, order: str, scan_max: int
) -> None:
    if order == "-priority" and scan_max < 20_000:
        return
    sqlite_asked.fill([record(number, finished_at=at(number) if number % 2 else None) for number in range(1, 21)])
    with closing(sqlite3.connect(tmp_path / "list.db")) as other, other:
        other.execute(
            "UPDATE tasks SET created_at = x'ff00', finished_at = x'00' WHERE id IN (?, ?)", (task_id(3), task_id(4))
        )
        other.execute("UPDATE tasks SET params = 'x' WHERE id > ?", (task_id(8),))
    with structlog.testing.capture_logs() as lines:
        found = whole_list(sqlite_asked, RecordQuery(order=parse_sort(order), limit=2), scan_max)

    assert sorted(int(each.id, 16) for each in found) == [1, 2, 5, 6, 7, 8]
    assert {line["task_id"] for line in lines} == {task_id(number) for number in (3, 4, *range(9, 21))}


def test_what_nobody_of_ours_has_written_is_counted_as_it_is(sqlite_asked: AskedSql, tmp_path: Path) -> None:
    sqlite_asked.fill([record(number) for number in range(1, 5)])
    with closing(sqlite3.connect(tmp_path / "list.db")) as other, other:
        other.execute("UPDATE tasks SET status = 'odd', priority = 77 WHERE id = ?", (task_id(1),))
        other.execute("UPDATE tasks SET status = x'ff41' WHERE id = ?", (task_id(2),))
    assert sqlite_asked.count(Filter(), ("status",), 9) == [(("pending",), 2), (("odd",), 1), (("\ufffdA",), 1)]
    assert sqlite_asked.count(Filter(), ("priority",), 9) == [(("normal",), 3), (("77",), 1)]
