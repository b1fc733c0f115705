"""docs/testing.md is whole: whatever the kit offers, the page names."""

from __future__ import annotations

import dataclasses
import re

import pytest

import streaming.testing
from streaming.testing import Faults, Weather, plugin
from streaming.testing.order import ORDERS
from tests.serving import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def cells(column: int) -> list[str]:
    """A column of all tables."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return [row[column] for row in rows]


@pytest.mark.parametrize("name", streaming.testing.__all__)
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert re.search(rf"`{name}\b", PAGE)


@pytest.mark.parametrize("field", [field.name for kind in (Faults, Weather) for field in dataclasses.fields(kind)])
def test_every_field_of_the_faults_and_the_weather_is_described(field: str) -> None:
    assert any(f"`{field}`" in cell for cell in cells(0))


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_described(order: str) -> None:
    assert f"`{order}`" in PAGE


def test_every_option_is_described_with_what_it_is_called_otherwise(pytestconfig: pytest.Config) -> None:
    assert set(plugin._names) == {"schedules", "seed", "replay"}
    for name in plugin._names:
        assert any(cell.startswith(f"`--{name} ") for cell in cells(0))
        assert f"`--streaming-{name}`" in PAGE


def test_the_marker_and_its_arguments_are_described() -> None:
    assert f"`@pytest.mark.{plugin._MARKER}`".replace("'", '"') in PAGE
    for argument in plugin._Wanted._fields:
        assert f"`{argument}`" in cells(0)


@pytest.mark.parametrize("fixture", ["world", "cancel_sweep"])
def test_every_fixture_is_described(fixture: str) -> None:
    assert f"`{fixture}`" in cells(0)
    assert hasattr(plugin, fixture)


def test_the_names_are_there_when_they_are_used_and_sorted() -> None:
    assert list(streaming.testing._HOMES) == streaming.testing.__all__
    assert sorted(streaming.testing.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)) == (
        streaming.testing.__all__
    )
    assert set(streaming.testing.__all__) <= set(dir(streaming.testing))
    for name in streaming.testing.__all__:
        found = getattr(streaming.testing, name)
        assert type(found).__name__ != "module", f"{name} is the name of a module, which hides it"


def test_a_name_that_does_not_exist_is_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        streaming.testing.nothing  # noqa: B018  # to ask for it is the test
