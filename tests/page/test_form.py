"""The form that is made out of a schema: every kind of parameter, and what the server says of it."""

from __future__ import annotations

import datetime
import enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from streaming import TaskContext, task
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.page.sight import Sight, seen
from tests.web.live import Live, live


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Output(BaseModel):
    """Where it goes."""

    path: str
    overwrite: bool


class Node(BaseModel):
    value: int
    next: Node | None = None


RAW = "[aria-label='parameters as JSON']"


async def params_of(here: Live, page: Sight) -> Any:
    """What the task that was started has been given."""
    await page.sees(".task-head")
    task_id = page.place.removeprefix("task=")
    return (await here.http.get(f"/tasks/{task_id}")).json()["params"]


@task
async def everything(
    ctx: TaskContext,
    dry: bool,
    colour: Colour,
    count: Annotated[int, Field(ge=1, le=2**63 - 1)],
    mode: Literal["fast", "slow"] = "fast",
    maybe: bool | None = None,
    loud: bool = True,
    ratio: float | None = 0.5,
    when: datetime.datetime | None = None,
    words: list[str] | None = None,
    table: dict[str, int] | None = None,
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None,
    output: Output | None = None,
    tree: Node | None = None,
    note: str = "as it is",
) -> None:
    """Take all kinds of parameters."""


async def test_every_kind_of_parameter_can_be_given(chromium: Chromium) -> None:
    async with live([everything]) as here, seen(chromium, url_of(here), "?new=everything") as page:
        await page.choose("#param-colour", "1")
        await page.fill("#param-count", str(2**62 + 1))
        await page.choose("#param-maybe", "1")
        await page.click("#param-loud")
        await page.fill("#param-ratio", "")
        await page.fill("#param-when", "2026-11-30T12:00:00Z")
        await page.fill("#param-words", '["a", "b"]')
        await page.fill("#param-pet", '{"kind": "dog", "name": "Rex"}')
        await page.click("legend", "Output")
        await page.fill("[id='param-output.path']", "/x")
        await page.click("legend", "Node")
        await page.fill("[id='param-tree.value']", "1")
        await page.click("fieldset fieldset fieldset fieldset legend", "Node")
        await page.fill("[id='param-tree.next.value']", "2")
        await page.fill("#param-note", "")
        await page.click("button.primary", "Start")
        found = await params_of(here, page)
        assert found == {
            "dry": False, "colour": "blue", "count": 2**62 + 1, "mode": "fast", "maybe": False, "loud": False,
            "ratio": None,
            "when": "2026-11-30T12:00:00Z", "words": ["a", "b"], "table": None, "pet": {"kind": "dog", "name": "Rex"},
            "output": {"path": "/x", "overwrite": False}, "tree": {"value": 1, "next": {"value": 2}}, "note": "",
        }  # fmt: skip


async def test_what_need_not_be_there_asks_for_nothing(chromium: Chromium) -> None:
    async with live([everything]) as here, seen(chromium, url_of(here), "?new=everything") as page:
        await page.choose("#param-colour", "0")
        await page.fill("#param-count", "3")
        await page.click("button.primary", "Start")
        found = await params_of(here, page)
        assert (found["output"], found["tree"], found["loud"], found["ratio"]) == (None, None, True, 0.5)


async def test_going_to_json_and_back_loses_nothing(chromium: Chromium) -> None:
    values = (
        '{"dry": "perhaps", "colour": "green", "count": 12345678901234567890, "ratio": null, "words": [1, {"a": [2]}], '
        '"note": "two\\nlines", "output": {"path": "/x", "overwrite": 1, "mode": 7}, '
        '"unknown": {"deep": [true]}, "maybe": null}'
    )
    async with live([everything]) as here, seen(chromium, url_of(here), "?new=everything") as page:
        await page.click("button", "JSON")
        await page.fill(RAW, values)
        await page.click("button", "Form")
        await page.sees("#param-count")
        await page.click("button", "JSON")
        now = await page.js(f'JSON.stringify(JSON.parse(document.querySelector("{RAW}").value))')
        after = await page.js("(text) => JSON.stringify({...JSON.parse(text)})", values)
        kept, before = await page.js("([one, other]) => [JSON.parse(one), JSON.parse(other)]", [now, after])
        assert {name: kept.get(name) for name in before} == before
        assert "12345678901234567890" in await page.js(f'document.querySelector("{RAW}").value')
        await page.fill(RAW, "[1]")
        await page.click("button", "Form")
        assert await page.js(f'document.querySelector("{RAW}").validationMessage') == "Only an object has fields: { … }"


async def test_what_is_wrong_deep_inside_is_said_at_the_field_that_holds_it(chromium: Chromium) -> None:
    async with live([everything]) as here, seen(chromium, url_of(here), "?new=everything") as page:
        await page.choose("#param-colour", "0")
        await page.fill("#param-count", "3")
        await page.fill("#param-words", '["a", 5]')
        await page.click("legend", "Output")
        await page.fill("[id='param-output.path']", "/x")
        await page.fill("#param-pet", '{"kind": "cat"}')
        await page.click("button.primary", "Start")
        await page.sees("[id='wrong-words']", "1: ")
        await page.sees("[id='wrong-pet']", "lives")
        assert await page.js("document.activeElement.id") == "param-words"
        assert await page.js("document.activeElement.getAttribute('aria-invalid')") == "true"
        await page.fill("#param-words", '["a", "b"]')
        assert await page.text("[id='wrong-pet']") != ""
        await page.fill("#param-pet", "")
        await page.click("button.primary", "Start")
        assert (await params_of(here, page))["words"] == ["a", "b"]


async def test_who_has_gone_somewhere_else_is_not_taken_away(chromium: Chromium) -> None:
    """The answer to a start that comes late is a message, not another place."""
    async with live() as here, seen(chromium, url_of(here), "?new=count") as page:
        await page.sees("#param-n")
        await page.js(
            "() => { const real = window.fetch; window.fetch = async (...request) => {"
            " const answer = await real(...request);"
            " if (request[1].method === 'POST') await new Promise((go) => { window.go = go; });"
            " return answer; }; }"
        )
        await page.click("button.primary", "Start")
        await page.until("window.go !== undefined")
        await page.click(".top nav a", "Server")
        await page.js("window.go()")
        await page.sees(".toast", "Started.")
        assert page.place == "view=server"


async def test_the_way_to_the_content_keeps_what_was_filled_in(chromium: Chromium) -> None:
    async with live() as here, seen(chromium, url_of(here), "?new=count") as page:
        await page.fill("#param-n", "7")
        await page.js("() => document.querySelector('.skip').focus()")
        await page.press("Enter")
        await page.until("location.hash === '#main'")
        assert await page.js("document.querySelector('#param-n').value") == "7"
