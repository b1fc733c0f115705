"""What has just happened is known, and what is older is forgotten."""

from __future__ import annotations

from streaming.observe.recent import COMMITS_MAX, COMMITS_S, LONG_S, SHORT_S, SLOT_S, Recent


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_events_a_second_are_those_of_the_window() -> None:
    clock = Clock()
    recent = Recent(clock)
    for _ in range(100):  # ten seconds, with 10 events in each tenth
        recent.add(4, 0.001)
        recent.add(6, 0.001)
        clock.now += SLOT_S

    assert round(recent.events_per_s(SHORT_S)) == 100
    assert round(recent.events_per_s(LONG_S)) == 100
    clock.now += SHORT_S + SLOT_S
    assert recent.events_per_s(SHORT_S) == 0
    assert 85 < recent.events_per_s(LONG_S) < 90


def test_a_slot_that_is_not_over_does_not_count_yet() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.add(10, 0.001)

    assert recent.events_per_s(SHORT_S) == 0


def test_nothing_is_remembered_for_longer_than_the_longest_window() -> None:
    clock = Clock()
    recent = Recent(clock)
    for _ in range(10 * COMMITS_MAX):
        recent.add(1, 0.001)
        clock.now += SLOT_S

    assert len(recent._slots) <= LONG_S / SLOT_S + 1
    assert len(recent._commits) == COMMITS_MAX


def test_how_long_commits_took_is_told_of_those_of_the_last_minute() -> None:
    clock = Clock()
    recent = Recent(clock)
    assert recent.commit_s(50) is None
    recent.add(1, 100.0)
    clock.now += COMMITS_S + 1
    for number in range(1, 101):
        recent.add(1, number / 1000)

    assert (recent.commit_s(50), recent.commit_s(99), recent.commit_s(100)) == (0.05, 0.099, 0.1)
    clock.now += COMMITS_S + 1
    assert recent.commit_s(50) is None
