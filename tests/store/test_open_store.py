"""Which store a URL means, and what it costs to ask."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streaming.config import Settings
from streaming.errors import StoreUnavailable
from streaming.store import open_store
from streaming.store.memory import MemoryStore
from streaming.store.sqlite import SqliteStore


def test_the_url_chooses_the_store() -> None:
    assert isinstance(open_store(Settings(store_url="memory://")), MemoryStore)
    assert isinstance(open_store(Settings(store_url="sqlite:///streaming.db")), SqliteStore)


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:"])
def test_a_url_without_a_file_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="names no file; say memory://"):
        open_store(Settings(store_url=url))


def test_no_database_library_is_imported_before_it_is_needed() -> None:
    program = """
import sys, streaming, streaming.store
from streaming.config import Settings
streaming.store.open_store(Settings(store_url="memory://"))
print([name for name in ("sqlalchemy", "alembic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
