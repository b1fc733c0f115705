"""``GET /audit`` and ``GET /audit/diary`` over HTTP: what is said, what is mended, and who may not ask for that."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from streaming.engine.journal import RecordQuery
from streaming.rules.invariants import INVARIANTS
from streaming.web.audit import TASKS_MOST
from tests.web.live import Live, live, watchers
from tests.web.test_routes import check_problem


def damage(here: Live) -> None:
    """Count one start too many."""
    here.coordinator._starts._starting["puppet"] += 1


def check_repair(here: Live, answer: httpx.Response, *, allowed: bool) -> None:
    if allowed:
        assert len(answer.json()["repaired"]) == 1
    else:
        check_problem(answer, 403, "forbidden")
        assert here.coordinator._starts._starting["puppet"] == 1


async def test_all_is_well() -> None:
    async with live() as here:
        await here.counted()
        await here.start()
        answer = await here.http.get("/audit")

        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {
            "checked": {"live": 1, "ended": 1, "events": answer.json()["checked"]["events"], "logs": 1},
            "whole": True,
            "found": 0,
            "violations": [],
            "repaired": [],
        }


async def test_a_violation_is_named_and_stays_until_somebody_asks_for_a_repair() -> None:
    async with live() as here:
        damage(here)
        violation = {"invariant": "tallies_right", "task_id": None, "detail": "'starting' says 1, and it is 0"}

        found = (await here.http.get("/audit")).json()
        assert (found["found"], found["repaired"]) == (2, [])
        assert violation in found["violations"]
        assert {each["invariant"] for each in found["violations"]} <= set(INVARIANTS)

        assert (await here.http.head("/audit", params={"repair": "true"})).status_code == 200
        assert (await here.http.get("/audit", params={"repair": "false"})).json()["found"] == 2

        mended = (await here.http.get("/audit", params={"repair": "true"})).json()
        assert mended["violations"] == found["violations"]
        assert mended["repaired"] == [
            {"invariant": "tallies_right", "task_id": None, "done": "starting was 1, and is 0"}
        ]
        assert (await here.http.get("/audit")).json()["found"] == 0


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://localhost:3000"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
    ],
)
async def test_a_page_of_another_site_gets_nothing_mended(headers: dict[str, str], allowed: bool) -> None:
    """An image with this address is enough for a browser to send the GET."""
    async with live() as here:
        damage(here)
        answer = await here.http.get("/audit", params={"repair": "true"}, headers=headers)
        check_repair(here, answer, allowed=allowed)
        assert (await here.http.get("/audit", headers=headers)).status_code == 200, "to look is allowed"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8000", True),
        ("app.localhost", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("evil.example:8000", False),
        ("localhost.evil.example:8000", False),
        ("192.168.1.2:8000", False),
        ("", False),
    ],
)
async def test_a_page_that_has_given_this_machine_its_name_gets_nothing_mended(host: str, allowed: bool) -> None:
    """Its browser takes us for its own site, and sends no ``Origin`` with a GET (DNS rebinding)."""
    async with live() as here:
        damage(here)
        headers = {"host": host, "sec-fetch-site": "same-origin"}
        answer = await here.http.get("/audit", params={"repair": "true"}, headers=headers)
        check_repair(here, answer, allowed=allowed)


async def test_without_a_host_nothing_is_mended() -> None:
    async with live() as here:
        check_problem(await here.exchange(b"GET /audit?repair=true HTTP/1.0\r\n\r\n"), 403, "forbidden")
        assert (await here.exchange(b"GET /audit HTTP/1.0\r\n\r\n")).status == 200


async def test_who_has_opened_the_server_to_everybody_has_opened_this_too() -> None:
    async with live(insecure_public=True) as here:
        damage(here)
        headers = {"sec-fetch-site": "cross-site", "host": "tasks.example"}
        answer = await here.http.get("/audit", params={"repair": "true"}, headers=headers)
        assert len(answer.json()["repaired"]) == 1


# -- who leaves -------------------------------------------------------------------------------------------------------


class Held:
    """A store that finds no tasks before it may."""

    def __init__(self, here: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.may = asyncio.Event()
        self._find = here.journal.records
        monkeypatch.setattr(here.journal, "records", self._records)

    async def _records(self, query: RecordQuery) -> Any:
        self.asked += 1
        await self.may.wait()
        return await self._find(query)


def ask(query: str = "") -> bytes:
    return f"GET /audit{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def test_an_audit_ends_with_its_client_also_behind_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live() as here:
        store = Held(here, monkeypatch)
        async with here.raw() as (_, first):
            first.write(ask())
            await here.until(lambda: store.asked == 1)
            async with here.raw() as (_, second):
                second.write(ask())
                await here.until(lambda: len(watchers()) == 2)
            await here.until(lambda: len(here.app._requests) == 1)
        await here.until(lambda: not here.app._requests)
        await here.quiet()
        store.may.set()
        assert store.asked == 1
        assert (await here.http.get("/audit")).json()["found"] == 0


@pytest.mark.parametrize("behind_another", [False, True])
async def test_a_repair_goes_on_without_its_client(behind_another: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live() as here:
        store = Held(here, monkeypatch)
        damage(here)
        other = asyncio.create_task(here.http.get("/audit")) if behind_another else None
        await here.until(lambda: store.asked == behind_another)
        connected = len(here.server.server_state.connections)
        async with here.raw() as (_, writer):
            writer.write(ask("?repair=true"))
            await here.until(lambda: len(here.app._requests) == 1 + behind_another)
            await here.until(lambda: store.asked == 1)
        await here.until(lambda: len(here.server.server_state.connections) == connected)
        assert here.coordinator._starts._starting["puppet"] == 1
        store.may.set()
        await here.until(lambda: not here.app._requests)
        assert here.coordinator._starts._starting["puppet"] == 0
        if other is not None:
            assert (await other).json()["repaired"] == []


# -- the question -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "repair=yes",
        "repair=",
        "repair=true&repair=true",
        "repair=true&repair=false",
        "limit=-1",
        "limit=x",
        f"limit={TASKS_MOST + 1}",
        "fix=true",
    ],
)
async def test_what_is_no_question_is_refused(query: str) -> None:
    async with live() as here:
        check_problem(await here.http.get(f"/audit?{query}"), 400, "bad_filter")


async def test_the_limit_says_how_many_tasks_are_read() -> None:
    async with live() as here:
        for _ in range(3):
            await here.counted()
        answer = (await here.http.get("/audit", params={"limit": 2})).json()
        assert (answer["checked"]["ended"], answer["whole"]) == (2, False)
        nothing = (await here.http.get("/audit", params={"limit": 0})).json()
        assert (nothing["checked"]["ended"], nothing["whole"]) == (0, False)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/audit", "/audit/diary"])
async def test_other_methods_are_refused(method: str, path: str) -> None:
    async with live() as here:
        answer = await here.http.request(method, path)
        check_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_server_that_shuts_down_gives_no_answer() -> None:
    async with live() as here:
        await here.coordinator.shutdown()
        check_problem(await here.http.get("/audit"), 503, "draining")


async def test_nor_does_one_whose_shutdown_has_only_begun() -> None:
    async with live(grace_s=10) as here:
        task_id = await here.start()
        shutting_down = asyncio.create_task(here.coordinator.shutdown())
        await here.until(lambda: here.coordinator.draining)
        check_problem(await here.http.get("/audit"), 503, "draining")
        assert not shutting_down.done(), "a handler is at work"
        here.puppet.finish(task_id)
        await shutting_down


async def test_the_diary_tells_what_has_happened_last() -> None:
    async with live() as here:
        task_id = await here.counted()
        answer: dict[str, Any] = (await here.http.get("/audit/diary")).json()

        assert set(answer) == {"time", "now", "facts_max", "facts"}
        assert answer["facts_max"] == here.settings.diary_facts_max
        told = [fact for fact in answer["facts"] if fact["task_id"] == task_id]
        assert told[0] == {
            "at": told[0]["at"],
            "fact": "start",
            "task_id": task_id,
            "type": "count",
            "key": "",
            "priority": "normal",
        }
        assert told[-1]["fact"] in {"end", "unsubscribe"}
        times = [fact["at"] for fact in answer["facts"]]
        assert times == sorted(times)
        assert times[-1] <= answer["now"]


async def test_the_diary_takes_no_question() -> None:
    async with live() as here:
        check_problem(await here.http.get("/audit/diary?limit=1"), 400, "bad_filter")


async def test_there_is_nothing_else_under_audit() -> None:
    async with live() as here:
        check_problem(await here.http.get("/audit/x"), 404, "not_found")
