"""What was promised before a crash holds after it, wherever the crash comes."""

from __future__ import annotations

from collections.abc import Callable

from tests.crashes import simulate_crashes

HISTORIES = 150


def test_nothing_that_was_seen_or_promised_is_undone_by_a_crash(record_property: Callable[[str, object], None]) -> None:
    """Three tasks with keys, attempts, children, readers and cancels; processes die at any commit, before or after."""
    histories = {seed: simulate_crashes(seed) for seed in range(HISTORIES)}
    record_property("schedules", HISTORIES)
    record_property("crashes", sum(history.deaths for history in histories.values()))

    assert {seed: history.problems for seed, history in histories.items() if history.problems} == {}
    assert sum(history.deaths for history in histories.values()) > HISTORIES / 2
    statuses = {status for history in histories.values() for status in history.statuses}
    assert statuses == {"completed", "cancelled", "interrupted", "failed"}
