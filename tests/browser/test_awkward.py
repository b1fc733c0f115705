"""What is hard to bring into a page whole: texts, types, sizes, numbers of streams, and pages of somebody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streaming.web.application import Application
from streaming.web.request import Message, Receive, Scope, Send
from tests.browser.chromium import Chromium
from tests.browser.ear import Ear, log_of, told, url_of
from tests.web.live import live

#: Everything that a line, a field, a character or a parser of JSON could break at.
TEXTS = [
    *("a\nb", "\n\n", "a\r\nb", "\r", "\r\r", "\nid: 7\n\nevent: completed\ndata: {}\n\n", ":", ": x", " a", "a ", ""),
    *("\0", "a\0b", "\u0085", "\u2028", "\u2029", "\u000b\f", "\ufeff", "\ufeff\ufeff", "\ufffd", "\uffff", "\x7f\x1b"),
    *("🦊", "👩‍👩‍👧‍👦", "é", "e\u0301", "\u202e", "\\", '"', "\\u0000", "\\n", "</script><!--", "\U0010ffff", "null"),
]
VALUES: list[Any] = [
    0,
    -0.0,
    1e308,
    5e-324,
    2**53,
    -(2**53),
    0.1,
    True,
    [None],
    [],
    {},
    [[[]]],
    {"": 1, "__proto__": 2, "\n": 3},
]

#: Of all types that a handler may choose, those that mean something to a page, or look strange.
TYPES = ["message", "error", "open", ".", "-", "_", "0", "a.b-c_D", "x" * 64, "toString", "constructor", "__proto__"]

#: A page's own JSON, read by its own parser, written again.
AGAIN = "(texts) => texts.map((text) => JSON.stringify(JSON.parse(text).data))"


def in_small_pieces(size: int) -> Any:
    """Goes around the application, and cuts its answers like a network that does not know where a character ends."""

    def wrap(app: Application) -> Any:
        async def cut(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_pieces(message: Message) -> None:
                body = message.get("body", b"")
                while len(body) > size and scope["path"].endswith("/events"):
                    piece, body = body[:size], body[size:]
                    await send({**message, "body": piece, "more_body": True})
                await send({**message, "body": body} if "body" in message else message)

            await app(scope, receive, send_pieces)

        return cut

    return wrap


@pytest.mark.parametrize("size", [1, 7, 2**20])
async def test_a_page_gets_every_text_and_value_as_it_was_emitted(chromium: Chromium, size: int) -> None:
    async with live(wrap=in_small_pieces(size)) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        for value in [*TEXTS, *VALUES, {text: text for text in TEXTS}]:
            here.puppet.emit(task_id, "tick", value)
        here.puppet.finish(task_id, "🦊\n")
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"])
        await source.until("completed")
        events = await source.events()
        await source.close()

        assert told(events) == await log_of(here, task_id), "byte for byte"
        ticks = [note.data for note in events if note.type == "tick"]
        read = [json.loads(text) for text in await tab.run(AGAIN, ticks)]
    assert read == [*TEXTS, *VALUES, {text: text for text in TEXTS}]


async def test_a_line_of_a_megabyte_arrives_as_one(chromium: Chromium) -> None:
    text = "🦊\n" * 150_000 + "é" * 200_000
    async with live(event_bytes_max=2**21) as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        here.puppet.emit(task_id, "tick", text)
        here.puppet.finish(task_id)
        source = await tab.follow(f"/tasks/{task_id}/events", ["tick"])
        await source.until("completed")
        (tick,) = [note for note in await source.events() if note.type == "tick"]
        await source.close()

    assert len(tick.data.encode()) > 1_000_000
    assert tick.json["data"] == text


async def test_every_type_reaches_those_who_listen_to_it_and_nobody_else(chromium: Chromium) -> None:
    """A handler's ``error`` arrives where EventSource's own errors do; it is a MessageEvent, and has data."""
    async with live() as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        for type in [*TYPES, "unheard"]:
            here.puppet.emit(task_id, type, {"of": type})
        here.puppet.finish(task_id)
        source = await tab.follow(f"/tasks/{task_id}/events", TYPES)
        await source.until("completed")
        events = await source.events()
        own = [note for note in await source.notes() if not note.told]
        await source.close()

    assert [(note.id, note.type) for note in events] == [
        *[("1", "pending"), ("2", "running")],
        *[(str(seq), type) for seq, type in enumerate(TYPES, 3)],
        (str(len(TYPES) + 4), "completed"),
    ]
    assert own[0].type == "open"
    assert "error" not in [note.type for note in own[1:] if note.state == "OPEN"]
    assert {note.state for note in events} == {"OPEN"}


#: As JavaScript writes them: halves of a pair, a pair the wrong way round, one in a name.
HALVES = [r"'\ud83e'", r"'\udd8a'", r"'\udd8a\ud83e'", r"{'\ud800': 1}"]


async def test_half_a_character_from_a_page_never_gets_into_a_stream(chromium: Chromium) -> None:
    """JavaScript's strings may have lone surrogates; UTF-8 has none, so it is refused, and the stream goes on."""

    def send(data: str) -> str:
        body = f"JSON.stringify({{ data: {data} }})"
        headers = "{ 'Content-Type': 'application/json' }"
        return f"url => fetch(url, {{ method: 'POST', headers: {headers}, body: {body} }}).then((each) => each.status)"

    async with live() as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        source = await tab.follow(f"/tasks/{task_id}/events")
        await source.until("running")
        broken = [await tab.run(send(half), f"/tasks/{task_id}/input") for half in HALVES]
        whole = await tab.run(send("'🦊'"), f"/tasks/{task_id}/input")
        await source.until("input")
        events = await source.events()
        await source.close()

    assert {status // 100 for status in broken} == {4}, broken
    assert whole // 100 == 2
    assert [note.type for note in events] == ["pending", "running", "input"]
    assert events[-1].json["data"]["data"] == "🦊"


async def test_the_seventh_stream_of_a_page_waits_until_another_one_ends(chromium: Chromium) -> None:
    """So it is with HTTP/1.1, and so the documentation says."""
    async with live() as here, chromium.tab(url_of(here)) as tab:
        task_id = await here.start()
        sources = [await tab.follow(f"/tasks/{task_id}/events") for _ in range(6)]
        for source in sources:
            await source.until("running")
        seventh = await tab.follow(f"/tasks/{task_id}/events")
        await tab.run("void (window.asked = fetch('/types').then((answer) => answer.status))")
        await tab.run("new Promise((resolve) => setTimeout(resolve, 100))")
        assert (here.app.heartbeat.open, await seventh.state(), await seventh.notes()) == (6, "CONNECTING", [])

        for source in sources[:2]:
            await source.close()
        await seventh.until("running")
        assert await tab.run("window.asked") == 200


@pytest.mark.parametrize("name", ["evil.test", "127.0.0.1.evil.test", "localhost.test"])
async def test_a_page_of_somebody_else_follows_nothing_and_starts_nothing(chromium: Chromium, name: str) -> None:
    """Not even under a name that leads here, where the browser takes the server for the page's own."""
    ear = Ear()
    async with live(wrap=ear) as here, chromium.tab(f"http://{name}:{here.port}") as tab:
        task_id = await here.counted()
        source = await tab.follow(f"{url_of(here)}/tasks/{task_id}/events", ["tick"])
        await source.until_closed()
        sent = await tab.run(POST_BLINDLY, f"{url_of(here)}/tasks")
        refused = [await tab.run(POST, path) for path in ("/tasks", f"/tasks/{task_id}/cancel")]
        refused += [
            await tab.run("url => fetch(url).then((answer) => answer.status)", path) for path in ("/tasks", "/stats")
        ]

        assert await source.events() == []
        assert (ear.cursors, sent) == ([None], "not sent"), "its browser keeps even an answer of no use from it"
        assert refused == [403] * 4, "it was the server that said no"
        assert [each["id"] for each in (await here.http.get("/tasks")).json()["tasks"]] == [task_id]


POST = """url => fetch(url, { method: "POST", body: '{"type":"count"}' }).then((answer) => answer.status)"""

#: A page may post anywhere, without asking first, as long as it does not want to see the answer.
POST_BLINDLY = """url => fetch(url, { method: "POST", mode: "no-cors", body: '{"type":"count"}' })
  .then(() => "sent", () => "not sent")"""


async def test_a_page_of_another_name_of_this_machine_reads_nothing_either(chromium: Chromium) -> None:
    """There is no CORS: ``localhost`` is another origin than ``127.0.0.1``."""
    async with live() as here, chromium.tab(f"http://localhost:{here.port}") as tab:
        task_id = await here.counted()
        across = await tab.follow(f"{url_of(here)}/tasks/{task_id}/events")
        await across.until_closed()
        same = await tab.follow(f"/tasks/{task_id}/events")
        await same.until("completed")

        assert await across.events() == []
        assert len(await same.events()) == 6 - 3, "the ticks have no listener"
        await same.close()
