"""Which way a list is read: it depends on what is asked and on how much there is."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.errors import BadFilter
from streaming.records import TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, FilterLimits, Term, parse_filter
from streaming.rules.plan import Gather, Own, Piece, Walk, Word, choose, orders, sources, walk
from streaming.rules.sorting import Key, parse_sort

T1, T2, T3 = (f"2026-11-0{day}T00:00:00.000000Z" for day in (1, 2, 3))


def asked(**pairs: str) -> Filter:
    """The filter of these parameters; two underscores are brackets."""
    named = ((f"{name.replace('__', '[')}]" if "__" in name else name, value) for name, value in pairs.items())
    return parse_filter(list(named), FilterLimits())


def walked(sort: str, after: Key | None = None, **pairs: str) -> Walk:
    found = walk(asked(**pairs), parse_sort(sort), after)
    assert found is not None
    return found


def pieces(sort: str, after: Key | None = None, **pairs: str) -> list[tuple[bool, str, list[str], Key | None]]:
    """Null or not, order, bounds, place."""
    return [
        (
            each.null,
            ",".join(map(str, each.order)),
            [f"{term.operator} {str(term.values[0])[:10]}" for term in each.bounds],
            each.after,
        )
        for each in walked(sort, after, **pairs).pieces
    ]


# -- what an index answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "id__in",
        "key__startswith",
        "external_id",
        "parent__between",
        "retry_of__gt",
        "type__lte",
        "type__in",
        "tenant",
    ],
)
def test_texts_with_an_index_are_found_by_value_range_and_start(name: str) -> None:
    filter = asked(**{name: "a,b" if "in" in name or "between" in name else "a"})
    assert sources(filter) == list(filter.terms)


@pytest.mark.parametrize(
    "name", ["key__ne", "key__nin", "key__like", "type__ilike", "type__contains", "key__null", "created_by", "attempt"]
)
def test_other_conditions_are_checked_record_by_record(name: str) -> None:
    assert sources(asked(**{name: "true" if "null" in name else "1"})) == []


def test_times_of_begin_and_end_have_an_index_and_others_have_none() -> None:
    filter = asked(created_at__gte=T1, finished_at__lt=T2, heartbeat_at__lt=T2, updated_at=T1)
    assert sources(filter) == [filter.terms[1], filter.terms[0]]


def test_tags_and_words_that_are_all_needed_are_conditions_of_their_own() -> None:
    filter = asked(q="two words", tag__contains="a,b", status="running")
    assert sources(filter) == [
        *(Word("two"), Word("words")),
        *(Term("tag", Operator.EQ, ("a",)), Term("tag", Operator.EQ, ("b",))),
        *(term for term in filter.terms if term.field == "status"),
    ]


def test_any_of_several_tags_is_one_condition_and_not_having_one_is_none() -> None:
    assert sources(asked(tag="a,b")) == list(asked(tag="a,b").terms)
    assert sources(asked(tag="a")) == list(asked(tag="a").terms)
    assert sources(asked(tag__ne="a", tag__nin="b,c")) == []


# -- the tasks of one owner --------------------------------------------------------------------------------------------

OWN: Any = {"created_by": "ann", "tenant__null": "true"}


def test_the_tasks_of_a_principal_without_a_tenant_are_a_condition() -> None:
    assert sources(asked(**OWN)) == [Own("ann")]
    assert sources(asked(created_by="ann", tenant__null="false")) == []
    assert sources(asked(created_by__ne="ann", tenant__null="true")) == []
    assert sources(asked(created_by="ann", tenant="t")) == [Term("tenant", Operator.EQ, ("t",))]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "finished_at", "-finished_at"])
def test_the_owner_leads_whatever_else_is_asked_for(sort: str) -> None:
    assert walked(sort, **OWN, status="running", key="k").lead == Own("ann")
    assert walked(sort, tenant="t", key="k", created_by="ann").lead == Term("tenant", Operator.EQ, ("t",))
    assert walked("tenant,created_by," + sort, tenant="t", created_by="ann").lead is not None


def test_no_walk_leads_over_the_tasks_of_others_to_those_of_an_owner() -> None:
    for filter in (asked(**OWN), asked(tenant="t")):
        assert walk(filter, parse_sort("id"), None) is None
        assert orders(filter) == ("created_at", "finished_at")
        with pytest.raises(BadFilter, match=r"sort by one of created_at, finished_at, with"):
            choose(None, (None, 11), parse_sort("id"), 10, orders(filter))
    assert orders(asked(created_by="ann")) == ("created_at", "finished_at", "id")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("own", "asks"),
    [
        (OWN, {"created_by": "bob"}),
        (OWN, {"tenant": "t"}),
        ({"tenant": "t"}, {"tenant": "u"}),
        ({"tenant": "t"}, {"created_by": "ann", "tenant__null": "true"}),
    ],
)
def test_whoever_asks_for_the_tasks_of_others_is_led_over_none(own: Any, asks: Any, first: bool) -> None:
    one, other = asked(**own), asked(**asks)
    filter = one.narrowed(other) if first else other.narrowed(one)
    found = walk(filter, parse_sort("-created_at"), None)
    assert found is not None
    assert found.pieces == ()


def test_what_is_asked_for_twice_is_not_impossible() -> None:
    assert len(walked("-created_at", **OWN).pieces) == 1
    twice = walk(asked(**OWN).narrowed(asked(**OWN)), parse_sort("-created_at"), None)
    assert twice is not None
    assert len(twice.pieces) == 1


# -- walks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "-created_at,id", "finished_at", "id", "-id", "id,type"])
def test_these_orders_are_given_by_an_index(sort: str) -> None:
    assert walk(Filter(), parse_sort(sort), None) is not None


@pytest.mark.parametrize(
    "sort", ["priority", "updated_at", "type,created_at", "created_at,finished_at", "created_at,type"]
)
def test_other_orders_are_not(sort: str) -> None:
    assert walk(Filter(), parse_sort(sort), None) is None


def test_a_field_that_is_the_same_in_all_records_is_no_part_of_the_order() -> None:
    found = walked("type,-created_at,status", type="a", status="failed", key="k")
    assert [str(each) for each in found.pieces[0].order] == ["-created_at", "id"]
    assert found.lead == Term("key", Operator.EQ, ("k",)), "the one that leaves the least as a rule"


def test_an_equality_leads_only_where_its_index_goes_on_with_the_order() -> None:
    assert walked("-created_at", type="a,b").lead is None
    assert walked("-created_at", type="a", status="failed").lead == Term("status", Operator.EQ, (TaskStatus.FAILED,))
    assert walked("-created_at", status="completed").lead == Term("status", Operator.EQ, (TaskStatus.COMPLETED,))
    assert walked("-created_at", type="a", status="completed").lead == Term("type", Operator.EQ, ("a",))
    assert walked("-finished_at", type="a").lead is None
    assert walked("id", type="a").lead is None
    assert walk(asked(id="a"), parse_sort("id"), None) is None, "there is nothing to walk over"
    assert walked("-created_at", tag="a").lead is None


def test_null_comes_first_and_last_where_the_order_descends() -> None:
    assert pieces("finished_at,-id") == [
        (True, "-finished_at,-id", [], None),
        (False, "finished_at,-id", [], None),
    ]
    assert pieces("-finished_at") == [(False, "-finished_at,-id", [], None), (True, "-finished_at,-id", [], None)]
    assert pieces("created_at") == [(False, "created_at,id", [], None)]


@pytest.mark.parametrize(
    ("sort", "after", "expected"),
    [
        ("finished_at", (None, "a"), [(True, (None, "a")), (False, None)]),
        ("finished_at", (T1, "a"), [(False, (T1, "a"))]),
        ("-finished_at", (T1, "a"), [(False, (T1, "a")), (True, None)]),
        ("-finished_at", (None, "a"), [(True, (None, "a"))]),
    ],
)
def test_a_walk_goes_on_in_the_part_that_it_has_come_to(sort: str, after: Key, expected: list[Any]) -> None:
    assert [(null, place) for null, _, _, place in pieces(sort, after)] == expected


@pytest.mark.parametrize(
    ("asks", "nulls"),
    [
        ({"finished_at__null": "true"}, [True]),
        ({"finished_at__null": "false"}, [False]),
        ({"finished_at__gt": T1}, [False]),
    ],
)
def test_a_part_in_which_nothing_is_wanted_is_left_out(asks: Any, nulls: list[bool]) -> None:
    assert [null for null, *_ in pieces("-finished_at", **asks)] == nulls


def test_a_walk_ends_where_the_wanted_time_ends() -> None:
    within: Any = {
        "created_at__gte": T1,
        "created_at__gt": T2,
        "created_at__lt": T3,
        "created_at__between": f"{T1},{T3}",
    }
    assert pieces("created_at", **within)[0][2] == ["gt 2026-11-02", "lt 2026-11-03"]
    assert pieces("-created_at", **within)[0][2] == ["lt 2026-11-03", "gt 2026-11-02"]
    assert pieces("created_at", created_at__ne=T1)[0][2] == []


def test_an_index_has_one_begin_the_place_or_the_bound_behind_it() -> None:
    within: Any = {"created_at__between": f"{T2},{T2[:10]}T12:00:00Z"}
    assert pieces("created_at", (T2, "a"), **within) == [(False, "created_at,id", ["lte 2026-11-02"], (T2, "a"))]
    assert pieces("created_at", (T1, "a"), **within)[0][2:] == (["gte 2026-11-02", "lte 2026-11-02"], None)
    assert pieces("-created_at", (T3, "a"), **within)[0][2:] == (["lte 2026-11-02", "gte 2026-11-02"], None)
    assert pieces("-created_at", (T2, "a"), **within)[0][2:] == (["gte 2026-11-02"], (T2, "a"))


def test_a_place_that_wanted_records_can_have_is_the_begin() -> None:
    assert walked("type,created_at", ("b", T1, "x"), type="b").pieces[0].after == (T1, "x")
    assert walked("priority,created_at", (2, T1, "x"), priority="high").pieces[0].after == (T1, "x")
    assert walked("created_at,id,type", (T1, "x", "a"), type="b").pieces[0].after == (T1, "x"), "the id says who it is"


@pytest.mark.parametrize(("sort", "before", "behind"), [("type", "a", "c"), ("-type", "c", "a")])
def test_behind_another_place_are_all_wanted_records_or_none(sort: str, before: str, behind: str) -> None:
    assert [each.after for each in walked(f"{sort},created_at", (before, T1, "x"), type="b").pieces] == [None]
    assert walked(f"{sort},created_at", (behind, T1, "x"), type="b").pieces == ()
    assert walked(f"{sort},finished_at", (behind, None, "x"), type="b").pieces == ()


@pytest.mark.parametrize(("sort", "before", "behind"), [("type", "a", "c"), ("-type", "c", "a")])
@pytest.mark.parametrize("last", ["id", "-id"])
@pytest.mark.parametrize("time", [T2, None])
def test_behind_a_place_of_the_same_time_are_all_of_that_time_or_none(
    sort: str, before: str, behind: str, last: str, time: str | None
) -> None:
    first, end = ("", "\U0010ffff") if last == "id" else ("\U0010ffff", "")

    def places(type: str) -> list[Key | None]:
        return [each.after for each in walked(f"finished_at,{sort},{last}", (time, type, "x"), type="b").pieces]

    assert (time, first) in places(before)
    assert (time, end) in places(behind)


def test_the_place_of_a_record_that_is_not_wanted_has_the_values_that_are() -> None:
    found = walked("-priority,created_at", priority="high")
    seen: Any = {"priority": 0, "created_at": T1, "id": "x"}
    assert found.place(seen, parse_sort("-priority,created_at")) == (2, T1, "x")


# -- the choice --------------------------------------------------------------------------------------------------------

ORDER = parse_sort("-created_at")
LEAD = Term("type", Operator.EQ, ("a",))


def test_few_candidates_are_gathered_whatever_the_order() -> None:
    assert choose(None, (Word("x"), 10), ORDER, 10) == Gather(Word("x"))
    assert choose(None, (None, 10), ORDER, 10) == Gather(None)
    assert choose(walked("-created_at"), (Word("x"), 10), ORDER, 10) == Gather(Word("x"))


def test_too_many_are_walked_over() -> None:
    found = walked("-created_at")
    assert choose(found, (Word("x"), 11), ORDER, 10) is found


def test_few_that_come_in_order_are_walked_over_too() -> None:
    found = walked("-created_at", type="a")
    assert choose(found, (LEAD, 3), ORDER, 10) is found
    assert choose(found, (Word("x"), 3), ORDER, 10) == Gather(Word("x"))


def test_too_many_in_another_order_are_refused_with_what_is_possible() -> None:
    with pytest.raises(BadFilter) as refused:
        choose(None, (LEAD, 20_001), parse_sort("-priority"), 20_000)
    assert refused.value.detail == (
        "So many tasks cannot be sorted by -priority,-id: add a filter that leaves at most 20,000 tasks, "
        "or sort by one of created_at, finished_at, id, with or without a minus."
    )


def test_a_piece_is_a_value() -> None:
    assert walked("id").pieces == (Piece(False, (), parse_sort("id"), None),)
