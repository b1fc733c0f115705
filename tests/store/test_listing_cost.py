"""No question to a list looks at more than it may, however many records there are, and none takes for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, text

from streaming.config import Settings
from streaming.engine.journal import RecordQuery
from streaming.errors import BadFilter, QueryTooSlow
from streaming.records import TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, FilterLimits, Term, parse_filter
from streaming.rules.presets import Preset, preset
from streaming.rules.sorting import DEFAULT_ORDER, Key, parse_sort
from streaming.rules.statistics import StatisticsQuery
from streaming.store import figures, open_database
from streaming.store.listing import Listing
from streaming.store.schema import SCHEMA
from tests.postgres import PostgresServer
from tests.store.conftest import MakeStore
from tests.store.samples import start, task_id, wanted

SCAN_MAX = 1000

#: 100,000 rows, one second after the other: 97 of 100 completed, some failed, few running; a tag that most have, and
#: one of few. The oldest 2,000 are of a principal that has as many in one tenant, and 10,000 in another: what has its
#: tasks in no order of their own finds them behind those of everybody else.
COLUMNS = """
INSERT INTO tasks (id, type, status, params, timeout_s, created_at, updated_at, created_by, tags, attempt, finished_at,
    priority, key, tenant)
SELECT {id}, CASE WHEN i % 500 = 0 THEN 'rare' WHEN i % 3 = 0 THEN 'fetch' ELSE 'count' END,
    CASE WHEN i % 1000 = 0 THEN 'running' WHEN i % 40 = 0 THEN 'failed' ELSE 'completed' END,
    '{{}}', 60.0, {time}, {time}, CASE WHEN i <= 14000 THEN 'cid' WHEN i % 7 = 0 THEN 'ann' ELSE 'bob' END, '[]', 1,
    CASE WHEN i % 1000 <> 0 THEN {time} END, i % 4, CASE WHEN i % 10 = 0 THEN 'key' || i % 100 END,
    CASE WHEN i BETWEEN 2001 AND 4000 THEN 'acme' WHEN i BETWEEN 4001 AND 14000 THEN 'big' END
FROM {rows}
"""
TERMS = """
INSERT INTO terms SELECT 'tag', 'many', id FROM tasks WHERE created_by = 'bob'
UNION ALL SELECT 'tag', 'few', id FROM tasks WHERE type = 'rare'
UNION ALL SELECT 'word', type, id FROM tasks UNION ALL SELECT 'word', 'all', id FROM tasks
"""
IN_SQLITE = {
    "id": "printf('%032x', i * 7919 % 100003)",
    "time": "strftime('%Y-%m-%dT%H:%M:%S.000000Z', '2026-10-01', '+' || i || ' seconds')",
    "rows": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n)",
}
IN_POSTGRES = {
    "id": "lpad(to_hex(i::bigint * 7919 % 100003), 32, '0')",
    "time": "to_char(timestamp '2026-10-01' + i * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS.000000\"Z\"')",
    "rows": "generate_series(1, 100000) AS g(i)",
}
NOW = "2026-10-02T04:00:00.000000Z"


def asked(sort: str | None = None, after: Key | None = None, **pairs: str) -> RecordQuery:
    named = ((f"{name.replace('__', '[')}]" if "__" in name else name, value) for name, value in pairs.items())
    order = DEFAULT_ORDER if sort is None else parse_sort(sort)
    return RecordQuery(parse_filter(list(named), FilterLimits()), order, after, 20)


def saved(name: Preset, **also: Any) -> RecordQuery:
    filter, order = preset(name, now=NOW, stale_s=60)
    return RecordQuery(filter.narrowed(asked(**also).filter), order, None, 20)


#: In the middle of the 2,000 of a principal.
IN_OWN = "2026-10-01T00:16:40.000000Z"
OWN: Any = {"created_by": "cid", "tenant__null": "true"}
MIDDLE = "2026-10-01T12:00:00.000000Z"
QUESTIONS: dict[str, RecordQuery] = {
    "default": asked(),
    "next": asked(after=(MIDDLE, "8" * 32)),
    "next ascending": asked("created_at", (MIDDLE, "8" * 32)),
    "both directions": asked("-created_at,id", (MIDDLE, "8" * 32)),
    "common status": asked(status="completed"),
    "common status, next": asked(after=(MIDDLE, "8" * 32), status="completed"),
    "rare status": asked("-priority", status="running"),
    "rare type": asked("updated_at", type="rare"),
    "not found": asked(created_by="nobody"),
    "four fields": asked(status="completed", type="fetch", created_by="ann", priority="high,urgent"),
    "four fields, by end": asked("-finished_at", status="completed", type="fetch", created_by="ann", tag="many"),
    "four fields, none": asked("id", status="completed", type="fetch", created_by="nobody", key__null="false"),
    "by end": asked("-finished_at"),
    "by end, next": asked("-finished_at", (MIDDLE, "8" * 32)),
    "not ended first": asked("finished_at", type="fetch"),
    "not ended, next": asked("-finished_at", (None, "8" * 32)),
    "few tagged": asked("-priority", tag="few"),
    "many tagged": asked(tag="many"),
    "two tags": asked("attempt", tag__contains="many,few"),
    "not tagged": asked(tag__ne="many"),
    "rare word": asked("-updated_at", q="rare"),
    "common words": asked(q="all count"),
    "key": asked("-updated_at", key="key10"),
    "keys": asked(key__startswith="key1"),
    "range": asked("-updated_at", created_at__between="2026-10-01T12:00:00Z,2026-10-01T12:10:00Z"),
    "long range": asked("-created_at", created_at__lt=MIDDLE, status="running"),
    "own": asked(**OWN),
    "own, next": asked(after=(IN_OWN, "8" * 32), **OWN),
    "own, next ascending": asked("created_at", (IN_OWN, "8" * 32), **OWN),
    "own, both directions": asked("-created_at,id", (IN_OWN, "8" * 32), **OWN),
    "own, by end": asked("-finished_at", **OWN),
    "own, by end, next": asked("-finished_at", (IN_OWN, "8" * 32), **OWN),
    "own, not ended first": asked("finished_at", **OWN),
    "own, not ended, next": asked("-finished_at", (None, "8" * 32), **OWN),
    "own, range": asked(created_at__lt=IN_OWN, **OWN),
    "own, common status": asked(status="completed", **OWN),
    "own, four fields, none": asked("-finished_at", type="fetch", priority="high", key__like="%9", **OWN),
    "own, none": asked(updated_at__gt="2027-01-01T00:00:00Z", **OWN),
    "tenant": asked(tenant="acme"),
    "tenant, by end": asked("-finished_at", tenant="acme"),
    "tenant, next": asked(after=("2026-10-01T01:00:00.000000Z", "8" * 32), tenant="acme"),
    "tenant, none": asked(tenant="big", created_by="ann"),
    "like": asked(key__like="%9%", created_by__ilike="ANN"),
    "by id": asked("id", ("8" * 32,), status="failed"),
    **{str(name): saved(name) for name in Preset if name is not Preset.COMPLETED_TODAY},
    "completed today, fetch": saved(Preset.COMPLETED_TODAY, type="fetch"),
}


def filled(connection: Connection, words: dict[str, str]) -> None:
    connection.exec_driver_sql(COLUMNS.format(**words).replace("%", "%%" if "to_char" in words["time"] else "%"), ())
    connection.execute(text(TERMS))


# -- SQLite ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many_in_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    path = tmp_path_factory.mktemp("many") / "many.db"
    database = open_database(Settings(store_url=f"sqlite:///{path}"))
    database.open()
    with database.writing() as connection:
        filled(connection, IN_SQLITE)
    database.close()
    engine = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT", connect_args={"isolation_level": None})
    with engine.connect() as connection:
        yield connection
    engine.dispose()


#: Steps of SQLite's machine for each record that is looked at, at most: what a record costs, and what a page costs.
STEPS, STEPS_OF_A_PAGE = 200, 20_000


@pytest.mark.parametrize("query", QUESTIONS.values(), ids=QUESTIONS)
def test_sqlite_looks_at_no_more_than_it_may(many_in_sqlite: Connection, query: RecordQuery) -> None:
    driver: Any = many_in_sqlite.connection.driver_connection
    plans: list[str] = []
    looks: list[int] = []

    def explain(*asked_for: Any) -> None:
        statement, parameters = asked_for[2:4]
        if statement.startswith("SELECT"):
            plans.append("\n".join(step[3] for step in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)))

    event.listen(many_in_sqlite, "before_cursor_execute", explain)
    try:
        driver.set_progress_handler(lambda: looks.append(1), 1000)
        Listing(SCAN_MAX).records(many_in_sqlite, query)
    finally:
        driver.set_progress_handler(None, 0)
        event.remove(many_in_sqlite, "before_cursor_execute", explain)

    steps = "\n".join(plans)
    assert not [line for line in steps.splitlines() if line.startswith("SCAN tasks") and "INDEX" not in line], steps
    assert "SCAN terms" not in steps
    assert "TEMP B-TREE" not in steps.rpartition("SCAN chosen")[2], "whole records are not sorted"
    assert len(looks) * 1000 <= SCAN_MAX * STEPS + STEPS_OF_A_PAGE, steps


def test_a_first_page_takes_no_longer_than_its_records(many_in_sqlite: Connection) -> None:
    """A walk is lazy: it ends with the page."""
    driver: Any = many_in_sqlite.connection.driver_connection
    looks: list[int] = []
    driver.set_progress_handler(lambda: looks.append(1), 1000)
    for name in ("default", "next", "common status", "by end", "many tagged", "common words"):
        looks.clear()
        query = QUESTIONS[name]
        many = SCAN_MAX * (name in ("many tagged", "common words", "common status"))  # which are counted first
        Listing(SCAN_MAX).records(many_in_sqlite, query)
        assert len(looks) * 1000 <= STEPS_OF_A_PAGE + 30 * many, name
    driver.set_progress_handler(None, 0)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many_in_postgres(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    name = postgres_server.create_database(template=postgres_template)
    engine = create_engine(postgres_server.url(name), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET search_path = {SCHEMA}")
        filled(connection, IN_POSTGRES)
        connection.exec_driver_sql("VACUUM ANALYZE tasks, terms")
    engine.dispose()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def looked_at(node: dict[str, Any]) -> int:
    removed = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


@pytest.fixture(scope="module")
def postgres_connection(many_in_postgres: str) -> Iterator[Connection]:
    engine = create_engine(many_in_postgres)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


#: Questions that count nothing first, and find a page of 20 among the first records of an index; a sort within equal
#: times takes some more.
LAZY = ("default", "next", "next ascending", "both directions", "by end", "by end, next")
#: The same, once it was counted in an index how many tasks an owner has.
LAZY_IN_THEIR_OWN = (
    *("own", "own, next", "own, next ascending", "own, both directions", "own, by end", "own, by end, next"),
    *("tenant", "tenant, by end", "tenant, next"),
)


@contextmanager
def explained(connection: Connection) -> Iterator[list[dict[str, Any]]]:
    """What PostgreSQL says that it does for each question within the block: the nodes of its plans."""
    connection.exec_driver_sql(f"SET LOCAL search_path = {SCHEMA}")
    driver: Any = connection.connection.driver_connection
    seen: list[dict[str, Any]] = []

    def explain(*asked_for: Any) -> None:
        statement, parameters = asked_for[2:4]
        if statement.startswith("SELECT"):
            ((((plan,),),),) = (driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchall(),)
            seen.extend(nodes(plan["Plan"]))

    event.listen(connection, "before_cursor_execute", explain)
    try:
        yield seen
    finally:
        event.remove(connection, "before_cursor_execute", explain)
        connection.rollback()


@pytest.mark.parametrize("name", QUESTIONS)
def test_postgres_looks_at_no_more_than_it_may(postgres_connection: Connection, name: str) -> None:
    with explained(postgres_connection) as seen:
        Listing(SCAN_MAX).records(postgres_connection, QUESTIONS[name])

    scans = [node for node in seen if node.get("Relation Name") in ("tasks", "terms")]
    assert scans
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert max(map(looked_at, scans)) <= (100 if name in LAZY else SCAN_MAX + 1), scans
    if name in LAZY_IN_THEIR_OWN:
        assert max(looked_at(node) for node in scans if node["Node Type"] != "Index Only Scan") <= 100, scans
    assert max((looked_at(node) for node in seen if "Sort" in node["Node Type"]), default=0) <= SCAN_MAX


# -- the statistics of one owner ---------------------------------------------------------------------------------------

OWNERS = {"principal": asked(**OWN).filter, "tenant": asked(tenant="acme").filter, "nobody": asked(tenant="no").filter}


def figures_of(owner: str, *types: str) -> StatisticsQuery:
    return StatisticsQuery("2026-09-01T00:00:00.000000Z", NOW, types, tasks_max=100, within=OWNERS[owner])


@pytest.mark.parametrize("owner", OWNERS)
def test_in_sqlite_they_look_at_nobody_elses_tasks(many_in_sqlite: Connection, owner: str) -> None:
    driver: Any = many_in_sqlite.connection.driver_connection
    looks: list[int] = []
    driver.set_progress_handler(lambda: looks.append(1), 1000)
    answer = figures.figures(many_in_sqlite, figures_of(owner))
    driver.set_progress_handler(None, 0)

    assert answer.total.tasks == (0 if owner == "nobody" else 100)
    assert len(looks) * 1000 <= 100 * STEPS + STEPS_OF_A_PAGE


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(("types", "most"), [((), 101), (("fetch",), 500)])
def test_in_postgres_they_look_at_nobody_elses_tasks(
    postgres_connection: Connection, owner: str, types: tuple[str, ...], most: int
) -> None:
    with explained(postgres_connection) as seen:
        figures.figures(postgres_connection, figures_of(owner, *types))

    scans = [node for node in seen if node.get("Relation Name") == "tasks"]
    assert scans
    assert max(map(looked_at, scans)) <= most, scans


# -- what is refused before a store is asked ---------------------------------------------------------------------------


def test_what_would_be_dear_is_no_filter() -> None:
    for pairs in (
        [("id", ",".join(map(task_id, range(10_000))))],
        [("key[like]", "%a" * 9)],
        [("key[like]", "a" * 256)],
        [("created_by", "a")] * 101,
        [(f"{name}[ne]", "a") for name in ("key", "type", "parent")] * 7,
        [("q", " ".join(f"w{number}" for number in range(11)))],
    ):
        with pytest.raises(BadFilter):
            parse_filter(pairs, FilterLimits())


@pytest.mark.parametrize("pattern", ["%a" * 8, "%" * 8, "_" * 8, "%" + "a" * 100 + "%b"])
def test_the_worst_pattern_that_is_allowed_takes_no_time(many_in_sqlite: Connection, pattern: str) -> None:
    looks: list[int] = []
    driver: Any = many_in_sqlite.connection.driver_connection
    driver.set_progress_handler(lambda: looks.append(1), 1000)
    query = RecordQuery(Filter((Term("key", Operator.LIKE, (pattern,)), Term("type", Operator.ILIKE, (pattern,)))))
    Listing(SCAN_MAX).records(many_in_sqlite, query)
    driver.set_progress_handler(None, 0)
    assert len(looks) * 1000 <= SCAN_MAX * STEPS


# -- time --------------------------------------------------------------------------------------------------------------

#: A table of tasks that takes for ever to read.
SLOW = {
    "sqlite": "(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n)",
    "postgres": "(SELECT pg_sleep(600)::text)",
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_question_that_takes_too_long_is_given_up_and_its_connection_goes_on(
    name: str, request: pytest.FixtureRequest, database_path: Path
) -> None:
    make: MakeStore = request.getfixturevalue(f"make_{name}")
    store = make(query_timeout_s=0.2)
    await store.open()
    await store.commit(start(1, 2))
    url = f"sqlite:///{database_path}" if name == "sqlite" else request.getfixturevalue("our_database")
    other = create_engine(url)
    place = "" if name == "sqlite" else f"{SCHEMA}."
    with other.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {place}tasks RENAME TO quick")
        view = f"CREATE VIEW {place}tasks AS SELECT * FROM {place}quick, {SLOW[name]} AS slow"  # noqa: S608  # of ours
        connection.exec_driver_sql(view)

    for _ in range(10):  # more than there are connections
        with pytest.raises(QueryTooSlow, match=r"longer than 0\.2 s"):
            await store.records(RecordQuery())
    with pytest.raises(QueryTooSlow):
        await store.count(wanted(status=TaskStatus.PENDING))

    with other.begin() as connection:
        connection.exec_driver_sql(f"DROP VIEW {place}tasks")
        connection.exec_driver_sql(f"ALTER TABLE {place}quick RENAME TO tasks")
    other.dispose()
    assert [found.id for found in await store.records(RecordQuery())] == [task_id(2), task_id(1)]
    assert await store.count(Filter()) == [((), 2)]
    await store.close()
