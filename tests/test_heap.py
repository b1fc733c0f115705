"""What a process of ours does with its memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator

import pytest

from streaming import heap


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    was_on = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if was_on else gc.disable)()


@pytest.mark.parametrize("was_on", [True, False])
def test_nothing_is_collected_while_it_loads_and_what_has_loaded_is_never_looked_at(was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    gc.unfreeze()

    with heap.loading():
        assert not gc.isenabled()
        loaded: list[list[int]] = [[]]
        assert any(each is loaded for each in gc.get_objects())

    assert gc.isenabled() is was_on
    assert gc.get_freeze_count() > 0
    assert not any(each is loaded for each in gc.get_objects())


def test_what_cannot_be_loaded_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(ImportError), heap.loading():
        raise ImportError

    assert gc.isenabled()


def test_a_c_library_without_such_a_switch_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())

    heap.share_one()
