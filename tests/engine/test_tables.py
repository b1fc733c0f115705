"""Tables are told in one form."""

from __future__ import annotations

import pytest

from streaming.engine.tables import BUSY_AT_REST, Table, size_of_table
from tests.kit import build
from tests.stage import instant

pytestmark = pytest.mark.clock("virtual")


@pytest.mark.parametrize(("table", "size"), [(0, 0), (7, 7), ((), 0), ({"a", "b"}, 2), ({"a": 1}.keys(), 1)])
def test_a_table_has_a_size_whether_it_has_tasks_or_a_number(table: Table, size: int) -> None:
    assert size_of_table(table) == size


async def test_what_may_be_busy_at_rest_is_the_name_of_a_table() -> None:
    coordinator, _ = build([instant])
    async with coordinator:
        assert coordinator.tables().keys() >= BUSY_AT_REST
