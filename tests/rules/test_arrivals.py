"""What the times of beats tell of the way between a reader and a server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.arrivals import LATE_S, Passage, judge_beats, judge_clock
from streaming.rules.finding import Verdict

SENT = [100.0, 100.2, 100.4, 100.6, 100.8]


def passage(
    late: Sequence[float], *, sent: Sequence[float] = SENT, asked: int = 5, encoding: str = "", whole: bool = True
) -> Passage:
    """Beats that were so late each."""
    beats = [(each, each + lateness) for each, lateness in zip(sent, late, strict=False)]
    return Passage(asked, 0.2, beats, encoding, whole)


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0])
def test_beats_that_come_one_by_one_are_well_whatever_the_clocks_say(ahead: float) -> None:
    finding = judge_beats(passage([ahead + each for each in (0.01, 0.0, 0.02, 0.01, 0.05)]))

    assert finding.verdict is Verdict.OK
    assert "0.050 s late" in finding.found
    assert not finding.advice


@pytest.mark.parametrize(
    "late",
    [
        (0.8, 0.6, 0.4, 0.2, 0.0),  # all of it at the end
        (0.2, 0.0, 0.2, 0.0, 0.0),  # two by two
        (0.4, 0.2, 0.0, 0.2, 0.0),
    ],
)
def test_beats_that_come_together_were_collected(late: Sequence[float]) -> None:
    finding = judge_beats(passage(late))

    assert finding.verdict is Verdict.PROBLEM
    assert "together" in finding.found
    assert "proxy_buffering off" in finding.advice


def test_one_hiccup_is_a_slow_way_and_no_collecting() -> None:
    finding = judge_beats(passage((0.0, 0.0, LATE_S, LATE_S - 0.2, 0.0), sent=SENT))

    assert finding.verdict is Verdict.WARNING
    assert "busy" in finding.advice


@pytest.mark.parametrize("missing", [0, 1, 4])
def test_a_stream_that_was_cut_off_is_a_problem(missing: int) -> None:
    finding = judge_beats(passage([0.0] * (5 - missing), whole=False))

    assert finding.verdict is Verdict.PROBLEM
    assert f"{5 - missing} of 5" in finding.found
    assert "proxy_read_timeout" in finding.advice


def test_a_stream_with_an_end_and_too_few_beats_is_one_too() -> None:
    assert judge_beats(passage([0.0], asked=5, whole=True)).verdict is Verdict.PROBLEM
    assert judge_beats(passage([], asked=5)).verdict is Verdict.PROBLEM


def test_compressing_is_a_warning_if_nothing_worse_is_there() -> None:
    finding = judge_beats(passage([0.0] * 5, encoding="gzip"))
    assert (finding.verdict, "gzip" in finding.found) == (Verdict.WARNING, True)
    assert judge_beats(passage((0.8, 0.6, 0.4, 0.2, 0.0), encoding="gzip")).verdict is Verdict.PROBLEM


def test_a_single_beat_tells_nothing_of_collecting() -> None:
    one = Passage(1, 0.2, [(1.0, 2.0)], "", True)
    assert one.together == 0
    assert one.late_s == 0


@given(st.lists(st.floats(0, 0.04), min_size=5, max_size=5), st.floats(-1e6, 1e6))
def test_small_delays_are_never_taken_for_collecting(late: list[float], ahead: float) -> None:
    assert judge_beats(passage([ahead + each for each in late])).verdict is Verdict.OK


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset_s", "unsure_s", "verdict", "words"),
    [
        (0.0, 1.0, Verdict.OK, "agrees"),
        (2.9, 1.0, Verdict.OK, "agrees"),
        (-2.9, 1.0, Verdict.OK, "agrees"),
        (4.0, 1.0, Verdict.WARNING, "3.0 s ahead of ours"),
        (-4.0, 1.0, Verdict.WARNING, "3.0 s behind ours"),
        (11.0, 1.0, Verdict.WARNING, "10.0 s ahead of ours"),
        (11.1, 1.0, Verdict.PROBLEM, "10.1 s ahead of ours"),
        (-3600.0, 1.0, Verdict.PROBLEM, "behind ours"),
    ],
)
def test_clocks_that_are_apart(offset_s: float, unsure_s: float, verdict: Verdict, words: str) -> None:
    finding = judge_clock(offset_s, unsure_s, "the database", 10.0)

    assert finding.verdict is verdict
    assert words in finding.found
    assert bool(finding.advice) is (verdict is not Verdict.OK)
