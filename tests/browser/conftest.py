"""One browser for each test process, started when it is first asked for; and servers to which it comes back at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streaming.web.reply import SSE
from streaming.web.stream import FORMS
from tests.browser.chromium import Chromium, NoChromium


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser; without one these tests are skipped, which `.ci/run` takes for a failure."""
    try:
        browser = Chromium()
    except NoChromium as reason:
        pytest.skip(str(reason))
    with browser:
        yield browser


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let browsers come back at once: two seconds are for the tests that are about them."""
    forms = {**FORMS, SSE: FORMS[SSE]._replace(opening=b"retry: 10\n")}
    monkeypatch.setattr("streaming.web.events.FORMS", forms)
