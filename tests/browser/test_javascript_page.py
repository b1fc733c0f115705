"""What docs/javascript.md shows works as pasted, and names what there is."""

from __future__ import annotations

import re

import pytest

from examples.agent import agent
from streaming.config import Settings
from streaming.tasks import built_in
from tests.browser.chromium import Chromium
from tests.browser.ear import url_of
from tests.pages import blocks
from tests.serving import ROOT
from tests.web.live import live

PATH = ROOT / "docs" / "javascript.md"
PAGE = PATH.read_text(encoding="utf-8")
EXAMPLES = [block.code for block in blocks(PATH, "js")]
IMPORT = re.compile(r'^import (\{.*?\}) from "(.*?)";$', re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
    assert all(IMPORT.search(example) for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
async def test_an_example_works_as_pasted(chromium: Chromium, example: str) -> None:
    settings = Settings(store_url="memory://")
    async with live(built_in(settings)) as here, chromium.tab(url_of(here)) as tab:
        body = IMPORT.sub(r'const \1 = await import("\2");', example)
        said = await tab.run(f"""async () => {{
            const said = [];
            const console = {{log: (...words) => said.push(words.join(" "))}};
            await (async () => {{ {body} }})();
            return said;
        }}""")
        assert said
        assert "undefined" not in " ".join(said)


async def test_the_page_of_the_tutorial_works_as_pasted_and_again_after_a_reload(chromium: Chromium) -> None:
    (block,) = blocks(ROOT / "docs" / "tutorials" / "agent.md", "js")
    body = IMPORT.sub(r'const \1 = await import("\2");', block.code)
    script = f"""async () => {{
        const said = [];
        const console = {{log: (...words) => said.push(words.join(" "))}};
        try {{ await (async () => {{ {body} }})(); }} catch (problem) {{ said.push(problem.code ?? String(problem)); }}
        return said;
    }}"""
    async with live([agent]) as here, chromium.tab(url_of(here)) as tab:
        said = await tab.run(script)
        assert said[-1] == "You ask: What about cursors? Let me look. Then I do not know. "
        await tab.go(url_of(here))
        again = await tab.run(script)
        assert again[-2:] == ["You ask: What about cursors? Let me look. ", "task_terminal"]
        assert len((await here.http.get("/tasks")).json()["tasks"]) == 1, "a reload starts nothing"


async def test_each_member_that_a_program_may_use_is_named(chromium: Chromium) -> None:
    async with live() as here, chromium.tab(url_of(here)) as tab:
        members = await tab.run("""async () => {
            const {Client, Connection, Shared, Problem} = await import("/page/client.js");
            const names = (kind) => Object.getOwnPropertyNames(kind.prototype).filter((name) => name !== "constructor");
            const own = new Set(["guarded", "renewable", "address", "headers"]);  // for the other modules
            return [...names(Client).filter((name) => !own.has(name)), ...names(Connection), ...names(Shared),
                    ...names(Problem)];
        }""")
        missing = [name for name in members if not re.search(rf"`[^`]*\b{name}\b", PAGE)]
        assert missing == []
