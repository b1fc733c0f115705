"""The agreed scenarios, and which tests prove them.

Owns:   how many rows each scenario file has; finding the tests that are marked with a row.
Never:  runs a test.

A test says what it proves with ``@pytest.mark.scenario("cancellation", 7)``, once for each row.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

#: Scenario file -> (test module, how many rows were agreed).
ROWS = MappingProxyType(
    {
        "base": ("tests.test_base_behaviour", 12),
        "cancellation": ("tests.test_cancellation", 20),
        "shutdown": ("tests.test_shutdown", 21),
        "patterns": ("tests.test_asyncio_patterns", 20),
        "races": ("tests.test_race_conditions", 19),
    }
)


def proofs(file: str) -> dict[int, list[str]]:
    """The names of the tests that prove each row of a scenario file, by row.

    Raises:
        ValueError: a test of the file's module is marked with another file, or with a row that does not exist.
    """
    module_name, rows = ROWS[file]
    found: dict[int, list[str]] = defaultdict(list)
    for name, marks in _tests(vars(importlib.import_module(module_name))):
        for mark in marks:
            if mark.name != "scenario":
                continue
            marked_file, row = mark.args
            if marked_file != file or not 1 <= row <= rows:
                raise ValueError(f"{module_name}.{name} is marked with {marked_file} {row}: there is no such row here")
            found[row].append(name)
    return dict(found)


def _tests(names: dict[str, Any], inherited: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each test function with its marks, those of its class included."""
    for name, value in names.items():
        marks = (*inherited, *getattr(value, "pytestmark", ()))
        if isinstance(value, type) and name.startswith("Test"):
            yield from _tests(dict(vars(value)), marks)
        elif callable(value) and name.startswith("test_"):
            yield name, marks
