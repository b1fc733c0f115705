"""The pages that we show to people, in a browser: the one of the examples, and the lines of the questions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from examples.tokens import tokens
from streaming.web.application import Application
from streaming.web.request import Receive, Scope, Send
from tests.browser.chromium import Chromium
from tests.browser.ear import Ear, url_of
from tests.browser.tab import Tab
from tests.web.live import Live, live

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "examples" / "watch.html").read_bytes()
QUESTIONS = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")

TOKENS = "document.getElementById('text').textContent.trim().split(/ +/).length"


class WithPage:
    """Goes around the application as `examples.page` does, and says 502 while it is ``away``, as a proxy would."""

    def __init__(self) -> None:
        self.away = False
        self.refused = 0

    def __call__(self, app: Application) -> Any:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            page = scope["path"] == "/watch.html"
            if not page and not self.away:
                await app(scope, receive, send)
                return
            self.refused += not page
            headers = [(b"content-type", b"text/html; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200 if page else 502, "headers": headers})
            await send({"type": "http.response.body", "body": PAGE if page else b"Bad Gateway"})

        return serve


async def started(here: Live, tab: Tab) -> str:
    """Start a task with the form of the page; its id."""
    await tab.go(f"{url_of(here)}/watch.html")
    await tab.run("document.querySelector('#start button').click()")
    await tab.until("new URLSearchParams(location.search).has('task')")
    await tab.until(f"{TOKENS} >= 5")
    return str(await tab.run("new URLSearchParams(location.search).get('task')"))


async def texts(here: Live, task_id: str) -> str:
    """All that the handler has said."""
    events = [json.loads(each.data) for each in await here.all_sse(f"/tasks/{task_id}/events")]
    return "".join(each["data"]["text"] for each in events if each["type"] == "token")


async def test_the_page_starts_a_task_follows_it_through_a_cut_and_cancels_it(chromium: Chromium, soon: None) -> None:
    async with live([tokens], wrap=WithPage()) as here, chromium.tab(url_of(here)) as tab:
        task_id = await started(here, tab)
        assert here.app.heartbeat.abort_all() == 1
        seen = await tab.run(TOKENS)
        await tab.until(f"{TOKENS} >= {seen + 3}")
        await tab.run("document.getElementById('cancel').click()")
        await tab.until("document.getElementById('message').textContent.startsWith('cancelled')")

        assert await tab.run("document.getElementById('text').textContent") == await texts(here, task_id)
        await here.quiet()


async def test_the_page_outlives_a_proxy_that_has_no_server_for_a_while(chromium: Chromium, soon: None) -> None:
    """The 502 ends its EventSource for good: it makes a new one, behind the last event that it has seen."""
    proxy = WithPage()
    async with live([tokens], wrap=proxy) as here, chromium.tab(url_of(here)) as tab:
        task_id = await started(here, tab)
        proxy.away = True
        assert here.app.heartbeat.abort_all() == 1
        await here.until(lambda: proxy.refused >= 2)  # its EventSource, and then the page itself
        await here.coordinator.cancel_task(task_id)
        proxy.away = False
        await tab.until("document.getElementById('message').textContent.startsWith('cancelled')")

        assert await tab.run("document.getElementById('text').textContent") == await texts(here, task_id)


async def test_the_page_says_that_there_is_no_such_task(chromium: Chromium) -> None:
    async with live([tokens], wrap=WithPage()) as here, chromium.tab(url_of(here)) as tab:
        await tab.go(f"{url_of(here)}/watch.html?task={'f' * 32}")
        await tab.until("document.getElementById('trouble').textContent.includes('no task')")


async def test_the_lines_of_the_questions_work_as_pasted(chromium: Chromium) -> None:
    """And they close the stream in the terminal event, so that nobody asks again."""
    found = re.search(r"^```html\n<script>\n(.*?)^</script>\n```$", QUESTIONS, re.MULTILINE | re.DOTALL)
    assert found is not None
    ear = Ear()
    async with live([tokens], wrap=ear) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start("tokens", params={"prompt": "x", "tokens_max": 4, "delay_s": 0})
        await here.ended(task_id)
        lines = found[1].replace("ID", task_id)
        await tab.run(f"window.said = []; console.log = (value) => window.said.push(value); {lines}")
        await tab.until("window.said.length >= 5")
        said = await tab.run("window.said")
        await here.quiet()

    assert said[:4] == [25, 50, 75, 100]
    assert (said[4]["tokens"], said[4]["complete"]) == (4, True)
    assert ear.cursors == [None]
