"""Whatever clients, workers and handlers do, in whatever order: every answer and every task is as the model says."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.fuzz.machine import Api

TestApi = Api.TestCase
TestApi.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
