"""Each fault strikes: a mistake that it alone shows is found, and its twin without the mistake is not accused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.testing.sweeping import sweep
from streaming.testing.verdict import Fault, Kind
from tests.testing import mistakes


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    mistakes.close_what_is_kept()


@pytest.mark.parametrize(
    ("mistaken", "right", "fault", "kind", "where"),
    [
        (
            mistakes.opens_in_its_parameters,
            mistakes.opens_in_its_first_step,
            Fault.CANCEL_BEFORE_FIRST_STEP,
            Kind.LEAKED_FILE,
            "opened",
        ),
        (
            mistakes.forgets_what_has_just_come,
            mistakes.closes_what_has_just_come,
            Fault.CANCEL_AT_WAKEUP,
            Kind.LEAKED_SOCKET,
            "come",
        ),
        (
            mistakes.says_goodbye_and_closes,
            mistakes.says_goodbye_and_closes_whatever_comes,
            Fault.SECOND_CANCEL,
            Kind.LEAKED_SOCKET,
            "says_goodbye_and_closes",
        ),
        (
            mistakes.works_on_at_a_shutdown,
            mistakes.saves_at_a_shutdown,
            Fault.SHUTDOWN,
            Kind.SWALLOWED_CANCEL,
            "works_on_at_a_shutdown",
        ),
    ],
)
def test_a_mistake_that_only_one_fault_shows(
    mistaken: Callable[..., Any], right: Callable[..., Any], fault: Fault, kind: Kind, where: str, tmp_path: Path
) -> None:
    file = tmp_path / "rows"
    file.touch()
    params = {"path": str(file)} if "path" in mistaken.__annotations__ else {}

    verdict, twin = sweep(mistaken, params), sweep(right, params)

    [finding] = verdict.findings
    assert (finding.kind, finding.where.rpartition(" in ")[2]) == (kind, where)
    assert finding.where.startswith("mistakes.py:")
    assert set(finding.shown_by) == {fault}
    assert twin.findings == []
    assert twin.ok


def test_a_second_cancel_alone_cancels_a_first_time_and_reports_only_the_second() -> None:
    """What the first one shows was not asked for."""
    clean, leaving = (
        sweep(handler, faults=["second-cancel"]) for handler in (mistakes.cleans_up, mistakes.leaves_a_task)
    )

    assert clean.findings == []
    assert clean.runs > clean.points + 2
    assert clean.swept == clean.points
    assert leaving.findings == []
    assert sweep(mistakes.leaves_a_task, faults=["cancel"]).findings
