"""The programs of docs/clients.md that are for browsers, in a browser whose connections are cut."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.pages import Block
from tests.proxy import Proxy
from tests.test_clients_page import ADDRESS, PRINTED, programs
from tests.test_clients_page import proxy as proxy

#: Runs a program, and keeps what it prints.
RUN = """text => {
  window.lines = [];
  console.log = (...words) => lines.push(words.join(" "));
  const AsyncFunction = (async () => {}).constructor;
  window.over = new AsyncFunction(text)().then(() => "", String);
}"""

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.mark.parametrize("cut", [False, True], ids=["", "cut"])
@pytest.mark.parametrize("block", programs("browser"), ids=lambda block: str(block.line))
async def test_a_program_sees_each_event_once_and_cancels(
    block: Block, cut: bool, proxy: Proxy, chromium: Chromium
) -> None:
    origin = f"http://127.0.0.1:{proxy.port}"
    async with chromium.tab(origin) as tab:
        await tab.run(RUN, block.code.replace(ADDRESS, origin))
        if cut:
            await tab.until("lines.length >= 3")
            assert proxy.cut() >= 1
        assert await tab.run("over") == ""
        assert await tab.run("lines") == PRINTED
