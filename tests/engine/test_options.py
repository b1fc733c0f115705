"""What a start may ask for is written down in one place, and all of it reaches the record."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

from streaming.engine.options import RetryOptions, StartOptions
from streaming.records import Policy, Record, RetryPolicy

#: Options that are no fields of a record or its policy: they decide about the start itself.
ELSEWHERE = {"retry", "if_running"}

#: What a record keeps under other names.
KEPT_AS = {"trace": {"traceparent", "tracestate"}}


def names(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_part_of_a_retry_policy_can_be_asked_for() -> None:
    assert set(get_type_hints(RetryOptions)) == names(RetryPolicy)


def test_every_part_of_a_policy_can_be_asked_for_and_every_option_is_kept() -> None:
    options = set(get_type_hints(StartOptions))
    kept = set().union(*(KEPT_AS.get(name, {name}) for name in options - ELSEWHERE))

    assert names(Policy) <= options
    assert kept <= names(Policy) | names(Record)


def test_nothing_has_to_be_asked_for() -> None:
    assert StartOptions.__required_keys__ == RetryOptions.__required_keys__ == frozenset()
