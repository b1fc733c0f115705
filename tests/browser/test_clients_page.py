"""The programs of docs/clients.md that are for browsers, in a browser whose connections are cut."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.pages import Block
from tests.proxy import Proxy
from tests.test_clients_page import ADDRESS, PRINTED, TRIES, programs
from tests.test_clients_page import proxy as proxy

#: Runs a program, and keeps what it prints.
RUN = """text => {
  window.lines = [];
  console.log = (...words) => lines.push(words.join(" "));
  const AsyncFunction = (async () => {}).constructor;
  window.over = new AsyncFunction(text)().then(() => "", String);
}"""

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


BROWSER = pytest.mark.parametrize("block", programs("browser"), ids=lambda block: str(block.line))


async def printed(block: Block, proxy: Proxy, chromium: Chromium, *, cut: bool) -> tuple[list[str], int]:
    """Run a program; what it has printed, and how many connections were cut when there were three lines."""
    origin = f"http://127.0.0.1:{proxy.port}"
    async with chromium.tab(origin) as tab:
        await tab.run(RUN, block.code.replace(ADDRESS, origin))
        cuts = 0
        if cut:
            await tab.until("lines.length >= 3")
            cuts = proxy.cut()
        assert await tab.run("over") == ""
        return list(await tab.run("lines")), cuts


@BROWSER
async def test_a_program_sees_each_event_and_cancels(block: Block, proxy: Proxy, chromium: Chromium) -> None:
    assert (await printed(block, proxy, chromium, cut=False))[0] == PRINTED


@BROWSER
async def test_a_program_whose_connection_is_cut_sees_each_event_once(
    block: Block, proxy: Proxy, chromium: Chromium
) -> None:
    for _ in range(TRIES):
        lines, cuts = await printed(block, proxy, chromium, cut=True)
        assert lines == PRINTED
        if cuts:
            return
    raise AssertionError("nothing was cut")
