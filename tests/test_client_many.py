"""The client asks about many tasks: what it sends, what it makes of the answers, and what a real server says to it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming import errors
from streaming.client import Bulk, Client, Count, Patience, Refused
from streaming.client.answers import record_from
from streaming.client.listing import query_of
from streaming.errors import ServerError
from streaming.records import Eta, Policy, Record, RetryPolicy, Steps, TaskStatus
from streaming.rules.history import Span
from tests.rules.tasks import RECORDS
from tests.scripted_server import TASK_ID, TIME, record, refused, said_json, scripted
from tests.web.live import live

pytestmark = pytest.mark.usefixtures("each_client")

PATIENCE = Patience(retry_s=0)

POLICIES = st.builds(
    Policy,
    retry=st.builds(RetryPolicy, st.integers(0, 9), on=st.sampled_from([(), ("TimeoutError", "odd")])),
    queue_timeout_s=st.none() | st.just(5.0),
    heartbeat_timeout_s=st.none() | st.just(6.0),
    total_timeout_s=st.none() | st.just(7.0),
    cancel_unwatched_s=st.none() | st.just(30.0),
    keep_until_ack=st.booleans(),
)


@given(RECORDS, POLICIES, st.none() | st.just(Steps(2, 5, "parse")), st.none() | st.just(Eta(TIME, TIME)))
def test_every_record_is_read_as_it_was_written(found: Record, policy: Policy, steps: Steps, eta: Eta) -> None:
    sent = dataclasses.replace(found, policy=policy, steps=steps, eta=eta)
    assert record_from(json.loads(json.dumps(sent.as_json()))) == sent


def test_a_record_of_an_older_server_has_the_usual_policy() -> None:
    old = {name: value for name, value in record().as_json().items() if name not in ("retry", "on_unwatched", "steps")}
    assert record_from(old) == record()


@pytest.mark.parametrize("wrong", [[], "x", None, {"id": 1}, {**record().as_json(), "retry": 7}])
def test_what_is_no_record_is_a_bad_answer(wrong: object) -> None:
    with pytest.raises(errors.ServerError, match="A task was expected"):
        record_from(wrong)


# -- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a,b", "a,b"),
        (("a",), "a"),
        (True, "true"),
        (False, "false"),
        (50, "50"),
        (12.5, "12.5"),
        (datetime(2026, 11, 1, 12, tzinfo=UTC), "2026-11-01T12:00:00.000000Z"),
        (datetime(2026, 11, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-11-01T10:00:00.000000Z"),
        (TaskStatus.RUNNING, "running"),
    ],
)
def test_values_are_written_as_the_server_reads_them(value: Any, text: str) -> None:
    assert query_of({"x[gt]": value}) == {"x[gt]": text}


@pytest.mark.parametrize("name", ["x", "x[in]", "x[nin]", "x[between]", "tag[contains]"])
@pytest.mark.parametrize(("values", "text"), [(["a", "b"], "a,b"), ((1, 2.5), "1,2.5"), ("a, b", "a, b")])
def test_several_values_have_commas_between(name: str, values: Any, text: str) -> None:
    assert query_of({name: values}) == {name: text}


@pytest.mark.parametrize("value", ["order 1, part 2", " order 1", "order 1 "])
@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("x", "x[eq]"),
        ("x[in]", "x[eq]"),
        ("x[nin]", "x[ne]"),
        ("tag[contains]", "tag[eq]"),
        ("x[contains]", "x[contains]"),
        ("x[eq]", "x[eq]"),
        ("x[startswith]", "x[startswith]"),
    ],
)
def test_one_value_means_itself_with_all_its_commas_and_blanks(name: str, exact: str, value: str) -> None:
    assert query_of({name: [value]}) == {exact: value}


def test_one_text_without_a_comma_is_one_value() -> None:
    assert query_of({"x": " order 1"}, {"y": "1, 2"}) == {"x[eq]": " order 1", "y": "1, 2"}


@pytest.mark.parametrize("name", ["q", "preset", "sort", "group_by", "window", "by"])
def test_what_is_no_filter_takes_no_operator(name: str) -> None:
    assert query_of({name: [" a"]}) == {name: " a"}
    assert query_of({name: ["a, b", "c"]}) == {name: "a, b,c"}


@pytest.mark.parametrize("value", ["order 1, part 2", " order 1", "order 1\n"])
@pytest.mark.parametrize("name", ["key", "key[in]", "key[nin]", "key[between]", "tag[contains]"])
def test_several_values_of_which_one_would_be_split_or_stripped_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name!r} has several values, and {value!r}")):
        query_of({name: ["a", value]})


@pytest.mark.parametrize("name", ["key[eq]", "key[ne]", "key[gt]", "key[contains]", "key[like]"])
def test_an_operator_that_takes_one_value_is_not_given_several(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name!r} takes one value")):
        query_of({name: ["a", "b"]})


def test_none_is_no_filter_and_a_name_is_given_once() -> None:
    assert query_of(None, {"a": None, "b": "1"}, {"a": "2"}) == {"b": "1", "a": "2"}
    with pytest.raises(ValueError, match="'b' is given twice"):
        query_of({"b": "1"}, {"b": "1"})
    with pytest.raises(ValueError, match=r"'b\[eq\]' is given twice"):
        query_of({"b[eq]": "1", "b": ["1, 2"]})
    with pytest.raises(ValueError, match="'b' is given twice"):
        query_of({"b": ["1, 2"]}, {"b": "3"})


def test_a_filter_without_values_is_not_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match="'tag' has no values"):
        query_of({"tag": []})


# -- what is sent, and what comes back -------------------------------------------------------------------------------


async def test_pages_are_followed_also_through_empty_ones() -> None:
    pages = [
        said_json({"tasks": [record(id="a").as_json()], "next_cursor": "c&1"}),
        said_json({"tasks": [], "next_cursor": "c2"}),
        said_json({"tasks": [record(id="b").as_json()], "next_cursor": None}),
    ]
    async with scripted(*pages) as server, Client(server.url, patience=PATIENCE) as client:
        found = [
            each.id
            async for each in client.tasks(
                {"progress[lt]": 50}, status=["running", "failed"], sort="-created_at", q=None
            )
        ]

    assert found == ["a", "b"]
    query = "progress%5Blt%5D=50&status=running%2Cfailed&sort=-created_at"
    assert [asked.target for asked in server.asked] == [
        f"/tasks?{query}&limit=100",
        f"/tasks?{query}&cursor=c%261&limit=100",
        f"/tasks?{query}&cursor=c2&limit=100",
    ]


async def test_a_count_has_its_groups() -> None:
    answer = {"count": 3, "groups": [{"status": "running", "error": None, "count": 3}], "news": 1}
    async with scripted(said_json(answer)) as server, Client(server.url, patience=PATIENCE) as client:
        found = await client.count(group_by=["status", "error"], type="x")

    assert found == Count(3, ({"status": "running", "error": None, "count": 3},))
    assert server.asked[0].target == "/tasks/count?type=x&group_by=status%2Cerror"


async def test_a_history_is_spans() -> None:
    change = {"seq": 1, "from": None, "to": "pending", "time": TIME, "by": "anna", "reason": "", "lasted_s": 1.5}
    async with scripted(said_json({"changes": [change]})) as server, Client(server.url, patience=PATIENCE) as client:
        found = await client.history(TASK_ID)

    assert found == [Span(1, TaskStatus.PENDING, None, TIME, "anna", "", 1.5)]
    assert [span.as_json() for span in found] == [change]
    assert server.asked[0].target == f"/tasks/{TASK_ID}/history"


_TIMES = {"count": 2, "mean_s": 1.0, "p50_s": 1.0, "p95_s": 1.5, "p99_s": 1.5}
_FIGURES = {
    "tasks": 2,
    "by_status": {"completed": 1, "failed": 1},
    "per_minute": 0.1,
    "success_share": 0.5,
    "retry_share": None,
    "waiting": _TIMES,
    "running": {**_TIMES, "count": 0, "mean_s": None},
}


async def test_statistics_are_figures_in_all_by_type_and_by_time() -> None:
    said = {
        "window": "7d",
        "since": TIME,
        "until": TIME,
        "sampled": False,
        "total": _FIGURES,
        "types": [{"type": "a", **_FIGURES}],
        "buckets": [{"start": TIME, **_FIGURES}],
    }
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        found = await client.statistics(window="7d", type=["a", "b"], by="day")
        await client.statistics()

    assert {"window": "7d", **found.as_json()} == said
    assert found.by_type["a"].waiting.p95_s == 1.5
    assert [asked.target for asked in server.asked] == ["/stats?window=7d&type=a%2Cb&by=day", "/stats?window=24h"]


@pytest.mark.parametrize("said", [{}, {"types": [1], "buckets": []}, {"types": [], "buckets": [], "total": {}}])
async def test_what_are_no_statistics_is_a_bad_answer(said: dict[str, Any]) -> None:
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(ServerError) as refused:
            await client.statistics()

    assert refused.value.code == "bad_answer"


async def test_a_bulk_says_what_became_of_it() -> None:
    refusal = {"id": "b", "code": "task_terminal", "detail": "It has ended."}
    said = {"matched": 2, "cancelled": 1, "refused": [refusal], "more": True}
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        found = await client.cancel_many({"created_at[lt]": TIME}, tag="a", reason="enough", limit=2)
        await client.cancel_many(tag="a", dry_run=True)

    assert found == Bulk(2, 1, (Refused("b", "task_terminal", "It has ended."),), True)
    first, second = server.asked
    assert (first.method, first.json) == ("POST", {"reason": "enough"})
    assert first.target == "/tasks/cancel?created_at%5Blt%5D=2026-11-01T12%3A00%3A00.000000Z&tag=a&limit=2"
    assert (second.target, second.body) == ("/tasks/cancel?tag=a&dry_run=true", b"")


async def test_a_bulk_delete_is_one_request() -> None:
    said = {"matched": 2, "deleted": 2, "refused": [], "more": False}
    async with scripted(said_json(said)) as server, Client(server.url, patience=PATIENCE) as client:
        assert await client.delete_many(preset="completed_today", limit=5) == Bulk(2, 2)

    assert (server.asked[0].method, server.asked[0].target) == ("DELETE", "/tasks?preset=completed_today&limit=5")


CALLS: list[Callable[[Client], Awaitable[object]]] = [
    lambda client: client.count(),
    lambda client: client.history(TASK_ID),
    lambda client: client.cancel_many(tag="a"),
    lambda client: client.delete_many(tag="a"),
    lambda client: anext(client.tasks()),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer", [{}, [], {"count": "many", "matched": 1, "changes": [7], "tasks": [7]}, {"changes": 5, "tasks": {}}]
)
async def test_an_answer_that_is_none_is_named(call: Any, answer: object) -> None:
    async with scripted(said_json(answer)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(errors.ServerError) as caught:
            await call(client)
    assert caught.value.code == "bad_answer"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_filter", errors.BadFilter),
        (503, "query_too_slow", errors.QueryTooSlow),
        (409, "time_over", errors.TimeOver),
        (429, "too_many_inputs", errors.TooManyInputs),
        (503, "store_unavailable", errors.StoreUnavailable),
    ],
)
async def test_a_refusal_is_its_class(call: Any, status: int, code: str, kind: type[Exception]) -> None:
    async with scripted(refused(status, code)) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(kind):
            await call(client)


async def test_a_history_of_no_task_is_not_found() -> None:
    async with scripted(refused(404, "not_found")) as server, Client(server.url, patience=PATIENCE) as client:
        with pytest.raises(errors.TaskNotFound, match=TASK_ID):
            await client.history(TASK_ID)


# -- against a server ------------------------------------------------------------------------------------------------


async def test_a_real_server_understands_all_of_it() -> None:
    async with live() as here, Client(str(here.http.base_url), patience=PATIENCE) as client:
        done = await here.counted(1, tags=["a"])
        running = await here.start("sleeper", tags=["a"])
        await here.until(lambda: bool(here.coordinator.running()))

        yesterday = datetime(2001, 9, 8, tzinfo=UTC)
        found = [each.id async for each in client.tasks({"created_at[gte]": yesterday}, tag="a", sort="created_at")]
        assert found == [done, running]
        assert [each.id async for each in client.tasks(status="running,pending")] == [running]
        assert [each.id async for each in client.tasks({"progress[null]": True}, limit=1)] == [running]
        assert (await client.count(tag="a")).count == 2
        assert {each["status"]: each["count"] for each in (await client.count(group_by="status")).groups} == {
            "completed": 1,
            "running": 1,
        }
        assert (await client.cancel_many(tag="a", dry_run=True)).matched == 1
        assert await client.cancel_many(tag="a", reason="enough") == Bulk(1, 1)
        assert (await client.get(running, wait_s=5)).status == "cancelled"
        assert [span.status for span in await client.history(running)] == ["pending", "running", "cancelled"]
        assert await client.delete_many(tag="a") == Bulk(2, 2)
        assert [each async for each in client.tasks()] == []
        with pytest.raises(errors.BadFilter, match="need a filter"):
            await client.delete_many()
        with pytest.raises(errors.BadFilter, match="possible: id, type"):
            await anext(client.tasks(colour="red"))


async def test_a_value_with_a_comma_or_blanks_takes_no_other_task_with_it() -> None:
    async with live() as here, Client(str(here.http.base_url), patience=PATIENCE) as client:
        names = ["order 1, part 2", "order 1", "part 2", " order 1"]
        ids = {name: await here.counted(1, external_id=name) for name in names}

        for name, wanted in ids.items():
            assert [each.id async for each in client.tasks(external_id=[name])] == [wanted]
            assert [each.id async for each in client.tasks({"key[null]": True, "external_id[in]": [name]})] == [wanted]
        assert (await client.count({"external_id[nin]": [names[0]]})).count == 3
        with pytest.raises(ValueError, match="'external_id' has several values"):
            await client.delete_many(external_id=names)
        assert await client.delete_many(external_id=[names[0]]) == Bulk(1, 1)
        assert await client.delete_many(external_id=" order 1") == Bulk(1, 1)
        assert {each.external_id async for each in client.tasks()} == {"order 1", "part 2"}
