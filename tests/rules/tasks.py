"""Records of all kinds, and filters that some of them pass."""

from __future__ import annotations

from hypothesis import strategies as st

from streaming.events import rfc3339
from streaming.records import Priority, Progress, Record, TaskError, TaskStatus

#: Few values, so that records often agree.
LETTERS = st.text("aAbé%_", min_size=1, max_size=3)
TIMES = st.sampled_from([rfc3339(1_793_534_400 + second / 2) for second in range(5)])
NUMBERS = st.integers(0, 4)
TAGS = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3).map(tuple)


def records(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Record]:
    """Records with these ids."""
    return st.builds(
        Record,
        id=ids,
        type=LETTERS,
        status=st.sampled_from(TaskStatus),
        params=st.dictionaries(LETTERS, LETTERS, max_size=2),
        timeout_s=st.sampled_from([0.5, 1.0, 60.0]),
        created_at=TIMES,
        updated_at=TIMES,
        created_by=LETTERS,
        priority=st.sampled_from(Priority),
        key=st.none() | LETTERS,
        external_id=st.none() | LETTERS,
        parent=st.none() | ids,
        retry_of=st.none() | ids,
        tags=TAGS,
        attempt=NUMBERS,
        retries_left=NUMBERS,
        retry_at=st.none() | TIMES,
        progress=st.none() | st.sampled_from([0.0, 12.5, 100.0]).map(Progress),
        heartbeat_at=st.none() | TIMES,
        error=st.none() | st.builds(TaskError, LETTERS, LETTERS),
        acked_at=st.none() | TIMES,
        started_at=st.none() | TIMES,
        finished_at=st.none() | TIMES,
        tenant=st.none() | LETTERS,
        traceparent=st.none(),
        tracestate=st.none(),
    )


IDS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")
RECORDS = records(IDS)
