"""No agreed scenario is without a test."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests import scenarios
from tests.scenarios import ROWS, proofs


@pytest.mark.parametrize("file", ROWS)
def test_every_agreed_row_has_a_test(file: str) -> None:
    _, rows = ROWS[file]

    assert [row for row in range(1, rows + 1) if row not in proofs(file)] == []


def test_what_is_counted_are_tests_of_functions_and_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    @pytest.mark.scenario("mine", 1)
    @pytest.mark.scenario("mine", 2)
    def test_both() -> None: ...

    @pytest.mark.scenario("mine", 2)
    class TestGroup:
        def test_it(self) -> None: ...

    @pytest.mark.scenario("mine", 3)
    def no_test() -> None: ...

    module = ModuleType("module_of_mine")
    vars(module).update(test_both=test_both, TestGroup=TestGroup, no_test=no_test)
    monkeypatch.setitem(sys.modules, "module_of_mine", module)
    monkeypatch.setattr(scenarios, "ROWS", {"mine": ("module_of_mine", 3), "other": ("module_of_mine", 3)})

    assert proofs("mine") == {1: ["test_both"], 2: ["test_both", "test_it"]}
    with pytest.raises(ValueError, match="there is no such row here"):
        proofs("other")
