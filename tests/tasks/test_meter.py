from __future__ import annotations

import pytest

from streaming.tasks.meter import Meter, readable


def test_each_percent_is_told_once() -> None:
    meter = Meter(1_000_000)
    told = [percent for done in range(0, 1_000_001, 7) if (percent := meter.reached(done)) is not None]
    assert told == [float(percent) for percent in range(1, 100)]
    assert meter.reached(1_000_000) == 100.0
    assert meter.reached(1_000_000) is None


def test_steps_larger_than_a_percent_are_told_one_by_one() -> None:
    meter = Meter(4)
    assert [meter.reached(done) for done in (1, 2, 3, 4)] == [25.0, 50.0, 75.0, 100.0]


def test_more_than_all_is_all() -> None:
    meter = Meter(10)
    assert meter.reached(25) == 100.0
    assert meter.reached(30) is None


def test_of_nothing_there_is_nothing_to_tell() -> None:
    assert Meter(0).reached(0) is None
    assert Meter(0).reached(10) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_572_864, "1.5 MiB"),
        (2**30, "1.0 GiB"),
        (3 * 2**40, "3.0 TiB"),
    ],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert readable(size) == text
