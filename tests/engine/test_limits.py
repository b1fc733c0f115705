"""Every limit that is hit is counted under a name that is known beforehand."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import streaming
from streaming.config import PRINCIPAL_LIMITS, Settings
from streaming.engine.limits import LimitName, LimitsHit, check_fits, share_of
from streaming.errors import LogTooLarge, TooManyEvents
from tests.engine.hubs import Desk
from tests.kit import build
from tests.stage import forever, instant, rounds

pytestmark = pytest.mark.clock("virtual")

NAMES: tuple[str, ...] = get_args(LimitName)


def counted() -> set[str]:
    """The names that the code counts under."""
    calls = [
        node
        for path in sorted(Path(streaming.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "hit"
    ]
    return {str(each.value) for call in calls for each in ast.walk(call) if isinstance(each, ast.Constant)}


def test_each_limit_is_there_from_the_first_moment_and_is_counted() -> None:
    hits = LimitsHit()
    assert dict(hits) == dict.fromkeys(NAMES, 0)

    hits.hit("too_many_tasks")
    hits.hit("too_many_tasks")
    assert (hits["too_many_tasks"], sum(hits.values()), len(hits)) == (2, 2, len(NAMES))


def test_no_other_name_is_counted() -> None:
    with pytest.raises(KeyError):
        LimitsHit().hit("whatever a client says")  # type: ignore[arg-type]  # that is the test

    engine = {"too_many_tasks", "too_many_external", "too_many_keys", "event_too_large", "result_too_large"}
    assert engine <= counted()
    assert counted() <= set(NAMES)


async def test_the_coordinator_shows_what_its_parts_count() -> None:
    coordinator, _ = build([instant])
    async with coordinator:
        assert coordinator.limits_hit is coordinator._hub.limits_hit


@pytest.mark.parametrize(("events", "size"), [(0, 0), (1, 0), (3, 10), (0, 10)])
async def test_what_fits_into_a_log_is_taken(events: int, size: int) -> None:
    async with Desk(events_max=5, log_bytes_max=14) as desk:
        log = await desk.log()
        assert (log.window.last, log.bytes) == (2, 4)
        check_fits(log, desk.settings, desk.hub.limits_hit, events=events, size=size)
        assert sum(desk.hub.limits_hit.values()) == 0


@pytest.mark.parametrize(
    ("events", "size", "kind"), [(4, 0, TooManyEvents), (3, 11, LogTooLarge), (4, 11, TooManyEvents)]
)
async def test_what_is_one_more_is_refused_and_counted_once(
    events: int, size: int, kind: type[TooManyEvents | LogTooLarge]
) -> None:
    async with Desk(events_max=5, log_bytes_max=14) as desk:
        log = await desk.log()
        with pytest.raises(kind):
            check_fits(log, desk.settings, desk.hub.limits_hit, events=events, size=size)
        assert {name: hits for name, hits in desk.hub.limits_hit.items() if hits} == {kind.code: 1}


@pytest.mark.parametrize("name", PRINCIPAL_LIMITS)
def test_what_is_unset_holds_for_everybody_who_has_a_name(name: str) -> None:
    assert share_of(Settings(), name) == (PRINCIPAL_LIMITS[name], "anonymous")
    assert share_of(Settings().model_copy(update={name: 7}), name) == (7, None)


async def test_nobody_takes_all_the_places_but_on_a_server_of_their_own() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        most = PRINCIPAL_LIMITS["principal_running_max"]
        for who in ("anonymous", "anna"):
            ids = [(await coordinator.start("forever", {}, created_by=who))[0].id for _ in range(most + 1)]
            await rounds()
            at_work = [each.id for each in coordinator.running()]
            assert sum(task_id in at_work for task_id in ids) == (most + 1 if who == "anonymous" else most)
        await coordinator.shutdown(0)
