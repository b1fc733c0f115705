"""Without credentials only this machine is served (P8), whatever the socket listens on."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.errors import Forbidden
from streaming.web.loopback import require_loopback, require_own_name, require_own_origin


@pytest.mark.parametrize(
    "server",
    [("127.0.0.1", 80), ("127.8.8.8", 80), ("::1", 80), ("::ffff:127.0.0.1", 80), ("/run/streaming.sock", None)],
)
def test_this_machine_is_served(server: Any) -> None:
    require_loopback(server)


@pytest.mark.parametrize(
    "server",
    [
        None,
        ("0.0.0.0", 80),  # noqa: S104  # as a client might reach it, nothing is bound here
        ("192.168.1.2", 80),
        ("10.0.0.1", 80),
        ("::", 80),
        ("fe80::1%eth0", 80),
        ("::ffff:10.0.0.1", 80),
        ("localhost", 80),
        ("", 80),
    ],
)
def test_everybody_else_is_refused_and_told_how_to_open(server: Any) -> None:
    with pytest.raises(Forbidden, match="STREAMING_INSECURE_PUBLIC=true"):
        require_loopback(server)


@pytest.mark.parametrize(
    ("method", "origin"),
    [
        ("POST", None),
        ("GET", "http://elsewhere.example"),
        ("OPTIONS", "http://elsewhere.example"),
        ("POST", "http://localhost:8000"),
        ("POST", "http://app.localhost"),
        ("DELETE", "http://127.0.0.1:8000"),
        ("POST", "http://[::1]:8000"),
    ],
)
def test_pages_of_this_machine_and_what_is_no_page_may_ask(method: str, origin: str | None) -> None:
    require_own_origin(method, origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://elsewhere.example",
        "http://localhost.elsewhere.example",
        "null",
        "",
        "http://[::1",
        "https://10.0.0.1",
        "http://localhost:80.elsewhere.example",
        "http://localhost@elsewhere.example",
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_page_of_somebody_else_changes_nothing(method: str, origin: str) -> None:
    with pytest.raises(Forbidden, match="STREAMING_INSECURE_PUBLIC=true"):
        require_own_origin(method, origin)


@pytest.mark.parametrize(
    ("site", "served"),
    [(None, True), ("none", True), ("same-origin", True), ("cross-site", False), ("same-site", False), ("", False)],
)
def test_a_browser_that_names_no_origin_says_where_its_page_is_from(site: str | None, served: bool) -> None:
    if served:
        require_own_origin("POST", None, site)
    else:
        with pytest.raises(Forbidden, match="another site"):
            require_own_origin("POST", None, site)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "app.localhost:8000", "127.8.8.8", "[::1]", "[::1]:8000"]
)
def test_names_of_this_machine(host: str) -> None:
    require_own_name(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "elsewhere.example",
        "127.0.0.1.elsewhere.example",
        "localhost.elsewhere.example:80",
        "10.0.0.1",
        "::1",
        "[::1",
        "localhost@elsewhere.example",
        "localhost, elsewhere.example",
        "elsewhere.example, app.localhost",
        "localhost, localhost",
    ],
)
def test_under_any_other_name_this_machine_may_be_somebody_elses_page(host: str | None) -> None:
    with pytest.raises(Forbidden, match="STREAMING_INSECURE_PUBLIC=true"):
        require_own_name(host)
