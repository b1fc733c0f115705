"""The two ways from a stream to its connection.

Owns:   the fixture `path`.
"""

from __future__ import annotations

from typing import Any

import pytest

from streaming.web.direct import DirectProtocol


@pytest.fixture(params=["direct", "portable"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On which path streams write: the server lends its connections, or it does not."""
    name: str = request.param

    def lends_nothing(*_: Any) -> bool:
        return False

    if name == "portable":
        monkeypatch.setattr(DirectProtocol, "lend", lends_nothing)
    return name
