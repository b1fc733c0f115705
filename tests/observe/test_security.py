"""What those who guard a server want to know of is one line, has no secret in it, and cannot fill a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from streaming.observe import security
from streaming.observe.security import KEYS_MAX, LINES_MAX, VALUE_MAX, WINDOW_S, FloodGuard, tell

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
KEY = "strm_3f2a9c_c2VjcmV0LW9mLXRoZS1rZXk"


class Clock:
    """Seconds, as a test has them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A guard that has seen nothing yet."""
    clock = Clock()
    monkeypatch.setattr(security, "_guard", FloodGuard(security._report, clock))
    return clock


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What was written."""
    with capture_logs() as found:
        yield found


def test_a_line_says_who_did_what_from_where_and_to_which_task(lines: list[Any]) -> None:
    tell("forbidden", principal="alice", address="10.1.2.3", task_id="0" * 32, scope="tasks:write", count=2)
    tell("key_created", principal="root", address=None, failed=False, key_id="3f2a9c")

    assert lines == [
        {
            "event": "forbidden",
            "log_level": "warning",
            "principal": "alice",
            "address": "10.1.2.3",
            "task_id": "0" * 32,
            "scope": "tasks:write",
            "count": 2,
        },
        {"event": "key_created", "log_level": "info", "principal": "root", "key_id": "3f2a9c"},
    ]


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_what_looks_like_a_secret_is_blotted_out_wherever_it_stands(lines: list[Any]) -> None:
    text = f"{KEY} {JWT}"
    tell("refused", principal=text, address=text, task_id=text, reason=text, more=[text])

    assert "c2VjcmV0" not in repr(lines)
    assert "eyJzdWIi" not in repr(lines)


@pytest.mark.parametrize("name", ["authorization", "Authorization", "token", "stream_token", "api_key", "x-api-key"])
def test_what_has_the_name_of_a_secret_is_blotted_out_whatever_it_looks_like(name: str, lines: list[Any]) -> None:
    details: dict[str, Any] = {name: "harmless"}
    tell("refused", principal=None, address=None, **details)

    assert lines[0][name] == "***"


@pytest.mark.parametrize(
    "text",
    [
        "key:3f2a9c",
        "jwt:alice",
        "alice@example.com",
        "streaming.example.company",
        "2001:db8::1",
        "the token is expired",
        "no such key: it was revoked",
        "Bearer token expected",
        "tasks:read",
        "0" * 32,
    ],
)
def test_what_is_no_secret_stays_readable(text: str, lines: list[Any]) -> None:
    tell("refused", principal=text, address="127.0.0.1", credential=text, token_id=text, reason=text)

    assert (lines[0]["principal"], lines[0]["credential"], lines[0]["token_id"], lines[0]["reason"]) == (text,) * 4


def test_a_secret_is_not_cut_so_that_its_half_is_left(lines: list[Any]) -> None:
    tell("refused", principal=None, address=None, reason="x" * (VALUE_MAX - 10) + f" {JWT}")

    assert "eyJ" not in lines[0]["reason"]


def test_a_value_has_a_length(lines: list[Any]) -> None:
    tell("refused", principal="p" * VALUE_MAX, address=None, reason="r" * (VALUE_MAX + 1), much="m" * 10_000_000)

    assert lines[0]["principal"] == "p" * VALUE_MAX
    assert lines[0]["reason"] == "r" * VALUE_MAX + "..."
    assert len(lines[0]["much"]) == VALUE_MAX + 3


# -- floods -----------------------------------------------------------------------------------------------------------


def test_what_nobody_from_outside_can_do_is_written_however_often(lines: list[Any]) -> None:
    for _ in range(LINES_MAX + 5):
        tell("key_revoked", principal=None, address=None, failed=False, always=True)
    assert len(lines) == LINES_MAX + 5

    for _ in range(LINES_MAX):
        tell("key_revoked", principal=None, address=None)
    assert len(lines) == 2 * LINES_MAX + 5, "it counts for nothing"


def test_of_a_flood_some_lines_are_written_and_then_how_many_there_were(clock: Clock, lines: list[Any]) -> None:
    for _ in range(100_000):
        tell("unauthenticated", principal=None, address="10.1.2.3")
    assert len(lines) == LINES_MAX
    clock.now += WINDOW_S - 0.001
    tell("unauthenticated", principal=None, address="10.1.2.3")
    assert len(lines) == LINES_MAX

    clock.now += 0.001
    tell("unauthenticated", principal=None, address="10.1.2.3")

    summary, again = lines[LINES_MAX:]
    assert summary == {
        "event": "lines_left_out",
        "log_level": "warning",
        "act": "unauthenticated",
        "address": "10.1.2.3",
        "count": 100_001 - LINES_MAX,
        "window_s": WINDOW_S,
    }
    assert again["event"] == "unauthenticated"


def test_exactly_as_many_as_may_be_leave_nothing_out(clock: Clock, lines: list[Any]) -> None:
    for _ in range(LINES_MAX):
        tell("unauthenticated", principal=None, address="10.1.2.3")
    clock.now += WINDOW_S
    tell("forbidden", principal="alice", address="10.1.2.3")

    assert [line["event"] for line in lines] == ["unauthenticated"] * LINES_MAX + ["forbidden"]


def test_a_flood_from_one_address_hides_nobody_else_and_no_other_act(lines: list[Any]) -> None:
    for _ in range(1000):
        tell("unauthenticated", principal=None, address="10.1.2.3")
    tell("unauthenticated", principal=None, address="10.9.9.9")
    tell("forbidden", principal="alice", address="10.1.2.3")

    assert [(line["event"], line["address"]) for line in lines[LINES_MAX:]] == [
        ("unauthenticated", "10.9.9.9"),
        ("forbidden", "10.1.2.3"),
    ]


def test_a_flood_from_many_addresses_takes_little_memory_and_few_lines(clock: Clock, lines: list[Any]) -> None:
    for number in range(100_000):
        tell("unauthenticated", principal=None, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(security._guard._counts) == KEYS_MAX + 1
    assert len(lines) == KEYS_MAX + LINES_MAX

    clock.now += WINDOW_S
    security._guard.flush()

    assert lines[-1]["count"] == 100_000 - KEYS_MAX - LINES_MAX
    assert "address" not in lines[-1]
    assert len(lines) == KEYS_MAX + LINES_MAX + 1
    assert not security._guard._counts


@pytest.mark.clock("virtual")
async def test_the_end_of_a_flood_is_reported_though_nothing_more_happens(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "_guard", FloodGuard(security._report, asyncio.get_running_loop().time))
    for _ in range(LINES_MAX + 3):
        tell("unauthenticated", principal=None, address="10.1.2.3")
    await asyncio.sleep(2 * WINDOW_S)

    assert [line["event"] for line in lines[LINES_MAX:]] == ["lines_left_out"]
    assert lines[-1]["count"] == 3


def test_threads_count_together(lines: list[Any]) -> None:
    def flood() -> None:
        for _ in range(1000):
            tell("unauthenticated", principal=None, address="10.1.2.3")

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert security._guard._counts[("unauthenticated", "10.1.2.3")] == 4000
