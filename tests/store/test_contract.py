"""What the engine may rely on, whatever the store."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.engine.journal import PAGE_BYTES_MAX, Commit, FeedItem, Journal, RecordQuery
from streaming.errors import StoreUnavailable
from streaming.events import Event, encode_payload
from streaming.records import (
    CancelOutcome,
    CancelReceipt,
    IdempotencyKey,
    Progress,
    TaskError,
    TaskStatus,
)
from streaming.rules.filters import Filter
from streaming.rules.sorting import Key
from tests.store.conftest import MakeStore
from tests.store.samples import (
    at,
    end,
    event,
    plain,
    record,
    start,
    task_id,
    ticks,
    wanted,
    whole_feed,
    whole_log,
)

ENDED, FAILED, LIVE = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RUNNING


def key(number: int, *, name: str = "k", principal: str = "ann", second: int = 0) -> IdempotencyKey:
    return IdempotencyKey(name, principal, "fingerprint", task_id(number), at(second))


# -- commit ------------------------------------------------------------------------------------------------------------


async def test_positions_count_all_events_of_all_tasks_in_commit_order(store: Journal) -> None:
    first = await store.commit(start(1, 2))
    second = await store.commit(Commit([event(2, 2), event(1, 2), event(2, 3)]))

    assert [plain(first), plain(second)] == [([1, 2], set()), ([3, 4, 5], set())]
    assert [(place, item.task_id, item.seq) for place, item in await whole_feed(store)] == [
        (1, task_id(1), 1),
        (2, task_id(2), 1),
        (3, task_id(2), 2),
        (4, task_id(1), 2),
        (5, task_id(2), 3),
    ]


async def test_the_last_position_is_the_highest_that_was_given(store: Journal) -> None:
    assert await store.last_position() == 0
    await store.commit(start(1))
    assert await store.last_position() == 1


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 500, 1001])
async def test_a_commit_of_any_size_is_stored_whole_and_in_order(store: Journal, size: int) -> None:
    await store.commit(start(1))
    committed = await store.commit(Commit(ticks(1, 2, size + 1)))

    assert list(committed.positions) == list(range(2, size + 2))
    assert await whole_log(store, 1) == [event(1, 1, "pending"), *ticks(1, 2, size + 1)]


async def test_many_tasks_start_in_one_commit(store: Journal) -> None:
    numbers = range(1, 101)
    await store.commit(start(*numbers))

    assert await store.unfinished() == [record(number, last_seq=1) for number in numbers]


async def test_an_empty_commit_stores_nothing(store: Journal) -> None:
    assert plain(await store.commit(Commit([]))) == ([], set())
    assert await store.last_position() == 0


async def test_what_belongs_to_a_terminal_task_is_lost_and_the_rest_is_stored(store: Journal) -> None:
    await store.commit(start(1, 2))
    await store.commit(end(1, 2))
    late = Commit(
        [event(1, 3), event(2, 2), event(1, 4, "failed")],
        updated=[record(1, FAILED), record(2, LIVE)],
    )

    assert plain(await store.commit(late)) == ([4], {task_id(1)})
    assert await store.record(task_id(1)) == record(1, ENDED, last_seq=2)
    assert await store.record(task_id(2)) == record(2, LIVE, last_seq=2)
    assert await whole_log(store, 1) == [event(1, 1, "pending"), event(1, 2, "completed")]
    assert await whole_log(store, 2) == [event(2, 1, "pending"), event(2, 2)]


async def test_what_belongs_to_a_task_that_is_gone_is_lost(store: Journal) -> None:
    await store.commit(start(2))
    late = Commit([event(1, 3), event(2, 2)], updated=[record(1, LIVE)])

    assert plain(await store.commit(late)) == ([2], {task_id(1)})
    assert await store.record(task_id(1)) is None
    assert await whole_log(store, 1) == []


async def test_an_update_alone_of_a_terminal_task_is_lost(store: Journal) -> None:
    await store.commit(start(1))
    await store.commit(end(1, 2))

    assert plain(await store.commit(Commit([], updated=[record(1, LIVE)]))) == ([], {task_id(1)})
    assert await store.record(task_id(1)) == record(1, ENDED, last_seq=2)


async def test_what_belongs_to_a_task_whose_log_has_ended_is_lost_whatever_its_record_says(store: Journal) -> None:
    await store.commit(start(1, 2))
    await store.commit(Commit([event(2, 2, "completed")]))  # its record says it is live: somebody tampered with it
    late = Commit([event(2, 3, "cancelled"), event(1, 2)], updated=[record(2, FAILED)])

    assert plain(await store.commit(late)) == ([4], {task_id(2)})
    assert await whole_log(store, 2) == [event(2, 1, "pending"), event(2, 2, "completed")]
    assert await store.record(task_id(2)) == record(2, last_seq=2)


@pytest.mark.parametrize(
    "late",
    [[event(1, 3, "ours")], [event(1, 4, "ours"), event(1, 5)], [event(1, 5)]],
    ids=["behind the head", "over the head", "beyond the head"],
)
async def test_what_belongs_to_a_task_to_whose_log_somebody_else_writes_is_lost(
    store: Journal, late: list[Event]
) -> None:
    await store.commit(start(1, 2))
    await store.commit(Commit(ticks(1, 2, 3)))
    await store.commit(Commit([event(1, 4, "theirs")]) if late[0].seq == 4 else Commit([]))
    before = await whole_log(store, 1)

    committed = await store.commit(Commit([*late, event(2, 2)], updated=[record(1, LIVE), record(2, LIVE)]))

    assert plain(committed) == ([len(before) + 2], {task_id(1)})
    assert await whole_log(store, 1) == before
    assert await store.record(task_id(1)) == record(1, last_seq=len(before))
    assert await store.record(task_id(2)) == record(2, LIVE, last_seq=2)


CONTRADICTIONS = {
    "a task that exists is created again": Commit([event(3, 2)], created=[record(1)]),
    "a task is created twice": Commit([], created=[record(4), record(4)]),
    "a seq comes twice": Commit([event(3, 2), event(1, 2), event(1, 2)]),
    "a task ends twice in one commit": Commit([event(3, 2), event(1, 2, "completed"), event(1, 3, "failed")]),
}


@pytest.mark.parametrize("wrong", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_a_commit_that_contradicts_what_is_stored_is_refused_whole(store: Journal, wrong: Commit) -> None:
    await store.commit(start(1, 2, 3))
    before = await whole_feed(store)

    with pytest.raises(StoreUnavailable, match="contradicts"):
        await store.commit(wrong)

    assert await whole_feed(store) == before
    assert [found.id for found in await store.unfinished()] == [task_id(1), task_id(2), task_id(3)]
    assert plain(await store.commit(Commit([event(3, 2)]))) == ([4], set())


# -- outcome -----------------------------------------------------------------------------------------------------------


async def test_the_outcome_of_a_commit_that_took_place_is_what_it_returned(store: Journal) -> None:
    await store.commit(start(1, 2))
    await store.commit(end(2, 2))
    commit = Commit(
        [event(1, 2), event(3, 1, "pending"), event(2, 3), event(1, 3, "completed")],
        created=[record(3)],
        updated=[record(1, ENDED), record(2, FAILED)],
    )
    committed = await store.commit(commit)

    assert plain(committed) == ([4, 5, 6], {task_id(2)})
    assert plain(await store.outcome(commit)) == plain(committed)


async def test_a_task_that_was_only_updated_has_its_outcome_too(store: Journal) -> None:
    await store.commit(start(1, 2, 3))
    await store.commit(end(2, 2))
    commit = Commit([event(1, 2)], updated=[record(2, LIVE), record(3, LIVE)])
    committed = await store.commit(commit)

    assert plain(committed) == ([5], {task_id(2)})
    assert plain(await store.outcome(commit)) == plain(committed)


@pytest.mark.parametrize(
    "commit",
    [Commit([event(1, 2)]), start(2), Commit([], updated=[record(1, LIVE)]), Commit([])],
    ids=["events", "start", "update", "nothing"],
)
async def test_a_commit_that_did_not_take_place_has_no_outcome_and_can_be_repeated(
    store: Journal, commit: Commit
) -> None:
    await store.commit(start(1))

    assert await store.outcome(commit) is None
    assert plain(await store.commit(commit)) == (list(range(2, 2 + len(commit.events))), set())


async def test_an_event_of_somebody_else_with_the_same_seq_is_no_outcome_of_ours(store: Journal) -> None:
    await store.commit(start(1))
    await store.commit(Commit([event(1, 2, payload='{"by":"them"}')]))

    assert await store.outcome(Commit([event(1, 2, payload='{"by":"us"}')])) is None


@pytest.mark.parametrize("size", [1, 399, 400, 401, 900])
async def test_the_outcome_of_a_large_commit_is_found(store: Journal, size: int) -> None:
    await store.commit(start(1))
    commit = Commit(ticks(1, 2, size + 1))
    committed = await store.commit(commit)

    assert plain(await store.outcome(commit)) == plain(committed)


async def test_to_repeat_the_commit_that_ended_a_task_changes_nothing(store: Journal) -> None:
    """The answer was lost, and nobody could be asked: the task that it ended is not lost to us."""
    await store.commit(start(1, 2))
    commit = Commit([event(2, 2), event(1, 2, "completed")], updated=[record(1, ENDED)])
    committed = await store.commit(commit)

    assert plain(await store.commit(commit)) == plain(committed) == ([3, 4], set())
    assert await store.last_position() == 4


# -- records -----------------------------------------------------------------------------------------------------------

FULL = record(
    7,
    FAILED,
    type="http_fetch",
    params={"url": "http://x/\N{SNOWMAN}\N{GRINNING FACE}\x00", "nested": [1, 2.5, None, {"a": [True]}], "empty": {}},
    created_by="ann",
    tenant="acme",
    traceparent=f"00-{7:032x}-{7:016x}-01",
    tracestate="a=1,b=2",
    tags=("a", "b c", "\N{GRINNING FACE}"),
    attempt=3,
    progress=Progress(33.333333333333336, "a third\x00"),
    result=[0.1 + 0.2, {"\x00": "\U0001f600"}],
    error=TaskError("broken", "It broke.\nReally."),
    cancel=CancelReceipt(at(1), "bob", "why \N{SNOWMAN}", at(2), at(3), CancelOutcome.IGNORED, "x.py:3", declined=True),
    last_seq=1,
    started_at=at(8),
    finished_at=at(9),
)


async def test_every_field_of_a_record_comes_back_as_it_was(store: Journal) -> None:
    await store.commit(Commit([event(7, 1)], created=[FULL]))

    found = await store.record(FULL.id)
    assert found == FULL
    assert type(found.status) is TaskStatus
    assert found.cancel is not None
    assert type(found.cancel.outcome) is CancelOutcome


async def test_an_update_writes_every_field_that_can_change(store: Journal) -> None:
    as_created: Any = {
        name: getattr(FULL, name)
        for name in ("type", "params", "created_by", "tags", "tenant", "traceparent", "tracestate")
    }
    created = record(7, **as_created)
    await store.commit(Commit([event(7, 1)], created=[created]))
    await store.commit(Commit([], updated=[FULL]))

    assert await store.record(FULL.id) == FULL


async def test_an_update_can_take_values_back(store: Journal) -> None:
    await store.commit(Commit([event(1, 1)], created=[record(1, LIVE, progress=Progress(50.0), started_at=at(3))]))
    await store.commit(Commit([], updated=[record(1)]))

    assert await store.record(task_id(1)) == record(1, last_seq=1)


async def test_there_is_no_record_of_an_unknown_task(store: Journal) -> None:
    assert await store.record("no such task") is None


async def test_last_seq_counts_the_stored_events_whatever_the_record_says(store: Journal) -> None:
    await store.commit(start(1, last_seq=99))
    await store.commit(Commit(ticks(1, 2, 5), updated=[record(1, LIVE, last_seq=2)]))

    found = await store.record(task_id(1))
    assert found is not None
    assert found.last_seq == 5
    assert [one.last_seq for one in await store.unfinished()] == [5]
    assert [one.last_seq for one in await store.records(RecordQuery())] == [5]


async def test_unfinished_tasks_come_oldest_first(store: Journal) -> None:
    await store.commit(start(3, 1, 2, 5, 4))
    await store.commit(Commit([], updated=[record(2, LIVE)]))
    await store.commit(end(4, 2))

    assert [found.id for found in await store.unfinished()] == [task_id(number) for number in (1, 2, 3, 5)]


async def ids(store: Journal, **query: Any) -> list[int]:
    return [int(found.id, 16) for found in await store.records(RecordQuery(**query))]


async def test_all_records_are_counted_where_nothing_is_asked_for(store: Journal) -> None:
    assert await store.count(Filter()) == [((), 0)]
    await store.commit(start(1, 2, 3))
    assert await store.count(Filter()) == [((), 3)]
    assert await store.count(Filter(), ["status"]) == [(("pending",), 3)]


async def test_records_come_newest_first_and_ties_are_broken_by_id(store: Journal) -> None:
    await store.commit(start(1, 2, 3))
    await store.commit(start(11, 10, created_at=at(2)))

    assert await ids(store) == [3, 11, 10, 2, 1]


async def test_records_are_filtered(store: Journal) -> None:
    await store.commit(start(1, 2, type="a", tags=("red", "blue")))
    await store.commit(start(3, 4, type="b", tags=("blue",)))
    await store.commit(start(5, type="c"))
    await store.commit(end(2, 2, type="a", tags=("red", "blue")))
    await store.commit(end(4, 2, FAILED, type="b", tags=("blue",)))

    assert await ids(store, filter=wanted(status=ENDED)) == [2]
    assert await ids(store, filter=wanted(status=(ENDED, FAILED))) == [4, 2]
    assert await ids(store, filter=wanted(type=("a", "c"))) == [5, 2, 1]
    assert await ids(store, filter=wanted(tag="blue")) == [4, 3, 2, 1]
    assert await ids(store, filter=wanted(tag="red", status=TaskStatus.PENDING)) == [1]
    assert await ids(store, filter=wanted(tag="re")) == []
    assert await ids(store, limit=2) == [5, 4]


async def test_a_page_begins_after_the_last_task_of_the_one_before(store: Journal) -> None:
    await store.commit(start(1, 2, 3))
    await store.commit(start(11, 12, created_at=at(2)))

    assert await ids(store, after=(at(3), task_id(3))) == [12, 11, 2, 1]
    assert await ids(store, after=(at(2), task_id(12))) == [11, 2, 1]
    assert await ids(store, after=(at(1), task_id(1))) == []


async def test_no_task_is_skipped_or_repeated_while_others_come_and_go(store: Journal) -> None:
    await store.commit(start(*range(10, 30), created_at=at(1)))  # all at once: only the id tells them apart
    seen: list[int] = []
    after: Key | None = None
    for number in itertools.count(50):
        page = await store.records(RecordQuery(after=after, limit=3))
        seen += [int(found.id, 16) for found in page]
        if not page.more:
            break
        after = page.more
        await store.commit(start(number))  # newer: on no later page
        await store.commit(end(seen[-1], 2, created_at=at(1)))
        await store.delete(page.records[-1].id)  # the cursor's own task goes

    assert seen == list(range(29, 9, -1))


@pytest.mark.parametrize(
    ("stored", "limit", "found", "more"), [(0, 1, 0, False), (3, 2, 2, True), (2, 2, 2, False), (1, 2, 1, False)]
)
async def test_a_page_tells_whether_there_is_another(
    store: Journal, stored: int, limit: int, found: int, more: bool
) -> None:
    await store.commit(start(*range(1, stored + 1)))

    page = await store.records(RecordQuery(limit=limit))
    assert (len(page), page.more is not None) == (found, more)


@pytest.mark.parametrize("field", ["params", "result"])
@pytest.mark.parametrize("filter", [Filter(), wanted(status=(TaskStatus.PENDING, LIVE))])
async def test_large_records_come_in_pages_that_miss_none(store: Journal, field: str, filter: Filter) -> None:
    large: dict[str, Any] = {field: {"text": "x" * (PAGE_BYTES_MAX // 3)}}
    await store.commit(start(*range(1, 8), **large))
    await store.commit(start(8, params={"text": "x" * 2 * PAGE_BYTES_MAX}))
    await store.commit(start(9, 10))

    sizes: list[int] = []
    seen: list[int] = []
    after: Key | None = None
    while not sizes or after:
        page = await store.records(RecordQuery(filter, after=after, limit=99))
        sizes.append(len(page))
        seen += [int(found.id, 16) for found in page]
        after = page.more
    assert seen == list(range(10, 0, -1))
    assert sizes == [3, 3, 3, 1]


# -- logs and the feed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seq", "last_seq", "limit", "expected"),
    [
        (0, 10, 100, [1, 2, 3, 4, 5]),
        (2, 4, 100, [3, 4]),
        (2, 4, 1, [3]),
        (4, 4, 100, []),
        (5, 9, 100, []),
        (-3, 1, 100, [1]),
    ],
)
async def test_a_piece_of_a_log_has_its_bounds(
    store: Journal, seq: int, last_seq: int, limit: int, expected: list[int]
) -> None:
    await store.commit(start(1, 2))
    await store.commit(Commit([*ticks(1, 2, 3), *ticks(2, 2, 9), *ticks(1, 4, 5)]))

    found = await store.events_after(task_id(1), seq, last_seq=last_seq, limit=limit)
    assert [one.seq for one in found] == expected
    assert {one.task_id for one in found} <= {task_id(1)}


@pytest.mark.parametrize(
    ("position", "last_position", "limit", "expected"),
    [(0, 99, 99, [1, 2, 3, 4]), (1, 3, 99, [2, 3]), (0, 99, 2, [1, 2]), (4, 4, 99, []), (9, 99, 99, [])],
)
async def test_a_piece_of_the_feed_has_its_bounds(
    store: Journal, position: int, last_position: int, limit: int, expected: list[int]
) -> None:
    await store.commit(start(1, 2, 3, 4))

    items = await store.feed_after(position, last_position=last_position, limit=limit)
    assert [item.position for item in items] == expected


async def test_a_feed_item_has_what_its_readers_filter_by(store: Journal) -> None:
    await store.commit(start(1, type="a", tags=("red", "blue"), created_by="ann", tenant="acme"))
    await store.commit(start(2, type="b"))

    assert await store.feed_after(0, last_position=2, limit=9) == [
        FeedItem(1, event(1, 1, "pending"), "a", ("red", "blue"), "ann", "acme"),
        FeedItem(2, event(2, 1, "pending"), "b", (), "anonymous"),
    ]


async def test_payloads_come_back_byte_for_byte(store: Journal) -> None:
    payloads = [
        "{}",
        "null",
        '{"a": 1.0, "b" : 1e5}',
        '"\\u0000\\ud83d"',
        '{"t":"\U0001f600 \N{SNOWMAN} \x7f"}',
        f'"{"x" * 300_000}"',
    ]
    await store.commit(start(1))
    await store.commit(Commit([event(1, seq, payload=text) for seq, text in enumerate(payloads, 2)]))

    assert [found.payload for found in await whole_log(store, 1)] == ["{}", *payloads]
    assert [found.payload for _, found in await whole_feed(store)] == ["{}", *payloads]


async def test_large_events_come_in_pages_that_miss_none(store: Journal) -> None:
    large = [event(1, seq, payload=f'"{"x" * (PAGE_BYTES_MAX // 3)}"') for seq in range(2, 12)]
    await store.commit(start(1))
    await store.commit(Commit(large))

    logged = await store.events_after(task_id(1), 0, last_seq=99, limit=99)
    while logged[-1].seq < 11:
        page = await store.events_after(task_id(1), logged[-1].seq, last_seq=99, limit=99)
        assert page
        logged += page
    fed = await store.feed_after(0, last_position=99, limit=99)
    while fed[-1].position < 11:
        items = await store.feed_after(fed[-1].position, last_position=99, limit=99)
        assert items
        fed += items
    assert logged == [item.event for item in fed] == [event(1, 1, "pending"), *large]


texts = st.text(max_size=50) | st.sampled_from(["\x00", "a\x00b", "\U0001f600", "\u2028", "'; --", "%s ? :x"])
plain_texts = texts.map(lambda text: text.replace("\0", ""))  # PostgreSQL has no NUL outside of JSON
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)
numbers = itertools.count(1000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values, text=plain_texts, tags=st.lists(plain_texts, max_size=3))
async def test_every_json_value_and_every_text_comes_back_as_it_was(
    store: Journal, value: Any, text: str, tags: list[str]
) -> None:
    number = next(numbers)
    started = record(number, params={"value": value}, result=value, created_by=text, tags=tuple(tags), last_seq=1)
    first = event(number, 1, payload=encode_payload(value))
    await store.commit(Commit([first], created=[started]))

    assert await store.record(started.id) == started
    assert await whole_log(store, number) == [first]
    for tag in tags:
        assert started in await store.records(RecordQuery(wanted(tag=tag)))


# -- keys and deletes --------------------------------------------------------------------------------------------------


def start_with_key(number: int, **fields: Any) -> Commit:
    started = start(number)
    return Commit(started.events, created=started.created, keys=[key(number, **fields)])


async def test_a_key_belongs_to_its_principal(store: Journal) -> None:
    await store.commit(start_with_key(1, principal="ann", name="k", second=5))

    assert await store.key("ann", "k", created_after=at(0)) == key(1, second=5)
    assert await store.key("bob", "k", created_after=at(0)) is None
    assert await store.key("ann", "other", created_after=at(0)) is None


async def test_the_keys_of_a_principal_are_counted_up_to_a_limit(store: Journal) -> None:
    for number, principal in enumerate(("ann", "ann", "bob", "ann", "x\nann"), 1):
        await store.commit(start_with_key(number, name=f"k{number}", principal=principal))

    assert [await store.count_keys("ann", limit=limit) for limit in (1, 2, 3, 4, 100_000)] == [1, 2, 3, 3, 3]
    assert [await store.count_keys(name, limit=9) for name in ("bob", "x\nann", "nobody")] == [1, 1, 0]

    await store.commit(end(2, 2))
    assert await store.delete(task_id(2))
    assert await store.count_keys("ann", limit=9) == 2


async def test_a_key_of_a_task_that_is_gone_is_left_out_and_stops_nothing(store: Journal) -> None:
    await store.commit(start_with_key(1, name="first"))
    await store.commit(end(1, 2))
    done = await store.commit(Commit([*start(2).events], created=start(2).created, keys=[key(9), key(1, name="late")]))

    assert len(done.positions) == 1
    assert await store.key("ann", "k", created_after="") is None
    assert await store.key("ann", "late", created_after="") == key(1, name="late"), "also where it has ended"


async def test_an_old_key_is_not_found(store: Journal) -> None:
    await store.commit(start_with_key(1, second=5))

    assert await store.key("ann", "k", created_after=at(4)) is not None
    assert await store.key("ann", "k", created_after=at(5)) is None


async def test_an_old_key_can_be_used_again_for_another_task(store: Journal) -> None:
    await store.commit(start_with_key(1, second=5))
    await store.commit(start_with_key(2, second=9))
    await store.commit(end(1, 2))

    assert await store.delete(task_id(1))
    assert await store.key("ann", "k", created_after=at(0)) == key(2, second=9)


async def test_old_keys_are_forgotten(store: Journal) -> None:
    for number in (1, 2, 3):
        await store.commit(start_with_key(number, name=f"k{number}", second=number))

    assert await store.forget_keys(created_before=at(3)) == 2
    assert await store.forget_keys(created_before=at(3)) == 0
    assert await store.count_keys("ann", limit=9) == 1
    assert [await store.key("ann", f"k{number}", created_after=at(0)) for number in (1, 2)] == [None, None]
    assert await store.key("ann", "k3", created_after=at(0)) is not None


async def test_a_deleted_task_leaves_nothing(store: Journal) -> None:
    await store.commit(start_with_key(1))
    await store.commit(start(2))
    await store.commit(end(1, 2))

    assert await store.delete(task_id(1)) is True
    assert await store.record(task_id(1)) is None
    assert await whole_log(store, 1) == []
    assert [position for position, _ in await whole_feed(store)] == [2]
    assert await ids(store) == [2]
    assert await store.key("ann", "k", created_after=at(-0)) is None
    assert await store.delete(task_id(1)) is False


async def test_a_deleted_task_whose_key_was_forgotten_leaves_nothing(store: Journal) -> None:
    await store.commit(start_with_key(1, second=1))
    await store.commit(end(1, 2))
    await store.forget_keys(created_before=at(9))

    assert await store.delete(task_id(1)) is True
    assert len(await store.records(RecordQuery())) == 0


async def test_a_task_that_is_not_terminal_is_not_deleted(store: Journal) -> None:
    await store.commit(start(1))

    assert await store.delete(task_id(1)) is False
    assert await store.delete("no such task") is False
    assert await store.record(task_id(1)) == record(1, last_seq=1)


async def test_a_position_is_never_given_twice(store: Journal) -> None:
    await store.commit(start(1))
    await store.commit(end(1, 2))
    await store.delete(task_id(1))

    assert await store.last_position() == 2
    assert plain(await store.commit(start(2))) == ([3], set())


# -- open and close ----------------------------------------------------------------------------------------------------

USES = {
    "commit": lambda store: store.commit(Commit([])),
    "outcome": lambda store: store.outcome(Commit([])),
    "record": lambda store: store.record("x"),
    "records": lambda store: store.records(RecordQuery()),
    "count": lambda store: store.count(Filter()),
    "unfinished": lambda store: store.unfinished(),
    "events_after": lambda store: store.events_after("x", 0, last_seq=1, limit=1),
    "feed_after": lambda store: store.feed_after(0, last_position=1, limit=1),
    "last_position": lambda store: store.last_position(),
    "key": lambda store: store.key("x", "y", created_after="z"),
    "count_keys": lambda store: store.count_keys("x", limit=9),
    "forget_keys": lambda store: store.forget_keys(created_before="z"),
    "delete": lambda store: store.delete("x"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_a_closed_store_says_so(store: Journal, use: Any) -> None:
    await use(store)
    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await use(store)


def test_only_a_durable_store_says_it_is_one(make_memory: MakeStore, make_sqlite: MakeStore) -> None:
    assert not make_memory().durable
    assert make_sqlite().durable


# -- restart -----------------------------------------------------------------------------------------------------------


async def everything(store: Journal) -> list[Any]:
    return [
        await store.records(RecordQuery(limit=1000)),
        await store.unfinished(),
        await whole_feed(store),
        await store.last_position(),
    ]


async def test_a_durable_store_has_everything_after_a_restart(make_durable: MakeStore) -> None:
    store = make_durable()
    await store.open()
    await store.commit(start_with_key(1, second=5))
    await store.commit(start(2, 3))
    await store.commit(Commit([*ticks(1, 2, 4), event(2, 2)], updated=[record(1, LIVE)]))
    await store.commit(end(3, 2))
    before = await everything(store)
    await store.close()

    again = make_durable()
    await again.open()
    assert await everything(again) == before
    assert await again.key("ann", "k", created_after=at(0)) == key(1, second=5)
    await again.close()


async def test_positions_and_seqs_go_on_after_a_restart(make_durable: MakeStore) -> None:
    store = make_durable()
    await store.open()
    await store.commit(start(1, 2))
    await store.commit(end(2, 2))
    await store.delete(task_id(2))  # it had the last position
    await store.close()

    again = make_durable()
    await again.open()
    assert await again.last_position() == 3
    assert plain(await again.commit(Commit([event(1, 2)]))) == ([4], set())
    await again.close()


async def test_a_store_can_be_opened_again(make_durable: MakeStore) -> None:
    store = make_durable()
    await store.open()
    await store.commit(start(1))
    await store.close()
    await store.open()

    assert await store.record(task_id(1)) == record(1, last_seq=1)
    await store.close()
