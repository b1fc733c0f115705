"""Requests of all kinds in any order, to a real server and to the model: they have to agree after each.

With ``python -m tests.fuzz.machine --examples 1000`` as long as anybody likes.

Owns:   the rules, which are the requests that clients, workers and handlers make; what is compared.
Uses:   tests.fuzz.model (what should happen), tests.web.live (a server), tests.fuzz.described (what answers look like).
Never:  waits for luck: whatever happens by itself is waited for until the model and the server agree, or never will.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx
import structlog
from httpx_sse import aconnect_sse
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streaming import TaskContext, task
from streaming.errors import HandlerError
from tests.fuzz.described import Answer, Description
from tests.fuzz.model import (
    MAX_EXTERNAL,
    MAX_INPUTS,
    MAX_PENDING,
    MAX_RUNNING,
    PUPPET,
    RANKS,
    TERMINAL,
    WORKER,
    Model,
    Reply,
    Task,
)
from tests.web.live import Live, live

Result = TypeVar("Result")

#: Seconds after which the server is not going to be as the model says.
SOON_S = 5.0
#: Longer than any test.
NEVER_S = 1000.0
TASKS_MAX = 14
ABSENT = "f" * 32

ORDERS = st.integers(0, 50)
IF_RUNNING = ("enqueue", "reject", "replace", "join")
KEYS, TAGS, WORDS = ("k", "k", "k", "l"), ("red", "blue", "green"), ("a", "b", "c")
some_tags = st.lists(st.sampled_from(TAGS), max_size=3)
seconds = st.sampled_from((None, NEVER_S, 2 * NEVER_S))
values = st.sampled_from((None, 0, "x", [1.5], {"a": None}))
onces = st.sampled_from((None, None, None, "one", "two", "three"))
options = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.sampled_from(sorted(RANKS)),
        "tags": some_tags,
        "external_id": st.sampled_from(("x1", "y1")),
        "timeout_s": seconds,
        "total_timeout_s": seconds,
        "keep_until_ack": st.booleans(),
        "on_unwatched": st.sampled_from(("continue", {"cancel_after_s": NEVER_S})),
    },
)

#: What there may be at the beginning.
FIRST: tuple[dict[str, Any], ...] = (
    {"type": PUPPET},
    {"type": PUPPET, "params": {"tidy": True}, "on_unwatched": {"cancel_after_s": NEVER_S}},
    {"type": PUPPET, "priority": "high", "tags": ["red", "blue"], "retry": {"retries": 2, "backoff_s": 0.001}},
    {"type": PUPPET, "key": "k", "retry": {"retries": 1, "backoff_s": NEVER_S}, "tags": ["green"]},
    {"type": PUPPET, "key": "k", "params": {"tidy": True}, "external_id": "x1"},
    {"type": WORKER, "tags": ["red"]},
    {"type": WORKER, "key": "k", "keep_until_ack": True},
)

#: Filters, as they are written and as they are meant.
FILTERS: dict[str, tuple[dict[str, str], Callable[[Task], bool]]] = {
    "of a status": ({"status": "running,pending"}, lambda task: task.status in ("running", "pending")),
    "that have ended": ({"status[nin]": "pending,running,retrying"}, lambda task: not task.live),
    "of a type": ({"type": WORKER}, lambda task: task.type == WORKER),
    "with a tag": ({"tag": "red"}, lambda task: "red" in task.tags),
    "with both tags": ({"tag[contains]": "red,blue"}, lambda task: {"red", "blue"} <= set(task.tags)),
    "without a tag": ({"tag[ne]": "red"}, lambda task: "red" not in task.tags),
    "with a key": ({"key": "k"}, lambda task: task.key == "k"),
    "without a key": ({"key[null]": "true"}, lambda task: task.key is None),
    "that repeat": ({"retry_of[null]": "false"}, lambda task: task.retry_of is not None),
    "of rank": ({"priority[gte]": "high"}, lambda task: RANKS[task.priority] >= RANKS["high"]),
    "not done": ({"progress[lt]": "50"}, lambda task: task.percent is not None and task.percent < 50),
    "with an error": ({"error": "cancelled,broken"}, lambda task: task.error in ("cancelled", "broken")),
    "another attempt": ({"attempt[gt]": "1"}, lambda task: task.attempt > 1),
    "acknowledged": ({"acked_at[null]": "false"}, lambda task: task.acked),
    "active": ({"preset": "active"}, lambda task: task.live),
    "failed": (
        {"preset": "failed", "sort": "-created_at"},
        lambda task: task.status in ("failed", "timed_out", "interrupted"),
    ),
    "called": ({"external_id[startswith]": "x"}, lambda task: (task.external_id or "").startswith("x")),
    "words": ({"q": "RED worker"}, lambda task: "red" in task.tags and task.type == WORKER),
}
#: Of the feed: how it is asked for, which tasks and which types of events are meant.
FEEDS: dict[str, tuple[dict[str, str], Callable[[Task], bool], Callable[[str], bool]]] = {
    "all": ({}, lambda task: True, lambda type: True),
    "of a type": ({"task_type": WORKER}, lambda task: task.type == WORKER, lambda type: True),
    "with a tag": ({"tag": "red"}, lambda task: "red" in task.tags, lambda type: True),
    "some events": (
        {"type": "pending,a,cancelled"},
        lambda task: True,
        lambda type: type in ("pending", "a", "cancelled"),
    ),
}

filters = st.sampled_from(sorted(FILTERS))


def is_live(task: Task) -> bool:
    return task.live


def is_over(task: Task) -> bool:
    return not task.live


class Puppets:
    """Handlers that do what the test says, when the test says it."""

    def __init__(self) -> None:
        self._orders: dict[str, asyncio.Queue[tuple[str, Any]]] = {}
        self._gates: dict[str, asyncio.Event] = {}

        @task(PUPPET)
        async def puppet(ctx: TaskContext, tidy: bool = False) -> Any:
            try:
                while True:
                    word, value = await self._queue(ctx.task_id).get()
                    if word == "finish":
                        return value
                    if word == "fail":
                        raise HandlerError(value, "as it was told")
                    await ctx.emit(value)
            except asyncio.CancelledError:
                if tidy:
                    await self._gates.setdefault(ctx.task_id, asyncio.Event()).wait()
                raise

        @task(WORKER, run_in="outside")
        def worker(**params: Any) -> None:
            """Work that is done elsewhere."""

        self.handlers: list[Callable[..., Any]] = [puppet, worker]

    def _queue(self, task_id: str) -> asyncio.Queue[tuple[str, Any]]:
        return self._orders.setdefault(task_id, asyncio.Queue())

    def tell(self, task_id: str, word: str, value: Any) -> None:
        self._queue(task_id).put_nowait((word, value))

    def let_go(self, task_id: str) -> None:
        self._gates.setdefault(task_id, asyncio.Event()).set()


class Api(RuleBasedStateMachine):
    """The whole HTTP API."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.puppets = Puppets()
        self.gone: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        try:
            self.here: Live = self._run(self._stack.enter_async_context(self._serve()))
        except BaseException:
            self._loop.close()
            raise
        self.description = Description(self._run(self.here.http.get("/openapi.json")).json())

    def _serve(self) -> Any:
        return live(
            self.puppets.handlers,
            max_running=MAX_RUNNING,
            max_pending=MAX_PENDING,
            max_external=MAX_EXTERNAL,
            inputs_max=MAX_INPUTS,
            bulk_max=3,
            ageing_s=NEVER_S,
            cancel_grace_s=NEVER_S,
            grace_s=0.03,
            store_url=self.store_url(),
        )

    def store_url(self) -> str:
        """What keeps the tasks."""
        return "memory://"

    def _run(self, awaitable: Awaitable[Result]) -> Result:
        async def run() -> Result:
            return await awaitable

        return self._loop.run_until_complete(run())

    def teardown(self) -> None:
        for each in self.model.tasks:
            self.puppets.let_go(each)
        try:
            self._run(self._stack.aclose())
        finally:
            self._loop.close()
        super().teardown()

    # -- asking ---------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request; its answer is as it is described, in any case."""
        response = self._run(self.here.http.request(method, path, **request))
        answer = Answer(method, path, response.status_code, response.headers, response.content)
        assert self.description.wrong(answer) == []
        return response

    def agree(self, response: httpx.Response, expected: Reply) -> None:
        """The status, and the code of a refusal or the task."""
        body = response.json() if response.content else {}
        found = (response.status_code, body.get("code", "") if response.status_code >= 400 else "")
        assert found == (expected.status, expected.code), body
        if expected.task is not None:
            assert body["id"] == expected.task.id

    def task_of(self, number: int, wanted: Callable[[Task], bool] = lambda _: True) -> str:
        """Mostly a task for which a request makes sense; else any other one, or one that was or never will be."""
        there, absent = list(self.model.tasks), [*self.gone[-1:], ABSENT]
        if number % 10 == 9 or not there:
            return absent[number % len(absent)]
        fitting = [] if number % 5 == 0 else [task.id for task in self.model.tasks.values() if wanted(task)]
        return (fitting or there)[number % len(fitting or there)]

    def _picked(self, number: int, wanted: Callable[[Task], bool]) -> Task | None:
        found = [task for task in self.model.tasks.values() if wanted(task)]
        return found[number % len(found)] if found else None

    # -- starting -------------------------------------------------------------------------------------------------

    @initialize(bodies=st.lists(st.sampled_from(FIRST), min_size=2, max_size=5))
    def begin(self, bodies: list[dict[str, Any]]) -> None:
        for body in bodies:
            self._start(body, None)

    @precondition(lambda self: len(self.model.tasks) < TASKS_MAX)
    @rule(
        tidy=st.booleans(),
        retries=st.sampled_from((0, 0, 1, 2)),
        backoff_s=st.sampled_from((0.001, NEVER_S)),
        options=options,
        once=onces,
    )
    def start(self, tidy: bool, retries: int, backoff_s: float, options: dict[str, Any], once: str | None) -> None:
        retry = {"retries": retries, "backoff_s": backoff_s}
        self._start({"type": PUPPET, "params": {"tidy": tidy}, "retry": retry, **options}, once)

    @precondition(lambda self: len(self.model.tasks) < TASKS_MAX)
    @rule(tidy=st.booleans(), key=st.sampled_from(KEYS), if_running=st.sampled_from(IF_RUNNING), once=onces)
    def start_with_a_key(self, tidy: bool, key: str, if_running: str, once: str | None) -> None:
        self._start({"type": PUPPET, "params": {"tidy": tidy}, "key": key, "if_running": if_running}, once)

    @precondition(lambda self: len(self.model.tasks) < TASKS_MAX)
    @rule(options=options, key=st.sampled_from((None, *KEYS)), if_running=st.sampled_from(IF_RUNNING), once=onces)
    def start_outside(self, options: dict[str, Any], key: str | None, if_running: str, once: str | None) -> None:
        self._start({"type": WORKER, "key": key, "if_running": if_running, **options}, once)

    @precondition(lambda self: len(self.model.tasks) < TASKS_MAX)
    @rule(tidy=st.booleans(), unwatched=st.sampled_from(("continue", {"cancel_after_s": NEVER_S})))
    def start_and_watch(self, tidy: bool, unwatched: Any) -> None:
        """In one request; whoever has seen how it begins leaves."""
        self._run(self._started_and_watched({"type": PUPPET, "params": {"tidy": tidy}, "on_unwatched": unwatched}))

    async def _started_and_watched(self, body: dict[str, Any]) -> None:
        async with aconnect_sse(self.here.http, "POST", "/tasks", json=body) as source:
            if source.response.status_code != 200:
                await source.response.aread()
                self.agree(source.response, self.model.start(body, None, ""))
                return
            task_id = source.response.headers["location"].removeprefix("/tasks/")
            task = self.model.start(body, None, task_id).task
            assert task is not None
            async with asyncio.timeout(SOON_S):
                events = source.aiter_sse()
                found = [(await anext(events)).json() for _ in task.log]
            assert [(each["seq"], each["type"]) for each in found] == [*enumerate(task.log, 1)]
        self.model.watch(task)
        await self._has_left(task)

    def _start(self, body: dict[str, Any], once: str | None) -> None:
        headers = {} if once is None else {"Idempotency-Key": once}
        response = self.ask("POST", "/tasks", json=body, headers=headers)
        self.agree(response, self.model.start(body, once, response.json().get("id", "")))
        if response.status_code in (200, 201):
            assert response.headers["location"] == f"/tasks/{response.json()['id']}"

    @rule(
        wrong=st.sampled_from(
            [
                ({"type": "unheard_of"}, 422, "unknown_type"),
                ({"type": PUPPET, "params": {"tidy": "perhaps"}}, 422, "invalid_params"),
                ({"type": PUPPET, "params": {"untidy": True}}, 422, "invalid_params"),
                ({"type": PUPPET, "timeout_s": 0}, 422, "invalid_params"),
                ({"type": PUPPET, "timeout_s": 1e9}, 422, "invalid_params"),
                ({"type": PUPPET, "tags": ["a,b"]}, 422, "invalid_params"),
                ({"type": PUPPET, "key": ""}, 422, "invalid_params"),
                ({"type": PUPPET, "more": 1}, 422, "invalid_params"),
                ({"type": WORKER, "retry": {"retries": 1}}, 422, "invalid_params"),
                ({}, 422, "invalid_params"),
                ([], 400, "bad_request"),
            ]
        ),
        once=st.sampled_from((None, "one")),
    )
    def start_wrong(self, wrong: tuple[Any, int, str], once: str | None) -> None:
        body, status, code = wrong
        headers = {} if once is None else {"Idempotency-Key": once}
        self.agree(self.ask("POST", "/tasks", json=body, headers=headers), Reply(status, code))

    @precondition(lambda self: len(self.model.tasks) < TASKS_MAX)
    @rule(number=ORDERS, once=onces)
    def retry(self, number: int, once: str | None) -> None:
        task_id = self.task_of(number, is_over)
        headers = {} if once is None else {"Idempotency-Key": once}
        response = self.ask("POST", f"/tasks/{task_id}/retry", headers=headers)
        self.agree(response, self.model.retry(task_id, once, response.json().get("id", "")))

    # -- handlers -------------------------------------------------------------------------------------------------

    @rule(number=ORDERS, type=st.sampled_from(WORDS))
    def emit(self, number: int, type: str) -> None:
        if (task := self._picked(number, lambda task: task.runs and task.cancel is None)) is not None:
            self.puppets.tell(task.id, "emit", type)
            self.model.emit(task, type)

    @rule(number=ORDERS, result=values)
    def finish(self, number: int, result: Any) -> None:
        if (task := self._picked(number, lambda task: task.runs and task.cancel is None)) is not None:
            self.puppets.tell(task.id, "finish", result)
            self.model.finish(task, result)

    @rule(number=ORDERS)
    def fail(self, number: int) -> None:
        if (task := self._picked(number, lambda task: task.runs and task.cancel is None)) is not None:
            self.puppets.tell(task.id, "fail", "broken")
            self.model.fail(task, "broken")

    @rule(number=ORDERS)
    def let_go(self, number: int) -> None:
        if (task := self._picked(number, lambda task: task.runs and task.cancel is not None)) is not None:
            self.puppets.let_go(task.id)
            self.model.let_go(task)

    # -- steering -------------------------------------------------------------------------------------------------

    @rule(number=ORDERS, wait=st.booleans(), reason=st.sampled_from(("", "enough")))
    def cancel(self, number: int, wait: bool, reason: str) -> None:
        task_id = self.task_of(number, is_live)
        task = self.model.tasks.get(task_id)
        # Whoever stops at once is waited for; the others are not going to stop within any time.
        stays = task is not None and task.live and (task.type == WORKER or task.tidy) and not task.waits
        params = {"wait_s": "0.001" if stays else "9"} if wait else {}
        response = self.ask("POST", f"/tasks/{task_id}/cancel", params=params, json={"reason": reason})
        self.agree(response, self.model.cancel(task_id, reason, wait))

    @rule(number=ORDERS, limits=st.dictionaries(
        st.sampled_from(("timeout_s", "queue_timeout_s", "heartbeat_timeout_s", "total_timeout_s")), seconds, min_size=1
    ))  # fmt: skip
    def extend(self, number: int, limits: dict[str, float | None]) -> None:
        task_id = self.task_of(number, is_live)
        response = self.ask("POST", f"/tasks/{task_id}/extend", json=limits)
        self.agree(response, self.model.extend(task_id, limits))

    @rule(number=ORDERS, data=values)
    def send_input(self, number: int, data: Any) -> None:
        task_id = self.task_of(number, is_live)
        response = self.ask("POST", f"/tasks/{task_id}/input", json={"data": data})
        self.agree(response, self.model.send_input(task_id))
        if response.status_code == 202:
            assert response.json() == {"seq": len(self.model.tasks[task_id].log)}

    @rule(number=ORDERS)
    def acknowledge(self, number: int) -> None:
        task_id = self.task_of(number, is_over)
        self.agree(self.ask("POST", f"/tasks/{task_id}/ack"), self.model.acknowledge(task_id))

    @rule(number=ORDERS)
    def delete(self, number: int) -> None:
        task_id = self.task_of(number, is_over)
        expected = self.model.delete(task_id)
        self.agree(self.ask("DELETE", f"/tasks/{task_id}"), expected)
        self.gone += [task_id] if expected.status == 204 else []

    @rule(name=filters, limit=st.integers(1, 3), dry_run=st.booleans())
    def cancel_all(self, name: str, limit: int, dry_run: bool) -> None:
        params, wanted = FILTERS[name]
        query = {**params, "sort": "-created_at", "limit": limit, "dry_run": str(dry_run).lower()}
        response = self.ask("POST", "/tasks/cancel", params=query, json={"reason": "all"})
        assert response.json() == self.model.cancel_all(wanted, "all", limit, dry_run=dry_run)

    @rule(name=filters, limit=st.integers(1, 3), dry_run=st.booleans())
    def delete_all(self, name: str, limit: int, dry_run: bool) -> None:
        params, wanted = FILTERS[name]
        before = list(self.model.tasks)
        query = {**params, "sort": "-created_at", "limit": limit, "dry_run": str(dry_run).lower()}
        response = self.ask("DELETE", "/tasks", params=query)
        assert response.json() == self.model.delete_all(wanted, limit, dry_run=dry_run)
        self.gone += [each for each in before if each not in self.model.tasks]

    # -- workers --------------------------------------------------------------------------------------------------

    @rule(
        number=ORDERS,
        types=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
        first=st.sampled_from((None, 1, 2, 5)),
    )
    def report_events(self, number: int, types: list[str], first: int | None) -> None:
        task_id = self._worker_of(number)
        said = [(type, None if first is None else seq) for seq, type in enumerate(types, first or 1)]
        bodies = [{"type": type, **({} if seq is None else {"client_seq": seq})} for type, seq in said]
        body = bodies[0] if len(bodies) == 1 else {"events": bodies}
        response = self.ask("POST", f"/tasks/{task_id}/events", json=body)
        self.agree(response, self.model.report(task_id, events=said))

    @rule(
        number=ORDERS,
        percent=st.sampled_from((None, 0.0, 25.0, 100.0)),
        steps=st.sampled_from((None, (0, 2), (1, 4))),
        status=st.sampled_from(
            (None, None, "running", "completed", "failed", "cancelled", "cancelled", "pending", "timed_out")
        ),
        result=values,
    )
    def report_task(
        self, number: int, percent: float | None, steps: tuple[int, int] | None, status: str | None, result: Any
    ) -> None:
        task_id = self._worker_of(number)
        body: dict[str, Any] = {"heartbeat": True, "status": status}
        said: dict[str, Any] = {"status": status, "percent": percent, "steps": steps}
        if percent is not None:
            body["progress"] = {"percent": percent}
        if steps is not None:
            body["steps"] = {"completed": steps[0], "total": steps[1]}
        if status in ("completed", "cancelled"):
            body["result"] = said["result"] = result
        if status == "failed":
            body["error"], said["error"] = {"code": "broken", "message": "It fell."}, "broken"
        response = self.ask("PATCH", f"/tasks/{task_id}", json=body)
        self.agree(response, self.model.report(task_id, **said))

    @rule(number=ORDERS)
    def report_wrong(self, number: int) -> None:
        """A mistake is told, and nothing of the report is taken; not before it is clear whose task it is."""
        task_id = self._worker_of(number)
        body = {"events": [{"type": "a"}, {"type": "running"}]}
        before = self.model.tasks.get(task_id)
        fine = before is not None and before.live and before.type == WORKER and self.model._is_first(before)
        expected = Reply(422, "invalid_params") if fine else self.model.report(task_id)
        self.agree(self.ask("POST", f"/tasks/{task_id}/events", json=body), expected)

    def _worker_of(self, number: int) -> str:
        return self.task_of(number, lambda task: task.type == WORKER and task.live)

    # -- looking --------------------------------------------------------------------------------------------------

    @rule(number=ORDERS, wait=st.booleans())
    def get(self, number: int, wait: bool) -> None:
        task_id = self.task_of(number)
        task = self.model.tasks.get(task_id)
        response = self.ask("GET", f"/tasks/{task_id}", params={"wait_s": "0.001"} if wait else {})
        self.agree(response, Reply(404, "not_found") if task is None else Reply(200, task=task))
        if task is not None and wait:
            self.model.watch(task)

    @rule(name=filters, limit=st.integers(1, 5))
    def find(self, name: str, limit: int) -> None:
        params, wanted = FILTERS[name]
        query: dict[str, Any] = {**params, "sort": "-created_at", "limit": limit}
        found: list[str] = []
        while True:
            page = self.ask("GET", "/tasks", params=query).json()
            found += [each["id"] for each in page["tasks"]]
            if page["next_cursor"] is None:
                break
            assert len(page["tasks"]) == limit
            query["cursor"] = page["next_cursor"]
        assert found == [task.id for task in self.model.found(wanted)]

    @rule(name=filters)
    def count(self, name: str) -> None:
        params, wanted = FILTERS[name]
        query = {**{key: value for key, value in params.items() if key != "sort"}, "group_by": "status,type"}
        answer = self.ask("GET", "/tasks/count", params=query).json()
        expected: dict[tuple[str, str], int] = {}
        for each in self.model.found(wanted):
            expected[each.status, each.type] = expected.get((each.status, each.type), 0) + 1
        assert answer["count"] == sum(expected.values())
        assert {(each["status"], each["type"]): each["count"] for each in answer["groups"]} == expected

    @rule(number=ORDERS, after=st.integers(0, 20), limit=st.integers(1, 20))
    def read_page(self, number: int, after: int, limit: int) -> None:
        task_id = self.task_of(number)
        response = self.ask(
            "GET",
            f"/tasks/{task_id}/events",
            headers={"Accept": "application/json", "Last-Event-ID": str(after)},
            params={"limit": limit},
        )
        task = self.model.tasks.get(task_id)
        if task is None:
            self.agree(response, Reply(404, "not_found"))
        elif after > len(task.log):
            self.agree(response, Reply(400, "bad_cursor"))
        else:
            page = response.json()
            assert [each["type"] for each in page["events"]] == task.log[after:][:limit]
            assert [each["seq"] for each in page["events"]] == list_of_seqs(task, after)[:limit]
            assert page["next_cursor"] == (after + limit if after + limit < len(task.log) else None)

    @rule(number=ORDERS, form=st.sampled_from(("application/x-ndjson", "text/event-stream")), after=st.integers(0, 6))
    def read_stream(self, number: int, form: str, after: int) -> None:
        """Of a task that has ended: the stream ends by itself."""
        task = self._picked(number, lambda task: not task.live)
        if task is None:
            return
        headers = {"Accept": form, "Last-Event-ID": str(after)}
        response = self.ask("GET", f"/tasks/{task.id}/events", headers=headers)
        if after > len(task.log):
            self.agree(response, Reply(400, "bad_cursor"))
        elif after == len(task.log):
            assert response.status_code == 204
        else:
            lines = response.text.split("\n")
            data = [line.removeprefix("data: ") for line in lines if line.startswith(("{", "data: "))]
            events = [json.loads(line) for line in data]
            assert [(each["seq"], each["type"]) for each in events] == [
                (seq, task.log[seq - 1]) for seq in list_of_seqs(task, after)
            ]

    @rule(number=ORDERS, after=st.integers(0, 6))
    def read_on(self, number: int, after: int) -> None:
        """Of a task that goes on: whoever has seen all there is leaves."""
        task = self._picked(number, lambda task: task.live and len(task.log) > after)
        if task is None:
            return
        seqs = list_of_seqs(task, after)
        found = self._run(self._first(len(seqs), f"/tasks/{task.id}/events", {"Last-Event-ID": str(after)}, {}))
        assert [(int(id), each["seq"], each["type"]) for id, each in found] == [
            (seq, seq, task.log[seq - 1]) for seq in seqs
        ]
        self.model.watch(task)
        self._run(self._has_left(task))

    @rule(wanted=st.sampled_from(sorted(FEEDS)))
    def follow(self, wanted: str) -> None:
        """The feed: of each task its events in their order, of all of them those that are asked for."""
        params, tasks, types = FEEDS[wanted]
        expected = {
            task.id: [(seq, type) for seq, type in enumerate(task.log, 1) if types(type)]
            for task in self.model.tasks.values()
            if tasks(task) and any(map(types, task.log))
        }
        found = self._run(self._first(sum(map(len, expected.values())), "/events", {}, params))
        positions = [int(id) for id, _ in found]
        assert positions == sorted(set(positions))
        seen: dict[str, list[tuple[int, str]]] = {}
        for _, each in found:
            seen.setdefault(each["task_id"], []).append((each["seq"], each["type"]))
        assert seen == expected

    async def _first(
        self, count: int, path: str, headers: dict[str, str], params: dict[str, str]
    ) -> list[tuple[str, dict[str, Any]]]:
        """So many events of a stream that does not end, with their ids."""
        found: list[tuple[str, dict[str, Any]]] = []
        async with aconnect_sse(self.here.http, "GET", path, headers=headers, params=params) as source:
            assert source.response.status_code == 200
            async with asyncio.timeout(SOON_S):
                events = source.aiter_sse()
                while len(found) < count:
                    event = await anext(events)
                    found.append((event.id, event.json()))
        return found

    async def _has_left(self, task: Task) -> None:
        """A server hears of it when the connection ends, and that may be after the next request."""
        async with asyncio.timeout(SOON_S):
            while True:
                headers = {"Accept": "application/json", "Last-Event-ID": str(len(task.log) - 1)}
                page = await self.here.http.get(f"/tasks/{task.id}/events", headers=headers)
                if page.status_code == 200 and page.json()["events"]:
                    return
                await asyncio.sleep(0.0005)

    @rule(number=ORDERS)
    def history(self, number: int) -> None:
        task_id = self.task_of(number)
        response = self.ask("GET", f"/tasks/{task_id}/history")
        task = self.model.tasks.get(task_id)
        if task is None:
            self.agree(response, Reply(404, "not_found"))
            return
        changes = response.json()["changes"]
        assert [(each["to"], each["by"]) for each in changes] == task.history
        assert [each["from"] for each in changes] == [None, *(status for status, _ in task.history[:-1])]
        assert [each["seq"] for each in changes] == [
            seq for seq, type in enumerate(task.log, 1) if type in TERMINAL | {"pending", "running", "retrying"}
        ]

    @rule(type=st.sampled_from((None, PUPPET, WORKER)))
    def statistics(self, type: str | None) -> None:
        found = self.ask("GET", "/stats", params={} if type is None else {"type": type}).json()["total"]
        ended = self.model.found(lambda task: not task.live and type in (None, task.type))
        statuses = [task.status for task in ended]
        assert found["tasks"] == len(ended)
        assert found["by_status"] == {status: statuses.count(status) for status in statuses}
        repeated = sum(task.attempt > 1 or task.retry_of is not None for task in ended)
        assert found["retry_share"] == (round(repeated / len(ended), 6) if ended else None)

    @rule(repair=st.booleans())
    def audit(self, repair: bool) -> None:
        found = self.ask("GET", "/audit", params={"repair": str(repair).lower()}).json()
        live = sum(task.live for task in self.model.tasks.values())
        assert (found["violations"], found["repaired"], found["whole"]) == ([], [], True)
        assert (found["checked"]["live"], found["checked"]["ended"]) == (live, len(self.model.tasks) - live)
        assert self.ask("GET", "/audit/diary").json()["facts"]

    @rule(method=st.sampled_from(("PUT", "TRACE", "OPTIONS", "HEAD")), number=ORDERS)
    def convention(self, method: str, number: int) -> None:
        path = ("/tasks", "/types", f"/tasks/{self.task_of(number)}", "/healthz", "/readyz", "/nowhere")[number % 6]
        there = self.ask("GET", path).status_code
        nowhere = 404 if path == "/nowhere" else None
        found = self.ask(method, path).status_code
        assert found == {"HEAD": there, "OPTIONS": nowhere or 204}.get(method, nowhere or 405)

    # -- agreement ------------------------------------------------------------------------------------------------

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        expected = {task.id: visible(task) for task in self.model.tasks.values()}
        deadline = self._loop.time() + SOON_S
        while True:
            tasks = self.ask("GET", "/tasks", params={"limit": 100}).json()["tasks"]
            found = {each["id"]: shown(each) for each in tasks}
            if found == expected or self._loop.time() > deadline:
                break
            self._run(asyncio.sleep(0.0005))
        wrong = differences(found, expected)
        assert wrong == {}, wrong


class ApiOnAFile(Api):
    """The same, with SQLite behind it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        super().__init__()

    def store_url(self) -> str:
        return f"sqlite:///{self._folder.name}/tasks.db"

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Of each task, what the server shows and what the model says, where that is not the same."""
    nothing: dict[str, Any] = {}
    return {
        task_id: {
            name: (found.get(task_id, nothing).get(name), expected.get(task_id, nothing).get(name))
            for name in {**found.get(task_id, nothing), **expected.get(task_id, nothing)}
            if found.get(task_id, nothing).get(name) != expected.get(task_id, nothing).get(name)
        }
        for task_id in {**found, **expected}
        if found.get(task_id) != expected.get(task_id)
    }


def list_of_seqs(task: Task, after: int) -> list[int]:
    return [*range(after + 1, len(task.log) + 1)]


def visible(task: Task) -> dict[str, Any]:
    """What a client sees of a task, but for times."""
    receipt = task.cancel
    return {
        "type": task.type,
        "status": task.status,
        "priority": task.priority,
        "key": task.key,
        "external_id": task.external_id,
        "parent": None,
        "retry_of": task.retry_of,
        "tags": [*task.tags],
        "attempt": task.attempt,
        "retries_left": task.retries_left,
        "retry_at": task.status == "retrying",
        "progress": task.percent,
        "steps": task.steps,
        "result": task.result,
        "error": task.error,
        "cancel": None
        if receipt is None
        else (receipt.by, receipt.reason, receipt.delivered, receipt.outcome, receipt.outcome != "requested"),
        **task.limits,
        "on_unwatched": "continue" if task.unwatched_s is None else {"cancel_after_s": task.unwatched_s},
        "keep_until_ack": task.keep,
        "last_seq": len(task.log),
        "client_seq": task.client_seq,
        "created_by": "anonymous",
        "tenant": None,
        "traceparent": None,
        "started_at": task.begun,
        "heartbeat_at": task.begun,
        "finished_at": not task.live,
        "acked_at": task.acked,
    }


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """The same of what the server shows."""
    receipt, steps, error, progress = body["cancel"], body["steps"], body["error"], body["progress"]
    rest = {"id", "params", "eta", "retry", "created_at", "updated_at"}
    times = {"started_at", "heartbeat_at", "finished_at", "acked_at", "retry_at"}
    return {
        **{name: value is not None if name in times else value for name, value in body.items() if name not in rest},
        "progress": None if progress is None else progress["percent"],
        "steps": None if steps is None else (steps["completed"], steps["total"]),
        "error": None if error is None else error["code"],
        "cancel": None
        if receipt is None
        else (
            receipt["by"],
            receipt["reason"],
            receipt["delivered_at"] is not None,
            receipt["outcome"],
            receipt["stopped_at"] is not None,
        ),
    }


def run(machine: type[Api], examples: int, steps: int = 40, *, number: int = 0, shrink: bool = False) -> None:
    """Try so many sequences of requests; the same ones for the same number.

    Args:
        machine: the requests, and the server.
        examples: sequences.
        steps: requests in one of them, at most.
        number: the seed.
        shrink: look for a shorter sequence that fails, which may take minutes.

    Raises:
        AssertionError: the server and the model do not agree; with the sequence that was found.
    """
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
    )
    seeded = seed(number)(type(machine.__name__, (machine,), {}))
    run_state_machine_as_test(seeded, settings=chosen)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.machine")
    parser.add_argument("--examples", type=int, default=1000, help="sequences of requests (default: 1000)")
    parser.add_argument("--steps", type=int, default=60, help="requests in one of them, at most (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="the same one makes the same sequences")
    parser.add_argument("--sqlite", action="store_true", help="keep the tasks in a file")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    run(ApiOnAFile if options.sqlite else Api, options.examples, options.steps, number=options.seed, shrink=True)
    print(f"{options.examples:,} sequences of {options.steps} requests at most: the server is as the model says")


if __name__ == "__main__":
    main()
