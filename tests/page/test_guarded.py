"""The page where one has to say who one is: it shows what one may do, and asks again once a credential is over."""

from __future__ import annotations

import time
from dataclasses import replace

from streaming.rules.access import Scope
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import NUMBERS, Sight, seen
from tests.web.test_matrix import LATER, bearer, guarded, token


async def sign_in(page: Sight, credential: str) -> None:
    await page.sees("dialog", "Who are you?")
    await page.fill("dialog input", credential)
    await page.click("dialog button.primary")


async def test_a_credential_is_asked_for_once_and_kept_for_the_tab(chromium: Chromium) -> None:
    async with guarded() as (here, store, gate):
        anna = store.make("anna")
        await gate.refresh()
        await here.http.post("/tasks", json={"type": "sleeper"}, headers=bearer(anna))
        async with seen(chromium, url_of(here)) as page:
            await sign_in(page, anna)
            await page.sees(".vlist .trow .who", "anna")
            await page.sees(".pill", "Live")
            assert await page.count("dialog") == 0
            await page.go("?view=server")
            await page.sees(".top button", "anna")
            assert anna not in page.page.url
            assert await page.js("Object.values(localStorage).join()") in ("system", "light", "dark")
            await page.click(".top button", "anna")
            await page.click("dialog button", "Sign out")
            await page.sees("dialog", "Who are you?")
            assert await page.js("sessionStorage.length") == 0


async def test_a_wrong_one_is_asked_for_again_and_nobody_has_to(chromium: Chromium) -> None:
    async with guarded() as (here, _, _), seen(chromium, url_of(here)) as page:
        await sign_in(page, "strm_0123456789abcdef_" + "A" * 43)
        await page.sees("dialog", "Who are you?")
        await page.click("dialog button", "Not now")
        await page.sees(".nothing", "This list cannot be shown")


async def test_only_what_one_may_do_is_there(chromium: Chromium) -> None:
    async with guarded() as (here, store, gate):
        reader = store.make("anna", frozenset({Scope.TASKS_READ}))
        writer = store.make("anna", frozenset({Scope.TASKS_READ, Scope.TASKS_WRITE, Scope.TASKS_CANCEL}))
        await gate.refresh()
        answer = await here.http.post("/tasks", json={"type": "sleeper"}, headers=bearer(writer))
        task_id = answer.json()["id"]
        for credential, actions, places in (
            (reader, [], ["Tasks", "API"]),
            (writer, ["Cancel …", "More time …", "Send …"], ["Tasks", "Start", "API"]),
        ):
            async with seen(chromium, url_of(here), f"?task={task_id}") as page:
                await sign_in(page, credential)
                await page.sees("h1", "sleeper")
                buttons = await page.js(
                    "[...document.querySelectorAll('.task-head .buttons button')].map((e) => e.innerText)"
                )
                assert buttons == actions
                links = "[...document.querySelectorAll('.top nav a:not([hidden])')].map((e) => e.innerText)"
                assert await page.js(links) == places


async def test_without_the_feed_a_task_is_still_followed(chromium: Chromium) -> None:
    async with guarded() as (here, store, gate):
        reader, writer = store.make("anna", frozenset({Scope.TASKS_READ})), store.make("anna")
        await gate.refresh()
        answer = await here.http.post("/tasks", json={"type": "puppet"}, headers=bearer(writer))
        task_id = answer.json()["id"]
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await sign_in(page, reader)
            await page.sees(".pill", "Live")
            here.puppet.report(task_id, 70, "seventy")
            await page.sees(".task-head .message", "seventy")


async def test_a_credential_that_is_over_is_asked_for_and_nothing_is_missing_then(chromium: Chromium) -> None:
    async with guarded(key_cache_s=0.3) as (here, store, gate):
        old, new = store.make("anna"), store.make("anna")
        await gate.refresh()
        answer = await here.http.post("/tasks", json={"type": "puppet"}, headers=bearer(new))
        task_id = answer.json()["id"]
        async with seen(chromium, url_of(here), f"?task={task_id}") as page:
            await sign_in(page, old)
            await page.sees(".pill", "Live")
            here.puppet.emit(task_id, "tick", {"n": 1})
            await page.sees(".event", '{"n":1}')
            store.rows = [row if row.id in new else replace(row, revoked_at=LATER) for row in store.rows]
            await page.sees("dialog", "Who are you?")
            here.puppet.emit(task_id, "tick", {"n": 2})
            await sign_in(page, new)
            await page.sees(".event", '{"n":2}')
            await page.sees(".pill", "Live")
            assert await page.js(NUMBERS) == [1, 2, 3, 4]


async def test_a_token_that_runs_out_is_asked_for(chromium: Chromium) -> None:
    async with guarded(jwt_leeway_s=0) as (here, _, _), seen(chromium, url_of(here)) as page:
        await sign_in(page, token(exp=time.time() + 3))
        await page.sees(".pill", "Live")
        await sign_in(page, token())
        await page.sees(".pill", "Live")
