"""Whether a task is there for somebody: in each store the same, and in SQLite without a look at the task itself."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.rules.access import SCOPES_DEFAULT, Principal, Scope
from streaming.store import open_store
from streaming.store.reads import _SEEN_IN_SQLITE
from tests.store.samples import start, task_id

WHO = [
    Principal(name, SCOPES_DEFAULT, tenant) for tenant in (None, "acme", "ann") for name in ("ann", "bob", "acme")
] + [Principal("root", frozenset({Scope.ADMIN}))]


@pytest.mark.parametrize(("created_by", "tenant"), [("ann", None), ("ann", "acme"), ("bob", "ann")])
async def test_each_store_sees_what_the_rules_say(store: Journal, created_by: str, tenant: str | None) -> None:
    await store.commit(start(1, created_by=created_by, tenant=tenant))

    for who in WHO:
        assert await store.is_seen_by(who, task_id(1)) is who.sees(created_by, tenant)
        assert not await store.is_seen_by(who, task_id(2))


@pytest.mark.parametrize("who", WHO, ids=lambda who: who.owner)
async def test_a_feed_of_somebody_has_what_the_rules_say(store: Journal, who: Principal) -> None:
    owners = [("ann", None), ("bob", "acme"), ("ann", "ann"), ("bob", None)]
    for number, (created_by, tenant) in enumerate(owners, 1):
        await store.commit(start(number, created_by=created_by, tenant=tenant))

    items = await store.feed_after(0, last_position=99, limit=99, principal=who)
    assert [(item.created_by, item.tenant) for item in items] == [owner for owner in owners if who.sees(*owner)]


async def test_long_parameters_take_no_time(tmp_path: Path) -> None:
    """By a time that somebody else could tell: there is such a task."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    made = open_store(Settings(store_url=url))
    await made.open()
    await made.close()
    engine = create_engine(url)
    with closing(engine.raw_connection()) as _, engine.connect() as connection:
        asked = {"id": "1", "tenant": None, "name": "ann"}
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {_SEEN_IN_SQLITE.text}"), asked).all()
    engine.dispose()

    assert [row[-1] for row in plan] == ["SEARCH tasks USING COVERING INDEX tasks_by_owner (id=?)"]
