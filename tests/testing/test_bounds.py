"""What nobody can have meant is refused where it is said, by its name and with what it may be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from streaming.testing.faults import CALM, STORMY, Faults
from streaming.testing.weather import FAIR, FOUL, Weather

PROBABILITIES = [
    *((Faults, name) for name in ("store_delay", "store_refuses", "store_forgets_to_answer", "crash", "loss", "clock")),
    *((Weather, name) for name in ("late", "split", "reset", "half_open", "stall", "refuse")),
]


@pytest.mark.parametrize(("kind", "name"), PROBABILITIES)
@pytest.mark.parametrize("value", [-0.1, 1.01, 30, math.nan, math.inf])
def test_a_probability_is_from_0_to_1(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} of {kind.__name__} is {value}: it must be from 0 to 1$"):
        kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), PROBABILITIES)
@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1, 1.0])
def test_any_probability_is_taken(kind: Any, name: str, value: float) -> None:
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("kind", "name", "value", "words"),
    [
        (Faults, "skew_s", -1.0, "it must be at least 0, and finite"),
        (Faults, "skew_s", math.inf, "it must be at least 0, and finite"),
        (Faults, "failures_max", -1, "it must be at least 0, and finite"),
        (Faults, "crashes_max", -1, "it must be at least 0, and finite"),
        (Weather, "late_s", (), "has nothing in it"),
        (Weather, "late_s", (0.1, -0.1), "is -0.1: it must be at least 0, and finite"),
        (Weather, "late_s", (math.inf,), "is inf: it must be at least 0, and finite"),
        (Weather, "stall_s", (), "has nothing in it"),
        (Weather, "stall_s", (-3.0,), "is -3.0: it must be at least 0$"),
        (Weather, "kernel_bytes", 0, "it must be at least 1, and finite"),
        (Weather, "unheard_s", math.inf, "it must be at least 0, and finite"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(kind: Any, name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} of {kind.__name__} .*{words}"):
        kind(**{name: value})


def test_a_change_of_a_preset_is_looked_at_as_well() -> None:
    with pytest.raises(ValueError, match="reset of Weather is 2"):
        dataclasses.replace(FOUL, reset=2)
    with pytest.raises(ValueError, match="crash of Faults is 2"):
        dataclasses.replace(STORMY, crash=2)


def test_the_presets_are_nothing_and_some_of_each() -> None:
    """The bytes that a kernel holds are fewer, too; a disk that forgets is no disk that a server must stand."""
    assert Faults() == CALM
    assert Weather() == FAIR
    assert all(getattr(STORMY, name) for kind, name in PROBABILITIES if kind is Faults and name != "loss")
    assert all(getattr(FOUL, name) for kind, name in PROBABILITIES if kind is Weather)
